"""Errors that a user can cause, and mend."""


class EgretError(ValueError):
    """A request that cannot be met: the message names the parameter, the value and the rule.

    The command line prints it as one line and exits with status 2.
    """

"""Fuzzing of whole accelerators: draw one, build it, run it, compare all that it says, shrink what fails."""

"""The accelerator generator: an event-driven EGRU in Amaranth, built from a network image.

Nothing here imports torch: the hardware knows only the number formats and the network image
of :mod:`egru`.
"""

"""The two places where events wait."""

from amaranth.hdl import ShapeLike, unsigned

from .fifo import PassingFifo
from .stream import token_layout


class EventQueue(PassingFifo):
    """Queue of tokens in front of a tile: what comes from outside waits here.

    Parameters
    ----------
    size : number of sources, so indices are below it
    value : shape of an event's value
    depth : tokens that wait at most, 1 or more
    """

    def __init__(self, *, size: int, value: ShapeLike, depth: int, small: bool = False):
        super().__init__(token_layout(size, value), depth=depth, small=small)


class RecurrentQueue(PassingFifo):
    """Queue of a tile's own events on their way back into it, each step closed by a TICK.

    A unit fires at most once in a step, and at most `streams` steps are under way: with a place for each of
    those events and ticks the queue is always ready, by construction.
    """

    def __init__(self, *, units: int, event_bits: int, streams: int, small: bool = False):
        super().__init__(token_layout(units, unsigned(event_bits)), depth=streams * (units + 1), small=small)

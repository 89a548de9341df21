"""Performance counters: where a tile's cycles went."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

COUNTER_BITS = 32

COUNTED = {
    "cycles": "cycles since reset",
    "input_events": "input events fetched",
    "recurrent_events": "recurrent events fetched",
    "busy": "cycles in which the lanes got a word of weights",
    "idle_no_event": "idle cycles in which no token waited in front of the tile",
    "idle_queue": "idle cycles in which an event was on its way through the queues",
    "idle_output": "idle cycles in which the next tile did not take the tile's output",
    "idle_update": "idle cycles in which the step waited for the update before it",
}
"""What is counted; `busy` and the four idle counters add up to `cycles`."""


def counters_layout() -> data.StructLayout:
    """A counter for each name in :data:`COUNTED`. They wrap around."""
    return data.StructLayout({name: COUNTER_BITS for name in COUNTED})


class Counters(wiring.Component):
    """Counts a tile's cycles by what the lanes did in them.

    Members
    -------
    input_event, recurrent_event : In, 1 = an event was handed to the weight fetch
    strobe : In, 1 = the lanes get a word
    waiting : In, 1 = a token waits in front of the tile
    blocked : In, 1 = the step could close but for the update before it
    stalled : In, 1 = the output is not taken
    values : Out, :func:`counters_layout`
    """

    input_event: In(1)
    recurrent_event: In(1)
    strobe: In(1)
    waiting: In(1)
    blocked: In(1)
    stalled: In(1)
    values: Out(counters_layout())

    def elaborate(self, platform):
        m = Module()

        def count(name):
            counter = getattr(self.values, name)
            m.d.sync += counter.eq(counter + 1)

        count("cycles")
        with m.If(self.input_event):
            count("input_events")
        with m.If(self.recurrent_event):
            count("recurrent_events")
        with m.If(self.strobe):
            count("busy")
        with m.Elif(self.stalled):
            count("idle_output")
        with m.Elif(self.blocked):
            count("idle_update")
        with m.Elif(self.waiting):
            count("idle_queue")
        with m.Else():
            count("idle_no_event")
        return m

"""Performance counters: where a tile's cycles went."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

COUNTER_BITS = 32

COUNTED = {
    "cycles": "cycles since reset",
    "input_events": "input events fetched",
    "recurrent_events": "recurrent events fetched (with reset='before', each anew once it is gated)",
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

        # Counted a cycle later, so that it is in no one's way.
        causes = [
            self.input_event,
            self.recurrent_event,
            self.strobe,
            self.stalled,
            self.blocked,
            self.waiting,
        ]
        late = Signal(len(causes))
        counting = Signal()  # not in the first cycle, which has nothing to count
        m.d.sync += [late.eq(Cat(causes)), counting.eq(1)]
        input_event, recurrent_event, strobe, stalled, blocked, waiting = late

        def count(name):
            counter = getattr(self.values, name)
            m.d.sync += counter.eq(counter + 1)

        with m.If(counting):
            count("cycles")
        with m.If(input_event):
            count("input_events")
        with m.If(recurrent_event):
            count("recurrent_events")
        with m.If(strobe):
            count("busy")
        with m.Elif(stalled):
            count("idle_output")
        with m.Elif(blocked):
            count("idle_update")
        with m.Elif(waiting):
            count("idle_queue")
        with m.Elif(counting):
            count("idle_no_event")
        return m

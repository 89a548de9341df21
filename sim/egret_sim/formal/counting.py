"""Counters: busy and idle cycles add up to all cycles, and no event is missed."""

from amaranth.hdl import Assert, Module, Signal

from egret_hw.counters import COUNTED, COUNTER_BITS, Counters

from .checker import drive


def counters_add_up(m: Module) -> None:
    """Exactly one of busy and the idle causes counts in a cycle; each event counts once, a cycle later."""
    counters = Counters()
    m.submodules.counters = counters
    drive(m, counters)
    values = counters.values
    idle = [getattr(values, name) for name in COUNTED if name.startswith("idle")]
    m.d.comb += Assert(values.cycles == (values.busy + sum(idle))[:COUNTER_BITS])
    for counted, strobe in (
        ("input_events", counters.input_event),
        ("recurrent_events", counters.recurrent_event),
        ("busy", counters.strobe),
        ("cycles", None),
    ):
        count = Signal(COUNTER_BITS, name=f"model_{counted}")
        late = Signal(COUNTER_BITS, name=f"model_{counted}_late")
        m.d.sync += [count.eq(count + (1 if strobe is None else strobe)), late.eq(count)]
        m.d.comb += Assert(getattr(values, counted) == late)

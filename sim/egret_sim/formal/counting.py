"""Counters: busy and idle cycles add up to all cycles, and no event is missed."""

from amaranth.hdl import Assert, Cat, Module, Signal

from egret_hw.counters import COUNTED, COUNTER_BITS, Counters

from .checker import drive


def counters_add_up(m: Module) -> None:
    """Exactly one of busy and the idle causes counts when cycles do; each event counts once, a cycle later.

    All counters begin at zero, so counting up together keeps their sums equal.
    """
    counters = Counters()
    m.submodules.counters = counters
    drive(m, counters)
    values = counters.values
    grown = {}
    for name in COUNTED:
        before = Signal(COUNTER_BITS, name=f"{name}_before")
        grown[name] = Signal(name=f"{name}_grown")
        m.d.sync += before.eq(getattr(values, name))
        m.d.comb += [
            grown[name].eq(getattr(values, name) != before),
            Assert(~grown[name] | (getattr(values, name) == (before + 1)[:COUNTER_BITS])),
        ]
    causes = sum(grown[name] for name in COUNTED if name == "busy" or name.startswith("idle"))
    m.d.comb += Assert(causes == grown["cycles"])

    # Counted two cycles later: once on the way in, once in the counter.
    started = Signal(2)
    m.d.sync += started.eq(Cat(1, started[0]))
    m.d.comb += Assert(grown["cycles"] == started[1])
    for name, strobe in (
        ("input_events", counters.input_event),
        ("recurrent_events", counters.recurrent_event),
        ("busy", counters.strobe),
    ):
        late = Signal(2, name=f"{name}_late")
        m.d.sync += late.eq(Cat(strobe, late[0]))
        m.d.comb += Assert(grown[name] == late[1])

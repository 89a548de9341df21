"""Says in simulation where a number did not fit the width that was worked out for it."""

from amaranth.hdl import Module, Signal, Value

SIGNAL = "sum_overflows"
"""Name of the signal that is 1 in a cycle in which a number was cut.

Nothing reads it, so synthesis makes no cell of it. `egret_sim.overflow` makes a simulation stop at it.
"""


class OverflowWatch:
    """Cuts numbers of one component to their widths, and notes whether that loses anything."""

    def __init__(self) -> None:
        self._lost: list[Value] = []

    def fit(self, value: Value, bits: int, strobe: Value) -> Value:
        """Signed `value` in `bits` bits; losing a bit of it counts in cycles in which `strobe` is 1."""
        cut = value[:bits].as_signed() if len(value) > bits else value
        self.check(value, cut, strobe)
        return cut

    def check(self, value: Value, kept: Value, strobe: Value) -> None:
        """Note that `kept` has to be `value` where `strobe` is 1."""
        self._lost.append(strobe & (value != kept))

    def drive(self, m: Module) -> None:
        """Make the signal, once all numbers are known."""
        signal = Signal(name=SIGNAL)
        lost = self._lost[0]
        for other in self._lost[1:]:
            lost = lost | other
        m.d.comb += signal.eq(lost)

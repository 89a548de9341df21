"""Makes a simulation of generated Verilog stop where a number does not fit its width.

The generator names a signal that says so (:mod:`egret_hw.overflow`). Here a statement that looks at it is
added to each module that has one, for simulation alone: what is synthesised is never changed.
"""

from __future__ import annotations

import re

from egret_hw.overflow import SIGNAL

#: What a simulation says when it stops for this reason, before the name of the module.
MESSAGE = "a number overflows its width in"
_DRIVEN = re.compile(rf"^\s*assign {SIGNAL} = ", re.M)
_SAID = re.compile(rf"{MESSAGE} (\S+)")


def stop_at_overflow(verilog: str, *, unless: str | None = None) -> str:
    """The Verilog, in which a run ends with an error in the cycle in which a number overflows.

    Parameters
    ----------
    verilog
        What the generator wrote. A netlist, which has no such signals, comes back as it is.
    unless
        A port of the modules: while it is not 0, nothing is looked at.
    """
    parts = re.split(r"(^endmodule\b)", verilog, flags=re.M)
    condition = SIGNAL if unless is None else f"{SIGNAL} && {unless} == 0"
    for place in range(0, len(parts) - 1, 2):
        if _DRIVEN.search(parts[place]):
            parts[place] += (
                f'  always @(posedge clk) if ({condition}) begin $display("{MESSAGE} %m"); $stop; end\n'
            )
    return "".join(parts)


def overflowed(output: str) -> str | None:
    """Which module a run stopped in, from what it said; None if it did not stop for this reason."""
    found = _SAID.search(output)
    return found[1] if found else None

"""What stands around a gather: lanes that it reads, and an update that looks at its sums when they are meant.

A gather asks lanes for sums that it then does not choose, and shows sums that nobody takes. Its ports alone
say nothing of that. So it is put between the least that may be around it: each lane answers a read, two
cycles later, with any value at all, one for each of its accumulators; sums count when the strobe says so; and
a read starts only when the contract of :class:`~egret_hw.sum_gather.SumGather` allows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from egret_hw.accumulator import SUM_READ_LATENCY
from egret_hw.geometry import GATES
from egret_sim.mutation.program import SELECT, SELECT_BITS

#: What is added to a gather's path.
IN_USE = ".in_use"
#: Cycles from `done` to the next `start` at the earliest, and from reset.
_REST = 2
_PORT = re.compile(
    r"^  wire (?:width (\d+) )?(?:signed )?(?:upto )?(input|output|inout) \d+ (?:signed )?\\(\S+)$", re.M
)


@dataclass(frozen=True)
class GatherUse:
    """Lanes of the layer, units of a group, and units of the layer."""

    lanes: int
    group: int
    units: int


def gather_in_use(rtlil: str, module: str, use: GatherUse) -> str | None:
    """Verilog of a module called `module` + :data:`IN_USE`; None if the gather's ports have other names."""
    body = re.search(rf"^module \\{re.escape(module)}\n.*?^end$", rtlil, re.M | re.S)
    if body is None:
        return None
    ports = {name: (way, int(width or 1)) for width, way, name in _PORT.findall(body[0])}
    seconds = "seconds" if "seconds" in ports else "second0_held"
    known = {"clk", "rst", SELECT, "start", "bank", "step", "lane_sums", "read_slots", "firsts", seconds}
    known |= {"done", "answer_4", "answer_last_4", "answer_group_4"}
    if not known <= ports.keys() | {SELECT}:
        return None
    width = ports["lane_sums"][1] // use.lanes
    slot = ports["read_slots"][1] // use.lanes
    if ports["firsts"][1] != GATES * use.group * width or ports[seconds][1] != use.group * width:
        return None
    masked = {
        f"shown_{name}": (strobe, name, ports[name][1])
        for strobe, name in (("answer_4", "late_step"), ("ahead", "group_ahead1"))
        if {strobe, name} <= ports.keys()
    }
    known |= {name for _, name, _ in masked.values()}
    masked |= {
        "shown_group": ("answer_4", "answer_group_4", ports["answer_group_4"][1]),
        "shown_last": ("answer_4", "answer_last_4", 1),
    }
    plain = [name for name, (way, _) in ports.items() if way == "output" and name not in known]
    shown = {name: ports[name][1] for name in [*plain, "done", "answer_4"]}
    # Beyond the last unit sums are undefined.
    rest = use.units - (use.units - 1) // use.group * use.group
    for unit in range(use.group):
        for late, name, size in ((0, "firsts", GATES * width), (1, seconds, width)):
            counts = ("late_strobe", "late_last") if late else ("answer_4", "answer_last_4")
            used = counts[0] if unit < rest else f"({counts[0]} & ~{counts[1]})"
            masked[f"shown_{name}{unit}"] = (used, f"{name}[{size * unit}+:{size}]", size)
    inputs = {name: ports[name][1] for name in ("clk", "rst", "start", "bank", "step")}
    inputs |= {SELECT: SELECT_BITS, "sums": use.lanes * width << slot}
    connections = [f".\\{name} ({name})" for name in ports if name != "start"]
    lines = [
        f"module \\{module}{IN_USE} (",
        ",\n".join(
            [f"  input [{size - 1}:0] {name}" for name, size in inputs.items()]
            + [f"  output [{size - 1}:0] {name}" for name, size in shown.items()]
            + [f"  output [{size - 1}:0] {name}" for name, (_, _, size) in masked.items()]
        ),
        ");",
        *(
            f"  wire [{ports[name][1] - 1}:0] {name};"
            for name, (way, _) in ports.items()
            if name == "lane_sums" or (way == "output" and name not in shown)
        ),
        f"  reg [{ports['read_slots'][1] - 1}:0] asked [{SUM_READ_LATENCY - 1}:0];",
        f"  reg late_strobe = 0, late_last = 0, busy = 0; reg [{_REST - 1}:0] rested = 0;",
        "  integer age;",
        f"  wire starts = start & ~busy & rested[{_REST - 1}];",
        "  always @(posedge clk) begin",
        "    asked[0] <= read_slots;",
        f"    for (age = 1; age < {SUM_READ_LATENCY}; age = age + 1) asked[age] <= asked[age - 1];",
        "    late_strobe <= answer_4; late_last <= answer_last_4;",
        "    busy <= ~rst & (starts | (busy & ~done));",
        f"    rested <= rst | starts | busy ? 0 : {{rested[{_REST - 2}:0], 1'b1}};",
        "  end",
        *(
            f"  assign lane_sums[{width * lane}+:{width}] = sums[{width * lane << slot}+:{width << slot}] "
            f">> {width} * asked[{SUM_READ_LATENCY - 1}][{slot * lane}+:{slot}];"
            for lane in range(use.lanes)
        ),
        *(f"  assign {name} = {used} ? {what} : 0;" for name, (used, what, _) in masked.items()),
        f"  \\{module} gather ({', '.join([*connections, '.start(starts)'])});",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"

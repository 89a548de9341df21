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

from rich.console import Console

from egret.build.tools import run_tool, shown_stage
from egret_hw.accelerator import Accelerator
from egret_hw.blocks.cells import GOWIN, NETLIST_FAMILIES, cell_models
from egret_hw.blocks.family import ECP5, GENERIC, ICE40, Family
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import TOP, describe
from egru.errors import EgretError

if TYPE_CHECKING:
    from egret_sim.run import Built
    from egru.image import NetworkImage

#: Synthesis, as bitstreams have it; on iCE40 without `-dsp`, which would set the hard multipliers anew.
#: iCE40 has no memory in look-up tables: what is meant for it becomes registers.
SYNTHESIS = {
    ECP5: f"synth_ecp5 -top {TOP}",
    ICE40: f"setattr -unset ram_style m:* a:ram_style=distributed %i; synth_ice40 -device u -top {TOP}",
    GOWIN: f"synth_gowin -noiopads -top {TOP}",
}
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
    """

    family: str
    text: str
    cells: dict[str, int]
    sidecar: dict[str, Any]

    def with_models(self) -> str:
        """Netlist and models of its cells, for simulation."""
        return self.text + cell_models(self.family, self.cells)


def check_family(family: str) -> None:
    """Raise EgretError if `family` is none of `NETLIST_FAMILIES`."""
    if family not in NETLIST_FAMILIES:
        raise EgretError(f"family must be one of {', '.join(NETLIST_FAMILIES)}, not {family!r}")


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
        How the accelerator is built.
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
            accelerator = Accelerator(image, config)
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
        )


def prepare(
    image: NetworkImage, netlist: Netlist, *, optimise: str = "fast", root: Path | None = None
) -> Built:
    """Build the simulation of a netlist, for `egret_sim.run.simulate`."""
    from egret_sim.cosimulation import build_bench
    from egret_sim.run import Built

    simulation = build_bench(netlist.with_models(), netlist.sidecar, optimise=optimise, root=root)
    return Built(image, netlist.sidecar, simulation)

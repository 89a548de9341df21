"""`egret summary`: what the other commands found out, in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from egret.console import Console
from egru.errors import EgretError

SIMULATION, BITSTREAM = "simulation.json", "report.json"


def summary(
    directory: Annotated[
        Path, typer.Argument(help="Where `make` builds: NETWORK/simulation.json, NETWORK/BOARD/report.json.")
    ] = Path("build"),
) -> None:
    """Show accuracy, simulation and bitstream figures of every network that was built."""
    networks = sorted(
        {path.parent for path in directory.glob(f"*/{SIMULATION}")} | _with_bitstream(directory)
    )
    if not networks:
        raise EgretError(
            f"directory must hold NETWORK/{SIMULATION} or NETWORK/BOARD/{BITSTREAM}, as `make` writes them: "
            f"{directory} has neither"
        )
    tables = [_table(network) for network in networks]
    console = Console()
    for table in tables:
        console.print(table)


def _with_bitstream(directory: Path) -> set[Path]:
    return {path.parent.parent for path in directory.glob(f"*/*/{BITSTREAM}")}


def _table(folder: Path) -> Table:
    table = Table(title=f"Summary: {folder.name}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    try:
        _add_network(table, folder.name)
        if (folder / SIMULATION).is_file():
            for run in _read(folder / SIMULATION):
                _add_simulation(table, run)
        for path in sorted(folder.glob(f"*/{BITSTREAM}")):
            _add_bitstream(table, _read(path))
    except (KeyError, TypeError, IndexError) as error:
        raise EgretError(f"a report in {folder} lacks {error}: build it again") from None
    return table


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise EgretError(f"{path} cannot be read as a report: {error}") from None


def _add_network(table: Table, name: str) -> None:
    """Figures that training put into the shipped image, where the network is one of those."""
    from egret import networks
    from egret.selection import MEASURES
    from egru.image import load_image

    if name not in networks.names():
        return
    image = load_image(networks.shipped(name))
    shapes = " -> ".join(
        str(size) for size in (image.input.size, *(layer.spec.units for layer in image.layers))
    )
    table.add_row("network", f"{shapes} -> {image.readout.spec.classes}")
    figures = image.info.get("figures", {})
    for key, title in (("float", "float"), ("quantised", "quantised")):
        for measure in MEASURES:
            if value := figures.get(key, {}).get(f"test_{measure.key}"):
                shown = f"{100 * value:.2f} %" if measure.share else f"{value:.4f}"
                table.add_row(f"test {measure.name}, {title}", shown)
    if activity := figures.get("quantised", {}).get("test_activity"):
        table.add_row("activity, by layer", ", ".join(f"{100 * share:.2f} %" for share in activity))


def _add_simulation(table: Table, run: dict[str, Any]) -> None:
    table.add_section()
    table.add_row("simulated", "random stalls" if run["stalls"] else "no stalls")
    table.add_row("sequences / steps", f"{run['sequences']} / {run['steps']}")
    table.add_row("values compared", f"{run['compared']}")
    table.add_row("mismatches", f"{run['mismatches']}")
    table.add_row("cycles per step", f"{run['cycles_per_step']:.1f}")
    table.add_row("busy MAC, layers", f"{run['layers_busy_percent']:.1f} %")
    table.add_row("busy MAC, with readout", f"{run['busy_percent']:.1f} %")
    table.add_row("effective / peak", f"{run['effective_over_peak']:.2f}")


def _add_bitstream(table: Table, report: dict[str, Any]) -> None:
    table.add_section()
    table.add_row("bitstream", f"{report['board']} ({report['device']})")
    for resource, title in (
        ("TRELLIS_COMB", "LUTs"),
        ("TRELLIS_FF", "flip-flops"),
        ("DP16KD", "block RAMs"),
        ("MULT18X18D", "multipliers"),
        ("ICESTORM_LC", "logic cells"),
        ("ICESTORM_RAM", "block RAMs"),
        ("ICESTORM_SPRAM", "single-port RAMs"),
        ("ICESTORM_DSP", "multipliers"),
    ):
        if usage := report["resources"].get(resource):
            table.add_row(title, f"{usage['used']} of {usage['available']} ({usage['percent']:.1f} %)")
    clock = report["clock"]
    table.add_row("clock", f"{clock['achieved_mhz']:.1f} MHz, board's {clock['required_mhz']:.1f} MHz")

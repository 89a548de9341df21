"""`egret summary`: what the other commands found out, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from egret.console import Console
from egret.files import read_report
from egru.errors import EgretError

if TYPE_CHECKING:
    from egru.image import NetworkImage

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
    tables = [table for network in networks for table in _tables(network)]
    console = Console()
    for table in tables:
        console.print(table)


def _with_bitstream(directory: Path) -> set[Path]:
    return {path.parent.parent for path in directory.glob(f"*/*/{BITSTREAM}")}


def _tables(folder: Path) -> list[Table]:
    """Return a table for every image that the folder has results of: a name may stand for several."""
    from egret import networks
    from egret.identity import identity
    from egru.image import load_image

    name = folder.name
    shipped = load_image(networks.shipped(name)) if name in networks.names() else None
    known = None if shipped is None else identity(shipped)
    tables: dict[str | None, Table] = {}

    def of(result: dict[str, Any]) -> Table:
        image = result.get("image")
        if image not in tables:
            tables[image] = _empty(name, image, known)
            if shipped is not None and image == known:
                _add_network(tables[image], shipped)
        return tables[image]

    try:
        if (folder / SIMULATION).is_file():
            for run in read_report(folder / SIMULATION):
                _add_simulation(of(run), run)
        for path in sorted(folder.glob(f"*/{BITSTREAM}")):
            report = read_report(path)
            _add_bitstream(of(report), report)
    except EgretError:
        raise
    except KeyError as error:
        raise EgretError(f"a report in {folder} lacks {error}: build it again") from None
    except (TypeError, IndexError, ValueError, AttributeError, OverflowError):
        raise EgretError(
            f"a report in {folder} holds other values than `make` writes: build it again"
        ) from None
    return list(tables.values())


def _empty(name: str, image: str | None, shipped: str | None) -> Table:
    title = f"Summary: {name}"
    if shipped is not None and image != shipped:  # it has the name of a shipped network, and is another
        title += ", an unknown image" if image is None else f", image {image[:12]}, not the shipped network"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    return table


def _add_network(table: Table, image: NetworkImage) -> None:
    """Figures that training put into a shipped image."""
    from egret.selection import MEASURES

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

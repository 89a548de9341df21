"""Figures of upsets: shares by target, what protection costs, and their page and picture."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egru.errors import EgretError

from .files import as_json, read_report, write_pages
from .picture import new_figure, svg

if TYPE_CHECKING:
    from egret.console import Console
    from egret_hw.config import AcceleratorConfig
    from egru.image import NetworkImage

#: Names of the results, below the output directory.
JSON, MARKDOWN, PICTURE = "faults.json", "faults-figures.md", "faults.svg"
#: Resources in the table of costs, with their headings.
RESOURCES = {
    "TRELLIS_COMB": "LUTs",
    "TRELLIS_FF": "flip-flops",
    "DP16KD": "block RAMs",
    "MULT18X18D": "multipliers",
}
HEADINGS = (
    "flipped in",
    "bits",
    "flips",
    "masked",
    "events only",
    "logits",
    "decision",
    "hang",
    "changed, 95 % interval",
    "flagged",
    "silent",
)
#: Columns for a terminal, which has room for those alone.
SHOWN = ("in", "masked", "events", "logits", "decision", "hang", "wrong, %", "flagged", "silent")
_EFFECTS = ("masked", "events", "logits", "decision", "hang")
_COLOURS = {"events": "#9ecae1", "logits": "#4292c6", "decision": "#08519c", "hang": "#000000"}


def rows_of(campaign: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A campaign's figures, as rows under :data:`HEADINGS`."""
    rows = []
    for kind, figures in campaign["targets"].items():
        low, high = (f"{100 * end:.1f}" for end in figures["changed_interval"])
        rows.append(
            (
                kind,
                f"{figures['bits']}",
                f"{figures['flips']}",
                *(f"{figures[effect]}" for effect in _EFFECTS),
                f"{100 * figures['changed_share']:.1f} % ({low} .. {high})",
                f"{figures['flagged']}",
                f"{figures['silent']}",
            )
        )
    return rows


def shown_rows(campaign: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A campaign's figures, as rows under :data:`SHOWN`."""
    return [
        (
            kind,
            *(f"{figures[effect]}" for effect in _EFFECTS),
            f"{100 * figures['changed_share']:.1f}",
            f"{figures['flagged']}",
            f"{figures['silent']}",
        )
        for kind, figures in campaign["targets"].items()
    ]


def synthesised_cost(
    image: NetworkImage, config: AcceleratorConfig, protections: Sequence[str], console: Console
) -> dict[str, Any]:
    """What an accelerator takes on ECP5 with each kind of protection, after synthesis.

    A carry cell counts as two LUTs, a distributed memory as four.
    """
    from amaranth.back import verilog

    from egret.build.report import cells_of_statistics, predicted_usage
    from egret.build.tools import run_tool, shown_stage
    from egret_hw.accelerator import Accelerator
    from egret_hw.blocks.family import ECP5, Family

    used = {}
    for protection in protections:
        with tempfile.TemporaryDirectory(prefix="egret-faults-") as name:
            folder = Path(name)
            with shown_stage(f"protection {protection}: generation", console):
                design = Accelerator(image, replace(config, protection=protection))
                text = verilog.convert(design, name="accelerator", emit_src=False, platform=Family(ECP5))
                (folder / "accelerator.v").write_text(text)
            script = (
                "read_verilog accelerator.v; synth_ecp5 -top accelerator; "
                "tee -q -o statistics.json stat -json"
            )
            run_tool(
                "yosys",
                ["-p", script],
                title=f"protection {protection}: synthesis",
                log=folder / "yosys.log",
                directory=folder,
                console=console,
            )
            cells = cells_of_statistics((folder / "statistics.json").read_text())
            usage = predicted_usage(cells, "LFE5U-85F")
            used[protection] = {u.resource: u.used for u in usage if u.resource in RESOURCES}
    lanes = [design.config.lanes, design.config.update_lanes, design.config.readout_lanes]
    return {"network": image.name, "lanes": lanes, "used": used}


def cost_rows(cost: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows: protection, and each of :data:`RESOURCES` with what it is above the first row."""
    rows = []
    first: Mapping[str, int] | None = None
    for protection, used in cost["used"].items():
        row = [protection]
        for name in RESOURCES:
            more = "" if first is None else f" (+{100 * (used[name] / first[name] - 1):.1f} %)"
            row.append(f"{used[name]}{more}")
        first = first or used
        rows.append(tuple(row))
    return rows


def load_figures(directory: Path) -> dict[str, Any]:
    """Figures that were saved before; none if there is no file.

    Raises
    ------
    EgretError
        If the file is something else.
    """
    path = directory / JSON
    if not path.is_file():
        return {"campaigns": {}, "cost": None}
    try:
        figures = read_report(path)
        return {"campaigns": dict(figures["campaigns"]), "cost": figures["cost"]}
    except (ValueError, KeyError, TypeError) as error:
        raise EgretError(f"{path} holds no figures of upsets ({error}); remove it") from None


def save_figures(figures: Mapping[str, Any], directory: Path) -> None:
    """Write JSON, Markdown and, where there is a campaign, the picture; nothing is half-written.

    Raises
    ------
    EgretError
        If the directory cannot be written.
    """
    pages: dict[str, str | bytes] = {JSON: as_json(figures, 1), MARKDOWN: markdown(figures)}
    if figures["campaigns"]:
        pages[PICTURE] = draw(figures["campaigns"])
    write_pages(directory, pages)


def markdown(figures: Mapping[str, Any]) -> str:
    """The page of figures."""
    lines = [
        "# Single-bit upsets: figures",
        "",
        "Written by `egret faults`; [faults.md](faults.md) says what is flipped, what is watched, and what",
        "the columns mean.",
    ]
    for campaign in figures["campaigns"].values():
        lines += [
            "",
            f"## {campaign['name']}, protection {campaign['protection']}",
            "",
            f"{campaign['flips']} runs of {campaign['sequences']} sequences, seed {campaign['seed']}, lanes "
            f"{', '.join(map(str, campaign['lanes']))}.",
            "",
            "| " + " | ".join(HEADINGS) + " |",
            "|" + "---|" * len(HEADINGS),
            *("| " + " | ".join(row) + " |" for row in rows_of(campaign)),
        ]
    if cost := figures["cost"]:
        lanes = ", ".join(map(str, cost["lanes"][0]))
        lines += [
            "",
            "## Cost",
            "",
            f"{cost['network']}, lanes {lanes}, after synthesis for ECP5. A carry cell counts as two LUTs, a",
            "distributed memory as four.",
            "",
            "| protection | " + " | ".join(RESOURCES.values()) + " |",
            "|" + "---|" * (1 + len(RESOURCES)),
            *("| " + " | ".join(row) + " |" for row in cost_rows(cost)),
        ]
    return "\n".join(lines) + "\n"


def draw(campaigns: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Draw, as SVG, the shares of upsets that change something: a bar per target, a panel per campaign."""
    figure = new_figure(8, 3)
    from matplotlib.patches import Patch

    axes = figure.subplots(1, len(campaigns), sharey=True, squeeze=False)[0]
    for axis, campaign in zip(axes, campaigns.values(), strict=True):
        kinds = list(campaign["targets"])
        for place, kind in enumerate(kinds):
            of = campaign["targets"][kind]
            left = 0.0
            for effect, colour in _COLOURS.items():
                share = 100 * of[effect] / max(1, of["flips"])
                axis.barh(place, share, left=left, color=colour, height=0.6)
                left += share
            low, high = (100 * end for end in of["changed_interval"])
            axis.plot([low, high], [place, place], color="#666666", linewidth=1)
            if campaign["protection"] != "none":
                unseen = f"{of['silent']} silent"
                axis.text(high + 1, place, unseen, va="center", fontsize=8)
        axis.set_yticks(range(len(kinds)), kinds)
        axis.set_xlabel("upsets that change something, %")
        axis.set_title(f"{campaign['name']}, protection: {campaign['protection']}", fontsize=9)
        axis.set_xlim(0, 100)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()  # the panels share it
    names = {"events": "events only", "logits": "logits", "decision": "decision", "hang": "hang"}
    patches = [Patch(color=_COLOURS[name], label=label) for name, label in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False)
    return svg(figure)

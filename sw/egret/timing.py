"""A timing diagram of a tile, drawn from a simulation of the generated hardware."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.stream import Kind
from egru.errors import EgretError
from egru.image import NetworkImage
from egru.writing import write_whole

#: What is watched of the first layer's tile, from top to bottom.
ROWS = (
    "lanes: input events",
    "lanes: recurrent events",
    "sums read",
    "update",
    "events and tick sent",
)
_CYCLES_MAX = 100_000


@dataclass(frozen=True)
class Trace:
    """What happened: `activity[row]` has each cycle's step at work, or -1; `ticks` the cycles of ticks."""

    activity: dict[str, list[int]]
    ticks: list[int]


def record(image: NetworkImage, config: AcceleratorConfig, x: np.ndarray) -> Trace:
    """Simulate one sequence (steps x inputs, integers), with inputs always there and logits always taken."""
    from amaranth.sim import Simulator

    accelerator = Accelerator(image, config)
    tile = accelerator.tiles[0]
    activity: dict[str, list[int]] = {row: [] for row in ROWS}
    ticks: list[int] = []
    # Borders that each station has seen: the step it works on is as many.
    at_lanes, at_sums, at_update = [0], [0], [0]

    async def feed(ctx):
        ctx.set(accelerator.logits.ready, 1)
        for token in _tokens(x):
            ctx.set(accelerator.events.payload, token)
            ctx.set(accelerator.events.valid, 1)
            while True:
                taken = ctx.get(accelerator.events.ready)
                await ctx.tick()
                if taken:
                    break
        ctx.set(accelerator.events.valid, 0)

    async def watch(ctx):
        ended = False
        while not ended and len(ticks) < len(x):
            if len(activity[ROWS[0]]) > _CYCLES_MAX:
                raise EgretError(f"the simulation must end within {_CYCLES_MAX} cycles: give fewer steps")
            if ctx.get(tile.fetch.close) or ctx.get(tile.scheduler.close_now):
                at_lanes[0] += 1
            strobe, recurrent = ctx.get(tile.fetch.strobe), ctx.get(tile.fetch.word.recurrent)
            sums, results = ctx.get(tile.gather.ahead), ctx.get(tile.update.strobe)
            sending = ctx.get(tile.o.valid) and ctx.get(tile.o.ready)
            now = {
                ROWS[0]: at_lanes[0] if strobe and not recurrent else -1,
                ROWS[1]: at_lanes[0] if strobe and recurrent else -1,
                ROWS[2]: at_sums[0] if sums else -1,
                ROWS[3]: at_update[0] if results else -1,
                ROWS[4]: len(ticks) if sending else -1,
            }
            for row, step in now.items():
                activity[row].append(step)
            at_sums[0] += bool(sums and ctx.get(tile.gather.ahead_group) == tile.gather.groups - 1)
            at_update[0] += bool(results and ctx.get(tile.update.last))
            if sending and ctx.get(tile.o.payload).kind == Kind.TICK:
                ticks.append(len(activity[ROWS[0]]) - 1)
            await ctx.tick()

    simulator = Simulator(accelerator)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed, background=True)
    simulator.add_testbench(watch)
    simulator.run()
    return Trace(activity, ticks)


def _tokens(x: np.ndarray) -> list[dict]:
    tokens = []
    for step in x:
        tokens += [{"kind": Kind.EVENT, "index": int(j), "value": int(step[j])} for j in np.flatnonzero(step)]
        tokens.append({"kind": Kind.TICK, "index": 0, "value": 0})
    return tokens


def bars(steps: Sequence[int]) -> list[tuple[int, int, int]]:
    """Runs of one step at work, as (first cycle, length, step)."""
    found, cycle = [], 0
    for step, run in groupby(steps):
        length = len(list(run))
        if step >= 0:
            found.append((cycle, length, step))
        cycle += length
    return found


def draw(trace: Trace, path: Path, *, title: str) -> None:
    """Write the diagram as SVG or PNG: a row for each station, a colour for each step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(ROWS)):
        for cycle, length, step in bars(trace.activity[row]):
            axes.broken_barh([(cycle, length)], (place - 0.38, 0.76), facecolors=f"C{step % 10}")
    for tick in trace.ticks:
        axes.axvline(tick, color="0.5", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(ROWS)), list(reversed(ROWS)))
    axes.set_xlabel("cycle (a colour for each step; dotted: TICK sent)")
    axes.set_title(title, fontsize=10)
    axes.set_xlim(0, len(trace.activity[ROWS[0]]))
    picture = io.BytesIO()
    # Without the date the same simulation gives the same file.
    svg = path.suffix == ".svg"
    figure.savefig(picture, format=path.suffix[1:], metadata={"Date": None} if svg else None)
    write_whole(path, picture.getvalue())

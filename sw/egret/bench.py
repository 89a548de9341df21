"""How many cycles the accelerator takes, and what its multipliers do in them: tables and a picture.

Cycles are predicted by the cycle model. Where RTL is simulated as well, its cycles stand beside the
prediction.

busy-MAC % = products with events / (lanes x cycles); effective / peak = products of a network that knows
no silence / (lanes x cycles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from egret import networks
from egret.bench_loads import echo_image, echo_input, edgedrnn_cycles, random_patterns
from egret.files import as_json, write_pages
from egret.picture import new_figure, svg
from egret.plan import UPDATE_MULTIPLIERS
from egret.sampling import draw, network_and_task
from egret_hw.config import AcceleratorConfig, ResolvedConfig
from egret_hw.cycle_model import Activity, Cycles, Shape, activity_of, predict_activity
from egret_hw.geometry import GATES
from egru.errors import EgretError
from egru.image import NetworkImage

#: Names of the results, below the directory of documents.
JSON, MARKDOWN, PICTURE = "bench.json", "bench.md", "bench.svg"

#: Share of its cycles that wider updates must save a network before its update is said to bind.
_BINDS = 0.01
_CLASSES = 10
_UNITS = 128
_SWEEP_LANES = (1, 2, 4, 8, 16, 32, 64)
_SWEEP_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
#: Points of the sweep that are simulated, too: lanes and shares.
_SWEEP_SIMULATED = {4: (0.1,), 16: (0.0, 0.05, 0.1, 0.3, 1.0), 64: (0.02, 0.1, 0.5)}


@dataclass
class Section:
    """A table of results.

    Attributes
    ----------
    name : short, for JSON
    title, note : for people
    headings : of the columns
    rows : of cells, as they are shown
    figures : the same rows with all their digits, ready for JSON
    """

    name: str
    title: str
    note: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cells: Sequence[str], **figures: Any) -> None:
        """Add a row."""
        self.rows.append(tuple(cells))
        self.figures.append(figures)


@dataclass(frozen=True)
class Bench:
    """What to measure with.

    Attributes
    ----------
    samples, seed : real test sequences to play, and the seed of their draw
    steps : of random patterns
    rtl : whether to simulate RTL as well
    say : is told what is being done
    """

    samples: int = 30
    seed: int = 1
    steps: int = 400
    rtl: bool = True
    say: Callable[[str], None] = lambda text: None

    def measured(
        self, image: NetworkImage, sequences: list[np.ndarray], config: AcceleratorConfig
    ) -> int | None:
        """Cycles of the RTL; None if none is to be simulated.

        Raises
        ------
        EgretError
            If it does not do what the integer model says.
        """
        if not self.rtl:
            return None
        from egret_sim.run import simulate

        report = simulate(image, sequences, config, seed=self.seed)
        if report.problem:
            raise EgretError(f"RTL of network {image.name}: {report.problem}")
        return report.cycles

    def sections(self) -> Iterator[Section]:
        """All tables, one after the other."""
        yield self.shipped()
        yield self.one_layer()
        yield self.sweep()
        yield self.silent()
        yield self.edgedrnn()

    def shipped(self) -> Section:
        """Shipped networks on real data."""
        section = Section(
            "shipped",
            "Shipped networks, real data",
            f"{self.samples} test sequences each, drawn with seed {self.seed}; default configuration. "
            "The update binds if more update lanes would save more than 1 % of the cycles. "
            "Dense: the same hardware when every input and every unit is active in every step.",
            (
                "network", "streams", "lanes", "update lanes", "readout lanes", "input events / step",
                "events / step", "cycles / step, RTL", "predicted", "busy MAC %, layers", "with readout",
                "effective / peak", "update binds", "dense: cycles / step", "times fewer",
            ),
        )  # fmt: skip
        for name in networks.names():
            image, task = network_and_task(networks.shipped(name), None)
            sequences, _ = draw(image, task, self.samples, self.seed)
            self.say(f"{name}: integer model")
            activities = activity_of(image, sequences)
            dense = [_dense(image, len(x)) for x in sequences]
            for streams in (1, 2):
                config = AcceleratorConfig(streams=streams)
                self.say(f"{name}: RTL, {streams} streams" if streams > 1 else f"{name}: RTL")
                rtl = self.measured(image, sequences, config)
                shape = Shape.of(image, config)
                self._shipped_row(section, image, shape, activities, dense, rtl)
        return section

    def _shipped_row(
        self,
        section: Section,
        image: NetworkImage,
        shape: Shape,
        activities: list[Activity],
        dense: list[Activity],
        rtl: int | None,
    ) -> None:
        found = predict_activity(shape, activities)
        cycles = found.cycles if rtl is None else rtl
        binds = _update_gain(shape, activities) > _BINDS
        dense_cycles = predict_activity(shape, dense).cycles
        resolved, steps = shape.config, found.steps
        inputs = sum(sum(activity.inputs) for activity in activities) / steps
        fired = [
            sum(len(units) for activity in activities for units in activity.fired[index]) / steps
            for index in range(len(shape.units))
        ]
        layers, every = _useful(shape, found)
        lanes = sum(resolved.lanes)
        peak = _dense_macs(image) * steps / ((lanes + resolved.readout_lanes) * cycles)
        busy_layers = 100 * layers / (lanes * cycles)
        busy = 100 * every / ((lanes + resolved.readout_lanes) * cycles)
        section.add(
            (
                image.name,
                f"{resolved.streams}",
                _listed(resolved.lanes),
                _listed(resolved.update_lanes),
                f"{resolved.readout_lanes}",
                f"{inputs:.2f}",
                ", ".join(f"{count:.2f}" for count in fired),
                "-" if rtl is None else f"{rtl / steps:.2f}",
                f"{found.cycles / steps:.2f}",
                f"{busy_layers:.2f}",
                f"{busy:.2f}",
                f"{peak:.2f}",
                "yes" if binds else "no",
                f"{dense_cycles / steps:.1f}",
                f"{dense_cycles / cycles:.2f}",
            ),
            network=image.name,
            config=asdict(resolved),
            steps=steps,
            input_events_per_step=inputs,
            events_per_step=fired,
            cycles_rtl=rtl,
            cycles_predicted=found.cycles,
            layers_busy_percent=busy_layers,
            busy_percent=busy,
            effective_over_peak=peak,
            update_binds=binds,
            dense_cycles=dense_cycles,
        )

    def one_layer(self) -> Section:
        """One layer, equal input and recurrent activity."""
        section = Section(
            "one_layer",
            f"One layer of {_UNITS} units, 16 lanes, inputs and units equally active",
            "Random patterns: each input and each unit is active with the same chance in each step. "
            "RTL: a network whose units repeat its inputs; with 13 inputs nine or ten units fire together.",
            (
                "inputs", "active", "streams", "update lanes", "cycles / step, RTL", "predicted",
                "predicted, same patterns", "busy MAC %", "effective / peak",
            ),
        )  # fmt: skip
        cases = [
            (inputs, update, streams) for inputs in (13, _UNITS) for update in (1, 2) for streams in (1, 2)
        ]
        for inputs, update, streams in cases:
            config = AcceleratorConfig(lanes=16, update_lanes=update, streams=streams)
            for share in (0.05, 0.1, 0.3, 1.0):
                activities = random_patterns(
                    self._rng(inputs, share), inputs=inputs, units=_UNITS, share=share,
                    steps=self.steps, sequences=2,
                )  # fmt: skip
                shape = _shape(_UNITS, config)
                found = predict_activity(shape, activities)
                rtl = same = None
                if self.rtl:
                    rtl, same = self._echo(config, share, inputs)
                busy = 100 * _useful(shape, found)[0] / (16 * found.cycles)
                peak = GATES * _UNITS * (inputs + _UNITS) * found.steps / (16 * found.cycles)
                section.add(
                    (
                        f"{inputs}",
                        f"{100 * share:.0f} %",
                        f"{streams}",
                        f"{update}",
                        "-" if rtl is None else f"{rtl:.2f}",
                        f"{found.per_step:.2f}",
                        "-" if same is None else f"{same:.2f}",
                        f"{busy:.2f}",
                        f"{peak:.2f}",
                    ),
                    inputs=inputs,
                    share=share,
                    streams=streams,
                    update_lanes=update,
                    cycles_per_step=found.per_step,
                    echo_cycles_per_step_rtl=rtl,
                    echo_cycles_per_step_predicted=same,
                    busy_percent=busy,
                    effective_over_peak=peak,
                )
        return section

    def sweep(self) -> Section:
        """Cycles over activity and lanes."""
        section = Section(
            "sweep",
            f"Cycles per step over activity and lanes: one layer of {_UNITS} units and as many inputs",
            "Random patterns, default update lanes, one stream. The floor is a step without events. In "
            "brackets: cycles of simulated RTL, and those predicted for the same patterns.",
            ("active", *(f"{lanes} lanes" for lanes in _SWEEP_LANES)),
        )
        for share in _SWEEP_SHARES:
            cells, figures = [f"{100 * share:.0f} %"], []
            for lanes in _SWEEP_LANES:
                config = AcceleratorConfig(lanes=lanes)
                activities = random_patterns(
                    self._rng(lanes, share), inputs=_UNITS, units=_UNITS, share=share,
                    steps=max(40, self.steps // 4), sequences=1,
                )  # fmt: skip
                found = predict_activity(_shape(_UNITS, config), activities)
                cell = f"{found.per_step:.1f}"
                figure = {"lanes": lanes, "cycles_per_step": found.per_step}
                if self.rtl and share in _SWEEP_SIMULATED.get(lanes, ()):
                    rtl, same = self._echo(config, share)
                    cell += f" [{rtl:.1f}, {same:.1f}]"
                    figure |= {"echo_cycles_per_step_rtl": rtl, "echo_cycles_per_step_predicted": same}
                cells.append(cell)
                figures.append(figure)
            section.add(cells, share=share, lanes=figures)
        return section

    def silent(self) -> Section:
        """Steps without any event."""
        section = Section(
            "silent",
            "A step without events",
            "Cycles of a silent step, predicted; ceil(N / P) of them are the update of all units. "
            "EdgeDRNN: I + H + 5H/P + 16, measured on its RTL, for as many multipliers as there are lanes "
            "and 16 inputs.",
            (
                "units",
                "lanes",
                "update lanes",
                "streams",
                "cycles",
                "beyond ceil(N / P)",
                "EdgeDRNN",
                "times",
            ),
        )
        for units in (64, 128, 256):
            for lanes in (8, 16):
                for update in sorted({1, lanes // 6, lanes // 4}):
                    for streams in (1, 2):
                        config = AcceleratorConfig(lanes=lanes, update_lanes=update, streams=streams)
                        shape = _shape(units, config)
                        short, long = (
                            predict_activity(shape, [_silence(count)] * streams).cycles for count in (10, 20)
                        )
                        cycles = (long - short) / (10 * streams)
                        peer = edgedrnn_cycles(np.zeros(16 + units, bool), units=units, elements=lanes)
                        section.add(
                            (
                                f"{units}", f"{lanes}", f"{update}", f"{streams}", f"{cycles:g}",
                                f"{cycles - -(-units // update):g}", f"{peer}", f"{peer / cycles:.2f}",
                            ),
                            units=units, lanes=lanes, update_lanes=update, streams=streams, cycles=cycles,
                            edgedrnn_cycles=peer,
                        )  # fmt: skip
        return section

    def edgedrnn(self) -> Section:
        """Against EdgeDRNN, on the same random patterns."""
        section = Section(
            "edgedrnn",
            "Against EdgeDRNN: one layer, 16 inputs",
            "Cycles per step. EdgeDRNN by the law measured on its RTL, on the same random patterns. First "
            "with as many lanes as it has multipliers (the update has 2 more for each of its lanes P, of "
            "which there are as many as take the fewest cycles), then with no more multipliers than it has, "
            "those of the update included.",
            (
                "units", "multipliers", "silent", "EdgeDRNN", "equal lanes: 1 stream", "times", "2 streams",
                "times", "equal multipliers: lanes + update", "1 stream", "times", "2 streams", "times",
            ),
        )  # fmt: skip
        for units in (64, 128, 256):
            for multipliers in (8, 16):
                for silent in (0.9, 0.95):
                    self._edgedrnn_row(section, units, multipliers, silent)
        return section

    def _edgedrnn_row(self, section: Section, units: int, multipliers: int, silent: float) -> None:
        inputs = 16
        rng = self._rng(units, silent)
        active = rng.random((2, self.steps, inputs + units)) >= silent
        flat = active.reshape(-1, inputs + units)
        peer = np.mean([edgedrnn_cycles(step, units=units, elements=multipliers) for step in flat])
        activities = [
            Activity(
                one[:, :inputs].sum(axis=1).tolist(),
                [[np.flatnonzero(step).tolist() for step in one[:, inputs:]]],
            )
            for one in active
        ]

        def per_step(lanes: int, update: int, streams: int) -> float:
            config = AcceleratorConfig(lanes=lanes, update_lanes=update, streams=streams)
            return predict_activity(_shape(units, config), activities).per_step

        def best(pairs: Sequence[tuple[int, int]], streams: int) -> tuple[float, tuple[int, int]]:
            return min((per_step(*pair, streams), pair) for pair in pairs)

        wide = [(multipliers, update) for update in range(1, multipliers // 4 + 1)]
        strict = [
            (multipliers - UPDATE_MULTIPLIERS * update, update)
            for update in range(1, multipliers // 4 + 1)
            if update == 1 or GATES * update <= multipliers - UPDATE_MULTIPLIERS * update
        ]
        equal_lanes = [best(wide, streams) for streams in (1, 2)]
        equal_multipliers = [best(strict, streams) for streams in (1, 2)]
        cells = [f"{units}", f"{multipliers}", f"{100 * silent:.0f} %", f"{peer:.1f}"]
        for cycles, (_, update) in equal_lanes:
            cells += [f"{cycles:.1f} (P = {update})", f"{peer / cycles:.2f}"]
        cells.append(
            " / ".join(f"{lanes} + {UPDATE_MULTIPLIERS * update}" for _, (lanes, update) in equal_multipliers)
        )
        for cycles, _ in equal_multipliers:
            cells += [f"{cycles:.1f}", f"{peer / cycles:.2f}"]
        section.add(
            cells,
            units=units,
            multipliers=multipliers,
            silent=silent,
            edgedrnn_cycles=float(peer),
            equal_lanes=[{"cycles": c, "lanes": n, "update_lanes": p} for c, (n, p) in equal_lanes],
            equal_multipliers=[
                {"cycles": c, "lanes": n, "update_lanes": p} for c, (n, p) in equal_multipliers
            ],
        )

    def _echo(self, config: AcceleratorConfig, share: float, inputs: int = _UNITS) -> tuple[float, float]:
        """Cycles per step of RTL whose units repeat random input, and those predicted for it."""
        image = echo_image(_UNITS, inputs=inputs)
        rng = self._rng(inputs, share)
        sequences = echo_input(rng, inputs=inputs, share=share, steps=60, sequences=2)
        case = f"{config.lanes} lanes, {inputs} inputs, {100 * share:.0f} % active"
        self.say(f"RTL: {case}, streams: {config.streams}")
        rtl = self.measured(image, sequences, config)
        found = predict_activity(Shape.of(image, config), activity_of(image, sequences))
        return (found.cycles if rtl is None else rtl) / found.steps, found.per_step

    def _rng(self, *salt: float) -> np.random.Generator:
        return np.random.default_rng([self.seed, *(round(1000 * number) for number in salt)])


def _shape(units: int, config: AcceleratorConfig) -> Shape:
    """Shape of one layer with a readout that is never in the way."""
    return Shape.of(_empty_image(units), config)


_EMPTY: dict[int, NetworkImage] = {}


def _empty_image(units: int) -> NetworkImage:
    if units not in _EMPTY:
        _EMPTY[units] = echo_image(units, classes=_CLASSES)
    return _EMPTY[units]


def _silence(steps: int) -> Activity:
    return Activity([0] * steps, [[[]] * steps])


def _dense(image: NetworkImage, steps: int) -> Activity:
    """Every input and every unit active in every step."""
    fired, gated = [], []
    for layer in image.layers:
        every = [list(range(layer.spec.units))] * steps
        fired.append(every)
        gated.append([[], *every[1:]] if layer.spec.reset == "before" else [])
    return Activity([image.input.size] * steps, fired, gated)


def _dense_macs(image: NetworkImage) -> int:
    """Products of one step if nothing is silent."""
    layers = sum(GATES * n.spec.units * (n.spec.inputs + n.spec.units) for n in image.layers)
    return layers + image.readout.spec.classes * image.layers[-1].spec.units


def _useful(shape: Shape, found: Cycles) -> tuple[int, int]:
    """Products with events: of the layers, and of the readout as well."""
    layers = sum(
        GATES * units * (tile.input_events + tile.recurrent_events + tile.gated_events)
        for units, tile in zip(shape.units, found.tiles, strict=True)
    )
    return layers, layers + shape.classes * found.readout.input_events


def _update_gain(shape: Shape, activities: list[Activity]) -> float:
    """Share of the cycles that the best numbers of update lanes would save."""
    config = shape.config
    most = [
        max(1, min(units, lanes // GATES)) for units, lanes in zip(shape.units, config.lanes, strict=True)
    ]
    now = predict_activity(shape, activities).cycles
    best = now
    for factor in (2, 3, 4, 8, 16):
        update = tuple(min(limit, factor * n) for limit, n in zip(most, config.update_lanes, strict=True))
        wider: ResolvedConfig = replace(config, update_lanes=update)
        best = min(best, predict_activity(replace(shape, config=wider), activities).cycles)
    return 1 - best / now


def markdown(sections: Sequence[Section]) -> str:
    """All tables as one page."""
    lines = [
        "# Cycles",
        "",
        "Written by `make bench`. Cycles per step, and what the multipliers do in them:",
        "busy-MAC % = products with events / (lanes x cycles), effective / peak = products of a network that",
        "knows no silence / (lanes x cycles). Predictions are those of the cycle model.",
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.note, ""]
        if section.name == "sweep":
            lines += [f"![cycles per step over activity]({PICTURE})", ""]
        lines.append("| " + " | ".join(section.headings) + " |")
        lines.append("|" + " --- |" + " ---: |" * (len(section.headings) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in section.rows]
    return "\n".join(lines) + "\n"


def save(sections: Sequence[Section], directory: Path) -> None:
    """Write JSON, Markdown and the picture; each appears complete or not at all."""
    figures = {section.name: section.figures for section in sections}
    pages: dict[str, str | bytes] = {JSON: as_json(figures, 1), MARKDOWN: markdown(sections)}
    for section in sections:
        if section.name == "sweep":
            pages[PICTURE] = _draw(section)
    write_pages(directory, pages)


def _draw(section: Section) -> bytes:
    """Cycles over activity, a line for each number of lanes; crosses are RTL. As SVG."""
    figure = new_figure(7.5, 5)
    axes = figure.subplots()
    for place, lanes in enumerate(_SWEEP_LANES):
        points = [(row["share"], row["lanes"][place]) for row in section.figures]
        shares = [100 * share for share, _ in points]
        colour = f"C{place}"
        axes.plot(shares, [p["cycles_per_step"] for _, p in points], color=colour, label=f"{lanes}")
        crosses = [
            (100 * share, p["echo_cycles_per_step_rtl"])
            for share, p in points
            if "echo_cycles_per_step_rtl" in p
        ]
        if crosses:
            axes.plot(*zip(*crosses, strict=True), "x", color=colour)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.set_xticks([0, 1, 2, 5, 10, 20, 50, 100], ["0", "1", "2", "5", "10", "20", "50", "100"])
    axes.set_xlabel("active inputs and units, %")
    axes.set_ylabel("cycles / step (x: RTL)")
    axes.set_title(section.title, fontsize=9)
    axes.grid(True, which="major", linewidth=0.3)
    axes.legend(title="lanes", fontsize=8)
    return svg(figure)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)

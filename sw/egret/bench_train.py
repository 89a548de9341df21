"""Wall-clock time of training and inference: the event-driven kernels against dense ways to the same.

Everything is measured in one process, in rounds: every contender once per round, so that whatever else the
machine does meets all of them. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egru import EGRU
from egru.backward import surrogate
from egru.functional import forward_sequence
from egru.image import load_image
from egru.kernels.sparse import ADAPTIVE, ALWAYS, NEVER, Ordered

from . import bench_train_loads as loads
from . import networks, tasks
from .files import as_json, write_pages
from .picture import new_figure, svg

JSON, MARKDOWN, PICTURE = "bench-train.json", "bench-train.md", "bench-train.svg"

ACTIVITY = 0.10  #: of the comparison
SWEEP = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)  #: activities of the sweep
SLOPES = (1.0, 2.0, 5.0, 10.0, 20.0)  #: eps of the surrogates
EVENTS, CONTROL, ALL_EVENTS = "event-driven", "same code, all units active", "event-driven, never dense"
DENSE, LOOP, GRU = "kernel='dense'", "plain step loop", "torch.nn.GRU"
FROZEN = "inference, batch 1, weights frozen"  #: the kernels' in order already, as in `EGRU.frozen`

#: What was set out to be reached: mode, slower contender, least ratio.
TARGETS = (
    ("forward+backward", LOOP, 3.0),
    ("forward+backward", GRU, 2.2),
    ("forward+backward", CONTROL, 1.5),
    ("inference", GRU, 3.5),
    ("inference", CONTROL, 2.4),
    ("inference, batch 1", GRU, 5.0),
    (FROZEN, GRU, 5.0),
)

Times = dict[str, list[float]]


@dataclass(frozen=True)
class Sizes:
    """Of the comparison: float32 throughout."""

    steps: int = 100
    batch: int = 64
    inputs: int = 64
    units: int = 512


@dataclass(frozen=True)
class Section:
    """One table: figures for JSON, and cells ready to read."""

    name: str
    title: str
    note: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    figures: Any


def measure(
    contenders: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """Seconds per call, by contender and round. Short calls are repeated within a round."""
    repeats = {}
    for name, call in contenders.items():
        call()
        start = clock()
        call()
        repeats[name] = max(1, min(20, int(0.005 / max(1e-6, clock() - start))))
    times: Times = {name: [] for name in contenders}
    gc.collect()
    gc.disable()  # a collection would hit whoever happens to run
    try:
        for _ in range(rounds):
            for name, call in contenders.items():
                start = clock()
                for _ in range(repeats[name]):
                    call()
                times[name].append((clock() - start) / repeats[name])
    finally:
        gc.enable()
    return times


def ratio(times: Times, slow: str, fast: str) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def fit_line(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """Least squares: slope, intercept and R squared."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.sum((np.array(y) - slope * np.array(x) - intercept) ** 2)
    whole = np.sum((np.array(y) - np.mean(y)) ** 2)
    return {"slope": float(slope), "intercept": float(intercept), "r2": float(1 - rest / whole)}


class TrainBench:
    """All sections; `say` is told what is being measured."""

    def __init__(
        self,
        *,
        sizes: Sizes = Sizes(),
        rounds: int = 31,
        threads: int = 2,
        cpu_time: bool = False,
        say: Callable[[str], None],
    ) -> None:
        self.sizes, self.rounds, self.say = sizes, rounds, say
        self.clock = time.process_time if cpu_time else time.perf_counter
        torch.set_num_threads(threads)
        generator = torch.Generator().manual_seed(1)
        shape = (sizes.steps, sizes.batch)
        self.x = torch.randn(*shape, sizes.inputs, generator=generator)
        self.gradient = torch.randn(*shape, sizes.units, generator=generator)

    def layer(self, activity: float = ACTIVITY, eps: float = 1.0) -> EGRU:
        """Return a random layer of that activity."""
        return loads.random_layer(self.sizes.inputs, self.sizes.units, self.x, activity, eps=eps)

    def activity(self, module: EGRU) -> float:
        """Share of units that fire."""
        with torch.no_grad():
            return float((module(self.x)[0] != 0).float().mean())

    def measure(self, contenders: dict[str, Callable[[], None]], rounds: int) -> Times:
        """Seconds per call by this bench's clock."""
        return measure(contenders, rounds, self.clock)

    def sections(self) -> list[Section]:
        """Measure everything; the comparison first."""
        return [*self.comparison(), self.support(), self.sweep(), self.memory(), self.trained()]

    def comparison(self) -> list[Section]:
        """Targets and times at the activity of the comparison."""
        self.say("comparison")
        module = self.layer()
        gru, gru_module = loads.gru(self.sizes.inputs, self.sizes.units)
        layers = {
            EVENTS: (loads.kernel(module, ADAPTIVE), module),
            CONTROL: (loads.kernel(module, NEVER), module),
            DENSE: (loads.dense_kernel(module), module),
            LOOP: (loads.plain_loop(module), module),
            GRU: (gru, gru_module),
        }
        frozen = layers | {
            name: (loads.kernel(module, skip, ordered=Ordered()), module)
            for name, skip in ((EVENTS, ADAPTIVE), (CONTROL, NEVER))
        }
        one = self.x[:, :1].contiguous()
        times = {}
        for mode, calls in {
            "forward+backward": {
                name: loads.training(layer, self.x, self.gradient, owner)
                for name, (layer, owner) in layers.items()
            },
            "inference": {name: loads.inference(layer, self.x) for name, (layer, _) in layers.items()},
            "inference, batch 1": {name: loads.inference(layer, one) for name, (layer, _) in layers.items()},
            FROZEN: {name: loads.inference(layer, one) for name, (layer, _) in frozen.items()},
        }.items():
            self.say(mode)
            times[mode] = self.measure(calls, self.rounds)
        s = self.sizes
        activity = self.activity(module)
        found = [(mode, slow, least, ratio(times[mode], slow, EVENTS)) for mode, slow, least in TARGETS]
        targets = Section(
            "targets",
            "How much faster the event-driven kernels are",
            f"T={s.steps}, B={s.batch}, I={s.inputs}, H={s.units}, float32, "
            f"{activity:.1%} of the units fire; "
            "surrogate support 1 to either side (eps=1), so nearly every unit needs its dy. "
            f"Medians of the ratios of {self.rounds} interleaved rounds. "
            "Weights frozen: the kernels have put them in order before, as in a block of EGRU.frozen().",
            ("", "against", "target", "measured"),
            [(mode, slow, f"{least:.1f} x", f"{value:.2f} x") for mode, slow, least, value in found],
            [
                {"mode": mode, "against": slow, "target": least, "measured": value, "met": value >= least}
                for mode, slow, least, value in found
            ],
        )
        names = list(layers)
        table = Section(
            "times",
            "Milliseconds per call",
            "Median, and fastest in brackets. Forward+backward gives the gradients on all parameters.",
            ("", *names),
            [
                (mode, *(f"{1e3 * statistics.median(t[n]):.2f} ({1e3 * min(t[n]):.2f})" for n in names))
                for mode, t in times.items()
            ],
            {"activity": activity, "seconds": times},
        )
        return [targets, table]

    def support(self) -> Section:
        """Forward+backward over the slope of the surrogate."""
        rows: list[tuple[str, ...]] = []
        figures = []
        for eps in SLOPES:
            self.say(f"surrogate of slope {eps:g}")
            module = self.layer(eps=eps)
            layers = {
                name: loads.kernel(module, skip) for name, skip in ((EVENTS, ADAPTIVE), (CONTROL, NEVER))
            }
            times = self.measure(
                {n: loads.training(layer, self.x, self.gradient, module) for n, layer in layers.items()},
                max(3, self.rounds // 2),
            )
            needed, gain = self._needed(module), ratio(times, CONTROL, EVENTS)
            milliseconds = 1e3 * statistics.median(times[EVENTS])
            rows.append((f"{eps:g}", f"{needed:.1%}", f"{milliseconds:.1f}", f"{gain:.2f} x"))
            figures.append({"eps": eps, "needed": needed, "milliseconds": milliseconds, "gain": gain})
        return Section(
            "support",
            "A narrower surrogate makes the backward pass sparse",
            "dy is computed where a unit fired or its surrogate is not zero.",
            ("eps", "units that need dy", "forward+backward, ms", f"against: {CONTROL}"),
            rows,
            figures,
        )

    def _needed(self, module: EGRU) -> float:
        zero = self.x.new_zeros(self.sizes.batch, self.sizes.units)
        layer = module.layer_parameters(0)
        with torch.no_grad():
            saved, _ = forward_sequence(self.x, zero, zero, layer, module.options)
            slope = surrogate(saved.c_tilde.clone(), layer.theta, module.options)
        return float(((slope > 0) | (saved.o > 0)).float().mean())

    def sweep(self) -> Section:
        """Time over activity, and a straight line through the times of the never dense kernel."""
        skips = {EVENTS: ADAPTIVE, ALL_EVENTS: ALWAYS, CONTROL: NEVER}
        modules = [self.layer(activity) for activity in SWEEP]
        figures: list[dict[str, Any]] = [{"activity": self.activity(module)} for module in modules]
        for mode in ("inference", "forward+backward"):
            self.say(f"{mode}, {len(SWEEP)} activities")
            calls = {}
            for number, module in enumerate(modules):
                for name, skip in skips.items():
                    layer = loads.kernel(module, skip)
                    calls[f"{number} {name}"] = (
                        loads.inference(layer, self.x)
                        if mode == "inference"
                        else loads.training(layer, self.x, self.gradient, module)
                    )
            # All activities in every round: what else the machine does would bend the line otherwise.
            medians = _medians(self.measure(calls, max(3, self.rounds // 2)))
            for number, point in enumerate(figures):
                point[mode] = {name: medians[f"{number} {name}"] for name in skips}
        lines = {
            mode: fit_line([p["activity"] for p in figures], [p[mode][ALL_EVENTS] for p in figures])
            for mode in ("inference", "forward+backward")
        }
        described = "; ".join(
            f"{mode}: {line['intercept']:.1f} ms + {line['slope'] / 100:.2f} ms per percent, "
            f"R2 = {line['r2']:.4f}"
            for mode, line in lines.items()
        )
        return Section(
            "sweep",
            "Cost over activity",
            f"Milliseconds, medians. Straight lines through '{ALL_EVENTS}': {described}. "
            f"'{EVENTS}' changes to dense products where they are faster.",
            (
                "activity",
                *(f"{mode}: {name}" for mode in lines for name in (EVENTS, ALL_EVENTS, CONTROL)),
            ),
            [
                (
                    f"{p['activity']:.1%}",
                    *(f"{p[mode][name]:.1f}" for mode in lines for name in (EVENTS, ALL_EVENTS, CONTROL)),
                )
                for p in figures
            ],
            {"points": figures, "lines": lines},
        )

    def memory(self) -> Section:
        """Bytes kept for the backward pass."""
        self.say("memory")
        module = self.layer()
        gru, gru_module = loads.gru(self.sizes.inputs, self.sizes.units)
        kept = {
            EVENTS: loads.bytes_kept(loads.kernel(module, ADAPTIVE), self.x, module),
            DENSE: loads.bytes_kept(loads.dense_kernel(module), self.x, module),
            LOOP: loads.bytes_kept(loads.plain_loop(module), self.x, module),
            GRU: loads.bytes_kept(gru, self.x, gru_module),
        }
        numbers = self.sizes.steps * self.sizes.batch * self.sizes.units * 4
        return Section(
            "memory",
            "Kept for the backward pass",
            "Besides x and the parameters; in MB, and in numbers per unit, step and sequence.",
            ("", "MB", "numbers"),
            [(name, f"{size / 1e6:.1f}", f"{size / numbers:.2f}") for name, size in kept.items()],
            kept,
        )

    def trained(self) -> Section:
        """Networks that learned when to be silent, on real data."""
        rows: list[tuple[str, ...]] = []
        figures = []
        for task in (name for name in networks.names() if name in tasks.NAMES):
            self.say(f"trained on {task}")
            module = loads.trained_layer(load_image(networks.shipped(task)))
            sequences, lengths = tasks.load(task).test.padded(np.arange(64))
            x, ends = torch.from_numpy(sequences), torch.from_numpy(lengths)
            gradient = torch.randn(
                *x.shape[:2], module.hidden_size, generator=torch.Generator().manual_seed(1)
            )
            gru, gru_module = loads.gru(x.shape[2], module.hidden_size)
            layers = {
                EVENTS: (loads.kernel(module, ADAPTIVE, ends), module),
                CONTROL: (loads.kernel(module, NEVER, ends), module),
                GRU: (gru, gru_module),
            }
            with torch.no_grad():
                events = int((module(x, None, ends)[0] != 0).sum())
            entry: dict[str, Any] = {
                "task": task,
                "units": module.hidden_size,
                "activity": events / (float(ends.sum()) * module.hidden_size),
            }
            for mode, calls in {
                "inference": {n: loads.inference(k, x) for n, (k, _) in layers.items()},
                "forward+backward": {n: loads.training(k, x, gradient, m) for n, (k, m) in layers.items()},
            }.items():
                times = self.measure(calls, self.rounds)
                entry[mode] = {name: ratio(times, name, EVENTS) for name in (CONTROL, GRU)}
            figures.append(entry)
            cells = (
                f"{entry[m][n]:.2f} x" for m in ("inference", "forward+backward") for n in (CONTROL, GRU)
            )
            rows.append((f"{task}, {module.hidden_size} units", f"{entry['activity']:.1%}", *cells))
        return Section(
            "trained",
            "Trained networks on their own data",
            "The first layer of the shipped networks, its integers as real numbers, on 64 test sequences.",
            (
                "",
                "activity",
                *(f"{m} against: {n}" for m in ("inference", "forward+backward") for n in (CONTROL, GRU)),
            ),
            rows,
            figures,
        )


def _medians(times: Times) -> dict[str, float]:
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def machine(cpu_time: bool = False) -> dict[str, Any]:
    """Describe what the figures belong to."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
        vector = next((v for v in ("avx512f", "avx2", "avx") if any(v in line.split() for line in lines)), "")
    except OSError:
        vector = ""
    return {
        "processor": name,
        "vectors": vector,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "clock": "CPU time of the process" if cpu_time else "wall clock",
        "torch": torch.__version__,
        "load_average": list(os.getloadavg()),
    }


def markdown(sections: Sequence[Section], described: dict[str, Any]) -> str:
    """All tables as one page."""
    load = described["load_average"][0]
    lines = [
        "# Training speed",
        "",
        "Written by `make bench-train`. "
        f"Machine: {described['processor']}, {described['cores']} cores, {described['vectors']}; "
        f"{described['threads']} threads, PyTorch {described['torch']}; {described['clock']}. "
        f"Load average when it began: {load:.1f}.",
        "What the kernels do, and what is kept: [training.md](training.md).",
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.note, ""]
        if section.name == "sweep":
            lines += [f"![time over activity]({PICTURE})", ""]
        lines.append("| " + " | ".join(section.headings) + " |")
        lines.append("|" + " --- |" + " ---: |" * (len(section.headings) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in section.rows]
    return "\n".join(lines) + "\n"


def save(sections: Sequence[Section], described: dict[str, Any], directory: Path, sizes: Sizes) -> None:
    """Write JSON, Markdown and the picture; each appears complete or not at all."""
    figures = {"machine": described, "sizes": asdict(sizes), **{s.name: s.figures for s in sections}}
    pages: dict[str, str | bytes] = {JSON: as_json(figures, 1), MARKDOWN: markdown(sections, described)}
    for section in sections:
        if section.name == "sweep":
            pages[PICTURE] = _draw(section)
    write_pages(directory, pages)


def _draw(section: Section) -> bytes:
    """Time over activity, with the fitted lines; as SVG."""
    figure = new_figure(9, 4)
    points = section.figures["points"]
    shares = [100 * p["activity"] for p in points]
    for axes, (mode, line) in zip(figure.subplots(1, 2), section.figures["lines"].items(), strict=True):
        for name, style in ((ALL_EVENTS, "o"), (EVENTS, "-"), (CONTROL, "--")):
            axes.plot(shares, [p[mode][name] for p in points], style, label=name)
        axes.plot(
            [0, 100], [line["intercept"], line["intercept"] + line["slope"]], linewidth=0.8, color="0.5"
        )
        axes.set_title(f"{mode} (line: R² = {line['r2']:.4f})", fontsize=9)
        axes.set_xlabel("units that fire, %")
        axes.set_ylabel("ms")
        axes.set_ylim(bottom=0)
        axes.grid(True, linewidth=0.3)
    axes.legend(fontsize=8)
    return svg(figure)

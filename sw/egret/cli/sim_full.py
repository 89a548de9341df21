"""`egret sim-full`: whole test sets through the RTL, by a program in C++, against the integer model."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from egret.cli.options import (
    Lanes,
    QueueDepth,
    ReadoutLanes,
    Streams,
    UpdateLanes,
    accelerator_config,
    seed_of,
)
from egret.cli.simulate import (
    StallMode,
    correct,
    modes_of,
    sequences_shown,
    step_shown,
    what_is_correct,
)
from egret.console import Console, complain
from egret.files import write_report
from egru.errors import EgretError
from egru.writing import check_output

if TYPE_CHECKING:
    from egret_hw.config import AcceleratorConfig
    from egret_sim.native.rates import Rate
    from egret_sim.report import Report


def sim_full(
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task whose test data is played; without task and image, all shipped networks."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Only the first of the test sequences; by default all.")
    ] = None,
    seed: Annotated[int, seed_of("the stalls")] = 1,
    stalls: Annotated[
        StallMode,
        typer.Option(help="Random gaps on the streams, none (for cycle figures), or a run of each."),
    ] = StallMode.BOTH,
    cocotb_samples: Annotated[
        int,
        typer.Option(min=0, help="Sequences to play in cocotb as well, to compare the rates; 0 for none."),
    ] = 50,
    lanes: Lanes = "16",
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = None,
    streams: Streams = 1,
    report: Annotated[
        Path | None, typer.Option(help="JSON file for the figures; by default build/NETWORK/sim-full.json.")
    ] = None,
) -> None:
    """Play whole test sets through the RTL; compare every event, tick and logit with the integer model.

    Exit status: 0 if every bit is right; 1 on a mismatch, on a time-out, or if nothing was compared; 2 on bad
    input.
    """
    from egret.sampling import check_seed

    check_seed(seed)
    # The golden model's products are small: more threads would only be in the simulator's way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from egret import networks, tasks
    from egret_sim.build import SimulationError

    if report and not image and not task:
        raise EgretError("report names one file: give an image or --task with it")
    config = accelerator_config(lanes, update_lanes, readout_lanes, queue_depth, streams)
    wanted = (
        [(image, task)]
        if image or task
        else [(None, name) for name in networks.names() if name in tasks.NAMES + tasks.TEXT_NAMES]
    )
    try:
        for path, name in wanted:
            _Test(path, name, samples, seed, config, report).run(modes_of(stalls), cocotb_samples)
    except SimulationError as error:
        complain(error)
        raise typer.Exit(1) from None


class _Test:
    """One network and the test part of its task."""

    def __init__(
        self,
        image: Path | None,
        task: str | None,
        samples: int | None,
        seed: int,
        config: AcceleratorConfig,
        report: Path | None,
    ) -> None:
        from egret.sampling import network_and_task, quantised, test_part
        from egret_sim.build import network_folder

        self.image, self.seed, self.config = image, seed, config
        self.network, self.task = network_and_task(image, task)
        self.report = check_output(report or network_folder(self.network.name) / "sim-full.json", image)
        part = test_part(self.network, self.task)
        if samples and samples > len(part):
            raise EgretError(
                f"samples must be at most {len(part)}, the test part of {self.task}, not {samples}"
            )
        self.sequences, self.labels = quantised(self.network, part, range(samples or len(part)))

    def run(self, modes: list, cocotb_samples: int) -> None:
        """Make the runs, show and save what came of them; Exit 1 if anything was wrong."""
        from egret_sim.native.rates import cocotb_rates, machine, rate_of
        from egret_sim.report import table_of
        from egret_sim.run import prepare, simulate

        network, console = self.network, Console()
        with step_shown(f"{network.name}: generating the RTL and building its simulation in C++"):
            built = prepare(network, self.config, native=True)
        runs: list[Report] = []
        for mode in modes:
            kind = "random" if mode else "no"
            with sequences_shown(f"{network.name}, {kind} stalls", len(self.sequences)) as shown:
                run = simulate(
                    network, self.sequences, built=built, seed=self.seed, stalls=mode, progress=shown
                )
            runs.append(run)
            if not run.passed:
                break
        rates: list[Rate] = []
        others: list[Report] = []
        if cocotb_samples and runs[-1].passed:
            with step_shown(f"{network.name}: the same in cocotb, for its rate"):
                bench = prepare(network, self.config)
                rates, others = cocotb_rates(bench, self.sequences[:cocotb_samples])
        native = rate_of("C++", runs)
        right = correct(network, self.sequences, self.labels) if runs[0].passed else None
        figures = {
            "runs": [run.as_dict() for run in runs],
            "correct": right,
            "machine": machine(),
            "rates": [
                asdict(rate) | {"cycles_per_second": rate.cycles_per_second} for rate in (native, *rates)
            ],
        }
        write_report(self.report, figures)
        title = f"{network.name}: RTL against the integer model, {self.task} test data, seed {self.seed}"
        console.print(title, soft_wrap=True)
        console.print(table_of(runs))
        if right is not None:
            share = 100 * right / len(self.sequences)
            what = what_is_correct(network)
            console.print(f"{what}: {right} of {len(self.sequences)} ({share:.2f} %)")
        console.print(_rates(native, rates))
        console.print(machine(), soft_wrap=True)
        for run in (*runs, *others):
            if run.problem:
                complain(f"{run.problem}; the run's files are in {run.outcome.directory}")
                complain(f"to see it in a waveform: {self.replay(run)}")
                raise typer.Exit(1)

    def replay(self, run: Report) -> str:
        """The command that plays in cocotb, with a waveform, where a run went wrong."""
        # With the sequence before, because something of it may have been left behind.
        first = run.first_mismatch
        number = first.sequence if first and first.sequence is not None else len(run.outcome.sequence_ends)
        number = min(number, len(self.sequences) - 1)
        before = max(0, number - 1)
        words = ["egret", "simulate", *([str(self.image)] if self.image else []), "--task", self.task]
        words += ["--sequences", f"{before}-{number}", "--seed", str(self.seed)]
        words += ["--stalls", "random" if run.stalls else "none", *_options(self.config), "--waves"]
        return shlex.join(words)


def _options(config: AcceleratorConfig) -> list[str]:
    """The command line options that ask for this configuration, where it is not the default."""
    from egret_hw.config import AcceleratorConfig

    words = []
    default = asdict(AcceleratorConfig())
    for name, value in asdict(config).items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value != default[name]:
            words += [option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


def _rates(native: Rate, others: list[Rate]) -> Table:
    table = Table(title="cycles per second of the simulator's processor time", title_justify="left")
    table.add_column("driver", no_wrap=True)
    for heading in ("cycles", "cycles / s", "C++ is faster by"):
        table.add_column(heading, justify="right")
    for rate in (native, *others):
        ratio = native.cycles_per_second / rate.cycles_per_second
        factor = "" if rate is native else f"{ratio:.1f} x"
        table.add_row(rate.name, f"{rate.cycles}", f"{rate.cycles_per_second:.0f}", factor)
    return table

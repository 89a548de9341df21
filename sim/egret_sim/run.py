"""`simulate`: an image, real sequences, and the accelerator generated from it, bit for bit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egret_hw.config import AcceleratorConfig
from egret_hw.generate import generate
from egret_sim import harness
from egret_sim.build import Simulation, build_root
from egret_sim.cosimulation import Outcome, Progress, Stalls, build_bench, run_bench
from egret_sim.native import NativeSimulation, build_native
from egret_sim.report import Report, work_of
from egru.errors import EgretError
from egru.image import NetworkImage
from egru.integer import IntegerNetwork, Trace, check_sequence


@dataclass(frozen=True)
class Built:
    """An accelerator ready to simulate: the network whose answers are right, the sidecar, the built bench."""

    image: NetworkImage
    sidecar: dict[str, Any]
    simulation: Simulation | NativeSimulation


class GoldenTraces(Sequence[Trace]):
    """The golden model's traces of many sequences, worked out as they are asked for, a batch at a time.

    They hold events, as uint8, and logits, so that whole test sets fit in memory; with `states` also the
    states, and all as the model gives it.
    """

    BATCH = 128

    def __init__(self, image: NetworkImage, sequences: Sequence[np.ndarray], *, states: bool = False) -> None:
        self._states = states
        self._network = IntegerNetwork(image)
        self._sequences = sequences
        self._traces: list[Trace] = []

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, index):
        while len(self._traces) <= index < len(self._sequences):
            self._extend()
        return self._traces[index]

    def __iter__(self) -> Iterator[Trace]:
        return (self[index] for index in range(len(self)))

    def _extend(self) -> None:
        begin = len(self._traces)
        batch = self._sequences[begin : begin + self.BATCH]
        lengths = np.array([len(x) for x in batch])
        padded = np.zeros((lengths.max(), len(batch), batch[0].shape[1]), np.int64)
        for number, x in enumerate(batch):
            padded[: len(x), number] = x
        trace = self._network.run(padded, lengths)
        # Payloads have at most 8 bits.
        payloads = trace.events if self._states else [events.astype(np.uint8) for events in trace.events]
        states = trace.states if self._states else []
        every = self._network.image.readout.spec.mode == "every"
        for number, steps in enumerate(lengths):
            self._traces.append(
                Trace(
                    events=[events[:steps, number] for events in payloads],
                    states=[values[:steps, number] for values in states],
                    logits=trace.logits[:steps, number] if every else trace.logits[number],
                )
            )


def prepare(
    image: NetworkImage,
    config: AcceleratorConfig | None = None,
    *,
    hardware_image: NetworkImage | None = None,
    waves: bool = False,
    native: bool = False,
    optimise: str = "fast",
    root: Path | None = None,
) -> Built:
    """Generate the accelerator of ``image`` and build its simulation (from the cache, where it is unchanged).

    ``hardware_image`` is what the hardware is generated from where it is to differ from ``image``: a test
    plants faults with it, to show that they are found. ``native`` builds the driver in C++
    (:mod:`egret_sim.native`) in place of the bench in cocotb: faster to run, without waveforms.
    """
    if native and waves:
        raise EgretError(
            "native must be False where waves is True: only the bench in cocotb writes waveforms"
        )
    with tempfile.TemporaryDirectory() as folder:
        sidecar = generate(hardware_image or image, folder, config)
        verilog = (Path(folder) / f"{sidecar['top']}.v").read_text()
    # Through JSON, as a user of the files gets it.
    sidecar = json.loads(json.dumps(sidecar))
    if native:
        return Built(image, sidecar, build_native(verilog, sidecar, optimise=optimise, root=root))
    return Built(image, sidecar, build_bench(verilog, sidecar, waves=waves, optimise=optimise, root=root))


def simulate(
    image: NetworkImage,
    sequences: Sequence[np.ndarray],
    config: AcceleratorConfig | None = None,
    *,
    seed: int = 0,
    stalls: Stalls | None = None,
    built: Built | None = None,
    waves: bool = False,
    optimise: str = "fast",
    progress: Callable[[Progress], None] | None = None,
    directory: Path | None = None,
    stop_at_mismatch: bool = True,
    poll: int = harness.POLL_CYCLES,
) -> Report:
    """Run sequences through the accelerator of an image and compare every event, tick and logit.

    The sequences are played back to back, without a reset between them.

    Parameters
    ----------
    image
        The network.
    sequences
        Integer arrays in the image's input format, steps x inputs.
    config
        How the accelerator is built.
    seed
        Of the stalls. The same seed gives the same run, cycle for cycle.
    stalls
        Random gaps on the streams; None for none, which is what cycle figures are taken with.
    built
        An accelerator from :func:`prepare`, to use it more than once; ``config``, ``waves`` and ``optimise``
        have no effect then.
    waves
        A debug build, whose run leaves ``dump.vcd`` in ``directory``.
    optimise
        ``quick`` to build or ``fast`` to run.
    progress
        Is called now and then.
    directory
        Where the run's files stay; by default they go when a run passes.
    stop_at_mismatch
        End soon after the first mismatch.
    poll
        Cycles between two looks at the simulation.

    Returns
    -------
    Report
        A mismatch or a time-out raises nothing: ``passed`` is False then.

    Raises
    ------
    EgretError
        If the sequences do not suit the image, or the configuration does not.
    SimulationError
        If the simulation broke down.
    """
    sequences = [check_sequence(f"sequence {number}", x, image) for number, x in enumerate(sequences)]
    if not sequences:
        raise EgretError("there must be at least one sequence to simulate")
    if built is None:
        built = prepare(image, config, waves=waves, optimise=optimise)
    if built.simulation.waves and directory is None:
        # A waveform was asked for, so it is to stay.
        directory = build_root() / "waves"
    traces = GoldenTraces(image, sequences)
    outcome: Outcome = run_bench(
        built.simulation,
        built.sidecar,
        sequences,
        traces,
        every=image.readout.spec.mode == "every",
        streams=built.sidecar["parameters"]["streams"],
        seed=seed,
        stalls=stalls,
        patience=patience_cycles(built.sidecar),
        progress=progress,
        directory=directory,
        stop_at_mismatch=stop_at_mismatch,
        poll=poll,
    )
    parameters = built.sidecar["parameters"]
    done = outcome.done
    work = work_of(image, [sequences[number] for number in done], [traces[number] for number in done])
    return Report(
        name=image.name,
        outcome=outcome,
        work=work,
        lanes=sum(parameters["lanes"]) + parameters["readout_lanes"],
        readout_lanes=parameters["readout_lanes"],
        stalls=stalls,
        seed=seed,
    )


def patience_cycles(sidecar: dict[str, Any]) -> int:
    """Cycles in which some token must move, or the accelerator stands still.

    The longest silence comes of a step in which every source fires: all rows of a layer are fetched, and all
    its units are updated, before anything leaves it. Four times that, over all layers, is ample, stalls
    included.
    """
    parameters, layers = sidecar["parameters"], sidecar["image"]["layers"]
    cycles = 0
    for layer, words, update in zip(layers, parameters["row_words"], parameters["update_lanes"], strict=True):
        cycles += (layer["inputs"] + layer["units"]) * words + 4 * -(-layer["units"] // update) + 200
    return 4 * cycles + 10_000

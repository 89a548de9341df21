"""Which faults a bench catches: the runs, and how each is judged.

A run is judged as any simulation is: by the scoreboard, over all events of all layers and all logits; by the
watchdog; by the handshake of the logits. Of a run without stalls, the predicted cycles and counters are
compared, too; of every run, when tokens come and what is counted without the fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from egret_hw.config import AcceleratorConfig
from egret_hw.counters import COUNTED, COUNTER_BITS
from egret_hw.cycle_model import predict
from egret_sim import harness
from egret_sim.cosimulation import Stalls
from egret_sim.mutation.program import MutantProgram, Record
from egret_sim.run import GoldenTraces, patience_cycles
from egret_sim.scoreboard import LOGITS, Scoreboard
from egret_sim.tokens import END
from egret_sim.turns import encode, plan
from egru.errors import EgretError
from egru.image import NetworkImage
from egru.integer import IntegerNetwork
from egru.testing import random_input

#: What catches a fault, in the order in which it is looked for.
VERDICTS = {
    "scoreboard": "an event or a logit is wrong, missing or too much",
    "time-out": "the design stands still, or does not come to an end",
    "overflow": "a number overflows its width",
    "loop": "a loop of logic never comes to rest, and the simulator stops",
    "handshake": "logits change while they wait",
    "cycles": "a sequence ends in another cycle than was predicted",
    "counters": "events, busy or idle cycles are not as predicted",
    "timing": "a token comes in another cycle than without the fault",
    "idle causes": "idle cycles are put down to other causes than without the fault",
}
#: Faults that are played in one go.
BATCH = 10
_WORDS = {name: number for number, name in enumerate(COUNTED)}


@dataclass(frozen=True)
class Vectors:
    """A run: sequences (steps x inputs), stalls, what counters begin with, and cycles before the reset.

    If `eager`, the stalls are the sink's alone.
    """

    name: str
    sequences: tuple[np.ndarray, ...]
    stalls: Stalls | None = None
    seed: int = 0
    preset: int = 0
    dirty: int = 0
    eager: bool = False


def vectors(image: NetworkImage, seed: int, streams: int = 1) -> tuple[Vectors, ...]:
    """Runs for a small network: sequences of 1 to 64 steps, from silent to full, with and without stalls."""
    rng = np.random.default_rng(seed)
    limit = min(40, image.readout.spec.max_steps if image.readout.spec.mode == "mean" else 40)
    fmt, size = image.input.format, image.input.size

    def draw(*lengths: int) -> tuple[np.ndarray, ...]:
        return tuple(
            random_input(rng, image, min(steps, limit), density=float(rng.choice([0.1, 0.4, 1.0])))
            for steps in lengths
        )

    def rare(count: int) -> tuple[np.ndarray, ...]:
        return tuple(random_input(rng, image, limit, density=0.03) for _ in range(count))

    def busiest(steps: int, count: int) -> list[np.ndarray]:
        return _busiest(rng, image, steps, count)

    def repeated(sequences: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Each in all streams at once."""
        return tuple(sequence for sequence in sequences for _ in range(streams))

    longest = image.readout.spec.max_steps if image.readout.spec.mode == "mean" else 64
    ends = [rng.choice([fmt.lo, fmt.hi], (steps, size)) for steps in (20, 7)]
    return (
        Vectors("no stalls", draw(6, 1, 25)),
        Vectors("random stalls", draw(1, 1, 30, 4), Stalls(), 1),
        Vectors("full and silent, one step each", (*ends, np.zeros((9, size), np.int64), *draw(1, 1, 1, 1))),
        Vectors("long, no stalls", draw(*[40] * 30)),
        Vectors("long pauses of the sink", draw(40, 40, 3), Stalls(chance=250, mask=511), 2),
        Vectors(
            "short gaps", draw(*(1 + int(n) for n in rng.integers(0, 20, 60))), Stalls(chance=128, mask=3), 3
        ),
        # All bits of the counters move.
        *(
            chosen
            for preset in (0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_0000, 0x5555_5555, 0xAAAA_AAAA)
            for chosen in (
                Vectors(f"counters from {preset:#x}", draw(40, 40), preset=preset),
                # Only a sink that takes nothing for long holds back the last layer's output.
                Vectors(
                    f"counters from {preset:#x}, pauses of the sink alone",
                    draw(*[2] * 30),
                    Stalls(chance=250, mask=255),
                    4,
                    preset,
                    eager=True,
                ),
            )
        ),
        Vectors(
            "inputs at their ends", tuple(rng.choice([fmt.lo, fmt.hi], (limit, size)) for _ in range(40))
        ),
        Vectors("rare inputs", rare(60)),
        *(
            Vectors(f"reset after {cycles} cycles", draw(30, 5), seed=5, dirty=cycles)
            for cycles in (37, 150, 401, 1003)
        ),
        Vectors("many, random stalls", draw(*[limit] * 40), Stalls(chance=96, mask=31), 6),
        Vectors("many, no stalls", draw(*(1 + int(n) for n in rng.integers(0, 40, 200)))),
        # Inputs come about as fast as steps are done: queues fill and empty, and what comes meets what goes.
        *(
            Vectors(
                f"many, bursts of {256 // chance}", draw(*[limit] * 100), Stalls(chance=chance, mask=mask), 10
            )
            for chance, mask in ((255, 127), (128, 255), (64, 511))
        ),
        # Whatever waits behind the sink fills up, back to the first layer's queue.
        Vectors(
            "short ones, pauses of the sink alone",
            draw(*(1 + int(n) for n in rng.integers(0, 12, 60))),
            Stalls(chance=250, mask=2047),
            7,
            eager=True,
        ),
        # The end of a sequence waits for the sink until the next one's events are there.
        Vectors(
            "one step or two, pauses of the sink alone",
            draw(*(1 + int(n) for n in rng.integers(0, 2, 150))),
            Stalls(chance=250, mask=511),
            9,
            eager=True,
        ),
        # Streams that fire at once fill the queues of their events most.
        Vectors("busiest", repeated(busiest(limit, 12))),
        Vectors("busiest, stalls", repeated(busiest(20, 12)), Stalls(chance=64, mask=255), 8),
        Vectors("busiest, as long as may be", tuple(busiest(longest, 8))),
        Vectors("a density for each step", tuple(_uneven(rng, image, limit) for _ in range(150))),
    )


def _uneven(rng: np.random.Generator, image: NetworkImage, steps: int) -> np.ndarray:
    """A sequence whose steps are full, sparse or silent, each by chance."""
    return np.concatenate(
        [random_input(rng, image, 1, density=float(rng.choice([0, 0.2, 0.5, 1]))) for _ in range(steps)]
    )


def _busiest(
    rng: np.random.Generator, image: NetworkImage, steps: int, count: int, *, among: int = 200
) -> list[np.ndarray]:
    """Of random sequences, those in which most units fire."""
    drawn = np.stack(
        [random_input(rng, image, steps, density=float(rng.choice([0.3, 0.6, 1.0]))) for _ in range(among)],
        axis=1,
    )
    events = IntegerNetwork(image).run(drawn, np.full(among, steps)).events
    fired = sum((layer != 0).sum((0, 2)) for layer in events)
    return [drawn[:, number] for number in np.argsort(-fired, kind="stable")[:count]]


@dataclass(frozen=True)
class Verdict:
    """What caught a fault: a key of :data:`VERDICTS`, in which run, and the first sign."""

    kind: str
    run: str
    text: str


class Campaign:
    """Plays runs through a design with its faults.

    Parameters
    ----------
    image, config
        The accelerator.
    program
        The design with its faults.
    seed
        Of the vectors.
    """

    def __init__(
        self, image: NetworkImage, config: AcceleratorConfig, program: MutantProgram, *, seed: int
    ) -> None:
        self.image = image
        self.program = program
        self.streams = config.streams
        self.ports = harness.layouts(program.sidecar)
        self.runs = [_Run(self, config, chosen) for chosen in vectors(image, seed, config.streams)]

    def judge(
        self,
        mutants: Sequence[int],
        *,
        jobs: int = 1,
        progress: Callable[[str, int], None] | None = None,
    ) -> dict[int, Verdict | None]:
        """What caught each fault; None for those that nothing caught. A caught one is not played again.

        `jobs` programs run at once; `progress` is told the run, and how many faults are caught so far.
        """
        found: dict[int, Verdict | None] = dict.fromkeys(mutants)
        with ThreadPoolExecutor(jobs) as pool:
            for run in self.runs:
                left = [mutant for mutant, verdict in found.items() if verdict is None]
                batches = [left[start : start + BATCH] for start in range(0, len(left), BATCH)]
                for records in pool.map(run.play, batches):
                    found |= {record.mutant: run.judge(record) for record in records}
                if progress:
                    progress(run.chosen.name, sum(verdict is not None for verdict in found.values()))
        return found


class _Run:
    """One run's stimulus, and how long the design without a fault takes for it."""

    def __init__(self, campaign: Campaign, config: AcceleratorConfig, chosen: Vectors) -> None:
        self.campaign, self.chosen = campaign, chosen
        image, sequences = campaign.image, chosen.sequences
        self.turns = plan([len(x) for x in sequences], campaign.streams)
        self.stimulus = encode(campaign.ports["events"], sequences, self.turns)
        self.traces = GoldenTraces(image, sequences)
        self.predicted = predict(image, sequences, config)
        self.patience, self.limit = patience_cycles(dict(campaign.program.sidecar)), 10_000_000
        (self.reference,) = self.play([0])
        problem = self._compare(self.reference)
        if problem is not None:
            raise EgretError(f"{image.name} without a fault fails in run {chosen.name!r}: {problem.text}")
        # Twice the longest silence, and twice the time, show that a fault stops it.
        moved = np.unique(np.concatenate([rows[:, 1] for rows in self.reference.streams.values()]))
        silence = int(np.diff(moved, prepend=0).max())
        self.patience = 2 * silence + 1000 + (chosen.stalls.mask if chosen.stalls else 0)
        self.limit = 2 * self.reference.cycles + self.patience

    def play(self, mutants: Sequence[int]) -> list[Record]:
        chosen = self.chosen
        return self.campaign.program.play(
            self.stimulus,
            mutants,
            ends=len(chosen.sequences),
            patience=self.patience,
            limit=self.limit,
            stalls=chosen.stalls,
            seed=chosen.seed,
            preset=chosen.preset,
            dirty=chosen.dirty,
            eager=chosen.eager,
        )

    def judge(self, record: Record) -> Verdict | None:
        """What is wrong with a run, if anything."""
        verdict = self._compare(record)
        if verdict is not None:
            return verdict
        run, reference = self.chosen.name, self.reference
        for name, rows in record.streams.items():
            late = np.flatnonzero(rows[:, 1] != reference.streams[name][:, 1])
            if len(late):
                cycle, meant = rows[late[0], 1], reference.streams[name][late[0], 1]
                return Verdict("timing", run, f"{name}: token {late[0]} in cycle {cycle}, not {meant}")
        if (record.counters != reference.counters).any():
            layer, word = np.argwhere(record.counters != reference.counters)[0]
            return Verdict("idle causes", run, f"layer {layer}: {list(COUNTED)[word]}")
        return None

    def _compare(self, record: Record) -> Verdict | None:
        run = self.chosen.name
        board = Scoreboard(
            self.traces,
            self.turns,
            layers=len(self.campaign.image.layers),
            every=self.campaign.image.readout.spec.mode == "every",
        )
        ends: list[int] = []
        for name, rows in record.streams.items():
            kind, index, value = self.campaign.ports[name].decode(rows[:, 0])
            cycles = rows[:, 1].astype(np.int64)
            board.feed(name, kind, index, value, cycles)
            if name == LOGITS:
                ends = cycles[kind == END].tolist()
        if board.mismatches:
            return Verdict("scoreboard", run, str(board.first))
        if record.status == "broken":
            return Verdict("handshake", run, f"in cycle {record.cycles}")
        if record.status == "stopped":
            return Verdict("overflow", run, f"in cycle {record.cycles}")
        if record.status == "unstable":
            return Verdict("loop", run, f"in cycle {record.cycles}")
        if record.status != "finished":
            return Verdict("time-out", run, f"{record.status} after {len(ends)} sequences")
        board.finish()
        if board.mismatches:
            return Verdict("scoreboard", run, str(board.first))
        for text in self._miscounted(record):
            return Verdict("counters", run, text)
        if self.chosen.stalls is None and ends != list(self.predicted.ends):
            first = next(
                n for n, pair in enumerate(zip(ends, self.predicted.ends, strict=True)) if len(set(pair)) > 1
            )
            return Verdict(
                "cycles", run, f"sequence {first}: {self.predicted.ends[first]} predicted, {ends[first]}"
            )
        return None

    def _miscounted(self, record: Record) -> Iterator[str]:
        """What the counters say that cannot be."""
        for layer, (values, tile) in enumerate(zip(record.counters, self.predicted.tiles, strict=True)):
            values = (values.astype(np.int64) - self.chosen.preset) % (1 << COUNTER_BITS)
            idle = sum(int(values[_WORDS[name]]) for name in COUNTED if name.startswith("idle"))
            wanted = {
                "input_events": tile.input_events,
                "cycles": int(values[_WORDS["busy"]]) + idle,
            }
            if self.chosen.stalls is None:
                # How many of the last step's events END catches before they are fetched depends on stalls.
                wanted["recurrent_events"] = tile.recurrent_events + tile.gated_events
                wanted["busy"] = tile.busy
            for name, value in wanted.items():
                if values[_WORDS[name]] != value:
                    yield f"layer {layer}: {name} is {values[_WORDS[name]]}, not {value}"


def by_kind(verdicts: Sequence[Verdict | None]) -> Counter[str]:
    """How many faults each kind of check caught; "" counts those that none caught."""
    return Counter(verdict.kind if verdict else "" for verdict in verdicts)

"""A campaign: many runs, one random bit flipped in each, and what became of every one."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from egret_hw.config import AcceleratorConfig
from egret_hw.generate import generate
from egret_hw.protection import FAULT_LATENCY, NONE
from egret_sim.build import SimulationError
from egret_sim.faults.program import Job, Program, Ran, build_program
from egret_sim.faults.targets import PROTECTED, TARGETS, Target, find_targets
from egret_sim.harness import layouts
from egret_sim.run import GoldenTraces, patience_cycles
from egret_sim.tokens import END, EVENT, TokenLayout
from egret_sim.turns import encode, plan
from egru.errors import EgretError
from egru.image import NetworkImage
from egru.integer import decide

#: Silent cycles behind the last token; every flag that a run raises is up by then.
_SETTLE_CYCLES = 400
#: Runs without a flip take turns with so many groups of sequences, so that flips meet different data.
_SETS_MAX = 8


class Effect(StrEnum):
    """What an upset changed, the worst of it."""

    MASKED = "masked"
    EVENTS = "events"
    LOGITS = "logits"
    DECISION = "decision"
    HANG = "hang"


@dataclass(frozen=True)
class Upset:
    """One flip and what became of it.

    ``flagged`` says whether a bit of ``fault`` rose, and ``late`` whether it did so more than
    :data:`~egret_hw.protection.FAULT_LATENCY` cycles after the first wrong token.
    """

    job: Job
    effect: Effect
    flagged: bool
    late: bool
    flags: int

    @property
    def silent(self) -> bool:
        """True if something wrong was sent and nobody was told (in time)."""
        return self.effect is not Effect.MASKED and (not self.flagged or self.late)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        target = self.job.target
        assert target is not None
        return {
            "kind": target.kind,
            "path": target.path,
            "variable": target.variable,
            "word": self.job.word,
            "bit": self.job.bit,
            "cycle": self.job.cycle,
            "sequences": self.job.set,
            "effect": self.effect.value,
            "flags": self.flags,
            "silent": self.silent,
        }


@dataclass(frozen=True)
class Share:
    """How many of some, with the 95 % interval of the share (Wilson's score interval)."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """The share; 0 of nothing."""
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Between which shares the true one lies with 95 %."""
        if not self.of:
            return 0.0, 1.0
        z, n, p = 1.959964, self.of, self.share
        middle, scale = p + z * z / (2 * n), 1 + z * z / n
        spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


@dataclass(frozen=True)
class Campaign:
    """All upsets of one accelerator, and the bits of each kind that there are."""

    name: str
    protection: str
    seed: int
    bits: Mapping[str, int]
    upsets: Sequence[Upset]

    def of(self, kind: str) -> list[Upset]:
        """Those of one target."""
        return [upset for upset in self.upsets if upset.job.target and upset.job.target.kind == kind]

    def share(self, kind: str, holds: Callable[[Upset], bool]) -> Share:
        """How many of a target's upsets are such."""
        upsets = self.of(kind)
        return Share(sum(map(holds, upsets)), len(upsets))

    @property
    def silent(self) -> list[Upset]:
        """Upsets of protected targets that changed something and were not flagged."""
        return [u for u in self.upsets if u.silent and u.job.target and u.job.target.kind in PROTECTED]

    def as_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        kinds = {}
        for kind, bits in self.bits.items():
            upsets = self.of(kind)
            changed = self.share(kind, lambda u: u.effect is not Effect.MASKED)
            kinds[kind] = {
                "bits": bits,
                "flips": len(upsets),
                **{effect.value: sum(u.effect is effect for u in upsets) for effect in Effect},
                "changed_share": changed.share,
                "changed_interval": changed.interval,
                "flagged": sum(u.flagged for u in upsets),
                "flagged_unchanged": sum(u.flagged and u.effect is Effect.MASKED for u in upsets),
                "silent": sum(u.silent for u in upsets),
            }
        return {
            "name": self.name,
            "protection": self.protection,
            "seed": self.seed,
            "flips": len(self.upsets),
            "targets": kinds,
            # Without protection all are.
            "silent": [u.as_dict() for u in self.silent] if self.protection != NONE else [],
        }


@dataclass(frozen=True)
class Subject:
    """An accelerator that is ready for a campaign."""

    image: NetworkImage
    sidecar: Mapping[str, Any]
    targets: Sequence[Target]
    program: Program


def prepare(
    image: NetworkImage,
    config: AcceleratorConfig | None = None,
    *,
    registers: bool = True,
    optimise: str = "fast",
) -> Subject:
    """Generate the accelerator of ``image`` and build the driver of a campaign, or take it from the cache.

    ``registers`` makes every register a target, beside memories and streams.
    """
    with tempfile.TemporaryDirectory() as folder:
        sidecar = generate(image, folder, config)
        verilog = (Path(folder) / f"{sidecar['top']}.v").read_text()
    sidecar = json.loads(json.dumps(sidecar))
    targets = find_targets(verilog, sidecar, registers=registers)
    return Subject(image, sidecar, targets, build_program(verilog, sidecar, targets, optimise=optimise))


def draw_jobs(
    targets: Sequence[Target],
    cycles: Sequence[int],
    flips: int,
    seed: int,
    kinds: Sequence[str] | None = None,
) -> list[Job]:
    """Draw flips: as many of each kind of target, any bit of it alike, in any cycle of a run alike.

    ``cycles`` are those of a run without a flip, for each group of sequences.
    """
    rng = np.random.default_rng(seed)
    present = [kind for kind in TARGETS if any(target.kind == kind for target in targets)]
    wanted = [kind for kind in present if kinds is None or kind in kinds]
    jobs = []
    for number in range(flips):
        kind = wanted[number % len(wanted)]
        choice = [target for target in targets if target.kind == kind]
        bits = np.array([target.bits for target in choice])
        target = choice[int(rng.choice(len(choice), p=bits / bits.sum()))]
        group = number // len(wanted) % len(cycles)
        cycle = int(rng.integers(cycles[group]))
        jobs.append(
            Job(group, cycle, target, int(rng.integers(target.words)), int(rng.integers(target.width)))
        )
    return jobs


def run_campaign(
    subject: Subject,
    sequences: Sequence[np.ndarray],
    *,
    flips: int,
    seed: int,
    per_run: int = 2,
    kinds: Sequence[str] | None = None,
    jobs: Sequence[Job] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Campaign:
    """Flip one bit in each of ``flips`` runs.

    Parameters
    ----------
    subject
        From :func:`prepare`.
    sequences
        What is played: integer arrays, steps x inputs. They are dealt out in groups of ``per_run``.
    flips, seed
        How many, and of what draw.
    kinds
        Targets, of :data:`~egret_sim.faults.targets.TARGETS`; by default all that the accelerator has.
    jobs
        These flips, and not drawn ones.
    progress
        Is called now and then with the number of finished runs.

    Raises
    ------
    EgretError
        If there are too few sequences or flips.
    SimulationError
        If the accelerator is wrong without a flip, or the simulation broke down.
    """
    groups = [
        list(sequences[start : start + per_run]) for start in range(0, len(sequences), per_run) if per_run > 0
    ][:_SETS_MAX]
    if flips < 1:
        raise EgretError(f"flips must be 1 or more, not {flips}")
    if not groups:
        raise EgretError("there must be at least one sequence to play, and one in each run")
    ports = layouts(subject.sidecar)
    streams = subject.sidecar["parameters"]["streams"]
    turns = [plan([len(x) for x in group], streams) for group in groups]
    sets = [
        (encode(ports["events"], group, order), len(group))
        for group, order in zip(groups, turns, strict=True)
    ]
    patience = patience_cycles(dict(subject.sidecar))
    clean = [Job(number) for number in range(len(sets))]
    first = subject.program.run(sets, clean, settle=_SETTLE_CYCLES, patience=patience)
    every = subject.image.readout.spec.mode == "every"
    answers = []
    for group, order, ran in zip(groups, turns, first, strict=True):
        answer = read_logits(ports["logits"], ran.logits)
        _check_clean(subject.image, group, [t.sequence for t in order if t.kind == END], ran, answer, every)
        answers.append(answer)
    if jobs is None:
        jobs = draw_jobs(subject.targets, [ran.cycles - _SETTLE_CYCLES for ran in first], flips, seed, kinds)
    after = len(clean)
    counted = (lambda done: progress(max(0, done - after))) if progress else None
    runs = subject.program.run(
        sets, [*clean, *jobs], settle=_SETTLE_CYCLES, patience=patience, progress=counted
    )[after:]
    upsets = []
    for job, ran in zip(jobs, runs, strict=True):
        effect = _effect(ran, answers[job.set], ports["logits"], subject.image.readout.spec.classes)
        late = ran.changed >= 0 and ran.flagged > ran.changed + FAULT_LATENCY
        upsets.append(Upset(job, effect, ran.flags != 0, late, ran.flags))
    bits = {kind: sum(t.bits for t in subject.targets if t.kind == kind) for kind in TARGETS}
    return Campaign(
        name=subject.image.name,
        protection=subject.sidecar["parameters"]["protection"],
        seed=seed,
        bits={kind: count for kind, count in bits.items() if count},
        upsets=upsets,
    )


def read_logits(layout: TokenLayout, words: np.ndarray) -> list[np.ndarray]:
    """Logits of each sequence that ended, in order: those before its END, of all its steps."""
    kind, _, value = layout.decode(words)
    ends = np.flatnonzero(kind == END)
    starts = [0, *(ends[:-1] + 1)] if len(ends) else []
    return [value[a:b][kind[a:b] == EVENT] for a, b in zip(starts, ends, strict=True)]


def _check_clean(
    image: NetworkImage,
    group: Sequence[np.ndarray],
    order: Sequence[int],
    ran: Ran,
    answer: Sequence[np.ndarray],
    every: bool,
) -> None:
    """Without a flip all logits must be the integer model's, and no flag may rise."""
    traces = GoldenTraces(image, group)
    wanted = [np.ravel(traces[number].logits) for number in order]
    if ran.hung or len(answer) != len(wanted) or not all(map(np.array_equal, answer, wanted)):
        raise SimulationError("the accelerator differs from the integer model without any flip")
    if ran.flags:
        raise SimulationError(f"the accelerator raises a fault (bits {ran.flags:#x}) without any flip")


def _effect(ran: Ran, clean: Sequence[np.ndarray], layout: TokenLayout, classes: int) -> Effect:
    if ran.hung:
        return Effect.HANG
    if not any(ran.ports):
        return Effect.MASKED
    if not ran.ports[-1]:
        return Effect.EVENTS
    answer = read_logits(layout, ran.logits)
    # A sequence is decided by its last logits, also where every step has some.
    same = len(answer) == len(clean) and all(
        len(a) == len(b) and decide(a[-classes:]) == decide(b[-classes:])
        for a, b in zip(answer, clean, strict=True)
    )
    return Effect.LOGITS if same else Effect.DECISION

"""The mutation score: how many planted faults the bench catches, and what is known of the others."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from egret.build.tools import shown_stage
from egret.console import Console
from egret.files import write_report
from egret.mutation import Design, Mutant, chosen_counts, designs, mutate
from egret.mutation_facts import Fact, checked, load_facts
from egret_sim.mutation.campaign import VERDICTS, Campaign, Verdict
from egret_sim.mutation.equivalence import Equivalence
from egret_sim.mutation.program import build_mutants
from egret_sim.mutation.surroundings import GatherUse
from egret_sim.mutation.widths import WidthVerdict, judge_all
from egru.errors import EgretError

#: Faults that change nothing, each with its reason.
EQUIVALENTS = Path(__file__).resolve().parent / "mutation_equivalents.toml"
#: The share of faults, those that change nothing left out, that is to be caught.
TARGET_PERCENT = 95.0


@dataclass(frozen=True)
class Equivalent:
    """An entry of the list: faults of a module that change nothing. All but the reason are patterns.

    `options` is of Yosys's line, for what the others do not say, such as the other bit of cnot0 and cnot1.
    """

    module: str
    mode: str
    place: str
    reason: str
    design: str = "*"
    options: str = "*"

    def covers(self, design: Design, mutant: Mutant) -> bool:
        """Whether a fault is meant."""
        pairs = (
            (self.design, design.name),
            (self.module, mutant.module),
            (self.mode, mutant.mode),
            (self.place, mutant.place),
            (self.options, mutant.options),
        )
        # Brackets stand for themselves.
        return all(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern, name in pairs)


@dataclass(frozen=True)
class Judged:
    """A fault of a design, what caught it, or why it changes nothing, and if that is proved."""

    design: str
    mutant: Mutant
    verdict: Verdict | None
    equivalent: str | None = None
    proved: bool = False


@dataclass(frozen=True)
class Score:
    """All faults, judged."""

    seed: int
    faults: tuple[Judged, ...]
    widths: tuple[WidthVerdict, ...] = ()

    @property
    def wide_enough(self) -> tuple[WidthVerdict, ...]:
        """Widths that could be a bit narrower without anything noticing it."""
        return tuple(verdict for verdict in self.widths if verdict.text is None)

    @property
    def caught(self) -> int:
        """Faults that the bench caught."""
        return sum(fault.verdict is not None for fault in self.faults)

    @property
    def equivalent(self) -> tuple[Judged, ...]:
        """Faults that change nothing."""
        return tuple(fault for fault in self.faults if fault.equivalent)

    @property
    def survivors(self) -> tuple[Judged, ...]:
        """Faults that were not caught, and of which it is not known that they change nothing."""
        return tuple(fault for fault in self.faults if not fault.verdict and not fault.equivalent)

    @property
    def percent(self) -> float:
        """Caught ones in per cent of those that change something."""
        return 100 * self.caught / max(1, len(self.faults) - len(self.equivalent))

    @property
    def by_kind(self) -> dict[str, int]:
        """How many each kind of check caught."""
        found = Counter(fault.verdict.kind for fault in self.faults if fault.verdict)
        return {kind: found[kind] for kind in VERDICTS}

    def as_json(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "seed": self.seed,
            "faults": len(self.faults),
            "caught": self.caught,
            "equivalent": len(self.equivalent),
            "proved": sum(fault.proved for fault in self.faults),
            "survived": len(self.survivors),
            "percent": round(self.percent, 2),
            "caught_by": self.by_kind,
            "widths": [asdict(verdict) for verdict in self.widths],
            "list": [
                {
                    "design": fault.design,
                    "module": fault.mutant.module,
                    "mode": fault.mutant.mode,
                    "place": fault.mutant.place,
                    "source": fault.mutant.source,
                    "yosys": fault.mutant.options,
                    "caught_by": fault.verdict.kind if fault.verdict else None,
                    "run": fault.verdict.run if fault.verdict else None,
                    "first_sign": fault.verdict.text if fault.verdict else None,
                    "equivalent": fault.equivalent,
                    "proved": fault.proved,
                }
                for fault in self.faults
            ],
        }


def load_equivalents(path: Path = EQUIVALENTS) -> tuple[Equivalent, ...]:
    """The list of faults that change nothing; EgretError if it is none."""
    try:
        entries = tomllib.loads(path.read_text())["fault"]
        found = tuple(Equivalent(**entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EgretError(f"{path} is no list of equivalent faults: {error}") from None
    for entry in found:
        if not entry.reason.strip():
            raise EgretError(f"{path}: {entry.module}, {entry.place} must have a reason")
    return found


def run(
    count: int,
    *,
    seed: int,
    module: str | None = None,
    jobs: int = 1,
    console: Console,
    chosen: Sequence[Design] | None = None,
    equivalents: Sequence[Equivalent] | None = None,
    facts: Sequence[Fact] | None = None,
) -> Score:
    """Plant faults in all designs, play all runs, and judge.

    Parameters
    ----------
    count
        Faults in all.
    seed
        Of the choice of faults, and of the vectors.
    module
        Only modules whose path holds this, and no widths.
    jobs
        Simulations at once.
    console
        Where progress is shown.
    chosen
        The designs, and no widths; by default those of :func:`egret.mutation.designs`, and all widths.
    equivalents
        By default the list in :data:`EQUIVALENTS`.
    facts
        What proofs take for granted; by default the list of :mod:`egret.mutation_facts`.

    Raises
    ------
    EgretError
        If there is no such module, or a tool fails.
    """
    all_of_it = chosen is None and module is None
    chosen = designs() if chosen is None else chosen
    equivalents = load_equivalents() if equivalents is None else equivalents
    facts = load_facts() if facts is None else facts
    faults: list[Judged] = []
    for design, share in zip(chosen, chosen_counts(count, len(chosen)), strict=True):
        if not share:
            continue
        mutated = mutate(design, share, seed=seed, module=module, console=console)
        if not mutated.mutants:
            continue
        with shown_stage(f"{design.name}: building {len(mutated.mutants)} faults", console):
            known = [fact for fact in facts if fact.design == design.name]
            program = build_mutants(checked(mutated.text, known), mutated.sidecar)
        with shown_stage(f"{design.name}: runs without a fault", console):
            campaign = Campaign(design.image, design.config, program, seed=seed)

        def told(name: str, caught: int, design: Design = design, share: int = len(mutated.mutants)) -> None:
            text = f"{design.name}: {caught} of {share} caught after run {name!r}"
            console.print(text, soft_wrap=True)

        verdicts = campaign.judge([m.number for m in mutated.mutants], jobs=jobs, progress=told)
        left = [mutant for mutant in mutated.mutants if verdicts[mutant.number] is None]
        with shown_stage(f"{design.name}: proofs about {len(left)} faults that nothing caught", console):
            proofs = _proofs(design, mutated.rtlil, left, known, jobs=jobs)
        for mutant in mutated.mutants:
            verdict, proof = verdicts[mutant.number], proofs.get(mutant.number)
            reasons = (entry.reason for entry in equivalents if entry.covers(design, mutant))
            why = None if verdict else proof.text if proof else next(reasons, None)
            faults.append(Judged(design.name, mutant, verdict, why, proof is not None and proof.alone))
    if not faults:
        raise EgretError(f"no module's path holds {module!r}")
    if not all_of_it:
        return Score(seed, tuple(faults))

    def told_width(verdict: WidthVerdict) -> None:
        text = verdict.text or "nothing"
        console.print(f"a bit narrower, {verdict.width}: {text}", soft_wrap=True)

    with shown_stage("widths that are a bit too narrow", console):
        narrow = judge_all(seed, jobs=jobs, progress=told_width)
    return Score(seed, tuple(faults), narrow)


@dataclass(frozen=True)
class _Proof:
    """That a fault changes nothing, and whether something was taken for granted."""

    text: str
    alone: bool


def _proofs(
    design: Design, rtlil: str, mutants: Sequence[Mutant], facts: Sequence[Fact], *, jobs: int
) -> dict[int, _Proof]:
    """Of those that are proved to change nothing: what was proved."""
    config, layers = design.config.resolve(design.image), design.image.layers
    sizes = zip(config.lanes, config.update_lanes, layers, strict=True)
    gathers = {
        f"accelerator.layer{number}.gather": GatherUse(lanes, group, layer.spec.units)
        for number, (lanes, group, layer) in enumerate(sizes)
    }
    silent = {fact.module: fact.zero for fact in facts}
    alone, helped = Equivalence(rtlil, gathers=gathers), Equivalence(rtlil, silent=silent)

    def prove(mutant: Mutant) -> _Proof | None:
        for module in alone.around(mutant.module):
            if alone.ask(module, mutant.number).equal:
                return _Proof(
                    f"proved: {module} is the same at its ports, from power-on, for all inputs", True
                )
            granted = [fact.reason for fact in facts if f"{fact.module}.".startswith(f"{module}.")]
            if granted and helped.ask(module, mutant.number).equal:
                return _Proof(f"proved of {module}, given that {'; '.join(granted)}", False)
        return None

    with ThreadPoolExecutor(jobs) as pool:
        answers = list(pool.map(prove, mutants))
    return {mutant.number: proof for mutant, proof in zip(mutants, answers, strict=True) if proof is not None}


def save(score: Score, path: Path) -> None:
    """Write the score as JSON, whole or not at all."""
    write_report(path, score.as_json())

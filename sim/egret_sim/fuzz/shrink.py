"""Makes a failing case small: tries one simplification after another and keeps those that still fail.

Greedy, with the boldest moves first. What does not touch the accelerator (phases, sequences, steps, stalls)
is tried before what does, and each try runs the whole case, so the result fails for certain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from egret_hw.config import QUEUE_DEPTH
from egret_hw.protection import NONE
from egru.errors import EgretError

from .case import Case
from .forms import OWN
from .shrink_network import smaller_networks

Move = tuple[str, Case]
#: Cases to run at most, unless said otherwise; one that needs another accelerator takes seconds.
TRIES = 400


@dataclasses.dataclass(frozen=True)
class Shrunk:
    """The smallest failing case found, what it fails with, and how many were tried."""

    case: Case
    problem: str
    tries: int


def shrink(
    case: Case,
    problem: str,
    fails: Callable[[Case], str | None],
    *,
    tries: int = TRIES,
    progress: Callable[[str], None] | None = None,
) -> Shrunk:
    """Simplify ``case`` as long as it fails.

    Parameters
    ----------
    case, problem
        A case that fails, and how.
    fails
        Runs a case and says what is wrong with it, or None. A case that fails in another way is taken, too.
    tries
        Cases to run at most: with the same number, the result is the same on every machine.
    progress
        Is called with one line for each move that was kept.
    """
    tried = 0
    improved = True
    while improved:
        improved = False
        for name, smaller in _moves(case):
            if tried == tries:
                return Shrunk(case, problem, tried)
            tried += 1
            found = fails(smaller)
            if found:
                case, problem, improved = smaller, found, True
                if progress:
                    progress(f"{name}: {case.describe()}")
                break
    return Shrunk(case, problem, tried)


def _moves(case: Case) -> Iterator[Move]:
    """Simpler cases, the boldest first. None is equal to ``case``, and each is smaller in some order."""
    yield from _fewer_phases(case)
    yield from _fewer_sequences(case)
    yield from _simpler_phases(case)
    yield from _networks(case)
    yield from _valid(_simpler_configuration(case))
    yield from _fewer_events(case)


def _networks(case: Case) -> Iterator[Move]:
    """Smaller networks, but for what makes no valid one."""
    for name, make in smaller_networks(case):
        try:
            smaller = make()
            smaller.config.resolve(smaller.image)
        except EgretError:
            continue
        yield name, smaller


def _valid(moves: Iterator[Move]) -> Iterator[Move]:
    """The moves to accelerators that can be built: the compact form has no single lane."""
    for name, smaller in moves:
        try:
            smaller.config.resolve(smaller.image)
        except EgretError:
            continue
        yield name, smaller


def _fewer_phases(case: Case) -> Iterator[Move]:
    count = len(case.phases)
    if count > 1:
        for number in range(count):
            yield f"only phase {number}", dataclasses.replace(case, phases=case.phases[number : number + 1])
        for number in range(count):
            rest = case.phases[:number] + case.phases[number + 1 :]
            yield f"without phase {number}", dataclasses.replace(case, phases=rest)


def _with_phase(case: Case, number: int, **changes) -> Case:
    phase = dataclasses.replace(case.phases[number], **changes)
    return dataclasses.replace(case, phases=(*case.phases[:number], phase, *case.phases[number + 1 :]))


def _fewer_sequences(case: Case) -> Iterator[Move]:
    for number, phase in enumerate(case.phases):
        if phase.reset_tokens:
            yield "no reset", _with_phase(case, number, reset_tokens=0, reset_delay=0)
        for begin, end in _cuts(len(phase.sequences)):
            kept = phase.sequences[:begin] + phase.sequences[end:]
            yield f"without sequences {begin}..{end - 1}", _with_phase(case, number, sequences=kept)
        for place, x in enumerate(phase.sequences):
            for begin, end in _cuts(len(x)):
                shorter = np.concatenate([x[:begin], x[end:]])
                kept = (*phase.sequences[:place], shorter, *phase.sequences[place + 1 :])
                yield f"without steps {begin}..{end - 1}", _with_phase(case, number, sequences=kept)


def _cuts(count: int) -> Iterator[tuple[int, int]]:
    """Pieces to leave out of ``count`` things, halves first; something always stays."""
    size = count // 2
    while size:
        for begin in range(0, count - size + 1, size):
            if size < count:
                yield begin, begin + size
        size //= 2


def _simpler_phases(case: Case) -> Iterator[Move]:
    for number, phase in enumerate(case.phases):
        if phase.source:
            yield "no gaps in the input", _with_phase(case, number, source=None)
        if phase.sink:
            yield "logits always taken", _with_phase(case, number, sink=None)
        if phase.reset_delay:
            yield "reset without delay", _with_phase(case, number, reset_delay=0)
        if phase.reset_tokens > 1:
            for tokens in sorted({1, phase.reset_tokens // 2, phase.reset_tokens - 1}):
                yield "earlier reset", _with_phase(case, number, reset_tokens=tokens)
        if not phase.reset:
            yield "with a reset", _with_phase(case, number, reset=True)
        if phase.load is not None:
            yield "nothing loaded", _with_phase(case, number, load=None)
            if phase.load != OWN:
                yield "the network's weights", _with_phase(case, number, load=OWN)
        if phase.seed:
            yield "seed 0", _with_phase(case, number, seed=0)


def _simpler_configuration(case: Case) -> Iterator[Move]:
    config = case.config.resolve(case.image)
    forms: dict[str, Any] = {"protection": NONE, "compact": False, "weights": "fixed"}
    for name, plain in forms.items():
        if getattr(config, name) != plain:
            changed = dataclasses.replace(case.config, **{name: plain})
            yield f"{name} {plain}", dataclasses.replace(case, config=changed)
    if config.streams > 1:
        changed = dataclasses.replace(case.config, streams=1)
        yield "one stream", dataclasses.replace(case, config=changed)
    if config.queue_depth != QUEUE_DEPTH:
        changed = dataclasses.replace(case.config, queue_depth=QUEUE_DEPTH)
        yield f"queue depth {QUEUE_DEPTH}", dataclasses.replace(case, config=changed)
    if config.readout_lanes > 1:
        changed = dataclasses.replace(case.config, readout_lanes=1)
        yield "one lane in the readout", dataclasses.replace(case, config=changed)
    for layer in range(len(config.lanes)):
        for name in ("update_lanes", "lanes"):
            numbers = getattr(config, name)
            for value in sorted({1, numbers[layer] // 2, numbers[layer] - 1}):
                if 1 <= value < numbers[layer]:
                    new: dict[str, Any] = {name: (*numbers[:layer], value, *numbers[layer + 1 :])}
                    if name == "lanes":
                        most = max(1, min(case.image.layers[layer].spec.units, value // 3))
                        update = config.update_lanes
                        new["update_lanes"] = (
                            *update[:layer],
                            min(update[layer], most),
                            *update[layer + 1 :],
                        )
                    changed = dataclasses.replace(case.config, **new)
                    yield f"{name} {value}", dataclasses.replace(case, config=changed)


def _fewer_events(case: Case) -> Iterator[Move]:
    """Silence, step by step and then event by event, once there are few of them."""
    events = sum(int(np.count_nonzero(x)) for phase in case.phases for x in phase.sequences)
    if not events or case.steps > 40:
        return
    for number, phase in enumerate(case.phases):
        for place, x in enumerate(phase.sequences):
            silenced: list[tuple[int, ...]] = [(step,) for step in range(len(x)) if x[step].any()]
            if events <= 60:
                silenced += [(step, unit) for step, unit in np.argwhere(x).tolist()]
            for at in silenced:
                quieter = x.copy()
                quieter[at] = 0
                kept = (*phase.sequences[:place], quieter, *phase.sequences[place + 1 :])
                yield "fewer events", _with_phase(case, number, sequences=kept)

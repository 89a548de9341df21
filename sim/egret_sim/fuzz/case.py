"""One case of the fuzzer: an accelerator and what is played to it. Everything that a replay needs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egret_hw.config import AcceleratorConfig
from egret_hw.protection import NONE
from egret_sim.cosimulation import Stalls
from egru.errors import EgretError
from egru.image import NetworkImage, load_image, save_image
from egru.integer import check_sequence
from egru.untrusted import JSONError, UnreadableError, brief, read_json, shown
from egru.writing import make_directory, write_whole

FORMAT, VERSION = "egret-fuzz-case", 2
#: A case of version 1 has no loaded weights.
VERSIONS = (1, VERSION)
#: Inputs of all steps of a case, those that are zero counted: what keeps a replay inside memory.
CELLS_MAX = 1 << 27
#: No number of a configuration is larger.
NUMBER_MAX = 65535


@dataclass(frozen=True)
class Phase:
    """What is played until all of it has come out, or a reset cuts it off.

    Attributes
    ----------
    sequences
        Integers, steps x inputs each. They follow each other without a gap, or take turns in streams.
    seed
        Of the stalls.
    source, sink
        Gaps between input tokens, and pauses of whoever takes the logits; None for none.
    reset_tokens, reset_delay
        The reset comes that many cycles after so many input tokens were taken, whatever is under way.
        0 tokens: it comes when all is done.
    reset
        Whether the phase begins with a reset. The first one does, and one behind a phase that was cut off.
    load
        Weights to load before the first event, where they are loaded at run time: None for those that are
        there, 0 for the network's, any other number for others (:func:`egret_sim.fuzz.forms.with_weights`).
    """

    sequences: tuple[np.ndarray, ...]
    seed: int = 0
    source: Stalls | None = None
    sink: Stalls | None = None
    reset_tokens: int = 0
    reset_delay: int = 0
    reset: bool = True
    load: int | None = None

    @property
    def steps(self) -> int:
        """Steps of all sequences."""
        return sum(len(x) for x in self.sequences)


@dataclass(frozen=True)
class Case:
    """A network, how its accelerator is built, and the phases played to it, in order."""

    image: NetworkImage
    config: AcceleratorConfig
    phases: tuple[Phase, ...]

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def describe(self) -> str:
        """The case in one line."""
        image, config = self.image, self.config.resolve(self.image)
        sizes = [image.input.size, *(layer.spec.units for layer in image.layers), image.readout.spec.classes]
        resets = ",".join(sorted({f"{x.spec.reset}/{x.spec.state_reset}" for x in image.layers}))
        lanes = "+".join(map(str, (*config.lanes, config.readout_lanes)))
        updates = "+".join(map(str, config.update_lanes))
        text = " -> ".join(map(str, sizes))
        text += f", lanes {lanes}, update lanes {updates}, queue {config.queue_depth}"
        text += f", streams {config.streams}, reset {resets}, readout {image.readout.spec.mode}"
        text += ", compact" if config.compact else ""
        text += ", weights loaded" if config.loaded else ""
        text += f", {config.protection}" if config.protection != NONE else ""
        sequences = sum(len(phase.sequences) for phase in self.phases)
        return f"{text}; {len(self.phases)} phases, {sequences} sequences, {self.steps} steps"


def save_case(case: Case, directory: Path, name: str, found: dict[str, Any]) -> Path:
    """Write ``name.egret`` and ``name.json`` into ``directory``; return the path of the JSON file.

    ``found`` says what was seen, for people: it has no effect on a replay.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "image": f"{name}.egret",
        "config": asdict(case.config),
        "phases": [_phase_to_json(phase) for phase in case.phases],
        "found": found,
    }
    make_directory(directory)
    save_image(case.image, directory / f"{name}.egret")
    path = directory / f"{name}.json"
    write_whole(path, json.dumps(content) + "\n")
    return path


def load_case(path: Path) -> Case:
    """Read a case written by :func:`save_case`.

    Raises
    ------
    EgretError
        If the file is missing or is no case that could be played.
    """
    try:
        content = read_json(path)
    except UnreadableError as error:
        raise EgretError(f"cannot read {shown(path)}: {error}") from None
    except JSONError as error:
        raise EgretError(f"{shown(path)} must be a case that `egret fuzz` saved, but is {error}") from None
    try:
        return _case_from_json(content, path.parent)
    except ValueError as error:  # of Stalls; an EgretError is one, too
        raise EgretError(
            f"{shown(path)} must be a case that `egret fuzz` saved, but is not ({error})"
        ) from None


def _case_from_json(content: Any, folder: Path) -> Case:
    content = _object("the case", content)
    if content.get("format") != FORMAT or content.get("version") not in VERSIONS:
        raise EgretError(
            f"format {brief(content.get('format'))} version {brief(content.get('version'))} must be {FORMAT} "
            f"{' or '.join(map(str, VERSIONS))}"
        )
    name = content.get("image")
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or os.sep in name:
        raise EgretError(f"image must be the name of a file beside it, not {brief(name)}")
    image = load_image(folder / name)
    config = _config_from_json(_object("config", content.get("config")), image)
    phases = content.get("phases")
    if not isinstance(phases, list) or not phases:
        raise EgretError(f"phases must be a list of at least one, not {brief(phases)}")
    cells = sum(len(steps) for phase in phases for steps in _lists("sequences", phase)) * image.input.size
    if cells > CELLS_MAX:
        raise EgretError(f"all phases together must have at most {CELLS_MAX} inputs, not {cells}")
    return Case(image, config, tuple(_phase_from_json(phase, image) for phase in phases))


def _object(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EgretError(f"{what} must be a JSON object, not {brief(value)}")
    return value


def _lists(name: str, content: Any) -> list[list[Any]]:
    values = _object("a phase", content).get(name)
    if not isinstance(values, list) or not all(isinstance(value, list) for value in values):
        raise EgretError(f"{name} must be a list of lists, not {brief(values)}")
    return values


def _config_from_json(content: dict[str, Any], image: NetworkImage) -> AcceleratorConfig:
    defaults = asdict(AcceleratorConfig())
    if unknown := sorted(set(content) - set(defaults)):
        raise EgretError(f"config has no setting {brief(unknown[0])}")
    for name, value in content.items():
        many = isinstance(value, list) and name in ("lanes", "update_lanes")
        numbers = value if many else [value]
        if name in ("weights", "protection"):
            good = isinstance(value, str)
        elif name == "compact":
            good = isinstance(value, bool)
        else:
            own_choice = value is None and defaults[name] is None
            good = own_choice or all(type(n) is int and 0 <= n <= NUMBER_MAX for n in numbers)
        if not good:
            raise EgretError(f"{name} of config cannot be {brief(value)}")
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    config = AcceleratorConfig(**settings)
    config.resolve(image)  # raises EgretError where a number is outside its range
    return config


def _phase_to_json(phase: Phase) -> dict[str, Any]:
    return {
        # Of each step the inputs that are not zero.
        "sequences": [
            [[[int(j), int(x[j])] for j in np.flatnonzero(x)] for x in sequence]
            for sequence in phase.sequences
        ],
        "seed": phase.seed,
        "source": asdict(phase.source) if phase.source else None,
        "sink": asdict(phase.sink) if phase.sink else None,
        "reset_tokens": phase.reset_tokens,
        "reset_delay": phase.reset_delay,
        "reset": phase.reset,
        "load": phase.load,
    }


def _phase_from_json(content: dict[str, Any], image: NetworkImage) -> Phase:
    for name in ("source", "sink"):
        stalls = content.get(name)
        if stalls is not None and set(_object(name, stalls)) != {"chance", "mask"}:
            raise EgretError(f"{name} must be null or an object of chance and mask, not {brief(stalls)}")
    ends = {
        name: Stalls(_natural(content[name], "chance", 255), _natural(content[name], "mask", 65535))
        if content.get(name)
        else None
        for name in ("source", "sink")
    }
    reset = content.get("reset", True)
    if not isinstance(reset, bool):
        raise EgretError(f"reset must be true or false, not {brief(reset)}")
    return Phase(
        sequences=tuple(_sequence_from_json(steps, image) for steps in _lists("sequences", content)),
        seed=_natural(content, "seed", 2**63 - 1),
        reset_tokens=_natural(content, "reset_tokens", 2**32 - 1),
        reset_delay=_natural(content, "reset_delay", 2**32 - 1),
        reset=reset,
        load=None if content.get("load") is None else _natural(content, "load", 2**63 - 1),
        **ends,
    )


def _natural(content: dict[str, Any], name: str, high: int) -> int:
    value = content.get(name)
    if type(value) is not int or not 0 <= value <= high:
        raise EgretError(f"{name} must be an integer 0..{high}, not {brief(value)}")
    return value


def _sequence_from_json(steps: list[Any], image: NetworkImage) -> np.ndarray:
    size, fmt = image.input.size, image.input.format
    sequence = np.zeros((len(steps), size), np.int64)
    for step, events in enumerate(steps):
        for event in events if isinstance(events, list) else [events]:
            pair = isinstance(event, list) and len(event) == 2 and all(type(n) is int for n in event)
            if not pair or not 0 <= event[0] < size or not fmt.lo <= event[1] <= fmt.hi:
                raise EgretError(
                    f"an event must be an input 0..{size - 1} and a value {fmt.lo}..{fmt.hi}, "
                    f"not {brief(event)}"
                )
            sequence[step, event[0]] = event[1]
    return check_sequence("a sequence", sequence, image)

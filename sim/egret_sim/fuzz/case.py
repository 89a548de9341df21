"""One case of the fuzzer: an accelerator and what is played to it. Everything that a replay needs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egret_hw.config import AcceleratorConfig
from egret_hw.protection import NONE
from egret_sim.cosimulation import Stalls
from egru.errors import EgretError
from egru.image import NetworkImage, load_image, save_image
from egru.writing import make_directory, write_whole

FORMAT, VERSION = "egret-fuzz-case", 2
#: A case of version 1 has no loaded weights.
VERSIONS = (1, VERSION)


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
        If the file is missing or is no case.
    """
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT or content["version"] not in VERSIONS:
            raise ValueError(f"format {content['format']} version {content['version']}")
        image = load_image(path.parent / content["image"])
        config: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in content["config"].items()
        }
        phases = tuple(_phase_from_json(phase, image.input.size) for phase in content["phases"])
        return Case(image, AcceleratorConfig(**config), phases)
    except OSError as error:
        raise EgretError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise EgretError(f"{path} must be a case that `egret fuzz` saved, but is not ({error})") from None


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


def _phase_from_json(content: dict[str, Any], inputs: int) -> Phase:
    sequences = []
    for steps in content["sequences"]:
        sequence = np.zeros((len(steps), inputs), np.int64)
        for step, events in enumerate(steps):
            for index, value in events:
                sequence[step, index] = value
        sequences.append(sequence)
    stalls = {end: Stalls(**content[end]) if content[end] else None for end in ("source", "sink")}
    return Phase(
        sequences=tuple(sequences),
        seed=content["seed"],
        reset_tokens=content["reset_tokens"],
        reset_delay=content["reset_delay"],
        reset=content.get("reset", True),
        load=content.get("load"),
        **stalls,
    )

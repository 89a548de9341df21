"""How each task's network is trained: every default in one place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from egru.errors import EgretError
from egru.options import check_kernel

MODELS = ("egru", "gru")  #: the event-based network, and the dense baseline of the same size


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one task. Activities are shares of units that fire in a step, 0..1."""

    units: int = 64  # per layer
    layers: int = 1
    epochs: int = 60  # float training
    batch_size: int = 32  # sequences
    learning_rate: float = 5e-3  # AdamW's peak; one cosine down to zero
    warmup: float = 0.05  # share of the steps in which the rate rises linearly from zero
    weight_decay: float = 1e-2  # on matrices; biases and thresholds have none
    clip_norm: float = 1.0  # of the whole gradient
    noise: float = 0.1  # deviation of Gaussian noise added to the normalised training inputs
    rotation_degrees: float = 0.0  # deviation of a random rotation of each training sequence's vectors
    gain: float = 0.0  # deviation of the logarithm of a random gain on the same
    label_smoothing: float = 0.05
    activity_target: float = 0.05  # what the activity pressure aims at
    activity_limit: float = 0.08  # an epoch above this is not selected
    pressure: float = 10.0  # weight of (activity - target) in the loss, once ramped in
    ramp_start: float = 1 / 3  # share of the epochs without any pressure
    ramp_end: float = 2 / 3  # share of the epochs after which the pressure is full
    qat_epochs: int = 15  # fine-tuning of the quantised network
    qat_learning_rate: float = 1e-3
    kernel: str = "dense"  # of egru.EGRU; the others are faster, and round differently
    learn_scales: bool = False  # whether fine-tuning moves the weights' fractions, too

    def __post_init__(self) -> None:
        for name in ("units", "layers", "epochs", "batch_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise EgretError(f"{name} must be an integer of at least 1, not {value!r}")
        if type(self.qat_epochs) is not int or self.qat_epochs < 0:
            raise EgretError(f"qat_epochs must be an integer of at least 0, not {self.qat_epochs!r}")
        for name in ("learning_rate", "qat_learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise EgretError(f"{name} must be a finite number above 0, not {getattr(self, name)!r}")
        for name in ("weight_decay", "noise", "rotation_degrees", "gain", "pressure"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise EgretError(f"{name} must be a finite number of at least 0, not {getattr(self, name)!r}")
        for name in (
            "warmup",
            "label_smoothing",
            "activity_target",
            "activity_limit",
            "ramp_start",
            "ramp_end",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise EgretError(f"{name} must lie in 0..1, not {getattr(self, name)!r}")
        if type(self.learn_scales) is not bool:
            raise EgretError(f"learn_scales must be true or false, not {self.learn_scales!r}")
        check_kernel(self.kernel)
        if self.ramp_end < self.ramp_start:
            raise EgretError(f"ramp_end must be at least ramp_start, {self.ramp_start}, not {self.ramp_end}")

    def but(self, **changes: Any) -> Recipe:
        """Return a copy in which every change that is not None is made."""
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})

    def as_dict(self) -> dict[str, Any]:
        """Every value by name, ready for JSON; kernel and learned scales only where not the default.

        So files of networks that were trained before there was a choice come out the same, byte for byte.
        """
        values = dataclasses.asdict(self)
        if self.kernel == "dense":
            del values["kernel"]
        if not self.learn_scales:
            del values["learn_scales"]
        return values


RECIPES = {
    "digits": Recipe(units=128, epochs=120, noise=0.3, qat_epochs=10),
    "har": Recipe(
        units=128,
        epochs=30,
        batch_size=64,
        rotation_degrees=6.0,
        gain=0.1,
        activity_target=0.085,
        activity_limit=0.10,
        qat_epochs=4,
        qat_learning_rate=3e-4,
    ),
}


def recipe(task: str) -> Recipe:
    """Return the recipe of a task; raises EgretError if there is none."""
    if task not in RECIPES:
        raise EgretError(f"task must be one of {', '.join(RECIPES)}, not {task!r}")
    return RECIPES[task]


def check_model(model: str) -> str:
    """Return ``model`` if it is a kind of network that can be trained, else raise EgretError."""
    if model not in MODELS:
        raise EgretError(f"model must be one of {', '.join(MODELS)}, not {model!r}")
    return model


def check_seed(seed: int) -> int:
    """Return ``seed`` if both random generators take it, else raise EgretError."""
    if not 0 <= seed < 2**63:
        raise EgretError(f"seed must be at least 0 and below 2^63, not {seed}")
    return seed


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds with commas between them, at least one, none twice."""
    try:
        seeds = tuple(check_seed(int(part)) for part in text.split(","))
    except ValueError:
        raise EgretError(
            f"seeds must be integers of at least 0 with commas between them, not {text!r}"
        ) from None
    if len(set(seeds)) != len(seeds):
        raise EgretError(f"seeds must differ from one another, not {text!r}")
    return seeds

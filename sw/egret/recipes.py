"""How each task's network is trained: every default in one place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from egret.numerals import whole
from egru.errors import EgretError
from egru.options import check_kernel
from egru.untrusted import brief

READOUTS = ("mean", "last", "every")  #: what a network answers; see `egru.Network`
MODELS = ("egru", "gru")  #: the event-based network, and the dense baseline of the same size


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one task. Activities are shares of units that fire in a step, 0..1.

    New fields go to the end and have a default under which older networks come out as they did.
    """

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
    eps: float = 1.0  # slope of the surrogate gradient, which reaches 1/eps to either side of a threshold
    readout: str = "mean"  # mean or last of a sequence, or every step; texts need every
    window: int = 100  # steps of a text between two updates; the gradient ends where a window starts
    patience: int = 0  # epochs under full pressure without a better one that end the training; 0 for never
    threads: int = 1  # of PyTorch; the dense kernel's sums may depend on it
    # What follows makes the network an `egret.paper.PaperNetwork`.
    sizes: tuple[int, ...] = ()  # units per layer where they differ, instead of units and layers
    embedding: int = 0  # length of the vectors that stand for tokens; 0 for one-hot inputs
    tied: bool = False  # whether the readout's weights are the embedding's
    dropout_input: float = 0.0  # of the first layer's inputs, the same ones in every step of a sequence
    dropout_between: float = 0.0  # between layers, likewise
    dropout_output: float = 0.0  # of the readout's inputs, likewise
    dropconnect: float = 0.0  # of recurrent weights, other ones in every batch
    zoneout: float = 0.0  # probability that a unit keeps its state in a step
    # Of the event-based unit and its start.
    gamma: float = 0.7  # height of the surrogate gradient at the threshold
    memory: float = 0.0  # steps that units remember at first, see `egru.EGRU`; 0 for biases of zero
    input_std: float = 0.0  # deviation of the first layer's input weights at first; 0 for Xavier's
    learn_scales: bool = False  # whether fine-tuning moves the weights' fractions, too
    threshold_rate: float = 1.0  # of thresholds, as a share of the learning rate; see `egret.optimiser`
    activity_floor: float = 0.0  # below it the pressure pulls the activity up, from the first step on

    def __post_init__(self) -> None:
        for name in ("units", "layers", "epochs", "batch_size", "window", "threads"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise EgretError(f"{name} must be an integer of at least 1, not {brief(value)}")
        object.__setattr__(self, "sizes", tuple(self.sizes))  # of JSON comes a list
        if not all(type(units) is int and units >= 1 for units in self.sizes):
            raise EgretError(f"sizes must be integers of at least 1, not {brief(self.sizes)}")
        for name in ("qat_epochs", "patience", "embedding"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise EgretError(f"{name} must be an integer of at least 0, not {brief(value)}")
        for name in ("learning_rate", "qat_learning_rate", "clip_norm", "eps", "gamma", "threshold_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise EgretError(f"{name} must be a finite number above 0, not {brief(getattr(self, name))}")
        if self.memory and not 1 < self.memory < float("inf"):
            raise EgretError(
                f"memory must be 0 or a finite number of steps above 1, not {brief(self.memory)}"
            )
        for name in ("input_std", "weight_decay", "noise", "rotation_degrees", "gain", "pressure"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise EgretError(
                    f"{name} must be a finite number of at least 0, not {brief(getattr(self, name))}"
                )
        for name in (
            "warmup",
            "label_smoothing",
            "activity_target",
            "activity_limit",
            "activity_floor",
            "ramp_start",
            "ramp_end",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise EgretError(f"{name} must lie in 0..1, not {brief(getattr(self, name))}")
        for name in ("dropout_input", "dropout_between", "dropout_output", "dropconnect", "zoneout"):
            if not 0 <= getattr(self, name) < 1:
                raise EgretError(f"{name} must be at least 0 and below 1, not {brief(getattr(self, name))}")
        if type(self.tied) is not bool:
            raise EgretError(f"tied must be true or false, not {brief(self.tied)}")
        if type(self.learn_scales) is not bool:
            raise EgretError(f"learn_scales must be true or false, not {brief(self.learn_scales)}")
        check_kernel(self.kernel)
        if self.readout not in READOUTS:
            raise EgretError(f"readout must be one of {', '.join(READOUTS)}, not {brief(self.readout)}")
        if self.activity_floor > self.activity_target:
            raise EgretError(
                f"activity_floor must be at most activity_target, {self.activity_target}, "
                f"not {self.activity_floor}"
            )
        if self.ramp_end < self.ramp_start:
            raise EgretError(f"ramp_end must be at least ramp_start, {self.ramp_start}, not {self.ramp_end}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Units of every layer."""
        return self.sizes or (self.units,) * self.layers

    @property
    def label(self) -> str:
        """The units in few letters: 128, or 1350/1350/750."""
        return "/".join(map(str, self.sizes)) or str(self.units)

    def paper_options(self) -> dict[str, Any]:
        """Return what only an `egret.paper.PaperNetwork` has and is not off, by the name of its argument."""
        names = ("embedding", "tied", "dropout_input", "dropout_between", "dropout_output", "dropconnect")
        values = {name: getattr(self, name) for name in (*names, "zoneout")}
        return {name: value for name, value in values.items() if value}

    def but(self, **changes: Any) -> Recipe:
        """Return a copy in which every change that is not None is made."""
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})

    def as_dict(self) -> dict[str, Any]:
        """Every value by name, ready for JSON; of the fields from ``kernel`` on only what is not the default.

        So files of networks that were trained before there was a choice come out the same, byte for byte.
        """
        fields = dataclasses.fields(self)
        names = [f.name for f in fields]
        later = names[names.index("kernel") :]
        values = {f.name: getattr(self, f.name) for f in fields}
        return {k: v for k, v in values.items() if k not in later or v != getattr(_DEFAULTS, k)}


_DEFAULTS = Recipe()

RECIPES = {
    "digits": Recipe(units=128, epochs=120, noise=0.3, qat_epochs=10),
    "har": Recipe(
        units=128,
        epochs=30,
        batch_size=64,
        learning_rate=1e-2,
        rotation_degrees=6.0,
        gain=0.1,
        activity_target=0.097,
        activity_limit=0.10,
        qat_epochs=4,
        qat_learning_rate=3e-4,
        kernel="sparse",
        memory=128.0,
        threshold_rate=0.1,
    ),
    "smnist-row": Recipe(
        units=256,
        epochs=24,
        batch_size=128,
        learning_rate=3e-3,
        weight_decay=0.05,
        noise=0.3,
        activity_target=0.12,
        activity_limit=0.15,
        qat_epochs=3,
        qat_learning_rate=3e-4,
        kernel="sparse",
    ),
    "ptb-char": Recipe(
        units=256,
        epochs=10,
        batch_size=32,
        learning_rate=1e-2,
        noise=0.0,
        label_smoothing=0.0,
        activity_target=0.198,
        activity_limit=0.20,
        qat_epochs=1,
        qat_learning_rate=3e-4,
        kernel="sparse",
        readout="every",
        window=50,
        input_std=1.0,
        activity_floor=0.196,
    ),
}
# MNIST by pixels: tuned on pixels in their order, and taken over for shuffled ones.
RECIPES |= dict.fromkeys(
    ("smnist", "psmnist"),
    Recipe(
        units=192,
        epochs=24,
        batch_size=64,
        learning_rate=7e-3,
        noise=0.0,
        activity_target=0.24,
        activity_limit=0.28,
        qat_epochs=0,
        kernel="sparse",
        gamma=0.2,
        memory=784.0,
        input_std=2.0,
        threshold_rate=0.1,
        threads=2,
    ),
)
# Starting points, not tuned yet: sizes that two cores can train.
RECIPES |= {
    "gestures": Recipe(units=128, epochs=40, batch_size=64, activity_limit=0.10),
    "dvs-gesture": Recipe(units=256, epochs=40, noise=0.0, kernel="auto"),
    "ptb-word": Recipe(
        units=256,
        epochs=20,
        noise=0.0,
        label_smoothing=0.0,
        activity_limit=0.20,
        kernel="auto",
        readout="every",
        window=50,
    ),
}


def check_model(model: str) -> str:
    """Return ``model`` if it is a kind of network that can be trained, else raise EgretError."""
    if model not in MODELS:
        raise EgretError(f"model must be one of {', '.join(MODELS)}, not {brief(model)}")
    return model


def check_seed(seed: int) -> int:
    """Return ``seed`` if both random generators take it, else raise EgretError."""
    if not 0 <= seed < 2**63:
        raise EgretError(f"seed must be at least 0 and below 2^63, not {brief(seed)}")
    return seed


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds with commas between them, at least one, none twice."""
    try:
        seeds = tuple(whole(part) for part in text.split(","))
    except ValueError:
        raise EgretError(
            f"seeds must be integers of at least 0 with commas between them, not {brief(text)}"
        ) from None
    for seed in seeds:
        check_seed(seed)
    if len(set(seeds)) != len(seeds):
        raise EgretError(f"seeds must differ from one another, not {brief(text)}")
    return seeds

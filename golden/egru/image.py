"""The network image: one file that holds every integer of a network (docs/numerics.md, section 7).

It is the only thing that passes from the model to the hardware. All checks are made here, once: whoever
holds a ``NetworkImage`` holds a valid network.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from egru import container, untrusted
from egru.errors import EgretError
from egru.formats import (
    BIAS_BITS,
    EVENT_BITS_RANGE,
    FRAC_RANGE,
    NARROW_FRAC,
    RESETS,
    SIZE_MAX,
    STATE_FRAC,
    STATE_MAX,
    STATE_RESETS,
    STEPS_MAX,
    TABLE_BITS_RANGE,
    WEIGHT_BITS_RANGE,
    IntFormat,
    as_integers,
)
from egru.untrusted import brief

FORMAT = "egret-network-image"
VERSION = 1
#: What a readout may answer with: the logits of each step, of the last step, or summed over all steps.
MODES = ("mean", "last", "every")

#: Levels of objects and lists in ``info``: it stands inside the object that describes the image.
INFO_DEPTH_MAX = untrusted.JSON_DEPTH_MAX - 1

_INT32 = IntFormat(BIAS_BITS, 0, True)


class ImageError(EgretError):
    """A network image that breaks a rule of docs/numerics.md."""


def _check_int(name: str, value, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ImageError(f"{name} must be an integer {low}..{high}, not {brief(value)}")


def _check_kind(name: str, value, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind):
        kinds = " or ".join(item.__name__ for item in (kind if isinstance(kind, tuple) else (kind,)))
        raise ImageError(f"{name} must be of type {kinds}, not {brief(value)}")


def _check_choice(name: str, value, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ImageError(f"{name} must be {' or '.join(repr(item) for item in choices)}, not {brief(value)}")


def _check_array(name: str, value, dtype, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Return a read-only copy of ``value``, checked for integers, shape and range."""
    try:
        array = as_integers(name, value)
    except EgretError as error:
        raise ImageError(str(error)) from None
    if array.shape != shape:
        raise ImageError(f"{name} must have shape {shape}, not {array.shape}")
    outside = (array < low) | (array > high)
    if outside.any():
        raise ImageError(f"{name} must be within {low}..{high}, not {array[outside].flat[0]}")
    array = array.astype(dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class InputSpec:
    """The network input: ``size`` integers of a format of 1..8 bits and fraction 0..12."""

    size: int
    bits: int
    frac: int
    signed: bool

    def __post_init__(self) -> None:
        _check_int("input.size", self.size, 1, SIZE_MAX)
        if not isinstance(self.signed, bool):
            raise ImageError(f"input.signed must be true or false, not {brief(self.signed)}")
        _check_int("input.bits", self.bits, 2 if self.signed else 1, 8)
        _check_int("input.frac", self.frac, *FRAC_RANGE)

    @property
    def format(self) -> IntFormat:
        """The format of one input; ``format.quantise`` turns real inputs into those of the network."""
        return IntFormat(self.bits, self.frac, self.signed)


@dataclass(frozen=True)
class LayerSpec:
    """Sizes, variant and formats of a layer. Bits and fractions are those of docs/numerics.md, section 2.

    ``reset`` is "after" or "before", ``state_reset`` "threshold" or "output": see section 3.
    """

    inputs: int
    units: int
    reset: str = "after"
    state_reset: str = "threshold"
    input_weight_bits: int = 8
    input_weight_frac: int = 7
    recurrent_weight_bits: int = 8
    recurrent_weight_frac: int = 7
    event_bits: int = 8
    table_bits: int = 10

    def __post_init__(self) -> None:
        _check_int("layer.inputs", self.inputs, 1, SIZE_MAX)
        _check_int("layer.units", self.units, 1, SIZE_MAX)
        _check_choice("layer.reset", self.reset, RESETS)
        _check_choice("layer.state_reset", self.state_reset, STATE_RESETS)
        _check_int("layer.input_weight_bits", self.input_weight_bits, *WEIGHT_BITS_RANGE)
        _check_int("layer.input_weight_frac", self.input_weight_frac, *FRAC_RANGE)
        _check_int("layer.recurrent_weight_bits", self.recurrent_weight_bits, *WEIGHT_BITS_RANGE)
        _check_int("layer.recurrent_weight_frac", self.recurrent_weight_frac, *FRAC_RANGE)
        _check_int("layer.event_bits", self.event_bits, *EVENT_BITS_RANGE)
        _check_int("layer.table_bits", self.table_bits, *TABLE_BITS_RANGE)

    @property
    def input_weight_format(self) -> IntFormat:
        """The format of an input weight."""
        return IntFormat(self.input_weight_bits, self.input_weight_frac, True)

    @property
    def recurrent_weight_format(self) -> IntFormat:
        """The format of a recurrent weight."""
        return IntFormat(self.recurrent_weight_bits, self.recurrent_weight_frac, True)

    @property
    def event_format(self) -> IntFormat:
        """The format of the payloads that leave the layer."""
        return IntFormat(self.event_bits, self.event_bits, False)

    @property
    def payload_shift(self) -> int:
        """Bits of a state below the last bit of a payload (``15 - eb``)."""
        return STATE_FRAC - self.event_bits

    @property
    def state_range(self) -> tuple[int, int]:
        """Ends of the range that the state never leaves, whatever the weights."""
        largest = self.event_format.hi << self.payload_shift
        return -STATE_MAX - (largest if self.state_reset == "output" else 0), STATE_MAX

    @property
    def threshold_range(self) -> tuple[int, int]:
        """Ends of a threshold's range: one payload step, so that a fired event is never 0, and 32767."""
        return 1 << self.payload_shift, STATE_MAX

    def acc_frac(self, input_format: IntFormat) -> int:
        """Fraction of all sums of the layer (``fa``), where ``input_format`` arrives at it."""
        return max(
            NARROW_FRAC,
            input_format.frac + self.input_weight_frac,
            self.event_bits + self.recurrent_weight_frac,
        )


@dataclass(frozen=True)
class ReadoutSpec:
    """Sizes and format of the readout; ``max_steps`` bounds a sequence in mode ``mean``, else it is 1."""

    classes: int
    mode: str = "mean"
    weight_bits: int = 8
    weight_frac: int = 7
    max_steps: int = 1

    def __post_init__(self) -> None:
        _check_int("readout.classes", self.classes, 1, SIZE_MAX)
        _check_choice("readout.mode", self.mode, MODES)
        _check_int("readout.weight_bits", self.weight_bits, *WEIGHT_BITS_RANGE)
        _check_int("readout.weight_frac", self.weight_frac, *FRAC_RANGE)
        if self.mode == "mean":
            _check_int("readout.max_steps", self.max_steps, 1, STEPS_MAX)
        elif type(self.max_steps) is not int or self.max_steps != 1:
            raise ImageError(
                f"readout.max_steps must be 1 in mode {self.mode!r}, not {brief(self.max_steps)}"
            )

    @property
    def weight_format(self) -> IntFormat:
        """The format of a readout weight."""
        return IntFormat(self.weight_bits, self.weight_frac, True)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: its spec, the format of what arrives at it, and its integers.

    Attributes
    ----------
    input_weight
        int8, 3N x I; row ``g*N + u`` is gate g (z, r, candidate) of unit u.
    recurrent_weight
        int8, 3N x N, rows as above.
    bias
        int32, 4 x N at fraction ``acc_frac``: z, r, candidate's input part, candidate's recurrent part.
    threshold
        int16, N, at fraction 15.
    sigmoid, tanh
        int16, 2^table_bits, by ascending signed index, at fraction 15.
    """

    spec: LayerSpec
    input_format: IntFormat
    input_weight: np.ndarray
    recurrent_weight: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray
    sigmoid: np.ndarray
    tanh: np.ndarray

    #: Names of the tensors.
    TENSORS: ClassVar[tuple[str, ...]] = (
        "input_weight",
        "recurrent_weight",
        "bias",
        "threshold",
        "sigmoid",
        "tanh",
    )

    def __post_init__(self) -> None:
        spec = self.spec
        _check_kind("layer.spec", spec, LayerSpec)
        _check_kind("layer.input_format", self.input_format, IntFormat)
        units, entries = spec.units, 1 << spec.table_bits
        weight, recurrent = spec.input_weight_format, spec.recurrent_weight_format
        rules = {
            "input_weight": (np.int8, (3 * units, spec.inputs), weight.lo, weight.hi),
            "recurrent_weight": (np.int8, (3 * units, units), recurrent.lo, recurrent.hi),
            "bias": (np.int32, (4, units), _INT32.lo, _INT32.hi),
            "threshold": (np.int16, (units,), *spec.threshold_range),
            "sigmoid": (np.int16, (entries,), 0, STATE_MAX),
            "tanh": (np.int16, (entries,), -STATE_MAX, STATE_MAX),
        }
        for name, (dtype, shape, low, high) in rules.items():
            array = _check_array(f"layer.{name}", getattr(self, name), dtype, shape, low, high)
            object.__setattr__(self, name, array)

    def __eq__(self, other: object) -> bool:
        """Equal formats and equal integers."""
        return (
            isinstance(other, Layer)
            and (self.spec, self.input_format) == (other.spec, other.input_format)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.TENSORS)
        )

    @cached_property
    def acc_frac(self) -> int:
        """Fraction of all sums (``fa``)."""
        return self.spec.acc_frac(self.input_format)

    @property
    def input_shift(self) -> int:
        """Left shift of an input sum (``si``)."""
        return self.acc_frac - self.input_format.frac - self.spec.input_weight_frac

    @property
    def recurrent_shift(self) -> int:
        """Left shift of a recurrent sum (``sh``)."""
        return self.acc_frac - self.spec.event_bits - self.spec.recurrent_weight_frac

    @property
    def event_format(self) -> IntFormat:
        """The format of the payloads that leave the layer."""
        return self.spec.event_format


@dataclass(frozen=True, eq=False)
class Readout:
    """The readout: its spec, int8 weights (C x N) and int32 biases (C)."""

    spec: ReadoutSpec
    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        _check_kind("readout.spec", self.spec, ReadoutSpec)
        try:
            shape = as_integers("readout.weight", self.weight).shape
        except EgretError as error:
            raise ImageError(str(error)) from None
        if len(shape) != 2 or not 1 <= shape[1] <= SIZE_MAX:
            raise ImageError(f"readout.weight must have shape (classes, units), not {shape}")
        classes, fmt = self.spec.classes, self.spec.weight_format
        weight = _check_array("readout.weight", self.weight, np.int8, (classes, shape[1]), fmt.lo, fmt.hi)
        bias = _check_array("readout.bias", self.bias, np.int32, (classes,), _INT32.lo, _INT32.hi)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    def __eq__(self, other: object) -> bool:
        """Equal formats and equal integers."""
        return (
            isinstance(other, Readout)
            and self.spec == other.spec
            and np.array_equal(self.weight, other.weight)
            and np.array_equal(self.bias, other.bias)
        )


@dataclass(frozen=True)
class NetworkImage:
    """A whole network, valid by construction.

    Parameters
    ----------
    name
        1 to 64 printable characters.
    input, layers, readout
        The parts; each layer must take what the one before it sends.
    info
        Free text for people, anything that JSON can hold, of at most `INFO_DEPTH_MAX` levels. Never changes
        a computed bit.

    Raises
    ------
    ImageError
        If a rule of docs/numerics.md is broken.
    """

    name: str
    input: InputSpec
    layers: tuple[Layer, ...]
    readout: Readout
    info: dict

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isprintable() or not 1 <= len(self.name) <= 64:
            raise ImageError(f"name must be 1 to 64 printable characters, not {brief(self.name)}")
        _check_kind("input", self.input, InputSpec)
        _check_kind("readout", self.readout, Readout)
        _check_kind("layers", self.layers, (list, tuple))
        for index, layer in enumerate(self.layers):
            _check_kind(f"layers.{index}", layer, Layer)
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "info", _plain_json(self.info))
        if not self.layers:
            raise ImageError("layers must hold at least one layer")
        size, arriving = self.input.size, self.input.format
        for index, layer in enumerate(self.layers):
            if layer.spec.inputs != size:
                raise ImageError(f"layers.{index}.inputs must be {size}, not {layer.spec.inputs}")
            if layer.input_format != arriving:
                raise ImageError(f"layers.{index}: what arrives is {arriving}, not {layer.input_format}")
            size, arriving = layer.spec.units, layer.event_format
        if self.readout.weight.shape[1] != size:
            raise ImageError(
                f"readout.weight must have {size} columns, one per unit, not {self.readout.weight.shape[1]}"
            )

    @property
    def logit_frac(self) -> int:
        """Fraction of the integer logits (in mode ``mean``: of their sum over the steps)."""
        return self.layers[-1].spec.event_bits + self.readout.spec.weight_frac


def _plain_json(info) -> dict:
    """Return a deep copy of ``info`` as a reader of the file would see it."""
    if not isinstance(info, dict):
        raise ImageError(f"info must be a JSON object, not {brief(info)}")
    try:
        return untrusted.strict_json(json.dumps(info, allow_nan=False), INFO_DEPTH_MAX)
    except untrusted.JSONError as error:
        raise ImageError(f"info must hold what JSON can hold: {error}") from None
    except TypeError:
        raise ImageError(
            "info must hold what JSON can hold: dictionaries whose keys are texts, lists, texts, "
            "Python's numbers, True, False and None"
        ) from None
    except (ValueError, RecursionError):
        raise ImageError(
            "info must hold what JSON can hold: no NaN, no infinity, no integer of thousands of digits, "
            "nothing that holds itself or is nested too deeply"
        ) from None


def save_image(image: NetworkImage, path: str | Path) -> None:
    """Write an image. The file appears whole or not at all, and equal images give equal bytes.

    Raises
    ------
    EgretError
        If the file cannot be written, or ``info`` was changed to what no file can hold.
    """
    _check_kind("image", image, NetworkImage)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "name": image.name,
        "input": asdict(image.input),
        "layers": [asdict(layer.spec) for layer in image.layers],
        "readout": asdict(image.readout.spec),
        "info": _plain_json(image.info),  # a program may have changed it since
    }
    tensors = {
        f"layers.{index}.{name}": getattr(layer, name)
        for index, layer in enumerate(image.layers)
        for name in Layer.TENSORS
    }
    tensors |= {"readout.weight": image.readout.weight, "readout.bias": image.readout.bias}
    container.write(path, {"egret": json.dumps(description, allow_nan=False)}, tensors)


def load_image(path: str | Path) -> NetworkImage:
    """Read an image, and check everything about it.

    Raises
    ------
    ImageError
        If the file cannot be read, or breaks a rule of docs/numerics.md; the message begins with the path.
    """
    try:
        with untrusted.opened(path, untrusted.TENSORS_BYTES_MAX) as source:
            metadata, entries = container.read_header(source, container.INTEGERS)
            parts = _Parts(metadata)
            parts.check_tensors(entries)
            return parts.assemble(container.read_arrays(source, entries))
    except untrusted.UnreadableError as error:
        raise ImageError(f"{untrusted.shown(path)}: cannot be read: {error}") from None
    except EgretError as error:
        raise ImageError(f"{untrusted.shown(path)}: {error}") from None


class _Parts:
    """A file's description, checked, before any of its tensors is read."""

    def __init__(self, metadata: dict[str, str]) -> None:
        if set(metadata) != {"egret"}:
            raise ImageError(f"__metadata__ must have the one entry 'egret', not {brief(sorted(metadata))}")
        # Half a character in the name or in info is refused with them.
        description = untrusted.strict_json(metadata["egret"], halves=True)
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise ImageError(f"format must be {FORMAT!r}: this is no network image")
        if type(description.get("version")) is not int or description["version"] != VERSION:
            raise ImageError(f"version must be {VERSION}, not {brief(description.get('version'))}")
        _check_keys(
            "the image", description, ("format", "version", "name", "input", "layers", "readout", "info")
        )
        if not isinstance(description["layers"], list):
            raise ImageError("layers must be a list")
        self.input = _spec(InputSpec, "input", description["input"])
        self.layers = []
        for index, entry in enumerate(description["layers"]):
            try:
                self.layers.append(_spec(LayerSpec, "layer", entry))
            except ImageError as error:
                raise ImageError(f"layers.{index}: {error}") from None
        self.readout = _spec(ReadoutSpec, "readout", description["readout"])
        self.name, self.info = description["name"], description["info"]

    def check_tensors(self, entries: dict[str, container.Entry]) -> None:
        """Compare the types and shapes of a header with those that the description asks for."""
        units = self.layers[-1].units if self.layers else 0
        expected = {
            "readout.weight": ("I8", (self.readout.classes, units)),
            "readout.bias": ("I32", (self.readout.classes,)),
        }
        for index, spec in enumerate(self.layers):
            table = (1 << spec.table_bits,)
            expected |= {
                f"layers.{index}.input_weight": ("I8", (3 * spec.units, spec.inputs)),
                f"layers.{index}.recurrent_weight": ("I8", (3 * spec.units, spec.units)),
                f"layers.{index}.bias": ("I32", (4, spec.units)),
                f"layers.{index}.threshold": ("I16", (spec.units,)),
                f"layers.{index}.sigmoid": ("I16", table),
                f"layers.{index}.tanh": ("I16", table),
            }
        if missing := sorted(expected.keys() - entries.keys()):
            raise ImageError(f"tensors are missing: {brief(missing)}")
        if extra := sorted(entries.keys() - expected.keys()):
            raise ImageError(f"tensors that no image has: {brief(extra)}")
        for name, (dtype, shape) in expected.items():
            entry = entries[name]
            if (entry.dtype, entry.shape) != (dtype, shape):
                found = container.DTYPES[entry.dtype].name
                raise ImageError(
                    f"tensor {name} must be {dtype} of shape {shape}, not {found} of shape {entry.shape}"
                )

    def assemble(self, tensors: dict[str, np.ndarray]) -> NetworkImage:
        """Return the image of tensors that suit the description."""
        layers = []
        arriving = self.input.format
        for index, spec in enumerate(self.layers):
            parts = {name: tensors[f"layers.{index}.{name}"] for name in Layer.TENSORS}
            try:
                layers.append(Layer(spec=spec, input_format=arriving, **parts))
            except ImageError as error:
                raise ImageError(f"layers.{index}: {error}") from None
            arriving = spec.event_format
        readout = Readout(spec=self.readout, weight=tensors["readout.weight"], bias=tensors["readout.bias"])
        return NetworkImage(self.name, self.input, tuple(layers), readout, self.info)


def _check_keys(what: str, value, names: tuple[str, ...]) -> None:
    if not isinstance(value, dict) or set(value) != set(names):
        have = sorted(value) if isinstance(value, dict) else value
        raise ImageError(f"{what} must be an object of {', '.join(names)}, not {brief(have)}")


def _spec(kind, name: str, entry):
    _check_keys(name, entry, tuple(field.name for field in fields(kind)))
    return kind(**entry)

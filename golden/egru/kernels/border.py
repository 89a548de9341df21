"""The one border of the layer's kernels, dense and event-driven: what they compute from is checked here.

A kernel in C believes a pointer, so none comes from elsewhere than `point`. What is pointed at was detached
before, by `plain`: its memory stays where it is while a kernel reads it, and for a backward pass, even if a
parameter's data are replaced meanwhile, by another thread or not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from egru.errors import EgretError
from egru.kernels.library import Layer, library

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (
    torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip
PLACES_MAX = 2**31 - 2**12  #: the kernels count rows, events and weights of a panel in 32 bits

PACKED = ("packed", "packed_inputs", "kept")  #: the kernels' own forms, by the numbers that egru_size knows

#: What a layer is given, in the order of arguments, and its sizes.
INPUTS = {
    "x": ("steps", "batch", "inputs"),
    "c0": ("batch", "units"),
    "y0": ("batch", "units"),
    "weight_ih": ("gates", "inputs"),
    "weight_hh": ("gates", "units"),
    "bias_ih": ("gates",),
    "bias_hh": ("gates",),
    "theta": ("units",),
}
_OUTPUTS = {
    "y": ("steps", "batch", "units"),
    "o": ("steps", "batch", "units"),
    "c_last": ("batch", "units"),
    "y_last": ("batch", "units"),
}
_SIZES = (
    INPUTS
    | _OUTPUTS
    | {f"grad_{name}": sizes for name, sizes in (INPUTS | _OUTPUTS).items()}
    | {"lengths": ("batch",)}
    | {name: (name,) for name in PACKED}
)


def plain(value: Tensor) -> Tensor:
    """Return a value's own view of its memory, whose numbers are those of the value, without its history."""
    value = value.detach()
    if value.is_neg() or value.is_conj():
        return value.resolve_conj().resolve_neg()
    return value.clone() if value._is_zerotensor() else value


def check_inputs(values: Sequence[Tensor], number: str = "") -> None:
    """Raise if these, named as in `INPUTS`, are not the values of one layer; `number` ends parameters' names.

    The number of units is that of c0, dtype and device are those of x.
    """
    for name, value in zip(INPUTS, values, strict=True):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, not {type(value).__name__}")
    x, c0 = values[:2]
    if x.dtype not in FLOATS:
        raise TypeError(f"x must hold floating point numbers of 16 to 64 bits, not {x.dtype}")
    if x.dim() != 3 or c0.dim() != 2 or 0 in x.shape or 0 in c0.shape:
        raise EgretError(
            "x must be T x B x I and c0 B x H, each size at least 1, "
            f"not of shapes {tuple(x.shape)} and {tuple(c0.shape)}"
        )
    (steps, batch, inputs), units = x.shape, c0.shape[1]
    if max(steps, inputs, batch * (units + 64), 128 * units) > PLACES_MAX:
        raise EgretError(
            f"a layer of {units} units must have fewer steps, sequences or inputs than {steps} x {batch} x "
            f"{inputs}: give it parts of the batch, or windows of the sequence with the state between them"
        )
    sizes = {"steps": steps, "batch": batch, "inputs": inputs, "units": units, "gates": 3 * units}
    dtype, device = x.dtype, x.device
    for (name, shape), value in zip(INPUTS.items(), values, strict=True):
        if value.dtype is not dtype or value.device != device or value.layout is not torch.strided:
            kinds = ((dtype, value.dtype), (device, value.device), (torch.strided, value.layout))
            wanted, found = next((wanted, found) for wanted, found in kinds if found != wanted)
            raise EgretError(
                f"{_full(name, number)} must be {wanted}{' like x' if name != 'x' else ''}, not {found}: "
                "give x, state and parameters one dtype and one device, and no sparse layout"
            )
        expected = tuple(sizes[size] for size in shape)
        if value.shape != expected:
            raise EgretError(
                f"{_full(name, number)} must be of shape {expected} in a layer of {units} units, "
                f"{inputs} inputs and {batch} sequences, not {tuple(value.shape)}"
            )


def _full(name: str, number: str) -> str:
    return name if name in ("x", "c0", "y0") else name + number


def check_lengths(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    """Return a copy of lengths, int64 on the device of x (T x B x I), or raise."""
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor):
        raise TypeError(f"lengths must be a torch.Tensor of integers, not {type(lengths).__name__}")
    if lengths.dtype not in INTEGERS:
        raise TypeError(f"lengths must hold integers, not {lengths.dtype}")
    steps, batch, _ = x.shape
    if lengths.layout is not torch.strided or lengths.is_meta:
        raise EgretError(
            f"lengths must be a dense tensor that holds numbers, not {lengths.layout} on {lengths.device}"
        )
    if lengths.shape != (batch,):
        raise EgretError(f"lengths must be of shape ({batch},), one per sequence, not {tuple(lengths.shape)}")
    # A copy, made before it is looked at: what others change afterwards changes nothing here.
    copied = lengths.to(dtype=torch.int64, copy=True, memory_format=torch.contiguous_format)
    shortest, longest = (int(v) for v in copied.aminmax())
    if shortest < 1 or longest > steps:
        raise EgretError(
            f"lengths must be within 1..{steps}, the steps of x, not {shortest if shortest < 1 else longest}"
        )
    return copied.to(device=x.device)


def point(layer: Layer, dtype: torch.dtype, tensors: Mapping[str, Tensor | None]) -> None:
    """Let the layer's pointers of these names point at the tensors, or raise if one is not as expected.

    Shapes follow from the layer's sizes. All are rows in order; of the gradients on y and o, whose strides
    the layer has, the units alone, and one row may stand for all steps and sequences.
    """
    sizes = _sizes(layer, dtype)
    for name, tensor in tensors.items():
        if tensor is None:
            setattr(layer, name, None)
            continue
        expected = tuple(sizes[size] for size in _SIZES[name])
        in_order = tensor.is_contiguous()
        if name in ("grad_y", "grad_o"):
            strides = (getattr(layer, f"{name}_step"), getattr(layer, f"{name}_sequence"))
            if tensor.dim() == 1 and strides == (0, 0):
                expected = expected[2:]
            else:
                in_order = tensor.stride()[:2] == strides and 1 in (tensor.stride()[2], layer.units)
        address = tensor.data_ptr() if tensor.device.type == "cpu" else 0
        if (
            tensor.shape != expected
            or not in_order
            or not address
            or tensor.dtype is not (torch.int64 if name == "lengths" else dtype)
        ):
            raise EgretError(
                f"{name} must be {dtype} of shape {expected} in the CPU's memory, row by row, for the event-"
                f"driven kernels, not {tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device} "
                f"with strides {tensor.stride()}: it must stay as it was between forward and backward"
            )
        setattr(layer, name, address)


def packed_size(layer: Layer, dtype: torch.dtype, name: str) -> int:
    """How many numbers one of the forms in `PACKED` has, as the library says."""
    return library().egru_size(ctypes.byref(layer), dtype.itemsize, PACKED.index(name))


def _sizes(layer: Layer, dtype: torch.dtype) -> dict[str, int]:
    sizes = {name: getattr(layer, name) for name in ("steps", "batch", "inputs", "units")}
    packed = {name: packed_size(layer, dtype, name) for name in PACKED}
    return sizes | packed | {"gates": 3 * layer.units}

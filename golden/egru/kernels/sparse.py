"""One EGRU layer by the event-driven kernels, as a differentiable function of plain tensors.

It computes what `egru.functional` computes with `heaviside`, in another order of summation: results differ
by rounding. What is kept for the backward pass is stated in `_Layer`.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from egru.ambient import written_backward
from egru.backward import Saved, backward_through_time, length_mask
from egru.errors import EgretError
from egru.kernels import pool
from egru.kernels.border import INPUTS, check_inputs, check_lengths, packed_size, plain, point
from egru.kernels.choice import is_sparse
from egru.kernels.library import Layer, library
from egru.options import Options

INPUT_DENSITY = 0.3  #: inputs of which a smaller share is not zero are taken event by event
NEVER, ALWAYS, ADAPTIVE = 0, 1, 2  #: when silent units are skipped; see layer.h
THREAD_WORK = 1 << 17  #: multiplications of a step from which a second thread is worth its waiting


class Packed(NamedTuple):
    """Weights of a layer as the kernels read them, and what they were made of."""

    recurrent: Tensor
    inputs: Tensor
    made_of: tuple[Tensor, Tensor]  #: kept, so that their addresses are not those of others later
    versions: tuple[int, int]  #: as PyTorch counts changes, before they were read


class Ordered:
    """Packed weights of a layer, made by the first call and used by all others, of any thread.

    A packed form is never changed once it is here, and calls hold the one that they use: threads that come
    while there is none make one each, with the same bits, and the last stays.
    """

    def __init__(self) -> None:
        self._packed: Packed | None = None

    def of(self, weights: tuple[Tensor, Tensor]) -> Packed | None:
        """Return the packed form; EgretError if it is of other weights, as far as PyTorch knows."""
        packed = self._packed
        if packed is None:
            return None
        unchanged = packed.versions == _versions(packed.made_of)
        # Weights that are computed anew for each call, as torch.nn.utils.prune does, have other addresses.
        if not unchanged or not all(map(_same, weights, packed.made_of)):
            raise EgretError(
                "weights must stay as they are while they are frozen, and have changed: "
                "change them outside of the with block of frozen()"
            )
        return packed

    def keep(self, packed: Packed) -> None:
        """Let others use it."""
        self._packed = packed


def _versions(weights: tuple[Tensor, Tensor]) -> tuple[int, int]:
    ih, hh = (0 if w.is_inference() else w._version for w in weights)
    return ih, hh


def _same(one: Tensor, other: Tensor) -> bool:
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride() and one.shape == other.shape:
        return one.dtype is other.dtype
    return one.dtype is other.dtype and torch.equal(one, other)


def sparse_layer(
    x: Tensor, c0: Tensor, y0: Tensor, parameters: tuple[Tensor, ...], options: Options,
    *, lengths: Tensor | None, spikes: bool = True, skip: int = ADAPTIVE, ordered: Ordered | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Run one layer; arguments and results are those of `egru.functional.egru_layer`.

    Without `spikes` o is empty. `skip` says when silent units are skipped: ADAPTIVE where that is faster;
    NEVER (in reset="after") or ALWAYS, with the same code, are for measuring what it is worth.
    With `ordered`, the same at every call, the weights are put in order by the first call alone.
    """
    inputs = (x, c0, y0, *parameters)
    check_inputs(inputs)
    lengths = check_lengths(lengths, x)
    is_sparse("sparse", x, c0.shape[1])
    return checked_layer(inputs, options, lengths=lengths, spikes=spikes, skip=skip, ordered=ordered)


def checked_layer(
    inputs: tuple[Tensor, ...], options: Options,
    *, lengths: Tensor | None, spikes: bool, skip: int = ADAPTIVE, ordered: Ordered | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Like `sparse_layer`, of values that `check_inputs` and `check_lengths` have let pass."""
    ordered = ordered or Ordered()
    if torch.is_grad_enabled() and any(value.requires_grad for value in inputs):
        return _Layer.apply(*inputs, lengths, options, spikes, skip, ordered)
    with torch.no_grad():  # and without autograd's way round, which takes longer than a short sequence
        return _forward(inputs, lengths, options, spikes, skip, ordered, keep=False)[0]


def _forward(
    inputs: tuple[Tensor, ...], lengths: Tensor | None, options: Options, spikes: bool, skip: int,
    ordered: Ordered, *, keep: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], tuple[Tensor | None, ...], int]:  # fmt: skip
    """Return the results, what the backward pass needs besides, and whether x is taken event by event."""
    inputs = tuple(plain(value) for value in inputs)
    x, weights = inputs[0], (inputs[3], inputs[4])
    versions, packed = _versions(weights), ordered.of(weights)
    if lengths is not None:
        # Padding may be anything, NaN included; it must not reach a gradient as 0 * NaN.
        x = x.masked_fill(~length_mask(lengths, x.shape[0]).unsqueeze(2), 0.0)
    given = dict(zip(INPUTS, (x, *inputs[1:]), strict=True))
    given = {name: value.contiguous() for name, value in given.items()}
    x = given["x"]
    (steps, batch, _), units, dtype = x.shape, given["theta"].shape[0], x.dtype
    layer = _layer(x, units, options, skip)
    layer.sparse_input = int(torch.count_nonzero(x)) < INPUT_DENSITY * x.numel()
    layer.ordered = packed is not None
    if packed is None:
        with torch.inference_mode(False):  # calls with gradients may use it, too
            recurrent, packed_inputs = (
                pool.empty(packed_size(layer, dtype, name), dtype=dtype)
                for name in ("packed", "packed_inputs")
            )
        packed = Packed(recurrent, packed_inputs, weights, versions)
    kept = pool.empty(packed_size(layer, dtype, "kept"), dtype=dtype) if keep else None
    y = pool.empty(steps, batch, units, dtype=dtype)
    o = pool.empty(steps, batch, units, dtype=dtype) if spikes else x.new_empty(0)
    c_last, y_last = (pool.empty(batch, units, dtype=dtype) for _ in range(2))
    point(layer, dtype, given | {
        "lengths": lengths, "packed": packed.recurrent, "packed_inputs": packed.inputs, "kept": kept,
        "y": y, "o": o if spikes else None, "c_last": c_last, "y_last": y_last,
    })  # fmt: skip
    _call("egru_forward", layer, dtype.itemsize, backward=False)
    ordered.keep(packed)
    needed = (*given.values(), lengths, packed.recurrent, kept)
    return (y, o, c_last, y_last), needed, layer.sparse_input


class _Layer(torch.autograd.Function):
    """Forward and backward by the compiled kernels.

    Kept for backward, besides references to x and the parameters: z, r, g, c~ and, for reset="after", the
    candidate's recurrent part, of each unit and step; and the recurrent weights as the kernels order them.
    Events take no memory: that a unit fired, what it sent, and its state are recomputed from c~ and theta.
    The kernels skip what a product with zero leaves out, and so would lose a NaN that dense operations keep:
    where there is any, it has reached the gradient on c0, and all gradients are formed densely.
    """

    @staticmethod
    def forward(ctx, *arguments):
        inputs, others = arguments[:8], arguments[8:]
        outputs, needed, ctx.sparse_input = _forward(inputs, *others, keep=True)
        ctx.save_for_backward(*needed)
        _, ctx.options, _, ctx.skip, _ = others
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @written_backward
    def backward(ctx, grad_y, grad_o, grad_c_last, grad_y_last):
        *inputs, lengths, packed, kept = ctx.saved_tensors
        x, c0, y0, weight_ih, weight_hh, _, _, theta = inputs
        layer = _layer(x, theta.shape[0], ctx.options, ctx.skip)
        layer.sparse_input = ctx.sparse_input
        grad_x = pool.empty(*x.shape, dtype=x.dtype) if ctx.needs_input_grad[0] else None
        grad_y0 = pool.empty(*y0.shape, dtype=x.dtype) if ctx.needs_input_grad[2] else None
        grad_c0, grad_ih, grad_hh, grad_bias_ih, grad_bias_hh, grad_theta = (
            pool.empty(*value.shape, dtype=x.dtype) for value in (c0, *inputs[3:])
        )
        given = (grad_y, grad_o, grad_c_last, grad_y_last)
        grad_y, layer.grad_y_step, layer.grad_y_sequence = _rows(grad_y)
        grad_o, layer.grad_o_step, layer.grad_o_sequence = _rows(grad_o)
        grad_c_last, grad_y_last = (
            g if g is None else plain(g).contiguous() for g in (grad_c_last, grad_y_last)
        )
        point(layer, x.dtype, {
            "x": x, "c0": c0, "y0": y0, "weight_ih": weight_ih, "weight_hh": weight_hh, "theta": theta,
            "lengths": lengths, "packed": packed, "kept": kept, "grad_y": grad_y, "grad_o": grad_o,
            "grad_c_last": grad_c_last, "grad_y_last": grad_y_last, "grad_x": grad_x,
            "grad_weight_ih": grad_ih, "grad_weight_hh": grad_hh, "grad_bias_ih": grad_bias_ih,
            "grad_bias_hh": grad_bias_hh, "grad_theta": grad_theta, "grad_c0": grad_c0, "grad_y0": grad_y0,
        })  # fmt: skip
        _call("egru_backward", layer, x.dtype.itemsize, backward=True)
        if bool(grad_c0.isnan().any()):
            gradients = backward_through_time(
                _saved(layer, inputs, kept, lengths), *given, weight_ih, weight_hh, theta, ctx.options,
                lengths=lengths, need_x=ctx.needs_input_grad[0],
            )._asdict()  # fmt: skip
            return *(gradients[name] for name in INPUTS), None, None, None, None, None
        return (
            grad_x, grad_c0, grad_y0, grad_ih, grad_hh, grad_bias_ih, grad_bias_hh, grad_theta,
            None, None, None, None, None,
        )  # fmt: skip


def _saved(layer: Layer, inputs: list[Tensor], kept: Tensor, lengths: Tensor | None) -> Saved:
    """What the kernels kept (`Kept` in layer.h), as the dense backward pass reads it."""
    x, c0, y0, *_, theta = inputs
    steps, batch, units, fields = layer.steps, layer.batch, layer.units, 4 if layer.after else 3
    blocks = kept.view(steps * batch * (fields + 1), -1)
    values, potentials = blocks[: steps * batch * fields], blocks[steps * batch * fields :]
    width = library().egru_panel(x.dtype.itemsize)

    def field(part: Tensor, number: int) -> Tensor:
        rows = part.reshape(steps, -1, batch, part.shape[0] // (steps * batch), width)[:, :, :, number]
        rows = rows.transpose(1, 2).reshape(steps, batch, -1)[:, :, :units]
        outside = None if lengths is None else ~length_mask(lengths, steps).unsqueeze(2)
        return (rows if outside is None else rows.masked_fill(outside, 0.0)).contiguous()

    z, r, g = (field(values, k) for k in range(3))
    c_tilde = field(potentials, 0)
    o = (c_tilde > theta).to(x.dtype)
    y = o * c_tilde
    c = c_tilde - o * theta if layer.threshold_reset else c_tilde
    gated = field(values, 3) if layer.after else r * torch.cat((y0.unsqueeze(0), y[:-1]))
    return Saved(x, z, r, g, gated, torch.cat((c0.unsqueeze(0), c[:-1])), c_tilde, o, y, y0)


def _layer(x: Tensor, units: int, options: Options, skip: int) -> Layer:
    steps, batch, inputs = x.shape
    threads = torch.get_num_threads() if batch * units * (units + inputs) >= THREAD_WORK else 1
    panels = -(-units // library().egru_panel(x.dtype.itemsize))
    return Layer(
        steps=steps, batch=batch, inputs=inputs, units=units, threads=min(threads, panels),
        after=options.reset == "after", threshold_reset=options.state_reset == "threshold",
        skip=skip, gamma=options.gamma, eps=options.eps,
    )  # fmt: skip


def _call(name: str, layer: Layer, size: int, *, backward: bool) -> None:
    """Call a kernel with the scratch memory that it asks for; the interpreter's lock is free meanwhile."""
    workspace = pool.empty(
        library().egru_workspace(ctypes.byref(layer), size, backward) + 64, dtype=torch.uint8
    )
    layer.workspace = -(-workspace.data_ptr() // 64) * 64
    getattr(library(), name)(ctypes.byref(layer), size)


def _rows(gradient: Tensor | None) -> tuple[Tensor | None, int, int]:
    """Gradient on an output with its units side by side, and the strides of step and sequence.

    A gradient that is the same for all steps or sequences, such as that of a sum, stays one row.
    """
    if gradient is None:
        return None, 0, 0
    gradient = plain(gradient)
    step, sequence, unit = gradient.stride()
    if unit != 1:
        if step == sequence == 0:
            return gradient[0, 0].contiguous(), 0, 0
        gradient = gradient.contiguous()
        step, sequence, _ = gradient.stride()
    return gradient, step, sequence

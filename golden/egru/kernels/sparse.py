"""One EGRU layer by the event-driven kernels, as a differentiable function of plain tensors.

It computes what `egru.functional` computes with `heaviside`, in another order of summation: results differ
by rounding. What is kept for the backward pass is stated in `_Layer`.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from egru.ambient import written_backward
from egru.backward import length_mask
from egru.errors import EgretError
from egru.kernels import pool
from egru.kernels.library import Layer, library
from egru.options import Options

INPUT_DENSITY = 0.3  #: inputs of which a smaller share is not zero are taken event by event
NEVER, ALWAYS, ADAPTIVE = 0, 1, 2  #: when silent units are skipped; see layer.h
THREAD_WORK = 1 << 17  #: multiplications of a step from which a second thread is worth its waiting


class Ordered:
    """Weights of a layer as the kernels read them: put in order by a first call, used by all others."""

    def __init__(self) -> None:
        self.recurrent: Tensor | None = None
        self.inputs: Tensor | None = None
        self._made_of: tuple[tuple[int, int], ...] | None = None

    def is_ready(self, *weights: Tensor) -> bool:
        """Tell whether they have been made; EgretError if of other weights, as far as PyTorch knows."""
        if self._made_of is not None and self._made_of != _identity(weights):
            raise EgretError(
                "weights must stay as they are while they are frozen, and have changed: "
                "change them outside of the with block of frozen()"
            )
        return self._made_of is not None

    def made_of(self, *weights: Tensor) -> None:
        """Note which weights they were made of."""
        self._made_of = _identity(weights)


def _identity(weights: tuple[Tensor, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)


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
    if torch.is_grad_enabled() and any(value.requires_grad for value in inputs):
        return _Layer.apply(*inputs, lengths, options, spikes, skip, ordered or Ordered())
    with torch.no_grad():  # and without autograd's way round, which takes longer than a short sequence
        return _forward(inputs, lengths, options, spikes, skip, ordered or Ordered(), keep=False)[0]


def _forward(
    inputs: tuple[Tensor, ...], lengths: Tensor | None, options: Options, spikes: bool, skip: int,
    ordered: Ordered, *, keep: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], tuple[Tensor | None, ...], int]:  # fmt: skip
    """Return the results, what the backward pass needs besides, and whether x is taken event by event."""
    x, c0, y0, weight_ih, weight_hh, bias_ih, bias_hh, theta = inputs
    ready, weights = ordered.is_ready(weight_ih, weight_hh), (weight_ih, weight_hh)
    if lengths is not None:
        # Padding may be anything, NaN included; it must not reach a gradient as 0 * NaN.
        x = x.masked_fill(~length_mask(lengths, x.shape[0]).unsqueeze(2), 0.0)
    x = x.contiguous()
    c0, y0, weight_ih, weight_hh, bias_ih, bias_hh, theta = (
        value.contiguous() for value in (c0, y0, weight_ih, weight_hh, bias_ih, bias_hh, theta)
    )
    (steps, batch, _), units, dtype = x.shape, theta.shape[0], x.dtype
    size = dtype.itemsize
    width = library().egru_panel(size)
    panels = -(-units // width)
    layer = _layer(x, units, options, skip)
    layer.sparse_input = int(torch.count_nonzero(x)) < INPUT_DENSITY * x.numel()
    fields = 5 if options.reset == "after" else 4
    layer.ordered = ready
    if not ready:
        ordered.recurrent = pool.empty(panels * units * 3 * width, dtype=dtype)
        ordered.inputs = pool.empty(panels * x.shape[2] * 3 * width, dtype=dtype)
    packed = ordered.recurrent
    kept = pool.empty(steps * batch * panels * fields * width, dtype=dtype) if keep else None
    y = pool.empty(steps, batch, units, dtype=dtype)
    o = pool.empty(steps, batch, units, dtype=dtype) if spikes else x.new_empty(0)
    c_last, y_last = x.new_empty(batch, units), x.new_empty(batch, units)
    _point(
        layer, x=x, c0=c0, y0=y0, weight_ih=weight_ih, weight_hh=weight_hh, bias_ih=bias_ih,
        bias_hh=bias_hh, theta=theta, lengths=lengths, packed=packed,
        packed_inputs=ordered.inputs, kept=kept, y=y, o=o if spikes else None,
        c_last=c_last, y_last=y_last,
    )  # fmt: skip
    _call("egru_forward", layer, size, backward=False)
    ordered.made_of(*weights)
    needed = (x, c0, y0, weight_ih, weight_hh, theta, lengths, packed, kept)
    return (y, o, c_last, y_last), needed, layer.sparse_input


class _Layer(torch.autograd.Function):
    """Forward and backward by the compiled kernels.

    Kept for backward, besides references to x and the parameters: z, r, g, c~ and, for reset="after", the
    candidate's recurrent part, of each unit and step; and the recurrent weights as the kernels order them.
    Events take no memory: that a unit fired, what it sent, and its state are recomputed from c~ and theta.
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
        x, c0, y0, weight_ih, weight_hh, theta, lengths, packed, kept = ctx.saved_tensors
        layer = _layer(x, theta.shape[0], ctx.options, ctx.skip)
        layer.sparse_input = ctx.sparse_input
        grad_x = pool.empty(*x.shape, dtype=x.dtype) if ctx.needs_input_grad[0] else None
        grad_y0 = torch.empty_like(y0) if ctx.needs_input_grad[2] else None
        grad_c0, grad_theta = torch.empty_like(c0), torch.empty_like(theta)
        grad_ih, grad_hh = (pool.empty(*w.shape, dtype=w.dtype) for w in (weight_ih, weight_hh))
        grad_bias_ih, grad_bias_hh = theta.new_empty(2, 3 * theta.shape[0]).unbind()
        grad_y, layer.grad_y_step, layer.grad_y_sequence = _rows(grad_y)
        grad_o, layer.grad_o_step, layer.grad_o_sequence = _rows(grad_o)
        grad_c_last, grad_y_last = (g if g is None else g.contiguous() for g in (grad_c_last, grad_y_last))
        _point(
            layer, x=x, c0=c0, y0=y0, weight_ih=weight_ih, weight_hh=weight_hh, theta=theta,
            lengths=lengths, packed=packed, kept=kept, grad_y=grad_y, grad_o=grad_o, grad_c_last=grad_c_last,
            grad_y_last=grad_y_last, grad_x=grad_x, grad_weight_ih=grad_ih, grad_weight_hh=grad_hh,
            grad_bias_ih=grad_bias_ih, grad_bias_hh=grad_bias_hh, grad_theta=grad_theta, grad_c0=grad_c0,
            grad_y0=grad_y0,
        )  # fmt: skip
        _call("egru_backward", layer, x.dtype.itemsize, backward=True)
        return (
            grad_x, grad_c0, grad_y0, grad_ih, grad_hh, grad_bias_ih, grad_bias_hh, grad_theta,
            None, None, None, None, None,
        )  # fmt: skip


def _layer(x: Tensor, units: int, options: Options, skip: int) -> Layer:
    steps, batch, inputs = x.shape
    threads = torch.get_num_threads() if batch * units * (units + inputs) >= THREAD_WORK else 1
    panels = -(-units // library().egru_panel(x.dtype.itemsize))
    return Layer(
        steps=steps, batch=batch, inputs=inputs, units=units, threads=min(threads, panels),
        after=options.reset == "after", threshold_reset=options.state_reset == "threshold",
        skip=skip, gamma=options.gamma, eps=options.eps,
    )  # fmt: skip


def _point(layer: Layer, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        setattr(layer, name, None if tensor is None else tensor.data_ptr())


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
    step, sequence, unit = gradient.stride()
    if unit != 1:
        if step == sequence == 0:
            return gradient[0, 0].contiguous(), 0, 0
        gradient = gradient.contiguous()
        step, sequence, _ = gradient.stride()
    return gradient, step, sequence

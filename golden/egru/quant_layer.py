"""The integer model of one layer as a differentiable function (docs/numerics.md, section 3).

Forward it computes the very integers of `egru.integer`; backward it is straight-through: roundings,
that of a gated event included, have slope 1, the slopes of sigmoid and tanh follow from the table
entries used, and a spike has the surrogate gradient of `egru.backward`.

Integers are carried by floating point, since that is what matrix products and autograd are fast with. It
loses nothing: every intermediate value is an integer times a power of two, of less than 53 bits. The
largest are sums: at most 65535 terms (egru.formats.SIZE_MAX) below 2^15, shifted by 20 at most, and a
biases of 32 bits. Recurrent and input products run in float32 where the weights at hand prove that 24 bits
hold every partial sum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from egru.ambient import written_backward
from egru.backward import Saved, backward_through_time, length_mask
from egru.errors import EgretError
from egru.formats import NARROW_BITS, NARROW_FRAC, STATE_FRAC, IntFormat
from egru.image import LayerSpec
from egru.options import Options


def to_integers(values: Tensor, fmt: IntFormat, name: str, low: int | None = None) -> Tensor:
    """Turn real values into integers of a format, as float64: round half up, then saturate.

    Parameters
    ----------
    values
        Any floating point tensor.
    fmt
        The format; ``low`` replaces the lower end of its range.
    name
        What the values are, for the error message.

    Raises
    ------
    EgretError
        If a value is not a finite number.
    """
    values = values.detach()
    if not torch.isfinite(values).all():
        raise EgretError(f"{name} must hold finite numbers, and holds NaN or infinity")
    scaled = values.double() * 2.0**fmt.frac
    below = scaled.floor()
    # Not floor(v + 0.5): that sum would be rounded, too.
    rounded = below.add_((scaled - below) >= 0.5)
    return rounded.clamp_(fmt.lo if low is None else low, fmt.hi)


class _Quantise(torch.autograd.Function):
    """Real values -> the nearest values of a format (float64), straight-through.

    Where a value is beyond the format's range, only a gradient that would bring it back passes.
    """

    @staticmethod
    def forward(ctx, values, fmt, name, low):
        quantised = to_integers(values, fmt, name, low).mul_(2.0**-fmt.frac)
        ctx.save_for_backward(values)
        ctx.dtype = values.dtype
        step = 2.0**-fmt.frac
        ctx.range = ((fmt.lo if low is None else low) * step, fmt.hi * step)
        return quantised

    @staticmethod
    @written_backward
    def backward(ctx, grad):
        (values,) = ctx.saved_tensors
        return grad.to(ctx.dtype).masked_fill(~passes(values, grad, *ctx.range), 0.0), None, None, None


def passes(values: Tensor, grad: Tensor, lowest: float, highest: float) -> Tensor:
    """Where a gradient passes: inside the range, and beyond it if it would bring the value back."""
    # A descent step goes against the gradient.
    return ~(((values > highest) & (grad < 0)) | ((values < lowest) & (grad > 0)))


def quantise(values: Tensor, fmt: IntFormat, name: str, low: int | None = None) -> Tensor:
    """Round real values to those of a format (float64); the gradient passes straight through."""
    return _Quantise.apply(values, fmt, name, low)


class QuantParameters(NamedTuple):
    """Parameters of one layer as real numbers that `quantise` made, so exact multiples of their steps."""

    weight_ih: Tensor  #: 3H x I
    weight_hh: Tensor  #: 3H x H
    bias: Tensor  #: 4 x H: z, r, candidate's input part, candidate's recurrent part
    theta: Tensor  #: H


class LayerNumerics(NamedTuple):
    """What is fixed about a layer: formats and tables."""

    spec: LayerSpec
    input_format: IntFormat
    sigmoid: Tensor  #: 2^k entries, float64 integers
    tanh: Tensor  #: 2^k entries, float64 integers
    options: Options


class QuantLayerOutput(NamedTuple):
    """Outputs of one layer, real-valued and differentiable; see `egru.functional.LayerOutput`."""

    y: Tensor
    o: Tensor
    c_last: Tensor
    y_last: Tensor


def quant_layer(
    x: Tensor, c0: Tensor, y0: Tensor, parameters: QuantParameters, numerics: LayerNumerics, lengths: Tensor
) -> QuantLayerOutput:
    """Run one layer over T steps: x (T x B x I), c0 and y0 (B x H) are exact values of their formats."""
    return QuantLayerOutput(*_QuantLayer.apply(x, c0, y0, *parameters, lengths, numerics))


def exact_sequence(
    x: Tensor, c0: Tensor, y0: Tensor, parameters: QuantParameters, numerics: LayerNumerics
) -> tuple[Saved, Tensor]:
    """Run the integer model of one layer. The values returned are real, in the dtype of x.

    Returns the values that the backward pass needs, and c, (T+1) x B x H, as
    `egru.functional.forward_sequence` does.
    """
    spec, input_format, sigmoid, tanh, _ = numerics
    steps, batch, _ = x.shape
    units, k = spec.units, spec.table_bits
    after, subtract_output = spec.reset == "after", spec.state_reset == "output"
    weight_ih, weight_hh = (values.double() for values in parameters[:2])
    bias, theta = parameters.bias.double(), parameters.theta.double() * 2.0**STATE_FRAC

    # Real sums are the integer sums of the page times 2^-fa. Rounding them at a table's or the narrowed
    # sum's fraction f is floor(sum * 2^f + 1/2); 2^f goes into the operands.
    at_table, at_narrow, at_tanh = 2.0 ** (k - 4), 2.0**NARROW_FRAC, 2.0 ** (k - 3)
    at_candidate = at_narrow if after else at_tanh
    scale = torch.tensor([at_table, at_table, at_candidate], dtype=torch.float64, device=x.device)
    scale = scale.repeat_interleave(units)
    middle = 2.0 ** (k - 1)  # entry of index 0
    last = 2.0**k - 1
    offset_a = bias[2] * at_narrow if after else (bias[2] + bias[3]) * at_tanh + middle

    largest = max(-input_format.lo, input_format.hi)
    kind = _product_dtype(weight_ih * 2.0**spec.input_weight_frac, largest)
    rows = x.reshape(steps * batch, -1).to(kind)
    pre = (rows @ weight_ih.t().to(kind)).double().view(steps, batch, 3 * units).mul_(scale)
    pre += torch.cat((bias[0] * at_table + middle, bias[1] * at_table + middle, offset_a)) + 0.5
    a = pre[:, :, 2 * units :]
    narrow_lo, narrow_hi = -(2.0 ** (NARROW_BITS - 1)), 2.0 ** (NARROW_BITS - 1) - 1
    if after:
        # a and q are at fraction NARROW_FRAC, r at STATE_FRAC; the index at k - 3
        a.floor_().clamp_(narrow_lo, narrow_hi).mul_(at_tanh / at_narrow).add_(middle + 0.5)
    r_times_q = at_tanh / at_narrow * 2.0**-STATE_FRAC
    bias_q = bias[3] * at_narrow + 0.5
    half = torch.full((), 0.5, dtype=torch.float64, device=x.device)
    payload_step, payload_max = 2.0**-spec.payload_shift, float(spec.event_format.hi)

    # From here on y, c and theta are integers.
    kind = _product_dtype(weight_hh * 2.0**spec.recurrent_weight_frac, payload_max)
    recurrent = (weight_hh.t() * 2.0**-spec.event_bits * scale).to(kind).contiguous()
    if not after:
        recurrent, recurrent_g = (part.contiguous() for part in recurrent.split((2 * units, units), 1))
    gates = x.new_empty(steps, batch, 2 * units)
    kept_g, kept_gated, kept_before, kept_o, kept_y = x.new_empty(5, steps, batch, units)
    kept_c = x.new_empty(steps + 1, batch, units)
    c, y = c0.double() * 2.0**STATE_FRAC, y0.double() * 2.0**spec.event_bits
    kept_c[0] = c
    kept = (gates, kept_g, kept_gated, kept_before, kept_o, kept_y, kept_c[1:])
    per_step = zip(
        pre[:, :, : 2 * units].unbind(), a.unbind(), *(values.unbind() for values in kept), strict=True
    )
    for pre_t, a_t, gates_t, g_t, gated_t, before_t, o_t, y_t, c_t in per_step:
        sums = (y.to(kind) @ recurrent).double()
        zr = _look_up(sigmoid, sums[:, : 2 * units].add_(pre_t).clamp_(0.0, last))
        z, r = zr[:, :units], zr[:, units:]
        if after:
            gated = sums[:, 2 * units :].add_(bias_q).floor_().clamp_(narrow_lo, narrow_hi)
            entry = torch.addcmul(a_t, r, gated, value=r_times_q)
        else:
            gated = torch.addcmul(half, r, y, value=2.0**-STATE_FRAC).floor_()
            entry = (gated.to(kind) @ recurrent_g).double().add_(a_t)
        g = _look_up(tanh, entry.clamp_(0.0, last))
        before = torch.addcmul(half, z, c - g, value=2.0**-STATE_FRAC).floor_().add_(g)
        if subtract_output:
            before.sub_(y, alpha=2**spec.payload_shift)
        fired = (before - theta).clamp_(0.0, 1.0)  # of integers, so 1 if before > theta, else 0
        y = (before * payload_step).add_(0.5).floor_().clamp_(max=payload_max).mul_(fired)
        c = before if subtract_output else torch.addcmul(before, fired, theta, value=-1.0)
        gates_t.copy_(zr)
        g_t.copy_(g)
        gated_t.copy_(gated)
        before_t.copy_(before)
        o_t.copy_(fired)
        y_t.copy_(y)
        c_t.copy_(c)
    for values in (gates, kept_g, kept_before, kept_c):
        values.mul_(2.0**-STATE_FRAC)
    kept_gated.mul_(2.0 ** -(NARROW_FRAC if after else spec.event_bits))
    kept_y.mul_(2.0**-spec.event_bits).add_(0.0)  # -0.0 of a silent unit becomes 0.0
    z, r = gates[:, :, :units], gates[:, :, units:]
    saved = Saved(x, z, r, kept_g, kept_gated, kept_c[:-1], kept_before, kept_o, kept_y, y0.to(x.dtype))
    return saved, kept_c


def _look_up(table: Tensor, entry: Tensor) -> Tensor:
    """Table entries for ``entry`` >= 0, rounded down: for that, cutting off its fraction is enough."""
    return table.index_select(0, entry.int().view(-1)).view(entry.shape)


def _product_dtype(weight: Tensor, largest: float) -> torch.dtype:
    """Pick the narrower type that holds every partial sum of integers ``weight`` times ``0..largest``."""
    bound = float(weight.abs().sum(1).max()) * largest
    return torch.float32 if bound < 2**24 and _float32_products_are_exact() else torch.float64


def _float32_products_are_exact() -> bool:
    """Tell whether torch has not been asked to compute float32 products with fewer bits (TF32, bfloat16)."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # a precision was set by backend, which this function cannot express
        return False


class _QuantLayer(torch.autograd.Function):
    """`exact_sequence`, and `backward_through_time` on the values that it used."""

    @staticmethod
    def forward(ctx, x, c0, y0, weight_ih, weight_hh, bias, theta, lengths, numerics):
        parameters = QuantParameters(weight_ih, weight_hh, bias, theta)
        saved, c = exact_sequence(x, c0, y0, parameters, numerics)
        outside = ~length_mask(lengths, x.shape[0]).unsqueeze(2)
        saved.y.masked_fill_(outside, 0.0)
        saved.o.masked_fill_(outside, 0.0)
        sequence = torch.arange(x.shape[1], device=x.device)
        ctx.save_for_backward(*saved, weight_ih, weight_hh, theta, lengths)
        ctx.options = numerics.options
        ctx.set_materialize_grads(False)
        return saved.y, saved.o, c[lengths, sequence], saved.y[lengths - 1, sequence]

    @staticmethod
    @written_backward
    def backward(ctx, grad_y, grad_o, grad_c_last, grad_y_last):
        *kept, weight_ih, weight_hh, theta, lengths = ctx.saved_tensors
        saved = Saved(*kept)
        dtype = saved.y.dtype
        gradients = backward_through_time(
            saved, grad_y, grad_o, grad_c_last, grad_y_last,
            weight_ih.to(dtype), weight_hh.to(dtype), theta.to(dtype),
            ctx.options, lengths=lengths, need_x=ctx.needs_input_grad[0],
        )  # fmt: skip
        units = theta.shape[0]
        bias = torch.cat((gradients.bias_ih, gradients.bias_hh[2 * units :])).view(4, units)
        return (
            gradients.x, gradients.c0, gradients.y0,
            gradients.weight_ih, gradients.weight_hh,
            bias, gradients.theta, None, None,
        )  # fmt: skip

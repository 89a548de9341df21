"""One EGRU layer over a whole sequence, as a differentiable function of plain tensors.

The input products of all steps are one matrix product; a step costs one recurrent product and a
handful of element-wise operations. The backward pass is in `egru.backward`, whose conventions hold here too.
On CPUs there are event-driven kernels of the same function, `egru.kernels`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from egru.ambient import full_precision, refuse_tracing, uncompiled, written_backward
from egru.backward import Gradients, Saved, backward_through_time, length_mask, surrogate
from egru.errors import EgretError
from egru.kernels.border import check_inputs, check_lengths
from egru.kernels.choice import is_sparse
from egru.kernels.sparse import Ordered, checked_layer
from egru.options import Options

__all__ = [
    "Gradients",
    "LayerOutput",
    "LayerParameters",
    "Options",
    "Saved",
    "backward_through_time",
    "egru_layer",
    "forward_sequence",
    "heaviside",
    "length_mask",
    "surrogate",
]

Fire = Callable[[Tensor, Tensor], Tensor]
Held = Tensor | float | None


class LayerParameters(NamedTuple):
    """Parameters of one layer; the names are those of torch.nn.GRU, without the layer's number."""

    weight_ih: Tensor  #: 3H x I
    weight_hh: Tensor  #: 3H x H
    bias_ih: Tensor  #: 3H
    bias_hh: Tensor  #: 3H
    theta: Tensor  #: H, in (0, 1]


class LayerOutput(NamedTuple):
    """Outputs of one layer, all differentiable."""

    y: Tensor  #: T x B x H, graded events, zero beyond a sequence's length
    o: Tensor  #: T x B x H, 1 where a unit fired; its gradient is the surrogate's
    c_last: Tensor  #: B x H, state after the last step of each sequence
    y_last: Tensor  #: B x H, events of that step


def heaviside(c_tilde: Tensor, theta: Tensor) -> Tensor:
    """1 where `c_tilde > theta` (equality does not fire), else 0, in the dtype of `c_tilde`."""
    return (c_tilde > theta).to(c_tilde.dtype)


def forward_sequence(
    x: Tensor,
    c0: Tensor,
    y0: Tensor,
    parameters: LayerParameters,
    options: Options,
    fire: Fire = heaviside,
    held: Held = None,
) -> tuple[Saved, Tensor]:
    """Run one layer over all T steps of x (T x B x I) from the state c0, y0 (each B x H).

    Returns the saved values and c, (T+1) x B x H: c[0] is c0, c[t+1] the state after step t.
    `fire(c_tilde, theta)` gives o; a smooth one makes the whole layer smooth, so that its gradient can be
    held against finite differences. For `held` see `egru_layer`.
    """
    weight_ih, weight_hh, bias_ih, bias_hh, theta = parameters
    if held is None and options.zoneout:
        held = options.zoneout
    steps, batch, _ = x.shape
    units = theta.shape[0]
    after = options.reset == "after"
    threshold_reset = options.state_reset == "threshold"
    recurrent = weight_hh.t()
    # Nothing is above a threshold that is no number, and a unit would be silent, not wrong.
    bias_ih = bias_ih.masked_fill(theta.isnan().repeat(3), float("nan"))
    gates = torch.addmm(bias_ih, x.reshape(steps * batch, -1), weight_ih.t()).view(steps, batch, -1)
    c, y, o, gated = (gates.new_empty(n, batch, units) for n in (steps + 1, steps, steps, steps))
    c_tilde = torch.empty_like(y) if threshold_reset else c[1:]
    c[0] = c0
    y_prev = y0
    gate_blocks = gates.view(steps, batch, 3, units).unbind(2)
    per_step = zip(
        gates[:, :, : 2 * units].unbind(),
        *(block.unbind() for block in gate_blocks),
        *(values.unbind() for values in (gated, c_tilde, o, y, c[:-1], c[1:])),
        strict=True,
    )
    for t, (zr_t, z_t, r_t, g_t, gated_t, c_tilde_t, o_t, y_t, c_prev, c_t) in enumerate(per_step):
        if after:
            q = torch.addmm(bias_hh, y_prev, recurrent)
            gated_t.copy_(q[:, 2 * units :])
            zr_t.add_(q[:, : 2 * units]).sigmoid_()
            g_t.addcmul_(r_t, gated_t).tanh_()
        else:
            zr_t.add_(torch.addmm(bias_hh[: 2 * units], y_prev, recurrent[:, : 2 * units])).sigmoid_()
            torch.mul(r_t, y_prev, out=gated_t)
            g_t.add_(torch.addmm(bias_hh[2 * units :], gated_t, recurrent[:, 2 * units :])).tanh_()
        if isinstance(held, float):
            z_t.mul_(1.0 - held).add_(held)
        elif held is not None:
            z_t.masked_fill_(held[t], 1.0)
        torch.lerp(g_t, c_prev, z_t, out=c_tilde_t)
        if not threshold_reset:
            c_tilde_t.sub_(y_prev)
        o_t.copy_(fire(c_tilde_t, theta))
        torch.mul(o_t, c_tilde_t, out=y_t)
        if threshold_reset:
            torch.addcmul(c_tilde_t, o_t, theta, value=-1.0, out=c_t)
        y_prev = y_t
    y.add_(0.0)  # a silent unit with a negative potential gave -0.0
    z, r, g = gate_blocks
    return Saved(x, z, r, g, gated, c[:-1], c_tilde, o, y, y0), c


class _Layer(torch.autograd.Function):
    """`forward_sequence` and `backward_through_time` as one node of the autograd graph."""

    @staticmethod
    def forward(ctx, x, c0, y0, weight_ih, weight_hh, bias_ih, bias_hh, theta, lengths, options, fire, held):
        parameters = LayerParameters(weight_ih, weight_hh, bias_ih, bias_hh, theta)
        if lengths is not None:
            # Padding may be anything, NaN included; it must not reach a gradient as 0 * NaN.
            outside = ~length_mask(lengths, x.shape[0]).unsqueeze(2)
            x = x.masked_fill(outside, 0.0)
        saved, c = forward_sequence(x, c0, y0, parameters, options, fire, held)
        if lengths is None:
            c_last, y_last = c[-1].clone(), saved.y[-1].clone()
        else:
            sequence = torch.arange(x.shape[1], device=x.device)
            c_last, y_last = c[lengths, sequence], saved.y[lengths - 1, sequence]
            saved.y.masked_fill_(outside, 0.0)
            saved.o.masked_fill_(outside, 0.0)
        # Detached, they stay those of this pass even if a parameter's data are replaced.
        ctx.save_for_backward(*saved, *(v.detach() for v in (weight_ih, weight_hh, theta)), lengths)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return saved.y, saved.o, c_last, y_last

    @staticmethod
    @written_backward
    def backward(ctx, grad_y, grad_o, grad_c_last, grad_y_last):
        *saved, weight_ih, weight_hh, theta, lengths = ctx.saved_tensors
        gradients = backward_through_time(
            Saved(*saved), grad_y, grad_o, grad_c_last, grad_y_last, weight_ih, weight_hh, theta,
            ctx.options, lengths=lengths, need_x=ctx.needs_input_grad[0],
        )  # fmt: skip
        of = gradients._asdict()
        names = ("x", "c0", "y0", *LayerParameters._fields)
        return *(of[name] for name in names), None, None, None, None


@uncompiled
def egru_layer(
    x: Tensor,
    c0: Tensor,
    y0: Tensor,
    parameters: LayerParameters,
    options: Options,
    *,
    lengths: Tensor | None = None,
    fire: Fire = heaviside,
    kernel: str = "dense",
    spikes: bool = True,
    held: Held = None,
    ordered: Ordered | None = None,
    number: str = "",
) -> LayerOutput:
    """One layer over T steps: x is T x B x I, the initial state c0, y0 is B x H each.

    With `lengths` (B integers, 1..T) sequence b has only its first lengths[b] steps: beyond them y and o are
    zero, and the state returned is the one after its last step. All values have one dtype and device.
    `kernel` is "dense", "sparse" or "auto"; another `fire` than the default is always computed densely.
    Without `spikes` o is not asked for, and may be an empty tensor. `ordered` is what calls with the same
    weights share, see `egru.kernels.sparse.Ordered`. `number` ends the names of parameters in errors.

    `held` is zoneout, always computed densely: booleans T x B x H, true where a unit's update gate z is put
    to 1, so that it keeps its state (c~ = c[t-1]) in that step; or the probability of that, for evaluation,
    whose z is the mean, p + (1 - p) * z, and whose outputs carry no gradient. The zoneout of `options` is the
    same mean with its gradient, for layers without `held`.

    A value that is no number makes the results of its own sequences NaN from that step on, and that of a
    parameter those of all; o is 0 there, for nothing is above or below it.

    Raises EgretError for a shape, dtype or device that does not fit, TypeError for a wrong type.
    """
    refuse_tracing((x, c0, y0, *parameters))
    check_inputs((x, c0, y0, *parameters), number)
    lengths = check_lengths(lengths, x)
    if held is not None and options.zoneout:
        raise EgretError(f"held must be None for a layer that has zoneout {options.zoneout}")
    with full_precision(x.device):
        return _computed(x, c0, y0, parameters, options, lengths, fire, kernel, spikes, held, ordered)


def _computed(
    x: Tensor, c0: Tensor, y0: Tensor, parameters: LayerParameters, options: Options,
    lengths: Tensor | None, fire: Fire, kernel: str, spikes: bool, held: Held, ordered: Ordered | None,
) -> LayerOutput:  # fmt: skip
    if isinstance(held, float):
        with torch.no_grad():
            return LayerOutput(*_Layer.apply(x, c0, y0, *parameters, lengths, options, fire, held))
    plain = held is None and not options.zoneout and fire is heaviside
    if plain and is_sparse(kernel, x, parameters.theta.shape[0], ordered is not None):
        inputs = (x, c0, y0, *parameters)
        return LayerOutput(*checked_layer(inputs, options, lengths=lengths, spikes=spikes, ordered=ordered))
    # Where a unit is held z is 1, and so z (1 - z), the derivative that the backward pass forms of it, is 0.
    return LayerOutput(*_Layer.apply(x, c0, y0, *parameters, lengths, options, fire, held))

"""The backward pass of one EGRU layer over a whole sequence, written by hand.

It is a function of the values that a forward pass saved, and does not care which forward
pass that was: the float layer and the quantised layer share it.

Conventions:

* T steps, B sequences, I inputs, H units; sequences are T x B x features;
* gate blocks are stacked in the order z, r, g: `weight_ih` is 3H x I, `weight_hh` is 3H x H;
* z keeps the state: `c~ = z * c[t-1] + (1 - z) * g`;
* `c~` (`c_tilde`) is the potential *before* a reset; a unit fires when `c~ > theta`, strictly.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from egru.options import Options

BLOCK_ELEMENTS = 2**16  #: elements of one tensor formed at a time; 256 KiB in float32


class Saved(NamedTuple):
    """What the forward pass of one layer leaves for the backward pass, all in one floating dtype.

    Steps beyond a sequence's length may hold any finite values.
    """

    x: Tensor  #: T x B x I, the layer's input
    z: Tensor  #: T x B x H, update gate after the sigmoid and the zoneout
    r: Tensor  #: T x B x H, reset gate after the sigmoid
    g: Tensor  #: T x B x H, candidate after the tanh
    gated: Tensor  #: T x B x H; reset="after": q_g = R_g y[t-1] + b_hh_g; "before": w = r * y[t-1]
    c_prev: Tensor  #: T x B x H, c[t-1], after its reset; row 0 is the initial state
    c_tilde: Tensor  #: T x B x H, potential before the reset
    o: Tensor  #: T x B x H, 1 where the unit fired, else 0
    y: Tensor  #: T x B x H, graded events o * c~
    y0: Tensor  #: B x H, events of the step before the first


class Gradients(NamedTuple):
    """Gradients of one layer, each in the shape of its value."""

    x: Tensor | None  #: T x B x I, or None when not asked for
    weight_ih: Tensor  #: 3H x I
    weight_hh: Tensor  #: 3H x H
    bias_ih: Tensor  #: 3H
    bias_hh: Tensor  #: 3H; blocks z and r equal those of bias_ih
    theta: Tensor  #: H
    c0: Tensor  #: B x H
    y0: Tensor  #: B x H


def surrogate(c_tilde: Tensor, theta: Tensor, options: Options) -> Tensor:
    """Stand-in for dH/dv at v = c~ - theta: `gamma * max(0, 1 - eps * |v|)`."""
    v = c_tilde - theta
    return v.abs_().mul_(-options.eps).add_(1.0).clamp_(min=0.0).mul_(options.gamma)


def length_mask(lengths: Tensor, steps: int) -> Tensor:
    """T x B booleans, true where step t belongs to sequence b."""
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def backward_through_time(
    saved: Saved,
    grad_y: Tensor | None,
    grad_o: Tensor | None,
    grad_c_last: Tensor | None,
    grad_y_last: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    theta: Tensor,
    options: Options,
    *,
    lengths: Tensor | None = None,
    need_x: bool = True,
) -> Gradients:
    """Gradients of one layer from the gradients on its outputs.

    `grad_y` and `grad_o` are T x B x H, on the graded events and on o; `grad_c_last` and
    `grad_y_last` are B x H, on the state after the last step of each sequence. None means zero.
    `weight_ih`, `weight_hh` and `theta` are the values that the forward pass used. With `lengths` (B
    integers, 1..T) sequence b has only its first lengths[b] steps: what lies beyond
    is ignored in the output gradients and contributes nothing. No argument is changed.

    With Y, C, O the total gradients on y, c, o of a step and h the surrogate at c~ - theta,
    for state_reset="threshold" (c = c~ - o*theta)

        s  = h * (O + c~*Y - theta*C)
        dtheta += -(s + o*C);   D = o*Y + s + C;   dc[t-1] = z*D

    and for state_reset="output" (c = c~ = z*c[t-1] + (1-z)*g - y[t-1])

        s  = h * (O + c~*Y)
        dtheta += -s;           D = o*Y + s + C;   dc[t-1] = z*D;   dy[t-1] += -D

    then in both

        dg = (1-z)*D*(1-g^2);   dz = (c[t-1]-g)*D*z*(1-z);   da = (dz, dr, dg)

    (with zoneout p, z = p + (1-p)*sigmoid, and dz = (c[t-1]-g)*D*(z-p)*(1-z)/(1-p));

    for reset="after" (g = tanh(a_g + r*q_g))

        dr = dg*q_g*r*(1-r);    dq = (dz, dr, r*dg);   dy[t-1] += R^T dq

    and for reset="before" (g = tanh(a_g + R_g w + b), w = r*y[t-1])

        u  = R_g^T dg;   dr = u*y[t-1]*r*(1-r);   dq = (dz, dr, dg);   dR_g += dg w^T
        dy[t-1] += R_z^T dz + R_r^T dr + r*u

    D is linear in Y, C and O, so its coefficients are formed for many steps at once.
    """
    steps, batch, units = saved.y.shape
    after = options.reset == "after"
    subtract_output = options.state_reset == "output"
    total_y, grad_o, last = _place_output_gradients(saved, grad_y, grad_o, grad_y_last, lengths)
    enters = set(last.tolist())
    dq = total_y.new_empty(steps, batch, 3, units)
    da_g = total_y.new_empty(steps, batch, units) if after else dq[:, :, 2]
    grad_theta = torch.zeros_like(theta)
    carried_c, carried_y = torch.zeros_like(saved.y0), torch.zeros_like(saved.y0)

    # A few steps at a time, so that what is formed for them stays in the cache.
    stride = max(1, BLOCK_ELEMENTS // (batch * units))
    for stop in range(steps, 0, -stride):
        block = slice(max(0, stop - stride), stop)
        linear = _linearise(saved, theta, options, block)
        total_c, total_d = torch.empty_like(linear.h), torch.empty_like(linear.h)
        forced = None if grad_o is None else linear.h * grad_o[block]
        for i in reversed(range(stop - block.start)):
            t = block.start + i
            total_y[t].add_(carried_y)
            if grad_c_last is not None and t in enters:
                carried_c = torch.where((last == t).unsqueeze(1), grad_c_last, carried_c)
            total_c[i] = carried_c
            d = torch.mul(linear.of_y[i], total_y[t], out=total_d[i])
            if linear.of_c is None:
                d.add_(carried_c)
            else:
                d.addcmul_(linear.of_c[i], carried_c)
            if forced is not None:
                d.add_(forced[i])
            step_dq = torch.mul(linear.gates[i], d.unsqueeze(1), out=dq[t])
            if linear.of_u is None:
                carried_y = step_dq.view(batch, 3 * units) @ weight_hh
            else:
                u = step_dq[:, 2] @ weight_hh[2 * units :]
                torch.mul(u, linear.of_u[i], out=step_dq[:, 1])
                d_zr = step_dq.view(batch, 3 * units)[:, : 2 * units]
                carried_y = torch.addmm(u.mul_(saved.r[t]), d_zr, weight_hh[: 2 * units])
            if subtract_output:
                carried_y.sub_(d)
            carried_c = saved.z[t] * d
        if after:
            torch.mul(linear.candidate, total_d, out=da_g[block])
        grad_theta -= _threshold_gradient(saved, theta, options, block, linear.h, total_y, total_c, grad_o)

    grad_x, grad_w, grad_r, grad_b, grad_b_r = _weight_gradients(saved, dq, da_g, weight_ih, options, need_x)
    if lengths is not None and grad_x is not None:
        # Zero already, unless a weight, or a state that went on beyond the end, is NaN.
        grad_x.masked_fill_(~length_mask(lengths, steps).unsqueeze(2), 0.0)
    return Gradients(grad_x, grad_w, grad_r, grad_b, grad_b_r, grad_theta, carried_c, carried_y)


class _Linear(NamedTuple):
    """How the gradients of some steps depend on Y, C, O and D; all n x B x H but `gates`."""

    h: Tensor  #: surrogate; D = of_y*Y + of_c*C + h*O
    of_y: Tensor
    of_c: Tensor | None  #: None for 1
    candidate: Tensor  #: dg = candidate * D
    gates: Tensor  #: n x B x 3 x H, dq = gates * D, but for block r of reset="before"
    of_u: Tensor | None  #: reset="before": dr = of_u * u


def _linearise(saved: Saved, theta: Tensor, options: Options, block: slice) -> _Linear:
    z, r, g, c_tilde = saved.z[block], saved.r[block], saved.g[block], saved.c_tilde[block]
    h = surrogate(c_tilde, theta, options)
    of_y = torch.addcmul(saved.o[block], h, c_tilde)
    of_c = (h * theta).neg_().add_(1.0) if options.state_reset == "threshold" else None
    one_minus_z = 1.0 - z
    candidate = (g * g).neg_().add_(1.0).mul_(one_minus_z)
    slope_r = (1.0 - r).mul_(r)
    gates = z.new_empty(z.shape[0], z.shape[1], 3, z.shape[2])
    p = options.zoneout
    slope_z = (z - p).div_(1.0 - p) if p else z
    torch.mul((saved.c_prev[block] - g).mul_(slope_z), one_minus_z, out=gates[:, :, 0])
    if options.reset == "after":
        torch.mul(candidate, slope_r.mul_(saved.gated[block]), out=gates[:, :, 1])
        torch.mul(candidate, r, out=gates[:, :, 2])
        return _Linear(h, of_y, of_c, candidate, gates, None)
    gates[:, :, 1] = 0.0
    gates[:, :, 2] = candidate
    return _Linear(h, of_y, of_c, candidate, gates, slope_r.mul_(_y_prev(saved, block)))


def _y_prev(saved: Saved, block: slice) -> Tensor:
    """y[t-1] for the steps t of a block."""
    if block.start > 0:
        return saved.y[block.start - 1 : block.stop - 1]
    return torch.cat((saved.y0.unsqueeze(0), saved.y[: block.stop - 1]))


def _threshold_gradient(
    saved: Saved,
    theta: Tensor,
    options: Options,
    block: slice,
    h: Tensor,
    total_y: Tensor,
    total_c: Tensor,
    grad_o: Tensor | None,
) -> Tensor:
    """Minus the gradient on theta from a block: the sum of s (+ o*C) over its steps and sequences."""
    s = saved.c_tilde[block] * total_y[block]
    if grad_o is not None:
        s.add_(grad_o[block])
    if options.state_reset == "threshold":
        s.addcmul_(total_c, theta, value=-1.0).mul_(h).addcmul_(saved.o[block], total_c)
    else:
        s.mul_(h)
    return s.sum((0, 1))


def _weight_gradients(
    saved: Saved, dq: Tensor, da_g: Tensor, weight_ih: Tensor, options: Options, need_x: bool
) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor]:
    """Gradients on x, W, R, and both biases; da = (dz, dr, da_g) shares its blocks z and r with dq."""
    steps, batch, _, units = dq.shape
    rows = steps * batch
    dq = dq.view(rows, 3 * units)
    d_zr, dq_g = dq[:, : 2 * units], dq[:, 2 * units :]
    da_g = da_g.reshape(rows, units) if options.reset == "after" else dq_g
    x = saved.x.reshape(rows, -1)
    y_prev = _y_prev(saved, slice(0, steps))
    if options.reset == "after":
        grad_r = dq.t() @ y_prev.view(rows, units)
    else:
        grad_r_zr = d_zr.t() @ y_prev.view(rows, units)
        grad_r = torch.cat((grad_r_zr, dq_g.t() @ saved.gated.view(rows, units)))
    grad_x = None
    if need_x:
        grad_x = torch.addmm(d_zr @ weight_ih[: 2 * units], da_g, weight_ih[2 * units :]).view_as(saved.x)
    grad_w = torch.cat((d_zr.t() @ x, da_g.t() @ x))
    grad_b_r = dq.sum(0)
    grad_b = torch.cat((grad_b_r[: 2 * units], da_g.sum(0)))
    return grad_x, grad_w, grad_r, grad_b, grad_b_r


def _place_output_gradients(
    saved: Saved,
    grad_y: Tensor | None,
    grad_o: Tensor | None,
    grad_y_last: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Gradients on y (a fresh tensor) and o without padding, and the last step (B) of each sequence.

    The gradient on the last state's y joins that on y at the last step of each sequence.
    """
    steps, batch, _ = saved.y.shape
    device = saved.y.device
    total_y = (
        torch.zeros_like(saved.y) if grad_y is None else grad_y.clone(memory_format=torch.contiguous_format)
    )
    if lengths is None:
        last = torch.full((batch,), steps - 1, device=device)
    else:
        last = lengths - 1
        outside = ~length_mask(lengths, steps).unsqueeze(2)
        total_y.masked_fill_(outside, 0.0)
        grad_o = None if grad_o is None else grad_o.masked_fill(outside, 0.0)
    if grad_y_last is not None:
        total_y[last, torch.arange(batch, device=device)] += grad_y_last
    return total_y, grad_o, last

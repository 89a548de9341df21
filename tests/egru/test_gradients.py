"""The hand-written backward pass against finite differences, plain autograd, and hand-worked numbers.

`plain_layer` below is an independent implementation: one equation a line, one step at a time.
"""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

import egru
from egru.backward import BLOCK_ELEMENTS
from egru.functional import (
    LayerParameters,
    Options,
    Saved,
    backward_through_time,
    egru_layer,
    forward_sequence,
)
from egru.quant_layer import LayerNumerics, QuantParameters, quant_layer
from egru.testing import random_image, random_input

torch.set_num_threads(1)

COMBINATIONS = list(product(("after", "before"), ("threshold", "output")))
combinations = pytest.mark.parametrize(("reset", "state_reset"), COMBINATIONS)


def smooth_step(c_tilde, theta, gamma=0.7, eps=1.0):
    """Primitive of the surrogate gradient: its derivative is gamma * max(0, 1 - eps * |v|)."""
    v = (c_tilde - theta).clamp(-1 / eps, 1 / eps)
    return gamma * (v - eps * v * v.abs() / 2) + gamma / (2 * eps)


class HardStep(torch.autograd.Function):
    """Heaviside forward, the surrogate backward."""

    @staticmethod
    def forward(ctx, v, gamma, eps):
        ctx.save_for_backward(v)
        ctx.gamma, ctx.eps = gamma, eps
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad * ctx.gamma * (1 - ctx.eps * v.abs()).clamp(min=0), None, None


def hard_step(c_tilde, theta, gamma=0.7, eps=1.0):
    return HardStep.apply(c_tilde - theta, gamma, eps)


def plain_layer(x, c, y, w, r_w, b, b_r, theta, *, reset, state_reset, fire, lengths=None):
    """Step by step; returns y, o, and the last c and y of each sequence."""
    (w_z, w_r, w_g), (r_z, r_r, r_g) = w.chunk(3), r_w.chunk(3)
    (b_z, b_rr, b_g), (s_z, s_r, s_g) = b.chunk(3), b_r.chunk(3)
    ys, os = [], []
    for t in range(x.shape[0]):
        z = torch.sigmoid(x[t] @ w_z.T + b_z + y @ r_z.T + s_z)
        r = torch.sigmoid(x[t] @ w_r.T + b_rr + y @ r_r.T + s_r)
        if reset == "after":
            g = torch.tanh(x[t] @ w_g.T + b_g + r * (y @ r_g.T + s_g))
        else:
            g = torch.tanh(x[t] @ w_g.T + b_g + (r * y) @ r_g.T + s_g)
        potential = z * c + (1 - z) * g
        if state_reset == "output":
            potential = potential - y
        o = fire(potential, theta)
        new_y = o * potential
        new_c = potential if state_reset == "output" else potential - o * theta
        if lengths is None:
            c, y = new_c, new_y
            ys.append(new_y)
            os.append(o)
        else:
            inside = (t < lengths).unsqueeze(1)
            c, y = torch.where(inside, new_c, c), torch.where(inside, new_y, y)
            ys.append(torch.where(inside, new_y, 0.0))
            os.append(torch.where(inside, o, 0.0))
    return torch.stack(ys), torch.stack(os), c, y


def random_case(seed, steps, batch, inputs, units):
    """x, c0, y0, W, R, b, b', theta in float64, such that units sit on both sides of their thresholds."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [
        normal(steps, batch, inputs, scale=1.5),
        normal(batch, units, scale=0.4),
        normal(batch, units, scale=0.4).clamp(min=0),
        normal(3 * units, inputs, scale=0.8),
        normal(3 * units, units, scale=0.8),
        normal(3 * units, scale=0.3),
        normal(3 * units, scale=0.3),
        0.05 + 0.4 * torch.rand(units, generator=generator, dtype=torch.float64),
    ]


def run_layer(*values, options, lengths=None, **kwargs):
    x, c0, y0, *parameters = values
    return egru_layer(x, c0, y0, LayerParameters(*parameters), options, lengths=lengths, **kwargs)


def leaves(values):
    return [v.clone().requires_grad_() for v in values]


@combinations
@pytest.mark.parametrize("lengths", [None, [4, 1, 3]])
@pytest.mark.parametrize(("gamma", "eps"), [(0.7, 1.0), (0.4, 2.5)])
def test_gradients_of_the_smoothed_layer_equal_its_finite_differences(
    reset, state_reset, lengths, gamma, eps
):
    options = Options(reset=reset, state_reset=state_reset, gamma=gamma, eps=eps)
    fire = partial(smooth_step, gamma=gamma, eps=eps)
    values = leaves(random_case(seed=1, steps=4, batch=3, inputs=2, units=3))
    lengths = None if lengths is None else torch.tensor(lengths)

    def layer(*args):
        return tuple(run_layer(*args, options=options, lengths=lengths, fire=fire))

    assert torch.autograd.gradcheck(layer, values, eps=1e-6, atol=1e-7, rtol=1e-6)


@combinations
def test_gradients_of_the_smoothed_layer_with_zoneout_equal_its_finite_differences(reset, state_reset):
    options = Options(reset=reset, state_reset=state_reset, zoneout=0.3)
    values = leaves(random_case(seed=21, steps=4, batch=2, inputs=2, units=3))

    def layer(*args):
        return tuple(run_layer(*args, options=options, fire=smooth_step))

    assert torch.autograd.gradcheck(layer, values, eps=1e-6, atol=1e-7, rtol=1e-6)


def test_zoneout_mixes_the_state_with_the_update_before_a_unit_may_fire():
    # One unit, gates of 1/2, g = .8: z = .2 + .8 / 2 = .6, so c~ = .6 * .5 + .4 * .8 = .62 > .6 fires.
    layer = egru.EGRU(1, 1, zoneout=0.2, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih_l0[2] = math.atanh(0.8)
        layer.theta_l0.fill_(0.6)
        start = torch.full((1, 1, 1), 0.5, dtype=torch.float64)
        y, (c, _) = layer(torch.zeros(1, 1, 1, dtype=torch.float64), (start, torch.zeros_like(start)))
    assert (y.item(), c.item()) == (pytest.approx(0.62), pytest.approx(0.02))


def test_a_layer_has_zoneout_by_its_options_or_by_held_units_and_not_by_both():
    values = random_case(seed=22, steps=3, batch=2, inputs=2, units=3)
    with pytest.raises(egru.EgretError, match="held must be None for a layer that has zoneout"):
        run_layer(*values, options=Options(zoneout=0.3), held=0.3)
    mean = run_layer(*values, options=Options(zoneout=0.3))
    torch.testing.assert_close(mean.y, run_layer(*values, options=Options(), held=0.3).y, rtol=0, atol=0)


@pytest.mark.parametrize("zoneout", [-0.1, 1.0, math.nan])
def test_a_zoneout_out_of_range_is_refused(zoneout):
    with pytest.raises(egru.EgretError, match="zoneout must be at least 0 and less than 1"):
        egru.EGRU(1, 1, zoneout=zoneout)


@combinations
def test_gradients_of_the_smoothed_layer_equal_differences_of_the_plain_model(reset, state_reset):
    options = Options(reset=reset, state_reset=state_reset)
    values = random_case(seed=2, steps=5, batch=2, inputs=3, units=4)
    generator = torch.Generator().manual_seed(3)
    plain = partial(plain_layer, reset=reset, state_reset=state_reset, fire=smooth_step)
    weights = [torch.randn(out.shape, generator=generator, dtype=torch.float64) for out in plain(*values)]

    def loss(outputs):
        return sum((w * out).sum() for w, out in zip(weights, outputs, strict=True))

    tracked = leaves(values)
    loss(run_layer(*tracked, options=options, fire=smooth_step)).backward()
    step = 1e-5
    for value, leaf in zip(values, tracked, strict=True):
        flat = value.view(-1)
        for index in range(flat.numel()):
            kept = flat[index].item()
            flat[index] = kept + step
            above = loss(plain(*values)).item()
            flat[index] = kept - step
            below = loss(plain(*values)).item()
            flat[index] = kept
            expected = (above - below) / (2 * step)
            assert leaf.grad.view(-1)[index].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@combinations
def test_gradients_of_a_smoothed_two_layer_stack_equal_its_finite_differences(
    reset, state_reset, monkeypatch
):
    monkeypatch.setattr("egru.egru.egru_layer", partial(egru_layer, fire=smooth_step))
    torch.manual_seed(4)
    model = egru.EGRU(2, 3, 2, reset=reset, state_reset=state_reset, dtype=torch.float64)
    names, parameters = zip(*model.named_parameters(), strict=True)
    x, c, y = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 2, 2), (2, 2, 3), (2, 2, 3))
    )

    def stack(x, c, y, *values):
        out, state = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x, (c, y)))
        return out, *state

    assert torch.autograd.gradcheck(stack, (x, c, y, *parameters), eps=1e-6, atol=1e-7, rtol=1e-6)


@combinations
@pytest.mark.parametrize("lengths", [None, [40, 7, 1, 26]])
def test_spiking_outputs_and_gradients_equal_a_plain_autograd_model(reset, state_reset, lengths):
    options = Options(reset=reset, state_reset=state_reset)
    values = random_case(seed=5, steps=40, batch=4, inputs=5, units=8)
    lengths = None if lengths is None else torch.tensor(lengths)
    ours, theirs = leaves(values), leaves(values)
    got = run_layer(*ours, options=options, lengths=lengths)
    expected = plain_layer(*theirs, reset=reset, state_reset=state_reset, fire=hard_step, lengths=lengths)
    assert 0.02 < got.o.mean() < 0.9
    generator = torch.Generator().manual_seed(6)
    loss, plain_loss = 0.0, 0.0
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
        weight = torch.randn(a.shape, generator=generator, dtype=torch.float64)
        loss, plain_loss = loss + (weight * a).sum(), plain_loss + (weight * b).sum()
    loss.backward()
    plain_loss.backward()
    for a, b in zip(ours, theirs, strict=True):
        assert b.grad.abs().max() > 0
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-11)


@combinations
def test_gradients_agree_when_the_sequence_spans_several_blocks(reset, state_reset):
    options = Options(reset=reset, state_reset=state_reset)
    batch, units = 64, 128
    steps = 2 * BLOCK_ELEMENTS // (batch * units) + 3
    values = random_case(seed=7, steps=steps, batch=batch, inputs=2, units=units)
    values[4] *= 0.2
    lengths = torch.arange(batch) % steps + 1
    ours, theirs = leaves(values), leaves(values)
    run_layer(*ours, options=options, lengths=lengths).y.square().sum().backward()
    plain = plain_layer(*theirs, reset=reset, state_reset=state_reset, fire=hard_step, lengths=lengths)
    plain[0].square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-9)


@combinations
@pytest.mark.parametrize("output", ["y", "o", "c_last", "y_last"])
def test_each_output_alone_sends_back_its_gradient(reset, state_reset, output):
    options = Options(reset=reset, state_reset=state_reset)
    values = random_case(seed=8, steps=6, batch=3, inputs=2, units=4)
    ours, theirs = leaves(values), leaves(values)
    getattr(run_layer(*ours, options=options), output).square().sum().backward()
    plain = plain_layer(*theirs, reset=reset, state_reset=state_reset, fire=hard_step)
    plain[("y", "o", "c_last", "y_last").index(output)].square().sum().backward()
    assert ours[3].grad.abs().max() > 0
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)


@combinations
def test_the_backward_pass_changes_none_of_its_arguments(reset, state_reset):
    options = Options(reset=reset, state_reset=state_reset)
    x, c0, y0, *parameters = random_case(seed=9, steps=4, batch=2, inputs=2, units=3)
    parameters = LayerParameters(*parameters)
    saved, _ = forward_sequence(x, c0, y0, parameters, options)
    grads = [torch.ones_like(saved.y), torch.ones_like(saved.y), torch.ones_like(c0), torch.ones_like(c0)]
    arguments = [*saved, *grads, parameters.weight_ih, parameters.weight_hh, parameters.theta]
    before = [a.clone() for a in arguments]
    lengths = torch.tensor([2, 4])
    first = backward_through_time(Saved(*arguments[:10]), *arguments[10:], options, lengths=lengths)
    for a, b in zip(arguments, before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    again = backward_through_time(
        Saved(*arguments[:10]), *arguments[10:], options, lengths=lengths, need_x=False
    )
    assert again.x is None
    assert torch.equal(first.weight_hh, again.weight_hh)


def test_padding_of_any_value_reaches_neither_outputs_nor_gradients():
    values = random_case(seed=10, steps=5, batch=2, inputs=3, units=4)
    lengths = torch.tensor([3, 5])
    results = []
    for padding in (0.0, math.nan, math.inf):
        values[0][3:, 0] = padding
        tracked = leaves(values)
        out = run_layer(*tracked, options=Options(), lengths=lengths)
        (out.y.square().sum() + out.c_last.sum() + out.o.sum()).backward()
        results.append([*(o.detach() for o in out), *(v.grad for v in tracked)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


# Hand-worked cases. Candidates are given by their tanh: a bias of atanh(0.8) makes g = 0.8. Weights and
# biases not named are zero, so z = r = 1/2. Surrogate: h = 0.8 * max(0, 1 - |c~ - theta|).

OPTIONS = {"gamma": 0.8, "eps": 1.0}


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def hand_layer(candidates, thetas, recurrent_g, steps, **options):
    """A layer with constant candidates; returns its outputs and the leaves by name."""
    units = len(candidates)
    b = torch.zeros(3 * units, dtype=torch.float64)
    b[2 * units :] = torch.atanh(tensor(candidates))
    r = torch.zeros(3 * units, units, dtype=torch.float64)
    r[2 * units :] = tensor(recurrent_g)
    names = ("x", "c0", "y0", *LayerParameters._fields)
    zero = torch.zeros(1, units, dtype=torch.float64)
    w = torch.zeros(3 * units, 1, dtype=torch.float64)
    values = leaves(
        [torch.zeros(steps, 1, 1, dtype=torch.float64), zero, zero, w, r, b, 0 * b, tensor(thetas)]
    )
    return run_layer(*values, options=Options(**OPTIONS, **options)), dict(zip(names, values, strict=True))


def test_hand_worked_two_units_two_steps_threshold_reset():
    # Unit 0 excites unit 1 with R such that r*q = atanh(.6) - atanh(.2): at step 1 unit 1 has g = .6.
    q = 2 * (math.atanh(0.6) - math.atanh(0.2))
    big_r = q / 0.4
    out, leaf = hand_layer([0.8, 0.2], [0.3, 0.3], [[0, 0], [big_r, 0]], steps=2)
    # step 0: c~ = .5*0 + .5*(.8, .2) = (.4, .1): unit 0 fires, c = (.4 - .3, .1)
    # step 1: c~ = .5*(.1, .1) + .5*(.8, .6) = (.45, .35): both fire, c = (.15, .05)
    torch.testing.assert_close(out.y, tensor([[[0.4, 0.0]], [[0.45, 0.35]]]))
    torch.testing.assert_close(out.o, tensor([[[1.0, 0.0]], [[1.0, 1.0]]]))
    torch.testing.assert_close(out.c_last, tensor([[0.15, 0.05]]))

    (out.y[1, 0, 0] + 2 * out.y[1, 0, 1]).backward()
    # step 1: Y = (1, 2), C = 0, h = .8*(.85, .95) = (.68, .76)
    #   s = h*c~*Y = (.306, .532);  D = Y + s = (1.306, 2.532);  dtheta = -s
    #   dg = .5*D*(1 - g^2) = (.5*1.306*.36, .5*2.532*.64) = (.23508, .81024)
    #   dz = (c - g)*D/4 = (-.7*1.306/4, -.5*2.532/4) = (-.22855, -.3165)
    #   dr = dg*q/4 = (0, .81024*q/4);  r*dg = (.11754, .40512);  dc = .5*D = (.653, 1.266)
    # step 0: Y = (R*.40512, 0), C = (.653, 1.266), h = .8*(.9, .8) = (.72, .64)
    #   s = (.72*(.4*Y0 - .3*.653), .64*(-.3*1.266)) = (.288*Y0 - .141048, -.243072)
    #   D = (Y0 + s0 + .653, s1 + 1.266) = (1.288*Y0 + .511952, 1.022928)
    #   dtheta -= (s0 + .653, s1);  dg = .5*D*(1 - g^2) = (.18*D0, .48*D1);  dz = (-.8, -.2)*D/4
    y0 = big_r * 0.40512
    d0, d1 = 1.288 * y0 + 0.511952, 1.022928
    theta = tensor([-0.306 - (0.288 * y0 - 0.141048 + 0.653), -0.532 + 0.243072])
    bias = [-0.22855 - 0.2 * d0, -0.3165 - 0.05 * d1, 0.0, 0.20256 * q]
    bias_ih = tensor([*bias, 0.23508 + 0.18 * d0, 0.81024 + 0.48 * d1])
    bias_hh = tensor([*bias, 0.11754 + 0.09 * d0, 0.40512 + 0.24 * d1])
    torch.testing.assert_close(leaf["theta"].grad, theta)
    torch.testing.assert_close(leaf["bias_ih"].grad, bias_ih)
    torch.testing.assert_close(leaf["bias_hh"].grad, bias_hh)
    torch.testing.assert_close(leaf["c0"].grad, tensor([[0.5 * d0, 0.5 * d1]]))
    # dR = dq (outer) y[0] = dq * (.4, 0), step 1 only: y before step 0 is zero
    dq = tensor([-0.22855, -0.3165, 0.0, 0.20256 * q, 0.11754, 0.40512])
    torch.testing.assert_close(leaf["weight_hh"].grad, dq.unsqueeze(1) * tensor([0.4, 0.0]))
    # dy0 = R^T dq of step 0: R has only the entry from unit 0 to the candidate of unit 1
    torch.testing.assert_close(leaf["y0"].grad, tensor([[big_r * 0.24 * d1, 0.0]]))


def test_hand_worked_two_units_three_steps_output_reset():
    out, leaf = hand_layer([0.8, 0.2], [0.3, 0.3], [[0, 0], [0, 0]], steps=3, state_reset="output")
    # unit 0: c~ = .4 (fires), .2 + .4 - .4 = .2, .1 + .4 - 0 = .5 (fires); unit 1: .1, .15, .175
    torch.testing.assert_close(out.y, tensor([[[0.4, 0.0]], [[0.0, 0.0]], [[0.5, 0.0]]]))
    torch.testing.assert_close(out.c_last, tensor([[0.5, 0.175]]))

    (out.y[2, 0, 0] + out.c_last[0, 1]).backward()
    # unit 0, step 2: Y = 1, h = .8*.8 = .64, s = .64*.5 = .32, D = 1.32; dc = .66, dy = -1.32
    #         step 1: o = 0, Y = -1.32, C = .66, h = .8*.9 = .72, s = .72*.2*-1.32 = -.19008
    #                 D = -.19008 + .66 = .46992; dc = .23496, dy = -.46992
    #         step 0: Y = -.46992, C = .23496, h = .8*.9 = .72, s = .72*.4*-.46992 = -.13533696
    #                 D = -.46992 - .13533696 + .23496 = -.37029696
    #         dtheta = -(.32 - .19008 - .13533696) = .00541696
    # unit 1: Y = 0 until the first step's own -D: D = 1 (step 2); step 1: Y = -1, C = .5, h = .8*.85 = .68,
    #         s = .68*.15*-1 = -.102, D = .398; step 0: Y = -.398, C = .199, h = .8*.8 = .64,
    #         s = .64*.1*-.398 = -.025472, D = .173528;  dtheta = .127472
    torch.testing.assert_close(leaf["theta"].grad, tensor([0.00541696, 0.127472]))
    torch.testing.assert_close(leaf["c0"].grad, tensor([[-0.18514848, 0.086764]]))
    torch.testing.assert_close(leaf["y0"].grad, tensor([[0.37029696, -0.173528]]))
    # dg = .5*D*(1 - g^2), summed over the steps
    total0, total1 = 1.32 + 0.46992 - 0.37029696, 1 + 0.398 + 0.173528
    torch.testing.assert_close(leaf["bias_ih"].grad[4:], tensor([0.18 * total0, 0.48 * total1]))


def test_hand_worked_two_units_two_steps_reset_gate_before_the_product():
    # As the first case, but with the reset gate on y: r*y = (.2, 0), and R*.2 = atanh(.6) - atanh(.2).
    big_r = (math.atanh(0.6) - math.atanh(0.2)) / 0.2
    out, leaf = hand_layer([0.8, 0.2], [0.3, 0.3], [[0, 0], [big_r, 0]], steps=2, reset="before")
    torch.testing.assert_close(out.y, tensor([[[0.4, 0.0]], [[0.45, 0.35]]]))

    out.y[1, 0, 1].backward()
    # step 1: Y = (0, 1), h1 = .76, D = (0, 1 + .76*.35) = (0, 1.266); dg1 = .5*1.266*.64 = .40512
    #   u = R^T dg = (R*.40512, 0);  dr0 = u*y*r(1-r) = .1*u;  dy[0] = r*u = .5*u;  dz1 = -.5*1.266/4
    # step 0: Y0 = .5*u, C = (0, .633), h0 = .72: s0 = .72*.4*Y0, D0 = 1.288*Y0
    #   s1 = .64*(-.3*.633) = -.121536, D1 = .511464
    u = big_r * 0.40512
    d0, d1 = 1.288 * 0.5 * u, 0.511464
    bias = [-0.2 * d0, -0.15825 - 0.05 * d1, 0.1 * u, 0.0, 0.18 * d0, 0.40512 + 0.48 * d1]
    torch.testing.assert_close(leaf["bias_ih"].grad, tensor(bias))
    torch.testing.assert_close(leaf["bias_hh"].grad, tensor(bias))
    # dR_g = dg (outer) r*y, gates z and r: dz, dr (outer) y
    expected = torch.zeros(6, 2, dtype=torch.float64)
    expected[1, 0], expected[2, 0], expected[5, 0] = -0.15825 * 0.4, 0.1 * u * 0.4, 0.40512 * 0.2
    torch.testing.assert_close(leaf["weight_hh"].grad, expected)
    torch.testing.assert_close(leaf["theta"].grad, tensor([-0.288 * 0.5 * u, -0.266 + 0.121536]))


def test_hand_worked_gradient_of_spikes_alone():
    out, leaf = hand_layer([0.8, 0.2], [0.3, 0.3], [[0, 0], [0, 0]], steps=1)
    # c~ = (.4, .1), h = .8*(.9, .8): both have one, whether they fired or not; dg = .5*D*(1 - g^2)
    out.o.sum().backward()
    torch.testing.assert_close(leaf["theta"].grad, tensor([-0.72, -0.64]))
    torch.testing.assert_close(leaf["bias_ih"].grad[4:], tensor([0.5 * 0.72 * 0.36, 0.5 * 0.64 * 0.96]))


class TableEntry(torch.autograd.Function):
    """Look up a table at a real number; the slope is that of sigmoid or tanh at the entry found."""

    @staticmethod
    def forward(ctx, v, table, frac, slope):
        half = len(table) // 2
        entry = table[torch.floor(v * 2.0**frac + 0.5).clamp(-half, half - 1).long() + half] * 2.0**-15
        ctx.save_for_backward(slope(entry))
        return entry

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None, None


def rounded(v, frac, low=-math.inf, high=math.inf):
    """Round half up at a fraction, and saturate; the gradient passes straight through."""
    return v + ((torch.floor(v * 2.0**frac + 0.5) * 2.0**-frac).clamp(low, high) - v).detach()


def plain_quantised_layer(x, c, y, w, r_w, b, theta, *, numerics, lengths):
    """docs/numerics.md, section 3, in real numbers for plain autograd; results as those of `plain_layer`."""
    spec, _, sigmoid, tanh, _ = numerics
    k, eb = spec.table_bits, spec.event_bits
    (w_z, w_r, w_g), (r_z, r_r, r_g) = w.chunk(3), r_w.chunk(3)
    ys, os = [], []
    for t in range(x.shape[0]):
        z = TableEntry.apply(x[t] @ w_z.T + y @ r_z.T + b[0], sigmoid, k - 4, lambda s: s * (1 - s))
        r = TableEntry.apply(x[t] @ w_r.T + y @ r_r.T + b[1], sigmoid, k - 4, lambda s: s * (1 - s))
        if spec.reset == "after":
            ends = -16.0, 16.0 - 2.0**-11
            inner = rounded(x[t] @ w_g.T + b[2], 11, *ends) + r * rounded(y @ r_g.T + b[3], 11, *ends)
        else:
            inner = x[t] @ w_g.T + b[2] + rounded(r * y, eb) @ r_g.T + b[3]
        g = TableEntry.apply(inner, tanh, k - 3, lambda g: 1 - g * g)
        potential = rounded(z * (c - g), 15) + g
        if spec.state_reset == "output":
            potential = potential - y
        o = hard_step(potential, theta)
        payload = rounded(potential, eb, high=1 - 2.0**-eb)
        new_y = o * potential + (o * (payload - potential)).detach()
        new_c = potential if spec.state_reset == "output" else potential - o * theta
        inside = (t < lengths).unsqueeze(1)
        c, y = torch.where(inside, new_c, c), torch.where(inside, new_y, y)
        ys.append(torch.where(inside, new_y, 0.0))
        os.append(torch.where(inside, o, 0.0))
    return torch.stack(ys), torch.stack(os), c, y


@combinations
@pytest.mark.parametrize("event_bits", [2, 4, 8])
def test_the_quantised_layer_and_its_gradients_equal_a_plain_straight_through_model(
    event_bits, reset, state_reset
):
    rng = np.random.default_rng(event_bits)
    image = random_image(
        rng, inputs=5, units=(8,), input_bits=6, input_signed=True, weight_bits=6, event_bits=event_bits,
        table_bits=8, threshold=(0.0, 0.4), reset=reset, state_reset=state_reset,
    )  # fmt: skip
    layer, spec = image.layers[0], image.layers[0].spec

    def real(values, frac):
        return torch.from_numpy(np.ldexp(values.astype(np.float64), -frac))

    x = real(random_input(rng, image, 30, batch=4), image.input.frac)
    c0, y0 = torch.zeros(4, 8, dtype=torch.float64), torch.zeros(4, 8, dtype=torch.float64)
    parameters = [
        real(layer.input_weight, spec.input_weight_frac),
        real(layer.recurrent_weight, spec.recurrent_weight_frac),
        real(layer.bias, layer.acc_frac),
        real(layer.threshold, 15),
    ]
    numerics = LayerNumerics(
        spec, layer.input_format, *(torch.from_numpy(t.astype(float)) for t in (layer.sigmoid, layer.tanh)),
        Options(reset=reset, state_reset=state_reset),
    )  # fmt: skip
    lengths = torch.tensor([30, 12, 1, 29])
    ours, theirs = leaves([x, c0, y0, *parameters]), leaves([x, c0, y0, *parameters])
    got = quant_layer(*ours[:3], QuantParameters(*ours[3:]), numerics, lengths)
    expected = plain_quantised_layer(*theirs, numerics=numerics, lengths=lengths)
    assert 0.02 < got.o.mean() < 0.9
    loss, plain_loss = 0.0, 0.0
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2**-40)
        weight = torch.from_numpy(rng.normal(size=a.shape))
        loss, plain_loss = loss + (weight * a).sum(), plain_loss + (weight * b).sum()
    loss.backward()
    plain_loss.backward()
    for a, b in zip(ours, theirs, strict=True):
        assert b.grad.abs().max() > 0
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)

"""Learned scales: the gradient is the one that is claimed, and training mends a bad fraction."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from egru import EgretError, IntegerNetwork, Network, QuantNetwork
from egru.formats import FRAC_RANGE, IntFormat
from egru.quant_layer import quantise
from egru.scales import GAIN, quantise_scaled, scale_slope

torch.set_num_threads(1)


def learning(seed=0, layers=2, weight_bits=(4, 3, 6), readout="mean", **options):
    torch.manual_seed(seed)
    network = Network(5, 9, 4, layers, readout=readout)
    return QuantNetwork.from_float(
        network, input_format=IntFormat(8, 5, True), weight_bits=weight_bits, learn_scales=True, **options
    )


def assert_equals_its_image(quantised, x):
    image = quantised.to_image("test")
    with torch.no_grad():
        found = quantised(x)
    expected = IntegerNetwork(image).run(image.input.format.quantise(x.numpy()))
    for y, wanted, layer in zip(found.events, expected.events, image.layers, strict=True):
        assert np.array_equal(np.ldexp(y.double().numpy(), layer.spec.event_bits), wanted)
    logits = np.ldexp(found.logits.numpy(), image.logit_frac) * len(x)
    assert np.array_equal(np.rint(logits), expected.logits)


def test_the_slope_of_each_case_is_that_worked_out_by_hand():
    """Step 1/4, integers -8..7: 0.3 is 1.2 steps, 1.85 rounds up to 7 from 7.4; -3 and 2 are clipped."""
    slope = scale_slope(torch.tensor([0.25, 0.3, 0.45, -0.3, 1.85, 1.9, 2.0, -3.0]), IntFormat(4, 2, True))
    steps = torch.tensor([0.0, 1 - 1.2, 2 - 1.8, -1 + 1.2, 7 - 7.4, 7.0, 7.0, -8.0], dtype=torch.float64)
    assert torch.allclose(slope, math.log(2) / 4 * steps, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_gradient_of_the_scale_is_the_difference_quotient_of_its_surrogate(bits):
    torch.manual_seed(bits)
    fmt = IntFormat(bits, 3, True)
    values = torch.randn(200, dtype=torch.float64) * fmt.hi / 8
    held = torch.floor(values * 8 + 0.5) - values * 8
    # A value that is rounded to an end of the range sits on the surrogate's kink; see the test above.
    at_an_end = torch.isin((values * 8 + held).round(), torch.tensor([fmt.lo, fmt.hi], dtype=torch.float64))
    weights = torch.randn(200, dtype=torch.float64).masked_fill(at_an_end, 0.0)
    log2_scale = torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)
    (quantise_scaled(values, log2_scale, fmt, "w") * weights).sum().backward()

    def surrogate(exponent):
        step = 2.0**exponent
        return (step * (values / step + held).clamp(fmt.lo, fmt.hi) * weights).sum()

    difference = (surrogate(-3 + 1e-6) - surrogate(-3 - 1e-6)) / 2e-6
    clipped = (values * 8 + held).abs() > fmt.hi + 1.5
    assert clipped.any() and not clipped.all()
    assert log2_scale.grad.item() * math.sqrt(200 * fmt.hi) == pytest.approx(difference.item(), rel=1e-6)


def test_values_and_their_gradients_are_those_of_a_fixed_scale():
    values = torch.linspace(-3, 3, 101)
    fmt, grad = IntFormat(4, 2, True), torch.randn(101, dtype=torch.float64)
    results = []
    for function in (
        lambda v: quantise(v, fmt, "w"),
        lambda v: quantise_scaled(v, torch.tensor(-2.0), fmt, "w"),
    ):
        leaf = values.clone().requires_grad_()
        out = function(leaf)
        out.backward(grad)
        results.append((out.detach(), leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_learning_starts_from_the_fractions_chosen_and_computes_the_same():
    x = torch.randn(20, 6, 5)
    once = learning()
    assert once.scales.fraction("weight_hh_l1") == once.layer_specs[1].recurrent_weight_frac
    torch.manual_seed(0)
    plain = QuantNetwork.from_float(
        Network(5, 9, 4, 2), input_format=IntFormat(8, 5, True), weight_bits=(4, 3, 6)
    )
    assert once.to_image("test") == plain.to_image("test")
    with torch.no_grad():
        assert torch.equal(once(x).logits, plain(x).logits)
    assert once.learn_scales_() is once and plain.scales is None


def test_every_scale_gets_a_gradient_and_moves_the_formats_when_its_integer_changes():
    quantised = learning()
    quantised(torch.randn(20, 6, 5)).logits.square().sum().backward()
    scales = dict(quantised.scales.named_parameters())
    assert set(scales) == {
        "weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1", "readout_weight",
    }  # fmt: skip
    assert all(p.grad.item() != 0.0 for p in scales.values())
    before = quantised.readout_spec.weight_frac
    with torch.no_grad():
        scales["readout_weight"].sub_(0.4 / GAIN)
        assert quantised.readout_spec.weight_frac == before
        scales["readout_weight"].sub_(0.2 / GAIN)
    assert quantised.readout_spec.weight_frac == before + 1
    assert quantised.to_image("test").readout.spec.weight_frac == before + 1


@pytest.mark.parametrize("badly", [-5, 4])
def test_training_mends_fractions_that_were_chosen_badly_and_stays_equal_to_the_image(badly):
    """All fractions off by 4 or 5 bits: weights of 0 or +-1 step, or nearly all clipped."""
    torch.manual_seed(1)
    target = torch.arange(16) % 4
    x = torch.randn(12, 16, 5) + 2 * torch.randn(4, 5)[target]
    losses = {}
    for learn in (False, True):
        quantised = learning(seed=1, layers=1, weight_bits=6)
        if not learn:
            quantised.scales = None
        good = quantised._fractions()
        off = {name: min(max(frac + badly, 0), 12) for name, frac in good.items()}
        spec = replace(
            quantised.layer_specs[0],
            input_weight_frac=off["weight_ih_l0"],
            recurrent_weight_frac=off["weight_hh_l0"],
        )
        readout = replace(quantised.readout_spec, weight_frac=off["readout.weight"])
        quantised._set_specs(quantised.input_spec, [spec], readout)
        optimiser = torch.optim.Adam(quantised.parameters(), 0.01)
        for step in range(120):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(quantised(x).logits, target)
            loss.backward()
            optimiser.step()
            if step % 20 == 0:
                assert_equals_its_image(quantised, x)
        assert_equals_its_image(quantised.eval(), x)
        losses[learn] = loss.item()
        if learn:
            for name in ("weight_ih_l0", "readout.weight"):
                assert abs(quantised.scales.fraction(name) - good[name]) < abs(off[name] - good[name])
    assert losses[True] < 0.7 * losses[False]


def test_a_scale_stays_within_the_fractions_that_an_image_can_have():
    quantised = learning()
    for value, end in ((100.0, FRAC_RANGE[0]), (-100.0, FRAC_RANGE[1])):
        with torch.no_grad():
            for parameter in quantised.scales.parameters():
                parameter.fill_(value)
        assert_equals_its_image(quantised, torch.randn(5, 2, 5))
        assert {spec.input_weight_frac for spec in quantised.layer_specs} == {end}
        assert quantised.scales.log2_scale("readout.weight") == pytest.approx(-end)


def test_a_scale_that_is_no_finite_number_is_refused():
    quantised = learning()
    with torch.no_grad():
        quantised.scales.weight_hh_l1.fill_(math.nan)
    with pytest.raises(EgretError, match="learned scale of weight_hh_l1 must be a finite number, not nan"):
        quantised.to_image("test")


def test_a_state_dict_carries_learned_scales_between_fractions(tmp_path):
    trained = learning()
    with torch.no_grad():
        trained.scales.weight_ih_l0.add_(1.3 / GAIN)
        trained.scales.readout_weight.sub_(2.4 / GAIN)
    torch.save(trained.state_dict(), tmp_path / "state.pt")
    fresh = learning(seed=5)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert fresh.to_image("test") == trained.to_image("test")
    for name in trained._fractions():
        assert fresh.scales.log2_scale(name) == trained.scales.log2_scale(name)
    fresh.choose_fractions()
    assert fresh.scales.log2_scale("readout.weight") == pytest.approx(-fresh.readout_spec.weight_frac)


def test_a_network_that_does_not_learn_has_a_state_dict_without_scales():
    plain = QuantNetwork.from_float(Network(5, 9, 4), input_format=IntFormat(8, 5, True))
    assert not [name for name in plain.state_dict() if "scales" in name]

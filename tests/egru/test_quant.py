"""The quantised network: equal to the integer model in every bit, trainable, strict about arguments."""

import copy
import operator
from itertools import product

import integer_reference as reference
import numpy as np
import pytest
import torch
from reference_trace import reference_trace

from egru import EgretError, IntegerNetwork, Network, QuantNetwork
from egru.formats import IntFormat
from egru.integer import Trace
from egru.quant import best_frac, choose_input_format
from egru.quant_layer import _product_dtype, exact_sequence, quantise, to_integers
from egru.testing import first_difference, random_image, random_input

torch.set_num_threads(1)

MODES = ("mean", "last", "every")
COMBINATIONS = list(product(("after", "before"), ("threshold", "output")))
combinations = pytest.mark.parametrize(("reset", "state_reset"), COMBINATIONS)


def float_network(seed, inputs=5, units=9, classes=4, layers=1, mode="mean", spread=0.3, **options):
    torch.manual_seed(seed)
    network = Network(inputs, units, classes, layers, readout=mode, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(spread * torch.randn_like(parameter))
    network.egru.clamp_thresholds_()
    return network


def from_image(image):
    """A quantised network whose float parameters are exactly the numbers of an image (tables aside)."""
    network = Network(
        image.input.size, image.layers[0].spec.units, image.readout.spec.classes, len(image.layers),
        readout=image.readout.spec.mode, dtype=torch.float64, reset=image.layers[0].spec.reset,
        state_reset=image.layers[0].spec.state_reset,
    )  # fmt: skip

    def real(values, frac):
        return torch.from_numpy(np.ldexp(values.astype(np.float64), -frac))

    with torch.no_grad():
        for k, layer in enumerate(image.layers):
            p, spec = network.egru.layer_parameters(k), layer.spec
            p.weight_ih.copy_(real(layer.input_weight, spec.input_weight_frac))
            p.weight_hh.copy_(real(layer.recurrent_weight, spec.recurrent_weight_frac))
            bias = real(layer.bias, layer.acc_frac)
            p.bias_ih.copy_(bias[:3].flatten())
            p.bias_hh.zero_()
            p.bias_hh[2 * spec.units :] = bias[3]
            p.theta.copy_(real(layer.threshold, 15))
        readout = image.readout
        network.readout.weight.copy_(real(readout.weight, readout.spec.weight_frac))
        network.readout.bias.copy_(real(readout.bias, image.logit_frac))
    return QuantNetwork(network, image.input, [layer.spec for layer in image.layers], readout.spec)


def trace_of(quantised, x, lengths):
    """Events, states, logits and gated events of a quantised network, as integers."""
    steps, batch, _ = x.shape
    alive = np.arange(steps)[:, None, None] < lengths.numpy()[:, None]
    with torch.no_grad():
        out = quantised(x, lengths)
        values = quantise(x, quantised.input_spec.format, "x").to(x.dtype)
        states, gated = [], []
        for k in range(quantised.egru.num_layers):
            zero = x.new_zeros(batch, quantised.egru.hidden_size)
            parameters = quantised._quantised(k, quantise)
            saved, c = exact_sequence(values, zero, zero, parameters, quantised._numerics(k, x.device))
            states.append(integers(c[1:], 15) * alive)
            spec = quantised.layer_specs[k]
            gated.append(integers(saved.gated, spec.event_bits) * alive if spec.reset == "before" else None)
            values = out.events[k]
    events = [integers(y, spec.event_bits) for y, spec in zip(out.events, quantised.layer_specs, strict=True)]
    for y, o in zip(events, out.spikes, strict=True):
        assert np.array_equal(y > 0, o.numpy() > 0)
    logits = out.logits * lengths.unsqueeze(1) if quantised.readout_mode == "mean" else out.logits
    frac = quantised.layer_specs[-1].event_bits + quantised.readout_spec.weight_frac
    # Only the logits of mode "mean" were rounded, by the division.
    return Trace(events, states, np.rint(np.ldexp(logits.numpy(), frac)).astype(np.int64), gated)


def integers(values, frac):
    scaled = np.ldexp(values.double().numpy(), frac)
    assert np.array_equal(scaled, np.rint(scaled))
    return scaled.astype(np.int64)


def difference(quantised, x, lengths=None):
    lengths = torch.full((x.shape[1],), x.shape[0]) if lengths is None else lengths
    image = quantised.to_image("test")
    expected = IntegerNetwork(image).run(image.input.format.quantise(x.numpy()), lengths.numpy())
    return first_difference(expected, trace_of(quantised, x, lengths))


@combinations
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_event_state_and_logit_equals_that_of_the_integer_model(
    weight_bits, layers, reset, state_reset
):
    for seed, mode in enumerate(MODES):
        variant = 7 * seed + weight_bits + layers
        network = float_network(variant, layers=layers, mode=mode, reset=reset, state_reset=state_reset)
        x = 2 * torch.randn(40, 5, 5)
        lengths = torch.randint(1, 41, (5,))
        bits = (weight_bits, 2 + variant % 7, 2 + variant // 2 % 7) if seed else weight_bits
        quantised = QuantNetwork.from_float(
            network, calibration=x, weight_bits=bits, input_bits=2 + variant % 7,
            event_bits=2 + (variant + seed) % 7, table_bits=4 + variant % 9,
        )  # fmt: skip
        assert difference(quantised, x, lengths) is None
        assert difference(quantised.train(), 9 * x) is None


@combinations
@pytest.mark.parametrize("seed", range(24))
def test_random_images_are_computed_and_given_back_exactly(seed, reset, state_reset):
    rng = np.random.default_rng(seed)
    image = random_image(
        rng, units=(4,) * (1 + seed % 3), any_frac=seed % 2 == 0, extreme=seed % 3 == 0,
        activity=[None, 1.0, None, 0.5][seed % 4], name="test", reset=reset, state_reset=state_reset,
    )  # fmt: skip
    # Network keeps its thresholds at 2^-8 or more, as an event of 8 bits needs it anyway.
    quantised = from_image(image)
    assert quantised.to_image("test") == image
    x = torch.from_numpy(image.input.format.to_real(random_input(rng, image, 20, batch=3)))
    assert difference(quantised, x) is None


@pytest.mark.parametrize(("a", "q"), [(20.0, -15.5), (-20.0, 15.5), (-15.5, 20.0), (15.5, -20.0)])
def test_both_parts_of_the_candidate_are_saturated_before_they_meet(a, q):
    network = float_network(0, inputs=1, units=1, classes=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.egru.bias_ih_l0.copy_(torch.tensor([-9.0, 9.0, a]))
        network.egru.bias_hh_l0[2] = q
    quantised = QuantNetwork.from_float(network, input_format=IntFormat(8, 5, True))
    assert difference(quantised, torch.zeros(2, 1, 1)) is None
    assert 0.4 < quantised(torch.zeros(1, 1, 1)).state[0].abs() < 0.6


def test_both_parts_of_the_candidate_meet_unsaturated_where_the_reset_gate_comes_before_them():
    network = float_network(0, inputs=1, units=1, classes=1, reset="before")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.egru.theta_l0.fill_(1.0)
        network.egru.bias_ih_l0.copy_(torch.tensor([-9.0, 9.0, 100.0]))
        network.egru.bias_hh_l0[2] = -99.5
    quantised = QuantNetwork.from_float(network, input_format=IntFormat(8, 5, True))
    assert difference(quantised, torch.zeros(2, 1, 1)) is None
    state = quantised(torch.zeros(1, 1, 1)).state[0].item()
    assert state == pytest.approx(np.tanh(0.5), abs=1e-3)


@combinations
def test_thousands_of_steps_stay_equal(reset, state_reset):
    network = float_network(
        3, inputs=3, units=20, layers=2, mode="every", reset=reset, state_reset=state_reset
    )
    x = torch.randn(2000, 2, 3)
    quantised = QuantNetwork.from_float(network, calibration=x)
    assert difference(quantised, x) is None


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_wide_sums_and_imprecise_float32_products_do_not_cost_a_bit(precision, reset):
    """Sums beyond 24 bits, and a switch that lets float32 products round more."""
    rng = np.random.default_rng(0)
    image = random_image(
        rng, inputs=600, units=(600,), weight_bits=8, input_bits=8, event_bits=8, extreme=True, activity=1.0,
        reset=reset,
    )  # fmt: skip
    x = torch.from_numpy(image.input.format.to_real(random_input(rng, image, 4, batch=2))).float()
    quantised = from_image(image).float()
    assert difference(quantised, x) is None
    try:
        torch.set_float32_matmul_precision(precision)
        assert _product_dtype(torch.ones(1, 1), 1.0) == torch.float64
        assert difference(quantised, x) is None
    finally:
        torch.set_float32_matmul_precision("highest")
    assert _product_dtype(torch.ones(1, 1), 2.0**24 - 1) == torch.float32
    assert _product_dtype(torch.ones(1, 1), 2.0**24) == torch.float64


@combinations
def test_training_keeps_the_equality_and_evaluation_after_it_too(reset, state_reset):
    network = float_network(1, layers=2, reset=reset, state_reset=state_reset)
    target = torch.arange(16) % 4
    x = torch.randn(25, 16, 5) + torch.randn(4, 5)[target]
    quantised = QuantNetwork.from_float(network, calibration=x, weight_bits=4)
    optimiser = torch.optim.Adam(quantised.parameters(), 0.02)
    losses = []
    for _ in range(80):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(quantised(x).logits, target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < (0.6 if state_reset == "threshold" else 0.75) * losses[0]
    assert difference(quantised, x) is None
    assert difference(quantised.eval(), x) is None
    moved = quantised.to_image("test")
    quantised.choose_fractions()
    assert difference(quantised, x) is None
    assert moved != QuantNetwork.from_float(network, calibration=x, weight_bits=4).to_image("test")


def test_quantising_and_not_training_is_the_same_network_as_training_without_steps():
    network, x = float_network(2), torch.randn(10, 4, 5)
    once, twice = (QuantNetwork.from_float(network, calibration=x) for _ in range(2))
    twice.train()
    loss = twice(x).logits.square().sum()
    loss.backward()
    assert once.eval().to_image("test") == twice.to_image("test")
    with torch.no_grad():
        assert torch.equal(once(x).logits, twice(x).logits)
    for before, after in zip(network.parameters(), twice.egru.parameters(), strict=False):
        assert torch.equal(before, after)


@combinations
@pytest.mark.parametrize("bug", [{"rounding": reference.floor_shift}, {"fires": operator.ge}])
def test_a_planted_bug_is_caught(bug, reset, state_reset):
    """Changed rounding, and a threshold that fires on equality: one unit whose c~ equals its threshold."""
    image = random_image(
        np.random.default_rng(0), inputs=1, units=(1,), mode="every", table_bits=10, input_bits=8,
        input_signed=True, weight_bits=8, event_bits=8, activity=1.0, name="test", reset=reset,
        state_reset=state_reset,
    )  # fmt: skip
    quantised = from_image(image)
    x = torch.zeros(3, 1, 1, dtype=torch.float64)
    potential = IntegerNetwork(image).run(np.zeros((1, 1), int)).states[0].item()
    if state_reset == "threshold":
        potential += int(image.layers[0].threshold[0])
    with torch.no_grad():
        quantised.egru.theta_l0.fill_(potential * 2.0**-15)
    image = quantised.to_image("test")
    assert difference(quantised, x) is None
    found = trace_of(quantised, x, torch.tensor([3]))
    found = Trace([y[:, 0] for y in found.events], [c[:, 0] for c in found.states], found.logits[:, 0])
    assert first_difference(reference_trace(image, np.zeros((3, 1), int)), found) is None
    assert first_difference(reference_trace(image, np.zeros((3, 1), int), **bug), found) is not None


@combinations
def test_windows_with_carried_state_equal_the_whole_sequence(reset, state_reset):
    network = float_network(4, layers=2, mode="every", reset=reset, state_reset=state_reset)
    x = torch.randn(30, 3, 5)
    quantised = QuantNetwork.from_float(network, calibration=x)
    with torch.no_grad():
        whole = quantised(x)
        first = quantised(x[:13])
        second = quantised(x[13:], state=first.state)
    assert torch.equal(torch.cat((first.logits, second.logits)), whole.logits)
    assert all(torch.equal(a, b) for a, b in zip(second.state, whole.state, strict=True))


@pytest.mark.parametrize(("state_reset", "lowest"), [("threshold", -1.0), ("output", -1 - 15 / 16)])
def test_a_carried_state_is_put_into_the_range_of_states(state_reset, lowest):
    network = float_network(4, state_reset=state_reset)
    with torch.no_grad():
        network.egru.bias_ih_l0[: network.egru.hidden_size] = 1000.0  # z = 0.9997: the state is kept
        network.egru.theta_l0.fill_(0.25)
    quantised = QuantNetwork.from_float(network, input_format=IntFormat(8, 5, True), event_bits=4)
    zero = torch.zeros(1, 1, 9)
    for given, kept in ((-5.0, lowest), (lowest, lowest), (-0.75, -0.75), (5.0, 1.0)):
        state, _ = quantised(torch.zeros(1, 1, 5), state=(torch.full_like(zero, given), zero)).state
        lost = 0.25 if kept == 1.0 and state_reset == "threshold" else 0.0
        assert (state + lost - kept).abs().max() < 2**-9


@combinations
def test_padding_may_be_anything_and_never_matters(reset, state_reset):
    network, x = float_network(5, reset=reset, state_reset=state_reset), torch.randn(12, 3, 5)
    lengths = torch.tensor([12, 5, 1])
    quantised = QuantNetwork.from_float(network, calibration=x)
    padded = x.clone()
    padded[5:, 1], padded[1:, 2] = torch.nan, 1e9
    results = []
    for values in (x, padded):
        quantised.zero_grad()
        out = quantised(values, lengths)
        (out.logits.square().sum() + out.spikes[0].sum()).backward()
        results.append(
            [out.logits.detach(), out.events[0].detach(), quantised.egru.weight_ih_l0.grad.clone()]
        )
        assert not out.events[0][5:, 1].any() and not out.spikes[0][1:, 2].any()
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@combinations
@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_the_float_network_where_quantisation_is_fine(mode, reset, state_reset):
    """Parameters that 8 bits hold exactly: what is left are roundings of 2^-8 and less."""
    network = float_network(6, inputs=6, units=16, layers=2, mode=mode, reset=reset, state_reset=state_reset)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.copy_(torch.round(parameter * 64) / 64)
    x = torch.round(torch.randn(12, 8, 6) * 16) / 16
    quantised = QuantNetwork.from_float(network, input_format=IntFormat(8, 4, True), table_bits=12)
    weights = torch.randn(network(x).logits.shape)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for module, values in zip((network, quantised), inputs, strict=True):
        out = module(values)
        ((out.logits * weights).sum() + sum(o.mean() for o in out.spikes)).backward()
    pairs = {name: (p.grad, q.grad) for (name, p), q in zip(
        network.named_parameters(), quantised.parameters(), strict=True)}  # fmt: skip
    pairs["x"] = (inputs[0].grad, inputs[1].grad)
    for name, (exact, found) in pairs.items():
        assert found.any(), name
        cosine = torch.nn.functional.cosine_similarity(exact.flatten(), found.flatten(), dim=0)
        assert cosine > 0.97, (name, cosine)
        assert 0.9 < found.norm() / exact.norm() < 1.1, name


@combinations
def test_every_parameter_of_every_layer_gets_a_gradient(reset, state_reset):
    network, x = float_network(7, layers=3, reset=reset, state_reset=state_reset), torch.randn(20, 8, 5)
    quantised = QuantNetwork.from_float(network, calibration=x, weight_bits=4)
    out = quantised(x)
    (out.logits.square().sum() + sum(o.mean() for o in out.spikes)).backward()
    for name, parameter in quantised.named_parameters():
        rows = parameter.grad.view(len(parameter), -1).any(1)
        if reset == "before" and len(rows) == 3 * 9:
            # This reset gate acts on nothing but its own unit's events.
            fired = out.events[int(name[-1])][:-1].flatten(0, 1).any(0)
            assert fired.any() and not rows[9:18][~fired].any(), name
            rows = torch.cat((rows[:9], rows[9:18][fired], rows[18:]))
        assert rows.float().mean() > 0.8, name  # the others belong to units too far below their threshold


@combinations
def test_activity_alone_trains_through_the_spikes(reset, state_reset):
    network, x = float_network(8, reset=reset, state_reset=state_reset), torch.randn(20, 8, 5)
    quantised = QuantNetwork.from_float(network, calibration=x)
    optimiser = torch.optim.SGD(quantised.parameters(), 1.0)
    activities = []
    for _ in range(20):
        optimiser.zero_grad()
        activity = quantised(x).spikes[0].mean()
        activity.backward()
        optimiser.step()
        activities.append(activity.item())
    assert activities[-1] < 0.7 * activities[0]


def test_a_value_beyond_its_range_gets_only_the_gradient_that_brings_it_back():
    values = torch.tensor([-3.0, -3.0, 0.3, 0.3, 3.0, 3.0], requires_grad=True)
    quantised = quantise(values, IntFormat(4, 3, True), "values")
    assert quantised.tolist() == [-1.0, -1.0, 0.25, 0.25, 0.875, 0.875]
    quantised.backward(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64))
    assert values.grad.tolist() == [0.0, -1.0, 1.0, -1.0, 1.0, 0.0]


def test_tensors_and_arrays_are_quantised_by_the_same_rule():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(10_000, generator=generator, dtype=torch.float64) * 8
    values[:5] = torch.tensor([0.49999999999999994 / 16, 0.5 / 16, -0.5 / 16, 1e30, -1e30])
    for fmt in (
        IntFormat(8, 4, True),
        IntFormat(8, 4, False),
        IntFormat(2, 0, True),
        IntFormat(32, 20, True),
    ):
        assert np.array_equal(to_integers(values, fmt, "v").numpy(), fmt.quantise(values.numpy()))


def test_the_fraction_chosen_has_the_least_error_with_clipping_counted():
    values = torch.cat((torch.linspace(-0.5, 0.5, 1001), torch.tensor([0.6])))
    errors = []
    for frac in range(13):
        fmt = IntFormat(4, frac, True)
        errors.append(np.square(fmt.to_real(fmt.quantise(values)) - values.numpy()).sum())
    chosen = best_frac(values, 4, "values")
    assert chosen == int(np.argmin(errors)) == 4  # 0.6 is clipped to 0.4375
    assert best_frac(torch.zeros(3), 8, "values") == 7
    assert best_frac(torch.tensor([0.5]), 8, "values") == 1
    assert best_frac(torch.tensor([1e30]), 8, "values") == 0
    assert best_frac(torch.tensor([1e-30]), 8, "values") in range(13)


@pytest.mark.parametrize(
    ("inputs", "bits", "expected"),
    [
        (torch.tensor([0.0, 1.0]), 1, IntFormat(1, 0, False)),
        (np.array([0.0, 100.0, 37.0]), 8, IntFormat(8, 0, False)),
        ([torch.tensor([[0.5, -1.0]]), torch.tensor([[0.25, 0.75]])], 8, IntFormat(8, 2, True)),
        (torch.linspace(-3.9, 3.9, 999), 8, IntFormat(8, 5, True)),
    ],
)
def test_the_input_format_follows_the_calibration_inputs(inputs, bits, expected):
    assert choose_input_format(inputs, bits) == expected
    network = float_network(0, inputs=2)
    if isinstance(inputs, list):
        assert QuantNetwork.from_float(network, calibration=inputs).input_spec.format == expected


@pytest.mark.parametrize("features", [2, 3, 9, 12])
@pytest.mark.parametrize("order", ["C", "F", "reversed"])
def test_every_feature_of_the_calibration_counts(features, order):
    """However many inputs there are: a stride over the flattened values once saw one feature alone."""
    rng = np.random.default_rng(features)
    rows = rng.normal(0.0, 0.01, ((1 << 21) // features + 1, features)).astype(np.float32)
    rows[:, features - 1] *= 5000.0
    rows = {"C": rows, "F": np.asfortranarray(rows), "reversed": rows[:, ::-1]}[order]
    expected = IntFormat(8, 0, True)
    assert choose_input_format(rows) == expected
    assert choose_input_format([rows[:100], torch.from_numpy(rows[100:].copy()).unsqueeze(1)]) == expected
    one = np.zeros((1 << 21, 1), np.float32)
    one[12345] = -100.0  # and every row
    assert choose_input_format(one) == expected


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (torch.zeros(4, 5), IntFormat(8, 8, False)),
        (torch.full((4, 5), 3.0), IntFormat(8, 0, False)),
        (torch.arange(-100, 100).view(-1, 5), IntFormat(8, 0, True)),
        (np.arange(200, dtype=np.uint8).reshape(-1, 5), IntFormat(8, 0, False)),
        (torch.ones(4, 5, dtype=torch.bool), IntFormat(8, 0, False)),
        (torch.full((4, 5), 3.0, dtype=torch.float16), IntFormat(8, 0, False)),
        (torch.full((5, 4), 0.75, requires_grad=True).t(), IntFormat(8, 2, False)),
        ([[[0.75, 0, 0, 0, 0]], [[3, 0, 0, 0, 0]]], IntFormat(8, 2, False)),
        (iter([torch.full((4, 5), 0.5)]), IntFormat(8, 1, False)),
    ],
)
def test_calibration_of_other_kinds_of_numbers(inputs, expected):
    assert QuantNetwork.from_float(float_network(0), calibration=inputs).input_spec.format == expected


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(0, 5), "at least one input"),
        (np.array([[0.0, 1.0, np.nan, 0.0, 0.0]]), "must hold finite numbers"),
        ([torch.zeros(3, 5), torch.full((3, 5), -torch.inf)], "must hold finite numbers"),
        (torch.zeros(4, 5, dtype=torch.complex64), "real numbers, not torch.complex64"),
        (np.zeros((4, 5), np.complex64), "real numbers, not complex64"),
        (torch.zeros(4, 5).to_sparse(), "tensors or arrays of real numbers"),
        (torch.zeros(4, 5, device="meta"), "tensors or arrays of real numbers"),
        (np.array([["a"] * 5]), "real numbers, not <U1"),
        ([[[1.0] * 5], [[1.0] * 4, [2.0] * 5]], "real numbers, not list"),
        ([(torch.zeros(4, 5), torch.zeros(4))], "real numbers, not tuple"),
        ("digits", "not str"),
        ({"x": torch.zeros(4, 5)}, "not dict"),
        (7, "not int"),
        (torch.zeros(5, 4), r"the network's 5 inputs as its last axis, and not shape \(5, 4\)"),
    ],
)
def test_calibration_that_says_nothing_is_refused(inputs, message):
    with pytest.raises(EgretError, match=message) as refused:
        QuantNetwork.from_float(float_network(0), calibration=inputs)
    assert str(refused.value).startswith("calibration") and "\n" not in str(refused.value)


def test_a_state_dict_carries_the_formats_and_stays_free_of_code(tmp_path):
    network, x = float_network(9, layers=2), torch.randn(10, 4, 5)
    trained = QuantNetwork.from_float(
        network, calibration=x, weight_bits=(3, 4, 5), event_bits=6, table_bits=8
    )
    with torch.no_grad():
        trained.egru.weight_ih_l0.mul_(3)
    torch.save(trained.state_dict(), tmp_path / "state.pt")
    fresh = QuantNetwork.from_float(float_network(10, layers=2), input_format=IntFormat(2, 0, False))
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert fresh.to_image("test") == trained.to_image("test")
    other = QuantNetwork.from_float(float_network(10, layers=1), input_format=IntFormat(2, 0, False))
    with pytest.raises(EgretError, match="formats are for layers"):
        other.set_extra_state(trained.get_extra_state())
    other = QuantNetwork.from_float(
        float_network(10, layers=2, classes=3), input_format=IntFormat(2, 0, False)
    )
    with pytest.raises(EgretError, match="formats are for 4 classes"):
        other.set_extra_state(trained.get_extra_state())


def test_a_copy_is_trained_and_the_network_given_is_left_alone():
    network, x = float_network(11), torch.randn(10, 4, 5)
    before = copy.deepcopy(network.state_dict())
    quantised = QuantNetwork.from_float(network, calibration=x)
    quantised(x).logits.sum().backward()
    torch.optim.SGD(quantised.parameters(), 1.0).step()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either input_format or calibration"),
        ({"calibration": torch.zeros(1), "input_format": IntFormat(8, 0, True)}, "and not both"),
        ({"calibration": []}, "at least one input"),
        ({"calibration": torch.tensor([1.0, torch.nan])}, "calibration must hold finite numbers"),
        (
            {"calibration": torch.tensor([-1.0]), "input_bits": 1},
            r"an integer 2\.\.8 for signed inputs, not 1",
        ),
        (
            {"calibration": torch.tensor([1.0]), "input_bits": 9},
            r"an integer 1\.\.8 for unsigned inputs, not 9",
        ),
        ({"weight_bits": 1}, r"weight_bits must be one or three integers 2\.\.8, not 1"),
        ({"weight_bits": (8, 8)}, "weight_bits must be one or three integers"),
        ({"weight_bits": (8, 8, 9)}, "weight_bits must be one or three integers"),
        ({"weight_bits": 8.0}, "weight_bits must be one or three integers"),
        ({"event_bits": 9}, r"event_bits must be an integer 2\.\.8, not 9"),
        ({"table_bits": 3}, r"table_bits must be an integer 4\.\.12, not 3"),
        ({"max_steps": 0}, "max_steps must be an integer"),
        ({"input_format": IntFormat(16, 0, True)}, r"input.bits must be an integer 2\.\.8, not 16"),
    ],
)
def test_impossible_arguments_are_refused_by_name(arguments, message):
    if arguments and not arguments.keys() & {"calibration", "input_format"}:
        arguments["input_format"] = IntFormat(8, 4, True)
    with pytest.raises(EgretError, match=message):
        QuantNetwork.from_float(float_network(0), **arguments)


@pytest.mark.parametrize("variant", COMBINATIONS[1:])
def test_formats_of_another_variant_are_refused(variant):
    network = float_network(9, reset=variant[0], state_reset=variant[1])
    quantised = QuantNetwork.from_float(network, input_format=IntFormat(8, 4, True))
    assert [(spec.reset, spec.state_reset) for spec in quantised.layer_specs] == [variant]
    other = QuantNetwork.from_float(float_network(9), input_format=IntFormat(8, 4, True))
    with pytest.raises(EgretError, match=r"formats are for .* and the network has") as caught:
        other.set_extra_state(quantised.get_extra_state())
    assert str(variant) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "theta_l0", "weight", "bias"]
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_parameter_that_is_no_finite_number_is_refused_everywhere(name, value):
    network = float_network(0)
    quantised = QuantNetwork.from_float(network, input_format=IntFormat(8, 4, True))
    for module in (network, quantised):
        holder = module.readout if name in ("weight", "bias") else module.egru
        with torch.no_grad():
            getattr(holder, name).view(-1)[-1] = value
    if name == "theta_l0" and value == torch.inf:
        # Out of range, not meaningless: thresholds are put back into their range.
        assert quantised.to_image("test").layers[0].threshold[-1] == 32767
        return
    for act in (lambda: quantised.to_image("test"), lambda: quantised(torch.zeros(2, 1, 5))):
        with pytest.raises(EgretError, match="must hold finite numbers, and holds NaN or infinity"):
            act()
    with pytest.raises(EgretError, match="must hold finite numbers"):
        QuantNetwork.from_float(network, input_format=IntFormat(8, 4, True))


def test_inputs_that_make_no_sense_are_refused():
    quantised = QuantNetwork.from_float(float_network(0), input_format=IntFormat(8, 4, True), max_steps=6)
    with pytest.raises(EgretError, match="x must hold finite numbers"):
        quantised(torch.full((2, 1, 5), torch.nan))
    with pytest.raises(EgretError, match="x must be T x B x I"):
        quantised(torch.zeros(2, 1, 6))
    with pytest.raises(EgretError, match="at most max_steps = 6 steps, not 7"):
        quantised(torch.zeros(7, 1, 5))
    assert quantised(torch.zeros(7, 1, 5), torch.tensor([6])).logits.shape == (1, 4)


def test_a_mean_that_float64_could_not_hold_exactly_is_refused():
    network = float_network(0, inputs=1, units=1, classes=1)
    quantised = QuantNetwork.from_float(network, input_format=IntFormat(2, 0, True), max_steps=2**24)
    with torch.no_grad():
        quantised.readout.bias.fill_(1e9)
    with pytest.raises(EgretError, match="must stay below 2\\^53"):
        quantised._read_out(torch.zeros(1, 1, 1).double().expand(2**23, 1, 1), torch.tensor([2**23]))

"""The EGRU module: interface, state, lengths, thresholds, and errors."""

import copy
import math
import subprocess
import sys

import pytest
import torch

from egru import EGRU, EgretError

torch.set_num_threads(1)


def model(*args, seed=0, **kwargs):
    torch.manual_seed(seed)
    return EGRU(*args, dtype=torch.float64, **kwargs)


def inputs(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def constant_unit(candidate, theta, **kwargs):
    """One unit whose gates are 1/2 and whose candidate is constant, whatever its input."""
    egru = model(1, 1, **kwargs)
    with torch.no_grad():
        for parameter in egru.parameters():
            parameter.zero_()
        egru.bias_ih_l0[2] = math.atanh(candidate)
        egru.theta_l0.fill_(theta)
    return egru


def test_importing_egru_does_not_import_torch():
    code = "import sys, egru; assert 'torch' not in sys.modules; dir(egru); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    import egru

    with pytest.raises(AttributeError, match="no attribute 'Egru'"):
        egru.Egru  # noqa: B018


def test_parameters_have_the_names_and_shapes_of_a_torch_gru_and_thresholds():
    shapes = {name: tuple(p.shape) for name, p in EGRU(5, 4, 2).named_parameters()}
    gru = {name: tuple(p.shape) for name, p in torch.nn.GRU(5, 4, 2).named_parameters()}
    assert shapes == {**gru, "theta_l0": (4,), "theta_l1": (4,)}


def test_initial_values_follow_the_paper():
    torch.manual_seed(0)
    egru = EGRU(200, 400, theta_mean=0.3)
    theta = egru.theta_l0.detach()
    # Beta(9/7, 3): mean .3, variance ab / ((a+b)^2 (a+b+1))
    a, b = 9 / 7, 3.0
    assert theta.mean().item() == pytest.approx(0.3, abs=0.03)
    assert theta.var().item() == pytest.approx(a * b / ((a + b) ** 2 * (a + b + 1)), rel=0.2)
    assert egru.weight_ih_l0.std().item() == pytest.approx(math.sqrt(2 / (200 + 1200)), rel=0.02)
    assert egru.weight_hh_l0.std().item() == pytest.approx(math.sqrt(2 / (400 + 1200)), rel=0.02)
    assert not egru.bias_ih_l0.any()
    assert not egru.bias_hh_l0.any()


@pytest.mark.parametrize("mean", [0.05, 0.5, 0.9])
def test_theta_mean_sets_the_mean_of_the_initial_thresholds(mean):
    torch.manual_seed(0)
    theta = EGRU(1, 2000, theta_mean=mean).theta_l0
    assert theta.mean().item() == pytest.approx(mean, abs=0.02)
    assert theta.min() >= 2**-8
    assert theta.max() <= 1


def test_equality_with_the_threshold_does_not_fire():
    # The first potential is .5 * tanh(atanh(candidate)); take its value from a unit that cannot fire.
    x = inputs(1, 1, 1)
    _, (potential, _) = constant_unit(0.5, 1.0)(x)
    potential = potential.item()
    assert potential == pytest.approx(0.25)
    y, (c, _) = constant_unit(0.5, potential)(x)
    assert y.item() == 0.0
    assert c.item() == potential
    below = math.nextafter(potential, 0.0)
    y, (c, _) = constant_unit(0.5, below)(x)
    assert y.item() == potential
    assert c.item() == potential - below


def test_threshold_reset_subtracts_the_threshold_in_the_same_step():
    y, (c, last) = constant_unit(0.8, 0.3)(inputs(2, 1, 1))
    # c~ = .4, c = .1; c~ = .05 + .4 = .45, c = .15
    assert y.flatten().tolist() == pytest.approx([0.4, 0.45])
    assert c.item() == pytest.approx(0.15)
    assert last.item() == pytest.approx(0.45)


def test_output_reset_subtracts_the_output_in_the_next_step():
    y, (c, last) = constant_unit(0.8, 0.3, state_reset="output")(inputs(3, 1, 1))
    # c = .4; .2 + .4 - .4 = .2; .1 + .4 = .5
    assert y.flatten().tolist() == pytest.approx([0.4, 0.0, 0.5])
    assert c.item() == pytest.approx(0.5)
    assert last.item() == pytest.approx(0.5)


def test_a_silent_unit_with_a_negative_potential_gives_plus_zero():
    y, _ = constant_unit(-0.8, 0.3)(inputs(3, 1, 1))
    assert not y.any()
    assert not torch.signbit(y).any()


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_two_windows_with_the_state_carried_equal_one_long_window(reset, state_reset):
    egru = model(3, 12, 2, reset=reset, state_reset=state_reset, theta_mean=0.1)
    x = (2 * inputs(20, 4, 3)).requires_grad_()
    whole, (c, y) = egru(x)
    assert whole.count_nonzero() > 40
    first, state = egru(x[:7])
    second, (c2, y2) = egru(x[7:], state)
    torch.testing.assert_close(torch.cat((first, second)), whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close((c2, y2), (c, y), rtol=1e-12, atol=1e-14)
    loss = whole.square().sum() + c.sum()
    parts = first.square().sum() + second.square().sum() + c2.sum()
    tracked = [x, *egru.parameters()]
    for a, b in zip(torch.autograd.grad(loss, tracked), torch.autograd.grad(parts, tracked), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_a_padded_batch_equals_its_sequences_one_by_one():
    egru = model(3, 6, 2)
    x = inputs(9, 3, 3)
    lengths = torch.tensor([9, 1, 4])
    events, (c, y) = egru(x, lengths=lengths)
    assert c.shape == y.shape == (2, 3, 6)
    for b, length in enumerate(lengths.tolist()):
        alone, (c1, y1) = egru(x[:length, b : b + 1])
        torch.testing.assert_close(events[:length, b : b + 1], alone)
        assert not events[length:, b].any()
        torch.testing.assert_close(c[:, b : b + 1], c1)
        torch.testing.assert_close(y[:, b : b + 1], y1)


def test_batch_first_only_swaps_the_first_two_dimensions_of_x_and_y():
    time_first, batch_first = model(3, 6, 2), model(3, 6, 2, batch_first=True)
    x = inputs(8, 4, 3)
    lengths = torch.tensor([8, 2, 5, 7])
    y, state = time_first(x, lengths=lengths)
    y_b, state_b = batch_first(x.transpose(0, 1), lengths=lengths)
    assert torch.equal(y_b.transpose(0, 1), y)
    assert torch.equal(state_b[0], state[0])
    assert torch.equal(state_b[1], state[1])
    assert all(layer.shape == (4, 8, 6) for layer in batch_first.forward_layers(x.transpose(0, 1)).spikes)


def test_every_layer_reports_its_events_and_spikes():
    egru = model(3, 6, 3)
    out = egru.forward_layers(inputs(10, 2, 3))
    assert len(out.events) == len(out.spikes) == 3
    for k, (events, spikes) in enumerate(zip(out.events, out.spikes, strict=True)):
        assert torch.equal(events != 0, spikes != 0)
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(events[-1], out.state[1][k])
    for lower, upper in zip(out.events, out.events[1:], strict=False):
        assert not torch.equal(lower, upper)


def test_a_forward_pass_puts_thresholds_back_into_their_range():
    egru = model(2, 3)
    with torch.no_grad():
        egru.theta_l0.copy_(torch.tensor([-1.0, 0.5, 7.0]))
    egru(inputs(1, 1, 2))
    assert egru.theta_l0.tolist() == [2**-8, 0.5, 1.0]


def test_several_forward_passes_may_share_one_backward_pass():
    egru = model(2, 3)
    x = inputs(4, 2, 2)
    loss = egru(x)[0].sum() + egru(x.flip(0))[0].sum()
    loss.backward()
    assert egru.theta_l0.grad is not None


def test_a_copy_with_loaded_parameters_computes_the_same():
    egru = model(2, 5, 2)
    x = inputs(6, 2, 2)
    other = model(2, 5, 2, seed=9)
    assert not torch.equal(other(x)[0], egru(x)[0])
    other.load_state_dict(egru.state_dict())
    assert torch.equal(other(x)[0], egru(x)[0])
    assert torch.equal(copy.deepcopy(egru)(x)[0], egru(x)[0])


def test_one_input_one_unit_one_step_works():
    y, (c, last) = EGRU(1, 1)(torch.ones(1, 1, 1))
    assert y.shape == c.shape == last.shape == (1, 1, 1)


def test_float32_stays_float32():
    y, (c, last) = EGRU(2, 3)(torch.ones(2, 1, 2))
    assert y.dtype == c.dtype == last.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, 3), {}, EgretError, "input_size must be at least 1, not 0"),
        ((2, -3), {}, EgretError, "hidden_size must be at least 1, not -3"),
        ((2, 3, 0), {}, EgretError, "num_layers must be at least 1, not 0"),
        ((2.0, 3), {}, TypeError, "input_size must be an integer, not 2.0"),
        ((2, True), {}, TypeError, "hidden_size must be an integer, not True"),
        ((2, 3), {"reset": "both"}, EgretError, "reset must be one of .*'after', 'before'.*, not 'both'"),
        ((2, 3), {"state_reset": None}, EgretError, "state_reset must be one of .*, not None"),
        ((2, 3), {"gamma": 0}, EgretError, "gamma must be finite and greater than 0, not 0"),
        ((2, 3), {"eps": math.nan}, EgretError, "eps must be finite and greater than 0, not nan"),
        ((2, 3), {"eps": "1"}, TypeError, "eps must be a number, not '1'"),
        ((2, 3), {"theta_mean": 1.0}, EgretError, r"theta_mean must be within \(0, 1\).*, not 1.0"),
        ((2, 3), {"theta_mean": None}, TypeError, "theta_mean must be a number, not None"),
        ((2, 3), {"batch_first": 1}, TypeError, "batch_first must be a bool, not 1"),
        ((2, 3), {"dtype": torch.int8}, TypeError, "dtype must be a floating point type, not torch.int8"),
    ],
)
def test_bad_construction_names_parameter_value_and_rule(arguments, options, error, message):
    with pytest.raises(error, match=message):
        EGRU(*arguments, **options)


X = torch.zeros(4, 2, 3)
C = torch.zeros(1, 2, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0]],), TypeError, "x must be a torch.Tensor, not list"),
        ((torch.zeros(4, 3),), EgretError, r"x must be T x B x I with I = 3 .*, not of shape \(4, 3\)"),
        ((torch.zeros(4, 2, 2),), EgretError, r"with I = 3 .*, not of shape \(4, 2, 2\)"),
        ((torch.zeros(0, 2, 3),), EgretError, r"T, B at least 1, not of shape \(0, 2, 3\)"),
        ((X.double(),), EgretError, "x must be torch.float32 like the parameters, not torch.float64"),
        ((X, C), TypeError, r"state must be a pair \(c, y\)"),
        ((X, (C, None)), TypeError, r"state must be a pair \(c, y\)"),
        ((X, (C, C[:, :1])), EgretError, r"state y must be of shape \(1, 2, 5\), not \(1, 1, 5\)"),
        ((X, (C.double(), C)), EgretError, "state c must be torch.float32"),
        ((X, None, [4, 4]), TypeError, "lengths must be a torch.Tensor of integers, not list"),
        ((X, None, torch.ones(2)), TypeError, "lengths must hold integers, not torch.float32"),
        ((X, None, torch.tensor([4])), EgretError, r"lengths must be of shape \(2,\), .*, not \(1,\)"),
        ((X, None, torch.tensor([4, 0])), EgretError, r"lengths must be within 1..4, .*, not 0"),
        ((X, None, torch.tensor([5, 1])), EgretError, r"lengths must be within 1..4, .*, not 5"),
    ],
)
def test_bad_input_names_parameter_value_and_rule(arguments, error, message):
    with pytest.raises(error, match=message):
        EGRU(3, 5)(*arguments)


def test_memory_spreads_the_update_gates_over_the_logarithm_of_steps_and_nothing_else():
    torch.manual_seed(3)
    network = EGRU(2, 500, memory=100)
    torch.manual_seed(3)
    plain = EGRU(2, 500)
    bias = network.bias_ih_l0.detach()
    keeps = bias[:500].exp()
    assert keeps.min() >= 1 and keeps.max() <= 100
    assert 0.45 < (keeps < 10).float().mean() < 0.55
    assert not bias[500:].any() and not plain.bias_ih_l0.any()
    assert torch.equal(network.weight_hh_l0, plain.weight_hh_l0)


@pytest.mark.parametrize("memory", [1, -1, float("inf")])
def test_a_memory_of_one_step_or_less_is_refused(memory):
    with pytest.raises(EgretError, match="memory must be 0 or a finite number of steps above 1"):
        EGRU(2, 4, memory=memory)


def test_input_std_is_the_deviation_of_the_first_layers_input_weights_alone():
    torch.manual_seed(3)
    network = EGRU(1, 500, 2, input_std=2.0)
    torch.manual_seed(3)
    plain = EGRU(1, 500, 2)
    assert 1.9 < network.weight_ih_l0.std() < 2.1 and plain.weight_ih_l0.std() < 0.1
    assert network.weight_ih_l1.std() < 0.1


@pytest.mark.parametrize("input_std", [-1, float("inf"), float("nan")])
def test_an_input_std_below_zero_or_without_end_is_refused(input_std):
    with pytest.raises(EgretError, match="input_std must be a finite number of at least 0"):
        EGRU(2, 4, input_std=input_std)

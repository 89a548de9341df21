"""`torch.nn.GRU` converted, against that module itself."""

import pytest
import torch
from torch import nn

from egret.baseline import GRUNetwork
from egret.interop.gru import import_gru
from egru import EGRU, EgretError, Network


def steps_of(gru, layer, x, h):
    """One step of one layer of a GRU by PyTorch's own cell."""
    cell = nn.GRUCell(x.shape[1], gru.hidden_size, bias=gru.bias, dtype=x.dtype)
    for name in cell.state_dict():
        getattr(cell, name).data.copy_(getattr(gru, f"{name}_l{layer}"))
    return cell(x, h)


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_step_from_the_gru_s_state_gives_its_next_state_as_the_potential(bias):
    torch.manual_seed(0)
    gru = nn.GRU(4, 9, bias=bias, dtype=torch.float64)
    for parameter in gru.parameters():
        parameter.normal_()
    egru = import_gru(gru.state_dict(), classes=2).network.egru
    x = torch.randn(30, 5, 4, dtype=torch.float64)
    states, _ = gru(x)
    h = torch.zeros(1, 5, 9, dtype=torch.float64)
    fired = 0
    for t in range(30):
        # The state that a GRU keeps is the one that it speaks, so both c and y are h.
        out = egru.forward_layers(x[t : t + 1], (h, h))
        potential = out.state[0][0] + out.spikes[0][0] * egru.theta_l0
        torch.testing.assert_close(potential, states[t], rtol=0, atol=1e-12)
        torch.testing.assert_close(out.events[0][0], states[t] * (states[t] > egru.theta_l0))
        h = states[t].unsqueeze(0)
        fired += out.spikes[0].mean().item() / 30
    assert 0.1 < fired < 0.9


@torch.no_grad()
def test_where_every_unit_fires_a_stack_sends_the_gru_s_states_from_layer_to_layer():
    torch.manual_seed(1)
    gru = nn.GRU(3, 6, 3, dtype=torch.float64)
    for k in range(3):
        getattr(gru, f"bias_ih_l{k}")[12:] = 3.0  # candidates near 1: every unit is above its threshold
    network = import_gru(gru.state_dict(), classes=2, theta_mean=0.05).network
    x, h = torch.randn(1, 4, 3, dtype=torch.float64), torch.rand(3, 4, 6, dtype=torch.float64)
    expected, last = gru(x, h)
    out = network(x, state=(h, h))
    assert all(spikes.all() for spikes in out.spikes)
    torch.testing.assert_close(out.events[-1], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.state[1], last, rtol=0, atol=1e-12)


def test_the_dense_baseline_is_imported_with_its_readout():
    torch.manual_seed(2)
    baseline = GRUNetwork(3, 8, 5, 2)
    imported = import_gru(baseline.state_dict())
    assert imported.notes == ("the thresholds are new: a GRU has none, so the network must be trained on",)
    network = imported.network
    assert torch.equal(network.readout.weight, baseline.readout.weight)
    assert torch.equal(network.readout.bias, baseline.readout.bias)
    ours, theirs = network.egru.weight_hh_l1, baseline.gru.weight_hh_l1
    assert torch.equal(ours[:8], theirs[8:16]) and torch.equal(ours[8:16], theirs[:8])


def test_new_thresholds_follow_the_seed_and_the_mean():
    tensors = nn.GRU(3, 200).state_dict()

    def thetas(seed, mean):
        torch.manual_seed(seed)
        return import_gru(tensors, classes=2, theta_mean=mean).network.egru.theta_l0

    assert torch.equal(thetas(0, 0.3), thetas(0, 0.3)) and not torch.equal(thetas(0, 0.3), thetas(1, 0.3))
    assert thetas(0, 0.1).mean().item() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (nn.LSTM(3, 4).state_dict(), "must have 3 rows for each of 4 units, as a GRU has, not 16 rows"),
        (nn.GRU(3, 4, bidirectional=True).state_dict(), "must run in one direction"),
        (
            nn.ModuleDict({"a": nn.GRU(3, 4), "b": nn.GRU(4, 4)}).state_dict(),
            "must hold one torch.nn.GRU, not 2",
        ),
        (nn.Linear(3, 4).state_dict(), "must hold one torch.nn.GRU, not 0"),
        (nn.GRU(3, 4).state_dict(), "no readout that is known by name"),
        ({"weight_hh_l0": torch.zeros(12, 4)}, "weight_ih_l0 must be there, as a matrix"),
    ],
)
def test_what_is_no_plain_gru_is_refused(tensors, message):
    with pytest.raises(EgretError, match=message):
        import_gru(tensors)


def without(tensors, *names):
    return {name: value for name, value in tensors.items() if not name.endswith(names)}


GRU = nn.GRU(3, 4, 3).state_dict()
NAMED = {f"net.rnn.{name}": value for name, value in GRU.items()}
READ = NAMED | {"fc.weight": torch.ones(2, 4), "fc.bias": torch.ones(2)}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (Network(3, 4, 2).state_dict(), "with egru.theta_l0 it is that of an EGRU of Egret"),
        (EGRU(3, 4, 2).state_dict(), "with theta_l0 it is that of an EGRU of Egret"),
        ({"a.theta_l7": torch.ones(4)} | GRU, "with a.theta_l7 it is that of an EGRU of Egret"),
        (
            {"layers.0.recurrent_weight": torch.ones(12, 4)} | GRU,
            "layers.0.recurrent_weight it is a network image of Egret",
        ),
        (without(GRU, "_l1"), "bias_hh_l2, bias_ih_l2, weight_hh_l2 and 1 more cannot be taken"),
        (without(READ, "_l1"), "net.rnn.weight_hh_l2 and 1 more cannot be taken"),
        (without(GRU, "weight_hh_l2"), "bias_hh_l2, bias_ih_l2, weight_ih_l2 cannot be taken"),
        (without(GRU, "weight_hh_l0"), "must hold one torch.nn.GRU, not 0"),
        (without(GRU, "bias_hh_l1"), "bias_hh_l1 is missing"),
        (without(GRU, "bias_hh_l1", "bias_ih_l1"), "bias_ih_l1 is missing"),
        (without(GRU, "weight_ih_l1"), "weight_ih_l1 is missing"),
        (GRU | {"weight_ih_l3": torch.ones(12, 4)}, "weight_ih_l3 cannot be taken"),
        (GRU | {"h0": torch.ones(3, 1, 4)}, "h0 cannot be taken"),
        (READ | {"net.rnn.h0": torch.ones(3, 1, 4)}, "net.rnn.h0 cannot be taken"),
        (READ | {"other.weight_ih_l0": torch.ones(12, 3)}, "other.weight_ih_l0 cannot be taken"),
        (READ | {"fc.lora_A": torch.ones(2, 4)}, "fc.lora_A cannot be taken"),
        (
            READ | {"head.weight": torch.ones(2, 4)},
            "the readout must be named, as several layers could be it: fc, head",
        ),
        (READ | {"aux.fc.weight": torch.ones(2, 4)}, "could be it: aux.fc, fc"),
        (GRU | {"weight_hh_l1": torch.full((12, 4), torch.nan)}, "weight_hh_l1 must hold finite numbers"),
        (GRU | {"weight_hh_l1": torch.ones(12, 4).to_sparse()}, "weight_hh_l1 must be a plain dense tensor"),
        (GRU | {"weight_hh_l1": torch.ones(12, 4, device="meta")}, "weight_hh_l1 must be a plain dense"),
        (GRU | {"weight_hh_l1": torch.ones(12, 4, dtype=torch.complex64)}, "floating point numbers, not"),
        (
            GRU | {"weight_hh_l1": torch.ones(16, 4)},
            r"weight_hh_l1 must be of shape \(12, 4\), not \(16, 4\)",
        ),
        (nn.RNN(3, 4).state_dict(), "must have 3 rows for each of 4 units"),
        (nn.GRU(3, 4, 2, bidirectional=True).state_dict(), "must run in one direction"),
        (READ | {"fc.weight": torch.full((2, 4), torch.inf)}, "fc.weight must hold finite numbers"),
        (READ | {"fc.weight": torch.ones(2, 4).int()}, "fc.weight must hold floating point numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_would_become_another_network_is_refused(tensors, message):
    """Every one of these once came in, with a note at best, or was refused in another library's words."""
    has_readout = any(name.startswith("fc.") for name in tensors)
    with pytest.raises(EgretError, match=message) as refused:
        import_gru(tensors, classes=None if has_readout else 2)
    assert "\n" not in str(refused.value)


def test_prefixes_views_mixed_types_and_what_stands_beside_the_stack_come_in_as_they_are():
    torch.manual_seed(0)
    gru = nn.GRU(3, 4, 2).state_dict()
    plain = import_gru(gru, classes=2).network.egru
    strided = {f"module.net.{name}": value.clone().t().contiguous().t() for name, value in gru.items()}
    strided["module.net.bias_ih_l1"] = gru["bias_ih_l1"].double() + 2.0**-40
    strided |= {"module.embedding.weight": torch.ones(9, 3), "module.net_norm.bias": torch.ones(3)}
    imported = import_gru(strided, classes=2)
    network = imported.network.egru
    for name in ("weight_ih_l0", "weight_hh_l1", "bias_hh_l1"):
        assert torch.equal(getattr(network, name), getattr(plain, name).double())
    assert (network.bias_ih_l1 != plain.bias_ih_l1).any()  # of the wider type, nothing was rounded
    assert imported.notes[-1] == "not taken: module.embedding.weight, module.net_norm.bias"


def test_a_parameter_of_another_shape_is_refused():
    tensors = nn.GRU(3, 4).state_dict() | {"bias_hh_l0": torch.zeros(4)}
    with pytest.raises(EgretError, match=r"bias_hh_l0 must be of shape \(12,\), not \(4,\)"):
        import_gru(tensors, classes=2)

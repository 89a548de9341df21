"""Networks in the layout of the authors' library, against a loop over its equations in plain Python."""

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from egret.interop.evnn import export_evnn, import_evnn
from egret.interop.state_dict import read_state_dict
from egru import EgretError, Network, QuantNetwork
from egru.formats import IntFormat


class Layer(nn.Module):
    """The parameters of one layer of the library, by its names and in its shapes."""

    def __init__(self, inputs, units, gamma=0.7, eps=1.0):
        super().__init__()

        def draw(*shape):
            return nn.Parameter(torch.randn(*shape, dtype=torch.float64))

        self.kernel, self.recurrent_kernel = draw(inputs, 3 * units), draw(units, 3 * units)
        self.bias, self.recurrent_bias = draw(3 * units), draw(3 * units)
        self.dampening_factor = nn.Parameter(torch.tensor([gamma]), requires_grad=False)
        self.pseudo_derivative_support = nn.Parameter(torch.tensor([eps]), requires_grad=False)
        self._max_norm = nn.Parameter(torch.tensor([-1.0]), requires_grad=False)
        self.thr = nn.Parameter(torch.rand(units, dtype=torch.float64) * 0.3 + 0.01)


class Classifier(nn.Module):
    """A stack as the library's sequential MNIST example nests it."""

    def __init__(self, sizes, classes=4):
        super().__init__()
        self.rnn = nn.Module()
        self.rnn.rnns = nn.ModuleList()
        for pair in pairwise(sizes):
            wrapper = nn.Module()
            wrapper.rnn = Layer(*pair, gamma=0.5, eps=2.0)
            self.rnn.rnns.append(wrapper)
        self.hidden2out = nn.Linear(sizes[-1], classes, dtype=torch.float64)


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def reference(tensors, prefix, x, zoneout=0.0):
    """One layer over one sequence, a number at a time: graded events and potentials before the reset."""
    kernel, recurrent = tensors[prefix + "kernel"].tolist(), tensors[prefix + "recurrent_kernel"].tolist()
    bias, recurrent_bias = tensors[prefix + "bias"].tolist(), tensors[prefix + "recurrent_bias"].tolist()
    thr = [min(max(v, 0.0), 1.0) for v in tensors[prefix + "thr"].tolist()]
    units = len(thr)
    h, y = [0.0] * units, [0.0] * units
    events, potentials = [], []
    for step in x:
        wx = [sum(v * row[j] for v, row in zip(step, kernel, strict=True)) for j in range(3 * units)]
        ry = [sum(v * row[j] for v, row in zip(y, recurrent, strict=True)) for j in range(3 * units)]
        wx = [a + b for a, b in zip(wx, bias, strict=True)]
        ry = [a + b for a, b in zip(ry, recurrent_bias, strict=True)]
        new_h, new_y, before = [], [], []
        for u in range(units):
            z = sigmoid(wx[u] + ry[u])
            r = sigmoid(wx[units + u] + ry[units + u])
            g = math.tanh(wx[2 * units + u] + r * ry[2 * units + u])
            v = z * h[u] + (1 - z) * g
            v = zoneout * h[u] + (1 - zoneout) * v
            fires = v > thr[u]
            before.append(v)
            new_y.append(v if fires else 0.0)
            new_h.append(v - thr[u] if fires else v)
        h, y = new_h, new_y
        events.append(y)
        potentials.append(before)
    return np.array(events), np.array(potentials)


def check_against_the_reference(tensors, prefixes, network, x, zoneout):
    out = network(torch.from_numpy(x))
    for b in range(x.shape[1]):
        values = x[:, b].tolist()
        for k, prefix in enumerate(prefixes):
            events, potentials = reference(tensors, prefix, values, zoneout)
            units = events.shape[1]
            fired = events != 0
            assert 0.1 < fired.mean() < 0.9
            assert np.abs(potentials - tensors[prefix + "thr"].clamp(0, 1).numpy()).min() > 1e-9
            ours = out.events[k][:, b].detach().numpy()
            np.testing.assert_array_equal(ours[:, :units] != 0, fired)
            np.testing.assert_allclose(ours[:, :units], events, rtol=0, atol=1e-12)
            assert not ours[:, units:].any()
            values = events.tolist()
    return out


@pytest.mark.parametrize("zoneout", [0.0, 0.3])
def test_an_imported_stack_fires_the_reference_s_events_with_its_values(zoneout, tmp_path):
    torch.manual_seed(1)
    model = Classifier([5, 7, 7])
    torch.save(model.state_dict(), tmp_path / "model.pt")
    imported = import_evnn(read_state_dict(tmp_path / "model.pt"), zoneout=zoneout)
    assert imported.notes == ()
    network = imported.network
    options = network.egru.options
    assert (options.gamma, options.eps, network.readout_mode) == (0.5, 2.0, "last")
    x = np.random.default_rng(2).normal(size=(23, 3, 5))
    prefixes = ["rnn.rnns.0.rnn.", "rnn.rnns.1.rnn."]
    out = check_against_the_reference(model.state_dict(), prefixes, network, x, zoneout)
    expected = model.hidden2out(out.events[-1][-1])
    torch.testing.assert_close(out.logits, expected, rtol=0, atol=1e-12)


def test_zoneout_changes_the_events_that_the_test_above_compares():
    torch.manual_seed(1)
    tensors = Classifier([5, 7, 7]).state_dict()
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(23, 3, 5)))
    plain, kept = (import_evnn(tensors, zoneout=p).network(x).spikes[0] for p in (0.0, 0.3))
    assert (plain != kept).any()


def test_layers_of_unequal_size_are_filled_with_units_that_never_fire():
    torch.manual_seed(3)
    model = Classifier([4, 8, 5, 6])
    imported = import_evnn(model.state_dict())
    assert imported.notes == (
        "layer 1: 5 units, and 3 that never fire beside them",
        "layer 2: 6 units, and 2 that never fire beside them",
    )
    x = np.random.default_rng(4).normal(size=(19, 2, 4))
    prefixes = [f"rnn.rnns.{k}.rnn." for k in range(3)]
    out = check_against_the_reference(model.state_dict(), prefixes, imported.network, x, 0.0)
    expected = model.hidden2out(out.events[-1][-1, :, :6])
    torch.testing.assert_close(out.logits, expected, rtol=0, atol=1e-12)


def test_thresholds_are_clamped_as_the_library_clamps_them_and_small_ones_raised():
    torch.manual_seed(0)
    tensors = Classifier([3, 4]).state_dict()
    tensors["rnn.rnns.0.rnn.thr"] = torch.tensor([-0.2, 0.001, 0.5, 1.7], dtype=torch.float64)
    imported = import_evnn(tensors)
    assert imported.network.egru.theta_l0.tolist() == [2**-8, 2**-8, 0.5, 1.0]
    assert imported.notes == ("layer 0: 2 of 4 thresholds below 2^-8 are raised to it",)


def test_layers_come_in_the_order_of_their_numbers_whatever_the_order_in_the_file(tmp_path):
    torch.manual_seed(5)
    tensors = {}
    for k in range(11):
        tensors |= {f"rnns.{k}.{name}": v.detach() for name, v in Layer(6, 6).state_dict().items()}
    tensors |= {"decoder.decoder.weight": torch.randn(3, 6), "decoder.decoder.bias": torch.randn(3)}
    save_file(tensors, tmp_path / "net.safetensors")
    network = import_evnn(read_state_dict(tmp_path / "net.safetensors")).network
    assert network.readout_mode == "every"
    for k in range(11):
        kernel = tensors[f"rnns.{k}.kernel"].t()
        assert torch.equal(network.egru.layer_parameters(k).weight_ih, kernel)


def test_what_is_exported_is_imported_to_the_same_network():
    torch.manual_seed(6)
    network = Network(3, 5, 2, 2, gamma=0.25, eps=4.0, readout="mean")
    again = import_evnn(export_evnn(network)).network
    assert again.egru.options == network.egru.options and again.readout_mode == "mean"
    ours, theirs = network.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_variant_that_the_library_lacks_is_not_exported():
    with pytest.raises(EgretError, match="EvNN has reset='after' and state_reset='threshold' only"):
        export_evnn(Network(2, 2, 2, reset="before"))


def test_a_network_with_zoneout_is_not_quantised():
    torch.manual_seed(0)
    tensors = Classifier([3, 4]).state_dict()
    fmt = IntFormat(8, 5, True)
    QuantNetwork.from_float(import_evnn(tensors).network, input_format=fmt)
    with pytest.raises(EgretError, match=r"zoneout must be 0 .* one sigmoid table"):
        QuantNetwork.from_float(import_evnn(tensors, zoneout=0.1).network, input_format=fmt)


class Planted:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a pickle ran')",))


def test_code_in_a_file_is_never_run(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(2)}, "more": Planted()}, tmp_path / "model.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Planted()))
    for name in ("model.pt", "old.pt"):
        with pytest.raises(EgretError, match="must hold tensors and plain values only"):
            read_state_dict(tmp_path / name)


def test_a_nested_state_dict_is_found_and_half_precision_widened(tmp_path):
    torch.save({"epoch": 3, "state_dict": {"a": torch.ones(2).half()}}, tmp_path / "model.pt")
    tensors = read_state_dict(tmp_path / "model.pt")
    assert list(tensors) == ["a"] and tensors["a"].dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a safetensors file or one of torch.save"),
        (b"\x08\0\0\0\0\0\0\0{broken}", "must be a safetensors file or one of torch.save"),
        (None, "must be an existing file"),
    ],
)
def test_a_damaged_or_missing_file_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(EgretError, match=message):
        read_state_dict(tmp_path / "x")


def test_tensors_of_another_layout_are_refused(tmp_path):
    torch.save({"a": torch.eye(2).to_sparse()}, tmp_path / "x")
    with pytest.raises(EgretError, match=r"a of .* must be a plain dense tensor"):
        read_state_dict(tmp_path / "x")


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    torch.save({"a": torch.tensor([1.0, math.nan])}, tmp_path / "x")
    with pytest.raises(EgretError, match=r"a of .* must hold finite numbers only"):
        read_state_dict(tmp_path / "x")


def change(name, value):
    return lambda tensors: tensors | {name: value}


@pytest.mark.parametrize(
    ("alter", "arguments", "message"),
    [
        (lambda t: {"a": t["hidden2out.bias"]}, {}, "must hold layers of EvNN"),
        (
            lambda t: {k: v for k, v in t.items() if not k.endswith(".1.rnn.kernel")},
            {},
            "rnn.rnns.1.rnn.kernel must be there, as a matrix of floating point numbers",
        ),
        (
            change("rnn.rnns.0.rnn.recurrent_kernel", torch.tensor(1.0)),
            {},
            "recurrent_kernel must be there, as",
        ),
        (
            change("rnn.rnns.1.rnn.kernel", torch.zeros(5, 12)),
            {},
            "layer 'rnn.rnns.1.rnn' takes 5 inputs and must take the 4 events of layer 'rnn.rnns.0.rnn'",
        ),
        (change("rnn.rnns.0.rnn.thr", torch.zeros(3)), {}, r"thr must be of shape \(4,\), not \(3,\)"),
        (change("rnn.rnns.0.rnn.bias", torch.zeros(12).long()), {}, "must hold floating point numbers"),
        (
            change("hidden2out.weight", torch.zeros(4, 9)),
            {},
            "hidden2out takes 9 inputs and the last layer has 4",
        ),
        (
            lambda t: t,
            {"readout": "head"},
            "readout must be a linear layer of the state dict, hidden2out; not",
        ),
        (lambda t: t, {"classes": 3}, "classes must be 4, as readout hidden2out has them, not 3"),
        (lambda t: {k: v for k, v in t.items() if "out" not in k}, {}, "no readout that is known by name"),
        (lambda t: t, {"zoneout": 1.0}, "zoneout must be at least 0 and less than 1, not 1.0"),
    ],
)
def test_state_dicts_that_do_not_fit_are_refused(alter, arguments, message):
    tensors = alter(dict(Classifier([3, 4, 4]).state_dict()))
    with pytest.raises(EgretError, match=message):
        import_evnn(tensors, **arguments)


def renamed(*names):
    """Layers 4 -> 4 under those names, and a readout."""
    layer = {name: value.detach() for name, value in Layer(4, 4).state_dict().items()}
    tensors = {f"{name}.{key}": value for name in names for key, value in layer.items()}
    return tensors | {"fc.weight": torch.ones(2, 4), "fc.bias": torch.ones(2)}


def lacking(tensors, *names):
    return {name: value for name, value in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (renamed("rnns.0", "rnns.2"), "layer 'rnns.1' is missing"),
        (renamed("rnns.1", "rnns.2"), "layer 'rnns.0' is missing"),
        (renamed("rnns.1"), "layer 'rnns.0' is missing"),
        (renamed("rnn1", "rnn3"), "layer 'rnn2' is missing"),
        (renamed("encoder.0", "decoder.0"), "layers must be one numbered stack"),
        (renamed("encoder", "decoder"), "layers must be one numbered stack"),
        (renamed("a.0", "a.1.rnn"), "layers must be one numbered stack"),
        (lacking(renamed("rnns.0", "rnns.1"), "rnns.1.recurrent_kernel"), "rnns.1.kernel.* cannot be taken"),
        (renamed("rnns.0") | {"rnns.0.trace": torch.ones(4)}, "rnns.0.trace cannot be taken"),
        (renamed("rnns.0") | {"rnns.1.thr": torch.ones(4)}, "rnns.1.thr cannot be taken"),
        (renamed("rnns.0") | {"hidden2out.weight": torch.ones(2, 4)}, "could be it: fc, hidden2out"),
        (Network(4, 4, 2).state_dict() | renamed("rnns.0"), "egru.theta_l0 it is that of an EGRU of Egret"),
        (renamed("rnns.0") | {"rnns.0.bias": torch.full((12,), torch.nan)}, "must hold finite numbers"),
        (renamed("rnns.0") | {"rnns.0.thr": torch.ones(4, device="meta")}, "must be a plain dense tensor"),
    ],
)
def test_what_would_become_another_network_is_refused(tensors, message):
    with pytest.raises(EgretError, match=message) as refused:
        import_evnn(tensors)
    assert "\n" not in str(refused.value)


def test_layers_that_are_numbered_in_other_ways_come_in():
    for names in (("rnn",), ("rnn1", "rnn2"), ("a.0.rnn", "a.1.rnn"), ("rnns.9", "rnns.8")):
        tensors = renamed(*names)
        if names[0] == "rnns.9":  # behind other modules
            tensors |= {f"rnns.{k}.weight": torch.ones(4, 4) for k in range(8)}
        assert import_evnn(tensors).network.egru.num_layers == len(names)


def test_a_projection_before_the_readout_asks_for_a_fresh_one_and_says_what_was_not_taken():
    tensors = Classifier([3, 4]).state_dict() | {"hidden2out.weight": torch.zeros(4, 9)}
    imported = import_evnn(tensors, classes=2)
    assert imported.network.num_classes == 2
    assert imported.notes == (
        "the readout to 2 classes is fresh: it must be trained",
        "not taken: hidden2out.bias, hidden2out.weight",
    )

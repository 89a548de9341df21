"""The exported ONNX graph in onnxruntime, against the PyTorch network."""

import sys
from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch

from egret.interop.onnx_graph import to_onnx
from egru import EgretError, Network

DTYPES = {torch.float32: 1e-5, torch.float64: 1e-12}  #: tolerance of values


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def random_network(dtype, **options):
    """A network whose units fire now and then, with every parameter drawn at random."""
    torch.manual_seed(7)
    network = Network(5, 16, 3, 3, dtype=dtype, **options)
    with torch.no_grad():
        for k in range(3):
            p = network.egru.layer_parameters(k)
            p.weight_ih.normal_(std=0.8)
            p.weight_hh.normal_(std=0.5)
            p.bias_ih.normal_(std=0.3)
            p.bias_hh.normal_(std=0.3)
            p.theta.uniform_(0.02, 0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("reset", "state_reset"), list(product(("after", "before"), ("threshold", "output")))
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("mode", "zoneout"), [("mean", 0.0), ("last", 0.2), ("every", 0.0)])
@torch.no_grad()
def test_onnxruntime_fires_the_same_events(reset, state_reset, dtype, mode, zoneout):
    network = random_network(dtype, reset=reset, state_reset=state_reset, readout=mode, zoneout=zoneout)
    run = session(to_onnx(network))
    rng = np.random.default_rng(1)
    for steps, batch in ((1, 1), (40, 3), (17, 8)):
        x = torch.from_numpy(rng.normal(size=(steps, batch, 5))).to(dtype)
        out = network(x)
        logits, *events = run.run(None, {"x": x.numpy()})
        assert len(events) == 3
        for ours, theirs in zip(out.events, events, strict=True):
            np.testing.assert_array_equal(theirs != 0, ours.numpy() != 0)
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=DTYPES[dtype])
        np.testing.assert_allclose(logits, out.logits.numpy(), rtol=0, atol=DTYPES[dtype])
        if steps > 1:
            assert all(0.05 < float((y != 0).mean()) < 0.95 for y in events)


@pytest.mark.parametrize("state_reset", ["threshold", "output"])
@torch.no_grad()
def test_a_sequence_may_come_in_pieces_with_the_state_between_them(state_reset):
    network = random_network(torch.float64, state_reset=state_reset)
    run = session(to_onnx(network, state=True))
    x = torch.randn(30, 2, 5, dtype=torch.float64)
    whole = network(x)
    c = y = np.zeros((3, 2, 16))
    parts = []
    for piece in (x[:1], x[1:12], x[12:]):
        _, _, _, events, c, y = run.run(None, {"x": piece.numpy(), "c": c, "y": y})
        parts.append(events)
    np.testing.assert_allclose(np.concatenate(parts), whole.events[-1].numpy(), rtol=0, atol=1e-12)
    for ours, theirs in zip(whole.state, (c, y), strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("reset", "state_reset"), list(product(("after", "before"), ("threshold", "output")))
)
@pytest.mark.parametrize(("mode", "zoneout"), [("mean", 0.0), ("last", 0.2), ("every", 0.0)])
@pytest.mark.parametrize("place", ["input", "weight", "bias", "c", "y"])
@torch.no_grad()
def test_nan_stays_nan_to_the_logits_of_its_own_sequence(reset, state_reset, mode, zoneout, place):
    network = random_network(
        torch.float32, reset=reset, state_reset=state_reset, readout=mode, zoneout=zoneout
    )
    x, state = torch.randn(9, 3, 5), np.zeros((2, 3, 3, 16), np.float32)
    clean = session(to_onnx(network, state=True)).run(None, {"x": x.numpy(), "c": state[0], "y": state[1]})[0]
    touched = np.zeros(3, bool)
    touched[1] = True
    if place == "input":
        x[4, 1, 2] = torch.nan
    elif place in "cy":
        state["cy".index(place), 0, 1, 7] = np.nan
    else:
        p = network.egru.layer_parameters(1)
        (p.weight_hh if place == "weight" else p.bias_ih).view(-1)[5] = torch.nan
        touched[:] = True
    found = session(to_onnx(network, state=True)).run(None, {"x": x.numpy(), "c": state[0], "y": state[1]})[0]
    last, clean = (values[-1] if mode == "every" else values for values in (found, clean))
    assert np.isnan(last[touched]).all()
    np.testing.assert_array_equal(last[~touched], clean[~touched])


@torch.no_grad()
def test_the_comparison_sees_a_graph_with_one_wrong_weight():
    network = random_network(torch.float64)
    x = torch.randn(40, 3, 5, dtype=torch.float64)
    out = network(x)
    expected = out.events[-1].numpy()
    loudest = out.spikes[1].sum((0, 1)).argmax()
    network.egru.weight_hh_l1[36, loudest] += 1.0
    _, *events = session(to_onnx(network)).run(None, {"x": x.numpy()})
    assert ((events[-1] != 0) != (expected != 0)).any()


def test_equality_with_the_threshold_does_not_fire():
    network = Network(1, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.egru.bias_ih_l0[2] = 40.0  # g = 1, so c~ = 1/2 exactly at the first step
        network.egru.theta_l0.fill_(0.5)
    _, events = session(to_onnx(network)).run(None, {"x": np.zeros((2, 1, 1))})
    assert events.ravel().tolist() == [0.0, 0.75]


def test_thresholds_out_of_range_are_put_back_before_the_export():
    network = Network(1, 1, 2)
    with torch.no_grad():
        network.egru.theta_l0.fill_(-1.0)
        x = torch.randn(5, 1, 1)
        _, events = session(to_onnx(network)).run(None, {"x": x.numpy()})
        np.testing.assert_allclose(events, network(x).events[0].numpy(), atol=1e-6)


def test_half_precision_is_refused():
    with pytest.raises(EgretError, match=r"must be float32 or float64 for ONNX, not torch.float16"):
        to_onnx(Network(2, 2, 2).half())


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EgretError, match=r"pip install 'egret-hdl\[onnx\]'"):
        to_onnx(Network(2, 2, 2))

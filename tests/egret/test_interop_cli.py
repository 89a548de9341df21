"""`egret import` and `egret export`, from the command line."""

import os

import numpy as np
import onnxruntime
import pytest
import torch

from egret import tasks
from egret.baseline import GRUNetwork
from egret.checkpoint import load_checkpoint
from egret.cli.main import main
from egret.interop.evnn import export_evnn
from egret.interop.network_file import load_network, save_network
from egret.recipes import RECIPES
from egru import EgretError, Network


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = Network(3, 6, 2, 2, readout="last", zoneout=0.25, gamma=0.5, eps=2.0)
    with torch.no_grad():
        made.egru.bias_ih_l0[12:] = 0.5
        made.egru.bias_ih_l1[12:] = 0.5
    return made.eval()


def test_evnn_to_egret_to_onnx_and_back_to_evnn(network, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = export_evnn(network)
    torch.save(tensors, "theirs.pt")
    assert main(["import", "evnn", "theirs.pt", "--zoneout", "0.25", "--mode", "last", "-o", "net.st"]) == 0
    assert "3 inputs, 2 x 6 units, 2 classes, readout last; wrote net.st" in capsys.readouterr().out
    assert main(["export", "net.st", "-o", "net.onnx"]) == 0
    assert main(["export", "net.st", "--format", "evnn", "-o", "again.pt"]) == 0
    assert "give zoneout 0.25 to the layers" in capsys.readouterr().out
    again = torch.load("again.pt", weights_only=True)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    x = torch.randn(20, 4, 3)
    expected = network(x)
    assert 0.05 < expected.spikes[1].mean() < 0.95
    run = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    logits, *events = run.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(logits, expected.logits.detach().numpy(), atol=1e-5)
    np.testing.assert_array_equal(events[1] != 0, expected.events[1].detach().numpy() != 0)
    assert sorted(os.listdir()) == ["again.pt", "net.onnx", "net.st", "theirs.pt"]


def test_a_network_file_gives_the_same_network(network, tmp_path):
    save_network(network, tmp_path / "net.safetensors")
    again = load_network(tmp_path / "net.safetensors")
    assert again.egru.options == network.egru.options and again.readout_mode == "last"
    ours, theirs = network.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def test_a_gru_becomes_a_checkpoint_that_is_fine_tuned_and_quantised(
    small_task, small_recipe, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    task = type(small_task)(**{**vars(small_task), "name": "digits"})
    monkeypatch.setattr(tasks, "load", lambda _name: task)
    monkeypatch.setitem(RECIPES, "digits", small_recipe)
    torch.manual_seed(1)
    torch.save({"state_dict": GRUNetwork(3, 10, 2).state_dict()}, "gru.pt")
    words = ["import", "gru", "gru.pt", "--task", "digits", "--mode", "last", "-o", "start.safetensors"]
    assert main(words) == 0
    assert "note: the thresholds are new" in capsys.readouterr().out
    checkpoint = load_checkpoint(tmp_path / "start.safetensors")
    assert checkpoint.recipe.units == 10
    assert isinstance(network := checkpoint.network(), Network) and network.readout_mode == "last"
    assert load_network(tmp_path / "start.safetensors").readout_mode == "last"
    assert main(["quantize", "start.safetensors", "--epochs", "1"]) == 0
    assert (tmp_path / "start.egret").is_file()
    assert main(["export", "start.safetensors", "--state"]) == 0
    assert (tmp_path / "start.onnx").is_file()


def test_a_checkpoint_does_not_hide_what_it_cannot_hold(small_task, tmp_path, capsys, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    task = type(small_task)(**{**vars(small_task), "name": "digits"})
    monkeypatch.setattr(tasks, "load", lambda _name: task)
    torch.save(export_evnn(network), "theirs.pt")
    words = ["import", "evnn", "theirs.pt", "--task", "digits", "-o", "x"]
    assert main([*words, "--zoneout", "0.25"]) == 2
    shown = capsys.readouterr().err
    assert "cannot hold" in shown and "zoneout 0.25 instead of 0.0" in shown
    torch.save(export_evnn(Network(4, 6, 2)), "theirs.pt")
    assert main(words) == 2
    assert "a network for task digits must have 3 inputs, not 4" in capsys.readouterr().err
    assert os.listdir() == ["theirs.pt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "keras", "x"], "source must be one of evnn, gru, not 'keras'"),
        (["import", "gru", "x", "--zoneout", "0.1"], "zoneout is of evnn alone"),
        (["import", "gru", "x"], "state dict x must be an existing file"),
        (["import", "gru", "x", "--task", "none"], "task must be one of"),
        (
            ["import", "gru", "x", "-o", "/dev/null/x"],
            "output /dev/null/x cannot be written: Not a directory",
        ),
        (["export", "x"], "network x must be an existing file"),
        (["export", "x", "--format", "nir"], "format must be one of onnx, evnn, not 'nir'"),
        (["export", "x", "--format", "evnn", "--state"], "state is of the format onnx alone"),
    ],
)
def test_a_request_that_cannot_be_met_ends_in_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("egret: ") and message in shown and shown.count("\n") == 1
    assert os.listdir() == []


def test_files_that_are_no_networks_are_refused(network, tmp_path):
    (tmp_path / "x").write_bytes(b"nonsense")
    with pytest.raises(EgretError, match="must be a safetensors file"):
        load_network(tmp_path / "x")
    save_network(network, tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    for old, new, message in (
        (b"egret-network", b"other-network", "must be a file of `egret import` or `egret train`"),
        (b'version\\": 1', b'version\\": 2', "must have version 1, not 2"),
        (b'hidden_size\\": 6', b'hidden_size\\": 7', "must be complete"),
        (b"egru.theta_l0", b"egru.theta_l9", "must be complete"),
    ):
        assert content.count(old) == 1
        (tmp_path / "x").write_bytes(content.replace(old, new))
        with pytest.raises(EgretError, match=message):
            load_network(tmp_path / "x")

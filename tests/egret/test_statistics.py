"""`egret statistics`, and its counts against the integer model and the hardware's counters."""

import json
import os

import numpy as np
import pytest
import torch
from accelerator_simulation import simulate, tokens_of
from small_text import small_text

from egret import tasks
from egret.checkpoint import Checkpoint, save_checkpoint
from egret.cli.main import main
from egret.interop.network_file import save_network
from egret.language import COLUMNS
from egret.statistics import Opened, collect, collect_text
from egret_hw.config import AcceleratorConfig
from egret_sim.report import work_of
from egru import Network, QuantNetwork, save_image
from egru.formats import IntFormat
from egru.integer import IntegerNetwork
from egru.statistics import measure, measure_image
from egru.testing import random_image, random_input


@pytest.fixture
def task(small_task, monkeypatch):
    named = type(small_task)(**{**vars(small_task), "name": "digits"})
    monkeypatch.setattr(tasks, "load", lambda _name: named)
    return named


@pytest.fixture
def network():
    torch.manual_seed(3)
    made = Network(3, 8, 2, 2, eps=4.0, theta_mean=0.1)
    with torch.no_grad():
        made.egru.bias_ih_l0[16:] = 0.2
        made.egru.bias_ih_l1[16:] = 0.2
    return made.eval()


@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_counted_events_and_macs_are_the_hardware_s(state_reset):
    rng = np.random.default_rng(4)
    image = random_image(
        rng, inputs=3, units=(9, 5), classes=2, mode="last", threshold=(0.0, 0.2), state_reset=state_reset
    )
    sequences = [random_input(rng, image, steps, density=0.6) for steps in (7, 1, 5)]
    config = AcceleratorConfig(lanes=6, update_lanes=1, readout_lanes=1)
    _, _, counters = simulate(image, config, tokens_of(sequences), 3 * 3)
    lengths = np.array([len(x) for x in sequences])
    x = np.zeros((7, 3, 3), dtype=np.int64)
    for b, sequence in enumerate(sequences):
        x[: len(sequence), b] = sequence
    layers = measure_image(image, x, lengths)
    for counted, layer in zip(counters, layers, strict=True):
        assert layer.recurrent_events > 0
        assert counted["input_events"] == layer.input_events
        assert counted["recurrent_events"] == layer.recurrent_events
    work = work_of(image, sequences, [IntegerNetwork(image).run(x) for x in sequences])
    assert sum(layer.forward_macs for layer in layers) == work.useful_macs - work.readout_macs
    assert work.layer_events == tuple(layer.events for layer in layers)


def test_the_json_holds_the_counts_of_a_measurement_in_one_piece(task, network, tmp_path, capsys):
    save_network(network, tmp_path / "net")
    words = ["statistics", str(tmp_path / "net"), "--task", "digits", "--split", "train", "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    x, lengths = task.train.padded()
    whole = measure(network, torch.from_numpy(x), torch.from_numpy(lengths))
    assert printed["eps"] == 4.0 and printed["split"] == "train"
    for shown, layer in zip(printed["layers"], whole, strict=True):
        assert shown["events"] == layer.events and shown["backward_units"] == layer.backward_units
        assert shown["macs"]["forward"] == layer.forward_macs
        assert shown["macs"]["backward_dense"] == layer.backward_macs_dense
        assert shown["activity"] == layer.activity
    assert printed["macs"]["backward"] == sum(layer.backward_macs for layer in whole)
    assert 0 < whole[0].surrogate_units < whole[0].backward_units < whole[0].steps * 8


def test_a_wider_surrogate_needs_more_gradients_and_changes_nothing_forward(task, network):
    narrow, wide = (collect(Opened(network, None, 1.0), task, "test", eps=eps) for eps in (20.0, 0.5))
    assert narrow.work.forward == wide.work.forward
    assert narrow.work.y_gradient < wide.work.y_gradient
    assert narrow.work.x_gradient < wide.work.x_gradient


def test_zero_inputs_are_counted_as_saved_only_in_the_first_of_two_figures():
    torch.manual_seed(0)
    network = Network(4, 5, 2, 2, theta_mean=0.1)
    x = torch.ones(6, 2, 4)
    x[:, :, 2:] = 0.0
    first, second = (layer.work for layer in measure(network, x))
    assert (first.input, first.dense_first_input, first.zero_inputs) == (15 * 24, 15 * 48, 15 * 24)
    assert second.zero_inputs == 0 and second.input < second.input_dense
    both = first + second
    assert both.zero_inputs == 15 * 24
    assert both.forward == first.forward + second.forward


def test_a_text_is_counted_with_the_state_carried_from_window_to_window():
    torch.manual_seed(2)
    text = small_text()
    size = text.input_size
    network = Network(size, 6, size, readout="every", theta_mean=0.1).eval()
    opened = Opened(network, None, 1.0)
    (seen,) = collect_text(opened, text, "validation", window=7).layers
    columns = text.columns("validation", min(COLUMNS, len(text.part("validation")) // 2))
    x = torch.nn.functional.one_hot(torch.from_numpy(columns), size).float()
    (whole,) = measure(network, x)
    # The forward counts are those of one run from end to end; gradients end at each of the windows.
    assert (seen.steps, seen.events, seen.backward_units) == (whole.steps, whole.events, whole.backward_units)
    assert seen.recurrent_events == whole.recurrent_events > 0
    assert seen.input_events == seen.steps == columns.size
    assert seen.sequences == -(-len(columns) // 7) * columns.shape[1] > whole.sequences
    assert seen.carried_units < whole.carried_units
    work = seen.work
    assert work.zero_inputs == 18 * seen.steps * (size - 1)
    image = QuantNetwork.from_float(network, input_format=IntFormat(8, 5, True)).to_image("text")
    (counted,) = collect_text(Opened(image, None, 1.0), text, "validation").layers
    assert (counted.steps, counted.input_events, counted.sequences) == (
        seen.steps, seen.steps, columns.shape[1],
    )  # fmt: skip


def test_tables_of_a_checkpoint_and_of_an_image(task, small_recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    torch.manual_seed(0)
    made = Network(3, 8, 2)
    weights = {name: value.detach() for name, value in made.state_dict().items()}
    save_checkpoint(Checkpoint("digits", "egru", 0, small_recipe, 3, 2, weights), tmp_path / "float")
    assert main(["statistics", "float"]) == 0
    shown = capsys.readouterr().out
    assert "float on digits, validation part, eps 1" in shown
    (seen,) = collect(Opened(made, None, 1.0), task, "validation").layers
    assert f"{seen.activity:.2%}" in shown and f"{seen.backward_activity:.2%}" in shown
    share = seen.forward_macs / seen.forward_macs_dense
    assert f"inputs that are exactly zero cost nothing: forward {share:.1%}" in shown
    image = QuantNetwork.from_float(made, calibration=task.train.padded()[0]).to_image(
        "small", {"task": "digits"}
    )
    save_image(image, "small.egret")
    assert main(["statistics", "small.egret", "--split", "test", "--eps", "3"]) == 0
    assert "small.egret on digits, test part, eps 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "statistics needs a network or --task"),
        (["x"], "network x must be an existing file"),
        (["--task", "none"], "task must be one of"),
        (["net"], "net names no task: give --task"),
        (["net", "--task", "digits", "--split", "dev"], "split must be one of train, validation, test"),
        (["net", "--task", "digits", "--eps", "0"], "eps must be finite and greater than 0, not 0.0"),
        (["wide", "--task", "digits"], "the network must take 3 inputs for task digits, not 4"),
        (["damaged"], "must be a safetensors file of Egret"),
    ],
)
def test_a_request_that_cannot_be_met_ends_in_one_line(
    arguments, message, task, network, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    save_network(network, tmp_path / "net")
    save_network(Network(4, 2, 2), tmp_path / "wide")
    (tmp_path / "damaged").write_bytes(b"nonsense")
    before = sorted(os.listdir())
    assert main(["statistics", *arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("egret: ") and message in shown and shown.count("\n") == 1
    assert sorted(os.listdir()) == before

"""`egret simulate`: exit status, messages and figures. The data set is a small stand-in."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from egret import evaluation, tasks
from egret.cli.main import main
from egret_sim import run as runner
from egru.image import save_image
from egru.integer import IntegerNetwork
from egru.testing import random_image

INPUTS, SEQUENCES = 3, 6


#: The check of data against a network, which other tests leave out.
CHECK = evaluation.check_data


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A small network in a file, a data set in place of the digits, and a place for the figures."""
    rng = np.random.default_rng(4)
    image = random_image(
        rng, inputs=INPUTS, units=[5], classes=3, mode="mean", max_steps=64, input_bits=8, weight_bits=8
    )
    image = replace(image, name="small", info={"task": "digits"})
    path = tmp_path / "small.egret"
    save_image(image, path)
    x = tuple(rng.normal(size=(int(steps), INPUTS)) for steps in rng.integers(1, 20, SEQUENCES))
    test = tasks.Sequences(x, np.zeros(SEQUENCES, np.int64))
    monkeypatch.setattr(tasks, "load", lambda name: SimpleNamespace(test=test))
    monkeypatch.setattr(evaluation, "check_data", lambda image, data: None)
    # Builds are cached where all tests keep them; only the report goes elsewhere.
    return SimpleNamespace(image=image, path=path, report=tmp_path / "out" / "simulation.json")


def simulate(workplace, *options):
    return main(["simulate", str(workplace.path), "--report", str(workplace.report), *options])


def test_a_right_network_exits_with_0_and_writes_its_figures(workplace, capsys):
    assert simulate(workplace, "--samples", "5", "--seed", "3") == 0
    out = capsys.readouterr().out
    for heading in ("sequences", "cycles / step", "busy MAC %", "effective / peak", "mismatches"):
        assert heading in out
    none, random = json.loads(workplace.report.read_text())
    assert none["stalls"] is None
    assert random["stalls"]
    for figures in (none, random):
        assert figures["passed"]
        assert figures["sequences"] == 5
        assert figures["mismatches"] == 0
        assert figures["compared"] == figures["steps"] * 5 + 5 * 3
    assert random["cycles"] > none["cycles"]


def test_stalls_can_be_chosen(workplace):
    assert simulate(workplace, "--samples", "2", "--stalls", "none") == 0
    assert [run["stalls"] for run in json.loads(workplace.report.read_text())] == [None]


def test_a_mismatch_exits_with_1_and_says_where(workplace, monkeypatch, capsys):
    prepare = runner.prepare

    def with_a_fault(image, *args, **options):
        bias = np.array(image.readout.bias)
        bias[1] += 1
        wrong = replace(image, readout=replace(image.readout, bias=bias))
        return prepare(image, *args, hardware_image=wrong, **options)

    monkeypatch.setattr(runner, "prepare", with_a_fault)
    assert simulate(workplace, "--samples", "3") == 1
    captured = capsys.readouterr()
    assert "layer readout, after the last step, class 1: expected logit" in " ".join(captured.err.split())
    (figures,) = json.loads(workplace.report.read_text())  # the second run is not made
    assert not figures["passed"]
    assert figures["mismatches"]


def test_a_time_out_exits_with_1_and_says_what_was_waited_for(workplace, monkeypatch, capsys):
    play = runner.run_bench

    def impatient(*args, **options):
        # The sink hardly ever takes a logit, and the run is given up at once when nothing moves.
        stalls = runner.Stalls(chance=255, mask=65535)
        return play(*args, **{**options, "patience": 1, "stalls": stalls})

    monkeypatch.setattr(runner, "run_bench", impatient)
    assert simulate(workplace, "--samples", "3", "--stalls", "random") == 1
    assert "time-out: no token moved in" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "0"], "samples must be 1 or more, not 0"),
        (["--samples", "7"], "samples must be at most 6, the test part of digits, not 7"),
        (["--seed", "-1"], "seed must be in 0..2147483647, not -1"),
        (["--task", "no-such"], "task must be one of digits, har, "),
        (["--samples", "2", "--lanes", "65"], "must be an integer from 1 to 64, not 65"),
        (["--samples", "2", "--lanes", "many"], "lanes must be a number"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(workplace, capsys, options, message):
    assert simulate(workplace, *options) == 2
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("egret: ")]
    assert message in line
    assert not workplace.report.exists()


def test_an_image_that_does_not_exist_exits_with_2(workplace, tmp_path, capsys):
    assert main(["simulate", str(tmp_path / "none.egret")]) == 2
    assert "none.egret" in capsys.readouterr().err


def test_neither_an_image_nor_a_task_exits_with_2(capsys):
    assert main(["simulate"]) == 2
    assert "an image or --task must be given" in capsys.readouterr().err


def test_an_image_for_other_inputs_than_the_task_has_exits_with_2(workplace, monkeypatch, capsys):
    digits = SimpleNamespace(name="digits", input_size=INPUTS, num_classes=10)
    monkeypatch.setattr(tasks, "load", lambda name: digits)
    monkeypatch.setattr(evaluation, "check_data", CHECK)
    other = random_image(np.random.default_rng(1), inputs=INPUTS + 1, units=[2])
    save_image(replace(other, info={"task": "digits"}), workplace.path)
    assert simulate(workplace) == 2
    said = f"the network must take {INPUTS} inputs for task digits, not {INPUTS + 1}"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "said"), [("mean", "correct: 6 of 6"), ("every", "correct after the last token: 6 of 6")]
)
def test_what_is_correct_of_a_text_is_said(mode, said, workplace, monkeypatch, capsys):
    """A passage has many answers, and only the one after its last token is counted."""
    rng = np.random.default_rng(5)
    image = random_image(
        rng, inputs=INPUTS, units=[5], classes=3, mode=mode, max_steps=64, input_bits=8, weight_bits=8
    )
    test = tasks.load("digits").test
    model = IntegerNetwork(image)
    answers = [np.atleast_2d(model.run(image.input.format.quantise(x)).logits) for x in test.x]
    labels = np.array([int(np.argmax(logits[-1])) for logits in answers])
    monkeypatch.setattr(tasks, "load", lambda name: SimpleNamespace(test=tasks.Sequences(test.x, labels)))
    save_image(replace(image, name="small", info={"task": "digits"}), workplace.path)
    assert simulate(workplace, "--samples", "6", "--stalls", "none") == 0
    assert said in capsys.readouterr().out

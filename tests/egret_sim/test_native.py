"""The driver in C++: the runs that cocotb makes, cycle for cycle; and `egret sim-full`."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from egret import evaluation, tasks
from egret.cli.main import main
from egret_hw.config import AcceleratorConfig
from egret_sim import native
from egret_sim import run as runner
from egret_sim.build import SimulationError
from egret_sim.cosimulation import Stalls
from egret_sim.run import prepare, simulate
from egret_sim.turns import plan
from egru.errors import EgretError
from egru.image import save_image
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input

SHAPES = {
    "two layers, logits in every step, resets of the paper": (
        {
            "inputs": 3,
            "units": [7, 4],
            "classes": 2,
            "mode": "every",
            "weight_bits": 4,
            "threshold": (0.02, 0.3),
            "reset": "before",
            "state_reset": "output",
        },
        AcceleratorConfig(lanes=(8, 6), update_lanes=(2, 1)),
    ),
    "three sequences in turns": (
        {"inputs": 3, "units": [6], "classes": 3, "mode": "mean", "threshold": (0.02, 0.3)},
        AcceleratorConfig(lanes=9, streams=3),
    ),
}


def make(name):
    shape, config = SHAPES[name]
    return random_image(np.random.default_rng(6), **shape), config


def draw(image, seed=9):
    rng = np.random.default_rng(seed)
    shapes = [(1, 1.0), (6, 0.0), (30, 0.2), (2, 1.0), (25, 1.0), (1, 0.5)]
    return [random_input(rng, image, steps, density=density) for steps, density in shapes]


@pytest.fixture(scope="module", params=SHAPES)
def pair(request):
    """One accelerator with both drivers."""
    image, config = make(request.param)
    return [prepare(image, config, native=native, optimise="quick") for native in (True, False)]


@pytest.mark.parametrize("stalls", [None, Stalls(), Stalls(chance=250, mask=1023)])
def test_a_native_run_is_right_and_equals_cocotbs_in_every_cycle(pair, stalls, tmp_path):
    image = pair[0].image
    sequences = draw(image)
    ours, theirs = (
        simulate(image, sequences, built=built, stalls=stalls, seed=5, directory=tmp_path / str(number))
        for number, built in enumerate(pair)
    )
    for report in (ours, theirs):
        assert report.passed, report.problem
        assert all(report.work.layer_events)
    assert ours.compared == theirs.compared > 0
    assert ours.outcome.sequence_ends == theirs.outcome.sequence_ends
    for name in ("logits", *(f"tap{layer}" for layer in range(len(image.layers)))):
        # Not only what was compared, but every token, with its cycle.
        assert (tmp_path / "0" / f"{name}.bin").read_bytes() == (tmp_path / "1" / f"{name}.bin").read_bytes()


def flipped(image, sequences):
    """The image with one recurrent weight changed, the first that matters; the events that differ by it."""
    for place in np.argwhere(image.layers[0].recurrent_weight > 0):
        weight = np.array(image.layers[0].recurrent_weight)
        weight[tuple(place)] *= -1
        layer = replace(image.layers[0], recurrent_weight=weight)
        wrong = replace(image, layers=(layer, *image.layers[1:]))
        differ = set()
        for number, x in enumerate(sequences):
            right, got = IntegerNetwork(image).run(x).events[0], IntegerNetwork(wrong).run(x).events[0]
            differ |= {(number, step, unit) for step, unit in np.argwhere(right != got).tolist()}
        if differ:
            return wrong, differ
    raise AssertionError("no weight changes an event")


def test_one_wrong_weight_is_found_where_it_first_shows(tmp_path):
    image, config = make("three sequences in turns")
    sequences = draw(image)
    wrong, differ = flipped(image, sequences)
    built = prepare(image, config, hardware_image=wrong, native=True, optimise="quick")
    report = simulate(image, sequences, built=built, stop_at_mismatch=False, directory=tmp_path)
    assert not report.passed
    first = report.first_mismatch
    assert (first.sequence, first.step, first.unit) in differ
    # The turns of the three streams alternate: the first mismatch is the first in their order.
    turns = {(turn.sequence, turn.step): turn.number for turn in plan([len(x) for x in sequences], 3)}
    assert first.turn == min(turns[place[:2]] for place in differ)
    assert first.cycle is not None


def test_a_program_that_is_not_there_is_an_error_not_a_pass(pair, tmp_path):
    built = replace(pair[0], simulation=native.NativeSimulation(tmp_path))
    with pytest.raises(SimulationError, match="cannot run"):
        simulate(built.image, draw(built.image), built=built, directory=tmp_path / "run")


def test_a_program_that_cannot_write_its_recordings_is_an_error_not_a_pass(pair, tmp_path):
    (tmp_path / "tap0.bin").mkdir()
    settings = {
        "taps": ["tap0"],
        "sequences": 1,
        "settle": 1,
        "patience": 9,
        "poll": 1,
        "seed": 0,
        "stalls": None,
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    np.save(tmp_path / "stimulus.npy", np.zeros(1, np.uint64))
    with pytest.raises(SimulationError, match=r"cannot write .*tap0\.bin"):
        pair[0].simulation.play(tmp_path)


def test_waveforms_are_left_to_cocotb():
    image, config = make("three sequences in turns")
    with pytest.raises(EgretError, match="only the bench in cocotb writes waveforms"):
        prepare(image, config, native=True, waves=True)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A small network in a file, and a data set in place of the digits."""
    image, _ = make("three sequences in turns")
    image = replace(image, name="small", info={"task": "digits"})
    path = tmp_path / "small.egret"
    save_image(image, path)
    rng = np.random.default_rng(2)
    x = tuple(rng.normal(size=(int(steps), 3)) for steps in rng.integers(1, 20, 40))
    test = tasks.Sequences(x, np.zeros(len(x), np.int64))
    monkeypatch.setattr(tasks, "load", lambda name: SimpleNamespace(test=test))
    monkeypatch.setattr(evaluation, "check_data", lambda image, data: None)
    monkeypatch.setattr(runner, "prepare", lambda *a, **options: prepare(*a, **options, optimise="quick"))
    steps = sum(len(sequence) for sequence in x)
    return SimpleNamespace(image=image, path=path, report=tmp_path / "out" / "full.json", steps=steps)


CONFIG = ("--lanes", "9", "--streams", "3")


def sim_full(workplace, *options):
    return main(["sim-full", str(workplace.path), *CONFIG, "--report", str(workplace.report), *options])


def test_a_whole_test_set_is_played_and_the_rates_are_told(workplace, capsys):
    assert sim_full(workplace, "--cocotb-samples", "3") == 0
    out = capsys.readouterr().out
    assert "correct: " in out
    assert "of 40 (" in out
    figures = json.loads(workplace.report.read_text())
    assert [bool(run["stalls"]) for run in figures["runs"]] == [False, True]
    for run in figures["runs"]:
        assert run["passed"]
        assert run["sequences"] == 40
        assert run["compared"] == 6 * workplace.steps + 3 * 40
    ours, each, bulk = figures["rates"]
    assert ours["cycles"] > sum(run["cycles"] for run in figures["runs"])
    assert each["cycles"] < bulk["cycles"] < ours["cycles"]
    assert ours["cycles_per_second"] > each["cycles_per_second"] > 0


def test_a_mismatch_exits_with_1_and_names_the_command_that_shows_it(workplace, monkeypatch, capsys):
    wrong, _ = flipped(workplace.image, draw(workplace.image))

    def with_a_fault(image, *args, **options):
        return prepare(image, *args, hardware_image=wrong, **options, optimise="quick")

    monkeypatch.setattr(runner, "prepare", with_a_fault)
    assert sim_full(workplace, "--stalls", "none") == 1
    err = " ".join(capsys.readouterr().err.split())
    found = re.search(
        r"the first: sequence (\d+), layer 0, step \d+, unit \d+: expected .*, got .* \(cycle \d+\)", err
    )
    number = int(found[1])
    command = f"--task digits --sequences {max(0, number - 1)}-{number} --seed 1 --stalls none --lanes 9"
    assert command in err
    assert err.endswith("--streams 3 --waves")
    assert not json.loads(workplace.report.read_text())["runs"][0]["passed"]


def test_the_command_that_shows_a_mismatch_can_be_run(workplace, tmp_path):
    options = ["--sequences", "1-2", "--stalls", "none", *CONFIG, "--report", str(tmp_path / "r.json")]
    assert main(["simulate", str(workplace.path), "--task", "digits", *options]) == 0
    (run,) = json.loads((tmp_path / "r.json").read_text())
    assert run["sequences"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sim-full", "--samples", "41"], "samples must be at most 40, the test part of digits, not 41"),
        (
            ["simulate", "--sequences", "40"],
            "sequences must be in 0..39, the test part of digits, in order, not 40",
        ),
        (["simulate", "--sequences", "3-2"], "in order, not 3-2"),
        (
            ["simulate", "--sequences", "all"],
            "sequences must be a number, or two with - between them, not 'all'",
        ),
    ],
)
def test_bad_input_exits_with_2_and_one_line(workplace, capsys, options, message):
    assert main([options[0], str(workplace.path), *options[1:]]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("egret: ")]
    assert message in line


def test_a_report_of_several_networks_in_one_file_is_refused(tmp_path, capsys):
    assert main(["sim-full", "--report", str(tmp_path / "one.json")]) == 2
    assert "report names one file" in capsys.readouterr().err

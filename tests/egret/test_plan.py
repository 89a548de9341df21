"""`egret plan`: multipliers shared among tiles, and what is refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from egret import evaluation, tasks
from egret.cli.main import main
from egret.plan import UPDATE_MULTIPLIERS, make_plan, multipliers_of
from egret_hw.config import LANES_MAX, AcceleratorConfig
from egret_hw.cycle_model import activity_of, predict
from egret_hw.generate import generate
from egru.errors import EgretError
from egru.image import save_image
from egru.testing import random_image, random_input


def network(units, *, activity, inputs=6, seed=0, **options):
    image = random_image(
        np.random.default_rng(seed), inputs=inputs, units=units, classes=4, activity=activity, mode="mean",
        weight_bits=8, input_bits=8, **options,
    )  # fmt: skip
    sequences = [random_input(np.random.default_rng(seed), image, 40, density=0.5) for _ in range(2)]
    return image, sequences


def planned(image, sequences, multipliers, **options):
    return make_plan(image, activity_of(image, sequences), multipliers=multipliers, **options)


@pytest.mark.parametrize("multipliers", [12, 40, 90])
def test_a_plan_keeps_to_its_multipliers_and_is_no_slower_than_equal_shares(multipliers):
    image, sequences = network((40, 12), activity=0.4)
    plan = planned(image, sequences, multipliers)
    assert plan.multipliers == multipliers_of(image, plan.config) <= multipliers
    assert plan.cycles == predict(image, sequences, plan.config)
    equal = [
        AcceleratorConfig(lanes=lanes, update_lanes=1, readout_lanes=1)
        for lanes in range(1, LANES_MAX + 1)
        if multipliers_of(image, AcceleratorConfig(lanes=lanes, update_lanes=1, readout_lanes=1))
        <= multipliers
    ]
    assert plan.cycles.cycles <= min(predict(image, sequences, config).cycles for config in equal)


def test_tiles_get_lanes_by_the_products_that_they_have_to_make():
    image, sequences = network((40, 40), activity=0.4, inputs=40)
    image_quiet, _ = network((40, 40), activity=0.4)
    busy = planned(image, sequences, 60)
    first, second = busy.config.lanes
    assert first > second  # 40 inputs of which half are active, against 16 events
    shares = [tile.busy / busy.cycles.cycles for tile in busy.cycles.tiles]
    assert min(shares) > 0.85
    _, quiet_sequences = network((40, 40), activity=0.4)
    first, second = planned(image_quiet, quiet_sequences, 60).config.lanes
    assert first <= second


def test_a_network_that_rests_gets_update_lanes_instead_of_lanes():
    image, sequences = network((60,), activity=0.0, inputs=40)
    silent = [np.zeros_like(x) for x in sequences]
    (update,) = planned(image, silent, 40).config.update_lanes
    (busy_update,) = planned(image, sequences, 40).config.update_lanes
    assert update > busy_update


def test_more_multipliers_never_cost_cycles():
    image, sequences = network((30, 10), activity=0.3)
    cycles = [planned(image, sequences, count).cycles.cycles for count in (8, 16, 32, 64)]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] < cycles[0] / 4


@pytest.mark.parametrize(
    "config,bits",
    [
        (AcceleratorConfig(lanes=(5, 7), update_lanes=1, readout_lanes=3), 8),
        (AcceleratorConfig(lanes=(7, 6), update_lanes=2, readout_lanes=2), 4),
    ],
)
def test_multipliers_are_counted_as_the_hardware_has_them(config, bits, tmp_path):
    image = random_image(
        np.random.default_rng(1), inputs=3, units=(6, 5), classes=3, mode="mean", weight_bits=bits,
        input_bits=8, event_bits=8, max_steps=64,
    )  # fmt: skip
    generate(image, tmp_path, config, family="ecp5")
    made = (tmp_path / "accelerator.v").read_text().count("MULT18X18D ")
    assert multipliers_of(image, config) == made > 2 * UPDATE_MULTIPLIERS


def test_too_few_multipliers_are_refused_by_number():
    image, sequences = network((5, 5), activity=0.5)
    with pytest.raises(EgretError, match="multipliers must be 8 or more for network random, not 7"):
        planned(image, sequences, 7)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A small network in a file, and a data set in place of the digits."""
    image = random_image(np.random.default_rng(2), inputs=3, units=(9,), classes=2, mode="mean", name="small")
    save_image(image, tmp_path / "small.egret")
    rng = np.random.default_rng(3)
    test = tasks.Sequences(tuple(rng.normal(size=(9, 3)) for _ in range(4)), np.zeros(4, np.int64))
    monkeypatch.setattr(tasks, "load", lambda name: SimpleNamespace(test=test))
    monkeypatch.setattr(evaluation, "check_data", lambda image, data: None)
    return tmp_path


def test_the_command_prints_options_that_other_commands_take_and_writes_the_plan(workplace, capsys):
    plan = ["plan", str(workplace / "small.egret"), "--task", "digits", "--samples", "3"]
    assert (
        main([*plan, "--board", "ulx3s_25f", "--multipliers", "15", "-o", str(workplace / "plan.json")]) == 0
    )
    out = capsys.readouterr().out
    options = out.strip().splitlines()[-1].split()
    assert main(["generate", str(workplace / "small.egret"), "-o", str(workplace / "rtl"), *options]) == 0
    figures = json.loads((workplace / "plan.json").read_text())
    parameters = json.loads((workplace / "rtl" / "accelerator.json").read_text())["parameters"]
    for name in ("lanes", "update_lanes", "readout_lanes", "streams", "queue_depth"):
        assert figures[name] == parameters[name]
    assert figures["multipliers"] <= figures["multipliers_available"] == 15
    assert f"{figures['predicted']['cycles']}" in out


def test_measured_cycles_stand_beside_the_predicted_ones(workplace, capsys):
    plan = [
        "plan",
        str(workplace / "small.egret"),
        "--task",
        "digits",
        "--samples",
        "3",
        "--multipliers",
        "9",
    ]
    assert main([*plan, "--board", "ulx3s_12f", "--measure", "-o", str(workplace / "plan.json")]) == 0
    figures = json.loads((workplace / "plan.json").read_text())
    assert figures["measured"]["cycles"] == figures["predicted"]["cycles"]
    assert "RTL" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options,message",
    [
        (["--board", "none"], "board must be one of"),
        (["--board", "icebreaker"], "board must be one without the compact form, not icebreaker"),
        (
            ["--board", "ulx3s_25f", "--multipliers", "29"],
            "multipliers must be 1 to 28, as ulx3s_25f has, not 29",
        ),
        (["--multipliers", "3"], "multipliers must be 5 or more for network small, not 3"),
        (["--samples", "5"], "samples must be at most 4"),
        (["--streams", "17"], "streams must be an integer from 1 to 16, not 17"),
    ],
)
def test_requests_that_cannot_be_met_are_refused_in_one_line(workplace, capsys, options, message):
    assert main(["plan", str(workplace / "small.egret"), "--task", "digits", "--samples", "2", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1

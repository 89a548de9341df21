"""Netlists of all families compute every bit, and a wrong look-up table is found."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from egret import evaluation, tasks
from egret import netlist as netlist_module
from egret.build.boards import BOARDS
from egret.cli.main import main
from egret.netlist import Netlist, default_config, prepare, synthesise
from egret_hw.blocks.cells import NETLIST_FAMILIES, cell_models
from egret_hw.config import AcceleratorConfig
from egret_sim.cosimulation import Stalls
from egret_sim.run import simulate
from egru.errors import EgretError
from egru.image import NetworkImage, save_image
from egru.testing import random_image, random_input

COMPACT = "compact ice40"
HARD_CELLS = {
    "ecp5": {"DP16KD", "MULT18X18D"},
    "ice40": {"SB_RAM40_4K", "SB_MAC16"},
    COMPACT: {"SB_RAM40_4K", "SB_MAC16", "SB_SPRAM256KA"},
    "gowin": {"SPX9", "MULT9X9"},
}


def small_network(*resets: str) -> NetworkImage:
    """A layer for each reset, small enough to be synthesised in seconds."""
    image = random_image(
        np.random.default_rng(9),
        inputs=3,
        units=(5, 4)[: len(resets)],
        classes=3,
        mode="mean",
        input_bits=4,
        weight_bits=4,
        event_bits=6,
        table_bits=10,
        threshold=(0.0, 0.1),
    )
    layers = (
        replace(layer, spec=replace(layer.spec, reset=reset))
        for layer, reset in zip(image.layers, resets, strict=True)
    )
    return replace(image, layers=tuple(layers))


# On iCE40, sums are in registers but for the compact form, and synthesis takes long.
IMAGES = {
    "ecp5": small_network("after", "before"),
    "gowin": small_network("after", "before"),
    "ice40": small_network("before"),
    COMPACT: small_network("after", "after"),
}
CONFIGS = {
    "ecp5": AcceleratorConfig(lanes=(3, 2), readout_lanes=1, queue_depth=2),
    "gowin": AcceleratorConfig(lanes=(3, 2), readout_lanes=1, queue_depth=2),
    "ice40": AcceleratorConfig(lanes=1, readout_lanes=1, queue_depth=2),
    COMPACT: replace(default_config("ice40"), lanes=(3, 2), readout_lanes=1),
}
SEQUENCES = [random_input(np.random.default_rng(steps), IMAGES["ecp5"], steps) for steps in (1, 30, 12)]
_netlists: dict[str, Netlist] = {}


def netlist_of(form: str) -> Netlist:
    if form not in _netlists:
        family = form.split()[-1]
        _netlists[form] = synthesise(IMAGES[form], family, CONFIGS[form], console=Console(quiet=True))
    return _netlists[form]


def play(form: str, netlist: Netlist, stalls: Stalls | None):
    built = prepare(IMAGES[form], netlist, optimise="quick")
    return simulate(IMAGES[form], SEQUENCES, built=built, stalls=stalls, seed=3)


@pytest.mark.parametrize("form", [*NETLIST_FAMILIES, COMPACT])
def test_a_netlist_gives_every_event_and_logit_of_the_model(form):
    netlist = netlist_of(form)
    assert HARD_CELLS[form] <= netlist.cells.keys()
    for stalls in (None, Stalls()):
        report = play(form, netlist, stalls)
        assert report.passed, report.problem
        # Every unit in each of 43 steps, and three logits of each sequence.
        units = sum(layer.spec.units for layer in IMAGES[form].layers)
        assert report.compared == 43 * units + 3 * 3
        assert all(report.work.layer_events)


def test_one_wrong_look_up_table_is_found():
    netlist = netlist_of("ecp5")
    # A bit of the sum of products, which every event depends on.
    table = re.compile(r"(CCU2C #\(\s*\.INIT0\(16'h)(\w{4})(.*?\)\s*\\?layer0\.macs\.)", re.S)
    found = next(match for match in table.finditer(netlist.text) if match[0].count("CCU2C #") == 1)
    wrong = f"{int(found[2], 16) ^ 0xFFFF:04x}"
    spoilt = netlist.text[: found.start(2)] + wrong + netlist.text[found.end(2) :]
    report = play("ecp5", replace(netlist, text=spoilt), None)
    assert not report.passed
    assert report.mismatches > 0


def test_one_wrong_word_among_loaded_weights_is_found():
    netlist = netlist_of(COMPACT)
    # The first word of an input's weights in layer 0: every input comes up in 43 steps.
    (first, *others), second = netlist.weights
    report = play(COMPACT, replace(netlist, weights=((first ^ 7, *others), second)), None)
    assert not report.passed
    assert report.mismatches > 0


def test_weights_that_do_not_suit_the_ports_are_refused():
    netlist = netlist_of(COMPACT)
    with pytest.raises(EgretError, match=r"one list of words for each port that takes them \(2\), not 1"):
        prepare(IMAGES[COMPACT], replace(netlist, weights=netlist.weights[:1]))


def test_on_ice40_the_accelerator_is_the_boards_unless_said_otherwise():
    board, config = BOARDS["icebreaker"], default_config("ice40")
    assert (config.lanes, config.compact, config.weights) == (board.lanes, board.compact, board.weights)
    assert default_config("ecp5") == default_config("gowin") == AcceleratorConfig()


def test_a_cell_without_a_model_and_an_unknown_family_are_refused():
    with pytest.raises(EgretError, match="cell ALU54B of ecp5 has no model: write one"):
        cell_models("ecp5", ["LUT4", "ALU54B"])
    for use in (lambda: cell_models("xilinx", []), lambda: synthesise(IMAGES["ecp5"], "xilinx")):
        with pytest.raises(EgretError, match="family must be one of ice40, ecp5, gowin, not 'xilinx'"):
            use()


def test_models_of_cells_that_a_cell_is_made_of_come_with_it_and_each_comes_once():
    text = cell_models("ecp5", ["CCU2C", "LUT4"])
    assert re.findall(r"^module (\w+)", text, re.M).count("LUT4") == 1
    assert {"CCU2C", "LUT4", "LUT2"} == set(re.findall(r"^module (\w+)", text, re.M))
    text = cell_models("gowin", ["MUX2_LUT5", "SPX9", "SP"])
    assert "module MUX2 " in text
    assert text.count("module egret_gowin_bsram") == 1


def small_file(image: NetworkImage, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Save a small network as one for a task, which gets a test part of two sequences."""
    path = directory / "small.egret"
    save_image(replace(image, name="small", info={"task": "digits"}), path)
    x = tuple(np.random.default_rng(1).normal(size=(steps, 3)) for steps in (4, 9))
    test = tasks.Sequences(x, np.zeros(2, np.int64))
    monkeypatch.setattr(tasks, "load", lambda name: SimpleNamespace(test=test))
    monkeypatch.setattr(evaluation, "check_data", lambda image, data: None)
    return str(path)


def test_the_command_writes_figures_of_both_runs(tmp_path, monkeypatch, capsys):
    path = small_file(IMAGES["gowin"], tmp_path, monkeypatch)
    report = tmp_path / "figures.json"
    command = ["sim-netlist", path, "--family", "gowin", "--samples", "2", "--lanes", "3,2"]
    command += ["--readout-lanes", "1", "--queue-depth", "2", "--report", str(report)]
    assert main(command) == 0
    figures = json.loads(report.read_text())
    assert figures["cells"]["MULT9X9"] > 0
    assert figures["parameters"]["lanes"] == [3, 2]
    assert [bool(run["stalls"]) for run in figures["runs"]] == [False, True]
    assert all(run["passed"] and run["steps"] == 13 for run in figures["runs"])
    printed = capsys.readouterr().out
    assert "cells of the netlist" in printed
    assert "3,2 lanes, full form, fixed weights" in printed


@pytest.mark.parametrize(
    ("options", "config"),
    [
        (["--family", "gowin"], AcceleratorConfig(lanes=16)),
        (["--family", "ice40"], AcceleratorConfig(lanes=8, compact=True, weights="loaded")),
        (
            ["--family", "ice40", "--no-compact", "--weights", "fixed", "--lanes", "2"],
            AcceleratorConfig(lanes=2),
        ),
        (["--family", "ecp5", "--compact"], AcceleratorConfig(lanes=16, compact=True)),
    ],
)
def test_the_command_builds_the_familys_form_unless_told_otherwise(options, config, tmp_path, monkeypatch):
    path = small_file(IMAGES[COMPACT], tmp_path, monkeypatch)
    asked = []

    def refuse(network, family, config, **others):
        asked.append((family, config))
        raise EgretError("asked")

    monkeypatch.setattr(netlist_module, "synthesise", refuse)
    assert main(["sim-netlist", path, "--samples", "2", *options]) == 2
    assert asked == [(options[1], config)]


def test_the_command_refuses_an_unknown_family(capsys):
    assert main(["sim-netlist", "--task", "digits", "--family", "xilinx"]) == 2
    assert "family must be one of" in capsys.readouterr().err

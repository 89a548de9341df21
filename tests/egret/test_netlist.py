"""Netlists of all families compute every bit, and a wrong look-up table is found."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from egret import evaluation, tasks
from egret.cli.main import main
from egret.netlist import Netlist, prepare, synthesise
from egret_hw.blocks.cells import NETLIST_FAMILIES, cell_models
from egret_hw.config import AcceleratorConfig
from egret_sim.cosimulation import Stalls
from egret_sim.run import simulate
from egru.errors import EgretError
from egru.image import NetworkImage, save_image
from egru.testing import random_image, random_input

HARD_CELLS = {
    "ecp5": {"DP16KD", "MULT18X18D"},
    "ice40": {"SB_RAM40_4K", "SB_MAC16"},
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


# On iCE40, sums are in registers, and synthesis takes long.
IMAGES = {
    "ecp5": small_network("after", "before"),
    "gowin": small_network("after", "before"),
    "ice40": small_network("before"),
}
LANES = {"ecp5": (3, 2), "gowin": (3, 2), "ice40": 1}
SEQUENCES = [random_input(np.random.default_rng(steps), IMAGES["ecp5"], steps) for steps in (1, 30, 12)]
_netlists: dict[str, Netlist] = {}


def netlist_of(family: str) -> Netlist:
    if family not in _netlists:
        config = AcceleratorConfig(lanes=LANES[family], readout_lanes=1, queue_depth=2)
        _netlists[family] = synthesise(IMAGES[family], family, config, console=Console(quiet=True))
    return _netlists[family]


def play(netlist: Netlist, stalls: Stalls | None):
    image = IMAGES[netlist.family]
    built = prepare(image, netlist, optimise="quick")
    return simulate(image, SEQUENCES, built=built, stalls=stalls, seed=3)


@pytest.mark.parametrize("family", NETLIST_FAMILIES)
def test_a_netlist_gives_every_event_and_logit_of_the_model(family):
    netlist = netlist_of(family)
    assert HARD_CELLS[family] <= netlist.cells.keys()
    for stalls in (None, Stalls()):
        report = play(netlist, stalls)
        assert report.passed, report.problem
        # Every unit in each of 43 steps, and three logits of each sequence.
        units = sum(layer.spec.units for layer in IMAGES[family].layers)
        assert report.compared == 43 * units + 3 * 3
        assert all(report.work.layer_events)


def test_one_wrong_look_up_table_is_found():
    netlist = netlist_of("ecp5")
    # A bit of the sum of products, which every event depends on.
    table = re.compile(r"(CCU2C #\(\s*\.INIT0\(16'h)(\w{4})(.*?\)\s*\\?layer0\.macs\.)", re.S)
    found = next(match for match in table.finditer(netlist.text) if match[0].count("CCU2C #") == 1)
    wrong = f"{int(found[2], 16) ^ 0xFFFF:04x}"
    spoilt = netlist.text[: found.start(2)] + wrong + netlist.text[found.end(2) :]
    report = play(replace(netlist, text=spoilt), None)
    assert not report.passed
    assert report.mismatches > 0


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


def test_the_command_writes_figures_of_both_runs(tmp_path, monkeypatch, capsys):
    path = tmp_path / "small.egret"
    save_image(replace(IMAGES["gowin"], name="small", info={"task": "digits"}), path)
    x = tuple(np.random.default_rng(1).normal(size=(steps, 3)) for steps in (4, 9))
    test = tasks.Sequences(x, np.zeros(2, np.int64))
    monkeypatch.setattr(tasks, "load", lambda name: SimpleNamespace(test=test))
    monkeypatch.setattr(evaluation, "check_normalisation", lambda image, data: None)
    report = tmp_path / "figures.json"
    command = ["sim-netlist", str(path), "--family", "gowin", "--samples", "2", "--lanes", "3,2"]
    command += ["--readout-lanes", "1", "--queue-depth", "2", "--report", str(report)]
    assert main(command) == 0
    figures = json.loads(report.read_text())
    assert figures["cells"]["MULT9X9"] > 0
    assert [bool(run["stalls"]) for run in figures["runs"]] == [False, True]
    assert all(run["passed"] and run["steps"] == 13 for run in figures["runs"])
    assert "cells of the netlist" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_family(capsys):
    assert main(["sim-netlist", "--task", "digits", "--family", "xilinx"]) == 2
    assert "family must be one of" in capsys.readouterr().err

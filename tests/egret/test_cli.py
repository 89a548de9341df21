"""The command line: what a bad request gets, and that it leaves nothing behind."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import egret
from egret import networks, tasks
from egret.cli.main import main
from egret.identity import identity
from egret.tasks import Sequences, Task
from egret.tasks.task import Normalisation
from egru.image import load_image, save_image
from egru.testing import random_image


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "small.egret"
    network = random_image(
        np.random.default_rng(5), inputs=3, units=(4, 3), classes=2, mode="last", name="small"
    )
    save_image(network, path)
    return path


def refused(capsys, *arguments):
    """Run a command that must end with status 2; return its one line."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("egret: ")
    assert shown.err.count("\n") == 1, "one line"
    assert "Traceback" not in shown.err
    return shown.err.strip()


@pytest.mark.parametrize("command", ["generate", "bitstream"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lanes", "0"], "lanes of layer 0 must be an integer from 1 to 64, not 0"),
        (["--lanes", "65"], "lanes of layer 0 must be an integer from 1 to 64, not 65"),
        (["--lanes", "4,0"], "lanes of layer 1 must be an integer from 1 to 64, not 0"),
        (["--lanes", "4,4,4"], "lanes must be one number or one for each of 2 layers, not 3 numbers"),
        (["--lanes", "many"], "lanes must be a number, or numbers with commas between them, not 'many'"),
        (["--update-lanes", "5"], "update_lanes of layer 0 must be an integer from 1 to 4, not 5"),
        (["--readout-lanes", "0"], "readout_lanes must be an integer from 1 to 64, not 0"),
        (["--queue-depth", "0"], "queue_depth must be an integer from 1 to 4096, not 0"),
        (["--queue-depth", "deep"], "--queue-depth must be a whole number in the digits 0 to 9, not 'deep'"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_an_option_out_of_range_is_refused_and_nothing_is_written(
    tmp_path, capsys, image, command, options, message
):
    assert message in refused(capsys, command, image, "-o", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["generate", "bitstream"])
def test_an_image_that_is_missing_cut_or_foreign_is_refused_and_named(tmp_path, capsys, image, command):
    cut, foreign, newer = tmp_path / "cut.egret", tmp_path / "foreign.egret", tmp_path / "newer.egret"
    whole = image.read_bytes()
    cut.write_bytes(whole[:-1])
    foreign.write_text("a letter, not a network")
    newer.write_bytes(whole.replace(b'\\"version\\": 1', b'\\"version\\": 2', 1))
    assert newer.read_bytes() != whole
    out = tmp_path / "out"
    for path in (tmp_path / "missing.egret", cut, foreign, newer):
        assert path.name in refused(capsys, command, path, "-o", out)
    assert "version must be 1, not 2" in refused(capsys, command, newer, "-o", out)
    assert not out.exists()


def test_an_unknown_board_is_refused_and_the_known_ones_are_listed(tmp_path, capsys, image):
    line = refused(capsys, "bitstream", image, "--board", "icestick", "-o", tmp_path / "out")
    assert line == (
        "egret: board must be one of ulx3s_12f, ulx3s_25f, ulx3s_45f, ulx3s_85f, icebreaker, not 'icestick'"
    )
    assert not (tmp_path / "out").exists()


def test_a_network_too_large_for_the_device_is_refused_before_anything_is_written(tmp_path, capsys):
    path = tmp_path / "large.egret"
    save_image(
        random_image(np.random.default_rng(1), inputs=256, units=(600,), classes=2, weight_bits=8), path
    )
    line = refused(capsys, "bitstream", path, "--board", "ulx3s_12f", "-o", tmp_path / "out")
    assert "does not fit LFE5U-12F of board ulx3s_12f" in line
    assert "%) too many; use a smaller network or narrower weights" in line
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_refused(tmp_path, capsys, image):
    (tmp_path / "out").write_text("a file")
    assert "out" in refused(capsys, "generate", image, "-o", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "no-such-task"],
        ["simulate", "--task", "no-such-task"],
        ["evaluate", "--task", "no-such-task"],
    ],
)
def test_an_unknown_task_is_refused_and_the_known_ones_are_listed(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, *arguments)
    assert "no-such-task" in line
    assert "digits" in line and "har" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["no-such-command"], ["generate"], ["bitstream", "x.egret"]])
def test_a_command_line_that_makes_no_sense_is_refused(capsys, arguments):
    refused(capsys, *arguments)


def test_generate_writes_verilog_and_sidecar_for_the_lanes_asked_for(tmp_path, capsys, image):
    assert main(["generate", str(image), "-o", str(tmp_path / "out"), "--lanes", "4,2"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["accelerator.json", "accelerator.v"]
    sidecar = json.loads((tmp_path / "out" / "accelerator.json").read_text())
    assert sidecar["parameters"]["lanes"] == [4, 2]
    assert "small: wrote" in capsys.readouterr().out


def simulation_report(**changes):
    report = {
        "name": "small",
        "stalls": None,
        "sequences": 3,
        "steps": 41,
        "compared": 1234,
        "mismatches": 0,
        "cycles_per_step": 56.78,
        "busy_percent": 43.21,
        "layers_busy_percent": 54.32,
        "effective_over_peak": 1.5,
    }
    return report | changes


def bitstream_report():
    usage = {"used": 11, "available": 100, "percent": 11.0}
    return {
        "report": "bitstream",
        "network": "small",
        "board": "ulx3s_85f",
        "device": "LFE5U-85F",
        "resources": dict.fromkeys(("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D"), usage),
        "clock": {"name": "clk", "achieved_mhz": 81.72, "required_mhz": 25.0},
    }


def written(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_the_summary_puts_simulation_and_bitstream_into_one_table(tmp_path, capsys):
    written(
        tmp_path / "small", "simulation.json", [simulation_report(), simulation_report(stalls={"chance": 1})]
    )
    written(tmp_path / "small" / "ulx3s_85f", "report.json", bitstream_report())
    assert main(["summary", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for figure in (
        "Summary: small",
        "no stalls",
        "random stalls",
        "3 / 41",
        "56.8",
        "43.2 %",
        "11 of 100",
        "81.7 MHz",
    ):
        assert figure in shown


@pytest.mark.parametrize(
    ("name", "figure", "value"),
    [
        ("digits", "test accuracy, quantised", "99.33 %"),
        ("ptb-char", "test bits per character, quantised", "1.5406"),
    ],
)
def test_the_summary_of_a_shipped_network_begins_with_what_it_is_judged_by(
    tmp_path, capsys, name, figure, value
):
    image = identity(load_image(networks.shipped(name)))
    written(tmp_path / name, "simulation.json", [simulation_report(image=image)])
    assert main(["summary", str(tmp_path)]) == 0
    shown = next(line for line in capsys.readouterr().out.splitlines() if figure in line)
    assert value in shown


def test_results_of_an_own_network_of_a_shipped_one_s_name_are_shown_apart(tmp_path, capsys):
    shipped = load_image(networks.shipped("digits"))
    weight = shipped.layers[0].recurrent_weight.copy()
    weight[3, 5] += 1
    layer = dataclasses.replace(shipped.layers[0], recurrent_weight=weight)
    own = dataclasses.replace(shipped, layers=(layer,))
    same = dataclasses.replace(shipped, name="renamed", info={})
    assert identity(same) == identity(shipped) != identity(own)
    runs = [simulation_report(image=identity(own))]
    written(tmp_path / "digits", "simulation.json", runs)
    assert main(["summary", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Summary: digits, image {identity(own)[:12]}, not the shipped network" in shown
    assert "56.8" in shown and "99.33" not in shown and "accuracy" not in shown
    # Beside a bitstream of the shipped one, each has a table of its own.
    written(tmp_path / "digits" / "a", "report.json", bitstream_report() | {"image": identity(shipped)})
    written(tmp_path / "digits" / "b", "report.json", bitstream_report())
    assert main(["summary", str(tmp_path)]) == 0
    tables = " ".join(capsys.readouterr().out.split()).split("Summary: digits")[1:]
    assert [("56.8" in t, "99.33" in t, "bitstream" in t) for t in tables] == [
        (True, False, False),
        (False, True, True),
        (False, False, True),
    ]
    assert "an unknown image" in tables[2]


PLAYING = ("evaluate", "simulate", "sim-full", "sim-netlist", "faults", "plan", "timing", "statistics")


@pytest.mark.parametrize("command", PLAYING)
@pytest.mark.parametrize(
    ("inputs", "classes", "message"),
    [
        (12, 10, "the network must take 13 inputs for task digits, not 12"),
        (13, 9, "the network must have 10 classes for task digits, not 9"),
    ],
)
def test_every_command_that_plays_data_checks_them_against_the_network(
    tmp_path, capsys, monkeypatch, command, inputs, classes, message
):
    rng = np.random.default_rng(0)
    image = random_image(rng, inputs=inputs, units=(4,), classes=classes, mode="mean", name="own")
    save_image(image, tmp_path / "own.egret")
    x = tuple(rng.normal(size=(5, 13)).astype(np.float32) for _ in range(40))
    part = Sequences(x, np.arange(40) % 10)
    labels = tuple("0123456789")
    data = Task("digits", 13, labels, Normalisation.scaled(13, 1.0), part, part, part)
    monkeypatch.setattr(tasks, "load", lambda _name: data)
    monkeypatch.chdir(tmp_path)
    more = {
        "timing": ["-o", "out.svg"],
        "plan": ["--board", "ulx3s_25f"],
        "sim-netlist": ["--family", "ecp5"],
    }
    line = refused(capsys, command, "own.egret", "--task", "digits", *more.get(command, []))
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["own.egret"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has neither"),
        ("{", "cannot be read as a report"),
        ([{"stalls": None}], "lacks 'sequences': build it again"),
    ],
)
def test_a_summary_of_nothing_or_of_a_broken_report_is_refused(tmp_path, capsys, content, message):
    if content is not None:
        written(tmp_path / "small", "simulation.json", content)
    assert message in refused(capsys, "summary", tmp_path)


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"egret {egret.__version__}\n"


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in (
        "train",
        "quantize",
        "evaluate",
        "generate",
        "simulate",
        "bitstream",
        "summary",
        "doctor",
        "faults",
    ):
        assert command in shown


def test_the_installed_command_exits_with_mains_status(tmp_path):
    command = Path(sys.executable).with_name("egret")
    done = subprocess.run(
        [command, "generate", "missing.egret", "-o", tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("egret: missing.egret")


def test_starting_the_command_does_not_load_torch_amaranth_or_cocotb():
    heavy = ("torch", "amaranth", "cocotb")
    program = f"import sys, egret.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Where commands write: never over what they read, and never where a file tells them to."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from egret.cli.main import main
from egret_sim import build
from egru.image import save_image
from egru.testing import random_image

NAMES = [
    "[/x]",
    "[red]x",
    ":smile:",
    "../../x",
    "/abs",
    "..",
    "$(touch x)",
    "\U0001f426" * 64,
    "[link=x]y",
    "{x}",
]


def small(name):
    """A network of a few units that takes the data of the digits."""
    rng = np.random.default_rng(5)
    image = random_image(rng, inputs=13, units=(4,), classes=10, mode="mean", name=name)
    return dataclasses.replace(image, info={"task": "digits"})


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EGRET_BUILD", str(tmp_path / "build"))
    return tmp_path


def said(capsys, arguments, status):
    assert main([str(a) for a in arguments]) == status, capsys.readouterr()
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.out + shown.err


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("out/accelerator.v", ["generate", "FILE", "-o", "out"]),
        ("out/accelerator.json", ["generate", "FILE", "-o", "./out"]),
        ("out/report.json", ["bitstream", "FILE", "-o", "out"]),
        ("out/egret.bit", ["bitstream", "FILE", "-o", "out"]),
        ("x", ["plan", "FILE", "-o", "FILE", "--samples", "1"]),
        ("x", ["plan", "FILE", "-o", "soft", "--samples", "1"]),
        ("x", ["plan", "FILE", "-o", "hard", "--samples", "1"]),
        ("x", ["simulate", "FILE", "--report", "./x"]),
        ("x", ["sim-full", "FILE", "--report", "x"]),
        ("x", ["sim-netlist", "FILE", "--report", "x"]),
        ("build/small/simulation.json", ["simulate", "FILE"]),
        ("build/small/netlist-ecp5.log", ["sim-netlist", "FILE"]),
        ("x.svg", ["timing", "FILE", "-o", "x.svg"]),
        ("out/faults.svg", ["faults", "FILE", "-o", "out"]),
        ("build/small/faults.json", ["faults", "FILE"]),
    ],
)
def test_an_image_is_never_overwritten(place, capsys, file, arguments):
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(small("small"), path)
    if len(path.parts) == 1:
        Path("soft").symlink_to(file)
        os.link(file, "hard")
    before = path.read_bytes()
    text = said(capsys, [file if a == "FILE" else a for a in arguments], 2)
    assert "must not be the input" in text and text.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "command", [["export"], ["export", "--format", "evnn"], ["quantize"], ["prune", "--density", "1"]]
)
def test_a_checkpoint_is_never_overwritten(place, capsys, command):
    from egret import checkpoint
    from egret.books import recipe

    chosen = recipe("digits", "default").but(units=4)
    weights = dict(checkpoint.build("egru", 13, 10, chosen).state_dict())
    made = checkpoint.Checkpoint(
        task="digits", model="egru", seed=0, recipe=chosen, input_size=13, num_classes=10, weights=weights
    )
    checkpoint.save_checkpoint(made, Path("x"))
    Path("soft").symlink_to("x")
    before = Path("x").read_bytes()
    for output in ("x", "./x", "soft", str(place / "x")):
        text = said(capsys, [command[0], "x", *command[1:], "-o", output], 2)
        assert "must not be the input x" in text
    shutil.copy("x", "x.onnx")
    assert "must not be the input" in said(capsys, ["export", "x.onnx"], 2)  # by default, too
    assert Path("x").read_bytes() == before and Path("soft").is_symlink()


def test_the_files_of_a_training_differ(place, capsys):
    for options in (
        ["-o", "a.csv"],
        ["-o", "a", "--log-csv", "./a"],
        ["-o", "a", "--log-csv", "a.state.safetensors"],
    ):
        assert "outputs must be different files" in said(capsys, ["train", "digits", *options], 2)
    assert not list(place.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_chooses_no_place_and_is_shown_as_it_is(place, capsys, name):
    save_image(small(name), "x.egret")
    assert f"{name}: wrote" in said(capsys, ["generate", "x.egret", "-o", "rtl"], 0)
    if name == NAMES[0]:  # the others would be as this one
        assert name in said(capsys, ["plan", "x.egret", "--samples", "1"], 0)
        assert f"{name} on digits" in said(capsys, ["evaluate", "x.egret"], 0)
    assert {path.name for path in place.iterdir()} == {"x.egret", "rtl"}
    folder = build.network_folder(name)
    assert folder.parent == place / "build"
    folder.mkdir(parents=True)  # so it is a name that the file system takes


@pytest.mark.parametrize(
    "name", ["[/x].egret", "[red]x", "\x1b[31mx", "a\nb", b"\xff".decode("utf-8", "surrogateescape")]
)
def test_a_path_is_shown_as_it_is(place, capsys, name):
    from egret.console import printable

    commands = (
        ["generate", name, "-o", "out"],
        ["evaluate", name],
        ["simulate", name],
        ["import", "gru", name],
        ["export", name],
        ["quantize", name],
        ["train", name],
        [name],
        ["generate", f"--{name}"],
        ["statistics", name],
    )
    shown = {printable(name), printable(" ".join(name.split())), repr(name)[1:-1]}
    shown.add(name.replace("\n", "\\x0a"))  # so does Typer
    for command in commands:
        text = said(capsys, command, 2)
        assert any(way in text for way in shown), (command, text)
        assert all(c.isprintable() for c in text.removesuffix("\n")), command


def test_a_folder_that_cannot_be_is_refused_before_the_work(place, capsys):
    save_image(small("small"), "x.egret")
    for report in ("x.egret/y", "/dev/null/y", "y" * 256, "."):
        for command in ("simulate", "sim-full", "sim-netlist"):
            assert "output" in said(capsys, [command, "x.egret", "--report", report], 2)
    assert not Path("build").exists()

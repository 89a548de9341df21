"""What the README shows must work."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from egret.cli.main import app
from egru.image import load_image

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_program_runs_and_leaves_a_network_image(tmp_path, monkeypatch):
    (program,) = blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})
    image = load_image(tmp_path / "gesture.egret")
    assert image.name == "gesture"
    assert (image.input.size, image.layers[0].spec.units, image.readout.spec.classes) == (6, 32, 4)


def test_every_command_line_names_a_command_and_options_that_exist():
    commands = typer.main.get_command(app).commands
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("egret ")]
    assert len(lines) >= 5
    for line in lines:
        _, name, *words = shlex.split(line, comments=True)
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


@pytest.mark.parametrize("target", re.findall(r"`make ([a-z]+)", README))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", re.findall(r"\]\(([^):]+)\)", README))
def test_every_link_leads_to_a_file(path):
    assert (ROOT / path).is_file()

"""Folders with spaces and letters beyond ASCII, of the build and of the tools."""

import os
import shutil

import numpy as np
import pytest

from egret_sim import build as builder
from egret_sim import safe_paths
from egret_sim.build import build
from egret_sim.fuzz import native as fuzz_native
from egret_sim.run import prepare, simulate
from egret_sim.safe_paths import is_safe, safe_words
from egru.errors import EgretError
from egru.testing import random_image

COUNTER = """
module counter (input clk, output logic [7:0] count);
    initial count = 0;
    logic [7:0] hidden = 0;
    always_ff @(posedge clk) begin
        count <= count + 1;
        hidden <= count;
    end
endmodule
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which make works least, with Verilator in it."""
    folder = tmp_path / "my project é $(x) #"
    tools = folder / "verilator"
    shutil.copytree(builder.verilator_root(), tools)
    for module in (builder, fuzz_native):
        monkeypatch.setattr(module, "verilator_root", lambda: tools)
        monkeypatch.setattr(module, "TOOLS", (*builder.TOOLS, tools), raising=True)
    from egret_sim import program

    monkeypatch.setattr(program, "TOOLS", builder.TOOLS)
    monkeypatch.setenv("EGRET_BUILD", str(folder / "build"))
    monkeypatch.setenv("TMPDIR", str(folder))  # not for links, then
    monkeypatch.setattr(safe_paths.tempfile, "tempdir", None)
    return folder


def test_a_bench_in_python_is_built_and_runs(place):
    simulation = build(texts={"counter.v": COUNTER}, top="counter")
    assert place in simulation.directory.parents
    simulation.run("sampling_bench", testcase="sampling", run_directory=place / "run")


def test_a_program_in_c_is_built_and_runs(place):
    image = random_image(np.random.default_rng(1), inputs=2, units=(2,), classes=2, mode="last")
    built = prepare(image, native=True, optimise="quick")
    assert place in built.simulation.directory.parents
    assert simulate(image, [np.ones((3, 2), int)], built=built).passed


def test_a_case_of_the_fuzzer_is_built_and_runs(place):
    from egret_sim.fuzz.campaign import run_number

    fuzz_native._runtime.cache_clear()
    try:
        assert run_number(1, 0, 50).verdict.passed
    finally:
        fuzz_native._runtime.cache_clear()


def test_safe_paths_stay_as_they_are(tmp_path):
    folder = tmp_path / "plain-1.2_3+4"
    with safe_words(folder) as safe:
        assert safe(f"-I{folder}/x") == f"-I{folder}/x"
    assert is_safe(folder) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b", "é", "a'b", "$x", "#", "a%b", "a:b", "a;b", "a\nb", "(x)", "a\\b"])
def test_another_path_gets_a_link_while_it_is_needed(tmp_path, name):
    folder = tmp_path / name
    (folder / "inner").mkdir(parents=True)
    with safe_words(folder, folder / "inner") as safe:
        for path in (folder, folder / "inner"):
            word = safe(f"-I{path}")
            assert is_safe(word.removeprefix("-I")) and os.path.samefile(word.removeprefix("-I"), path)
    assert not os.path.lexists(word.removeprefix("-I"))


def test_without_any_safe_folder_one_line_says_what_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_paths, "_SAFE", safe_paths.re.compile("no path"))
    with pytest.raises(EgretError, match="let TMPDIR name one"), safe_words(tmp_path):
        pass

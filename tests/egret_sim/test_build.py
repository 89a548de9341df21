"""Building and running: the cache, and results that must not pass for success."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from egret_sim import build as builder
from egret_sim.build import SimulationError, build, check_results
from egru.errors import EgretError

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


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def counter(root):
    return build(texts={"counter.v": COUNTER}, top="counter", root=root)


def results(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "results.xml"
    path.write_text(body)
    return path


def test_a_missing_result_file_is_a_failure(tmp_path):
    with pytest.raises(SimulationError, match="left no result file"):
        check_results(tmp_path / "results.xml")


def test_an_empty_result_file_is_a_failure(tmp_path):
    with pytest.raises(SimulationError, match="not valid XML"):
        check_results(results(tmp_path, ""))


def test_a_result_file_without_a_test_is_a_failure(tmp_path):
    with pytest.raises(SimulationError, match="no bench ran"):
        check_results(results(tmp_path, "<testsuites><testsuite name='all'/></testsuites>"))


def test_a_result_file_with_nothing_but_skipped_tests_is_a_failure(tmp_path):
    body = "<testsuites><testsuite><testcase name='a'><skipped/></testcase></testsuite></testsuites>"
    with pytest.raises(SimulationError, match="no bench ran"):
        check_results(results(tmp_path, body))


@pytest.mark.parametrize("kind", ["failure", "error"])
def test_a_failure_among_passes_is_a_failure(tmp_path, kind):
    body = (
        f"<testsuites><testsuite><testcase name='a'/><testcase name='b'><{kind} error_msg='unit 3 differs'/>"
    )
    body += "</testcase></testsuite></testsuites>"
    with pytest.raises(SimulationError, match="bench b failed: unit 3 differs"):
        check_results(results(tmp_path, body))


def test_passed_tests_are_counted(tmp_path):
    body = "<testsuites><testsuite><testcase name='a'/><testcase name='b'/></testsuite></testsuites>"
    assert check_results(results(tmp_path, body)) == 2


def test_a_bench_that_fails_raises_its_reason(counter, tmp_path):
    with pytest.raises(SimulationError, match=r"bench fails failed: .*the reason"):
        counter.run("sampling_bench", testcase="fails", run_directory=tmp_path)


def test_a_bench_that_matches_no_test_raises(counter, tmp_path):
    with pytest.raises(SimulationError, match=r"no bench ran|no result file"):
        counter.run("sampling_bench", testcase="no_such_test", run_directory=tmp_path)


def test_a_bench_whose_module_is_missing_raises(counter, tmp_path):
    with pytest.raises(SimulationError):
        counter.run("no_such_module", run_directory=tmp_path)


def test_reads_after_a_rising_edge_give_values_from_before_it(counter, tmp_path):
    counter.run("sampling_bench", testcase="sampling", run_directory=tmp_path)


def test_only_ports_can_be_reached_unless_waves_are_asked_for(counter, tmp_path, root):
    counter.run("sampling_bench", testcase="hidden_is_out_of_reach", run_directory=tmp_path / "plain")
    debug = build(texts={"counter.v": COUNTER}, top="counter", root=root, waves=True)
    assert debug.directory != counter.directory
    debug.run("sampling_bench", testcase="hidden_is_in_reach", run_directory=tmp_path / "debug")
    assert (tmp_path / "debug" / "dump.vcd").stat().st_size > 0


def test_an_unchanged_design_is_not_built_again(counter, root, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("built again")

    monkeypatch.setattr(builder, "_compile", refuse)
    again = build(texts={"counter.v": COUNTER}, top="counter", root=root)
    assert again == counter
    with pytest.raises(AssertionError, match="built again"):
        build(texts={"counter.v": COUNTER + "\n"}, top="counter", root=root)
    with pytest.raises(AssertionError, match="built again"):
        build(texts={"counter.v": COUNTER}, top="counter", root=root, optimise="fast")


def test_what_an_interrupted_build_left_is_not_used(counter, root):
    (counter.directory / "finished.json").unlink()
    (counter.directory / "counter").write_text("no program")
    again = build(texts={"counter.v": COUNTER}, top="counter", root=root)
    assert again == counter
    assert (again.directory / "counter").stat().st_size > 1000


def test_a_lint_message_without_a_waiver_stops_the_build(root):
    text = "module latch (input a, b, output logic q); always_comb if (a) q = b; endmodule"
    with pytest.raises(SimulationError, match="LATCH"):
        build(texts={"latch.v": text}, top="latch", root=root)


def test_a_syntax_error_is_reported_with_verilators_words(root):
    with pytest.raises(SimulationError, match=r"(?s)building broken failed.*syntax error"):
        build(texts={"broken.v": "module broken (input clk endmodule"}, top="broken", root=root)


def test_an_unknown_optimisation_is_refused(root):
    with pytest.raises(EgretError, match="optimise must be one of quick, fast, not 'best'"):
        build(texts={"counter.v": COUNTER}, top="counter", root=root, optimise="best")


def test_builds_go_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("EGRET_BUILD", str(tmp_path / "there"))
    assert builder.build_root() == tmp_path / "there"


def test_builds_from_a_checkout_go_into_its_build_folder_wherever_one_stands(tmp_path):
    code = "from egret_sim.build import build_root; print(build_root())"
    environment = {name: value for name, value in os.environ.items() if name != "EGRET_BUILD"}
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(out.stdout.strip()) == builder.PACKAGE.parent.parent / "build"

"""Figures of FPGA builds: choosing, deriving, saving and printing them. No tool runs here."""

import io
import json
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from egret import bench_fpga as bench
from egret.bench_board import run_board
from egret.build.tools import TOOLS
from egret.cli.main import main
from egru.errors import EgretError


def result(name="25f-16", clocks=(150.0, 170.0, 160.0)):
    (build,) = bench.chosen_builds([name], range(1, len(clocks) + 1))
    return bench.FpgaResult(
        build=build,
        resources={"TRELLIS_COMB": 5600, "TRELLIS_FF": 3000, "DP16KD": 41, "MULT18X18D": 20},
        cycles_per_step=250.0,
        dense_macs_per_step=50_000.0,
        placements=tuple(bench.Placed(seed, clock, "a to b") for seed, clock in enumerate(clocks, 1)),
    )


def board_result(clocks=(31.0, 29.0, 30.0)):
    resources = {"ICESTORM_LC": 4400, "ICESTORM_RAM": 30, "ICESTORM_SPRAM": 4, "ICESTORM_DSP": 8}
    return replace(result("up5k-8", clocks), resources=resources)


def hop(kind, delay, begin, end):
    return {"type": kind, "delay": delay, "from": {"cell": begin}, "to": {"cell": end}}


def report(paths):
    return json.dumps(
        {
            "utilization": {"TRELLIS_COMB": {"used": 10, "available": 24288}},
            "fmax": {"clk": {"achieved": 161.237, "constraint": 200.0}},
            "critical_paths": paths,
        }
    )


PATH = [
    hop("clk-to-q", 0.5, "layer0.a_TRELLIS_FF_Q_3", "layer0.a_TRELLIS_FF_Q_3"),
    hop("routing", 2.0, "layer0.a_TRELLIS_FF_Q_3", "layer0.b_LUT4_Z"),
    hop("logic", 0.25, "layer0.b_LUT4_Z", "layer0.b_LUT4_Z"),
    hop("routing", 1.5, "layer0.b_LUT4_Z", "layer0.queue.near.0.0$DPRAM_COMB1"),
]


def test_best_median_and_derived_figures():
    got = result()
    assert (got.best_mhz, got.median_mhz) == (170.0, 160.0)
    assert got.luts_per_lane == 350.0
    assert got.effective_gops == pytest.approx(2 * 50_000 / 250 * 0.160)


def test_an_even_number_of_seeds_has_the_mean_of_the_middle_ones_as_median():
    assert result(clocks=(150.0, 170.0)).median_mhz == 160.0


def test_lanes_of_all_layers_share_the_look_up_tables():
    assert result("85f-96").luts_per_lane == pytest.approx(5600 / 96)


def test_clock_and_slowest_path_are_read_from_the_report():
    other = [hop("routing", 9.0, "x", "y")]
    paths = [{"from": "posedge clk", "to": "posedge clk", "path": PATH}]
    paths.append({"from": "<async>", "to": "posedge clk", "path": other})
    placed = bench.placed_of(report(paths), 4)
    assert placed == bench.Placed(4, 161.24, "layer0.a to layer0.queue.near: 0.8 ns logic, 3.5 ns wires")


def test_a_report_without_paths_still_gives_the_clock():
    assert bench.placed_of(report([]), 1) == bench.Placed(1, 161.24, "")


def test_what_is_no_report_is_refused():
    with pytest.raises(EgretError, match="place and route report"):
        bench.placed_of("{}", 1)


def test_builds_are_chosen_by_name_and_take_other_seeds():
    assert bench.chosen_builds([]) == bench.BUILDS
    (build,) = bench.chosen_builds(["85f-64", "85f-64"], (7, 8))
    assert (build.name, build.seeds) == ("85f-64", (7, 8))
    with pytest.raises(EgretError, match="build must be one of 25f-16, 85f-64, 85f-96, up5k-8, not 'x'"):
        bench.chosen_builds(["x"])


def test_results_come_back_as_they_were_saved(tmp_path):
    results = {"85f-96": result("85f-96"), "25f-16": result()}
    bench.save_results(results, tmp_path)
    assert bench.load_results(tmp_path) == results
    assert sorted(path.name for path in tmp_path.iterdir()) == [bench.JSON, bench.MARKDOWN]


def test_results_from_before_there_were_boards_are_read(tmp_path):
    bench.save_results({"25f-16": result()}, tmp_path)
    path = tmp_path / bench.JSON
    old = json.loads(path.read_text())
    del old["builds"][0]["build"]["board"]
    path.write_text(json.dumps(old))
    assert bench.load_results(tmp_path) == {"25f-16": result()}


def test_without_results_there_are_none(tmp_path):
    assert bench.load_results(tmp_path) == {}


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"builds": [{}]}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / bench.JSON).write_text(text)
    with pytest.raises(EgretError, match="no result of bench-fpga"):
        bench.load_results(tmp_path)


def test_the_page_has_a_row_for_each_build_in_order_and_a_table_of_seeds(tmp_path):
    bench.save_results({"85f-96": result("85f-96"), "25f-16": result()}, tmp_path)
    page = (tmp_path / bench.MARKDOWN).read_text()
    row = "| 25f-16 | LFE5U-25F | digits | 16 | 160.0 | 170.0 | 5600 | 3000 | 41 | 20 | 350 | 250.0 | 64.0 |"
    lines = page.splitlines()
    assert lines.index(row) + 1 == next(n for n, line in enumerate(lines) if line.startswith("| 85f-96 | "))
    assert "| 2 | 170.0 | a to b |" in lines
    assert "48 + 48" in page


def test_boards_have_a_table_of_their_own_with_what_the_device_has(tmp_path):
    bench.save_results({"up5k-8": board_result(), "25f-16": result()}, tmp_path)
    page = (tmp_path / bench.MARKDOWN).read_text()
    row = (
        "| up5k-8 | icebreaker (iCE40UP5K) | digits | 8 | 24 | 30.0 | 31.0 | 4400 of 5280 "
        "| 30 of 30 | 4 of 4 | 8 of 8 | 250.0 | 12.00 |"
    )
    assert page.index("| 25f-16 |") < page.index(row)
    assert board_result().luts_per_lane == 550.0
    alone = [title for title, _, _ in bench.tables([board_result()])]
    assert alone == ["whole boards"]


def test_a_board_is_synthesised_once_and_placed_with_each_seed_even_where_it_is_too_slow(
    tmp_path, monkeypatch
):
    def stand_in(name, program):
        path = tmp_path / f"{name}.py"
        path.write_text(program)
        monkeypatch.setenv(TOOLS[name].variable, f"'{sys.executable}' '{path}'")

    log = tmp_path / "calls"
    stand_in("yosys", f"open({str(log)!r}, 'a').write('yosys ')")
    stand_in(
        "nextpnr-ice40",
        "import json, sys\n"
        "seed = int(sys.argv[sys.argv.index('--seed') + 1])\n"
        f"open({str(log)!r}, 'a').write(f'{{seed}} ' if '--timing-allow-fail' in sys.argv else 'strict ')\n"
        "used = {'ICESTORM_LC': {'used': 4000 + seed % 5, 'available': 5280}}\n"
        "fmax = {'clk': {'achieved': 20.0 + seed, 'constraint': 24.0}}\n"
        "json.dump({'utilization': used, 'fmax': fmax}, open('egret.report.json', 'w'))\n",
    )
    monkeypatch.setattr(bench, "simulated", lambda *arguments: (500.0, 50_000.0))
    work = tmp_path / "work"
    work.mkdir()
    (build,) = bench.chosen_builds(["up5k-8"], (1, 4, 7))
    got = run_board(build, 1, work, Console(file=io.StringIO()))
    assert log.read_text().split() == ["yosys", "1", "4", "7"]
    assert [placed.clock_mhz for placed in got.placements] == [21.0, 24.0, 27.0]
    assert got.resources == {"ICESTORM_LC": 4004}
    assert got.cycles_per_step == 500.0


def test_the_command_refuses_an_unknown_build(capsys):
    assert main(["bench-fpga", "--only", "nothing"]) == 2
    assert "build must be one of" in capsys.readouterr().err


def test_the_command_keeps_other_builds_and_prints_what_it_made(tmp_path, monkeypatch, capsys):
    bench.save_results({"85f-64": result("85f-64")}, tmp_path)

    def run_builds(builds, *, samples, console, done):
        for build in builds:
            done(result(build.name, (140.0,) * len(build.seeds)))

    monkeypatch.setattr(bench, "run_builds", run_builds)
    assert main(["bench-fpga", "--only", "25f-16", "--seeds", "3,4", "-o", str(tmp_path)]) == 0
    saved = bench.load_results(tmp_path)
    assert saved["25f-16"].median_mhz == 140.0
    assert saved["85f-64"] == result("85f-64")
    assert "140.0" in capsys.readouterr().out

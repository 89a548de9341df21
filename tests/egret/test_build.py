"""Reports, failures and the flow of a bitstream; synthesis itself runs once, on a small network."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from egret.build import flow, tools
from egret.build.boards import BOARDS, CAPACITY, board_named
from egret.build.ice40_clock import pll_dividers
from egret.build.report import (
    ClockResult,
    DoesNotFitError,
    TimingError,
    Usage,
    cells_of_statistics,
    check_fit,
    check_timing,
    explain_failure,
    parse_report,
    predicted_usage,
)
from egret.build.tables import memory_table, resource_table
from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import describe
from egru.errors import EgretError
from egru.testing import random_image

BOARD = BOARDS["ulx3s_12f"]


def nextpnr_report(*, used=(100, 90, 5, 3), achieved=80.0, constraint=25.0):
    names = ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D")
    utilization = {
        name: {"used": count, "available": CAPACITY["LFE5U-12F"][name]}
        for name, count in zip(names, used, strict=True)
    }
    utilization |= {"GSR": {"used": 1, "available": 1}, "DCUA": {"used": 0, "available": 2}}
    return json.dumps(
        {
            "critical_paths": [],
            "fmax": {
                "$glbnet$cd_sync.clk": {"achieved": achieved, "constraint": constraint},
                "easy": {"achieved": 300.0, "constraint": 10.0},
            },
            "utilization": utilization,
        }
    )


def small_image(**options):
    defaults = {"inputs": 3, "units": (4,), "classes": 2, "mode": "last", "weight_bits": 4, "table_bits": 8}
    return random_image(np.random.default_rng(3), **(defaults | options))


def test_the_report_gives_used_available_and_percent_of_each_resource_and_the_tightest_clock():
    resources, clock = parse_report(nextpnr_report(used=(12144, 90, 14, 7)))
    assert resources[:4] == (
        Usage("TRELLIS_COMB", 12144, 24288),
        Usage("TRELLIS_FF", 90, 24288),
        Usage("DP16KD", 14, 56),
        Usage("MULT18X18D", 7, 28),
    )
    assert [usage.resource for usage in resources[4:]] == ["GSR"], (
        "what is not used and has no name is left out"
    )
    assert [round(usage.percent) for usage in resources[:4]] == [50, 0, 25, 25]
    assert clock == ClockResult("$glbnet$cd_sync.clk", 80.0, 25.0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"utilization": {"X": {}}, "fmax": {}}'])
def test_a_text_that_is_no_report_is_refused(text):
    with pytest.raises(
        EgretError, match="the place and route report is not what `--report` of nextpnr writes"
    ):
        parse_report(text)


def test_a_report_without_a_clock_is_refused():
    report = json.loads(nextpnr_report()) | {"fmax": {}}
    with pytest.raises(EgretError, match="holds no clock"):
        parse_report(json.dumps(report))


def test_cells_become_resources_before_placement():
    cells = {
        "LUT4": 10,
        "CCU2C": 3,
        "TRELLIS_DPR16X4": 2,
        "TRELLIS_FF": 7,
        "DP16KD": 4,
        "MULT18X18D": 1,
        "PFUMX": 9,
    }
    text = json.dumps({"design": {"num_cells_by_type": cells}})
    used = {usage.resource: usage.used for usage in predicted_usage(cells_of_statistics(text), "LFE5U-12F")}
    assert used == {"TRELLIS_COMB": 10 + 6 + 8, "TRELLIS_FF": 7, "DP16KD": 4, "MULT18X18D": 1}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"design": 3}'])
def test_a_text_that_is_no_statistics_is_refused(text):
    with pytest.raises(EgretError, match="the synthesis statistics are not what"):
        cells_of_statistics(text)


def test_a_full_device_fits():
    check_fit(tuple(Usage(name, have, have) for name, have in CAPACITY[BOARD.device].items()), BOARD)


def test_an_overfull_device_is_refused_with_resource_amount_remedy_and_a_board_that_would_do():
    with pytest.raises(DoesNotFitError) as caught:
        check_fit((Usage("TRELLIS_COMB", 20000, 24288), Usage("DP16KD", 84, 56)), BOARD)
    assert str(caught.value) == (
        "the network does not fit LFE5U-12F of board ulx3s_12f: 84 block RAMs (DP16KD) needed, 56 there, "
        "28 (50 %) too many; use a smaller network, narrower weights or fewer update lanes (--update-lanes), "
        "or a larger board (--board ulx3s_45f)"
    )


def test_no_larger_board_is_named_when_none_would_do():
    with pytest.raises(DoesNotFitError) as caught:
        check_fit((Usage("MULT18X18D", 500, 28),), BOARD)
    assert "500 multipliers (MULT18X18D) needed" in str(caught.value)
    assert "fewer lanes (--lanes" in str(caught.value)
    assert "--board" not in str(caught.value)


def test_a_clock_as_fast_as_the_boards_is_fast_enough():
    check_timing(ClockResult("clk", 25.0, 25.0))


def test_a_slow_clock_is_refused_with_both_figures_and_a_remedy():
    with pytest.raises(TimingError) as caught:
        check_timing(ClockResult("clk", 20.0, 25.0))
    assert str(caught.value) == (
        "the clock reaches 20.00 MHz, the board's clock is 25.00 MHz: 20 % too slow; use another placement "
        "(--seed), fewer lanes (--lanes) or fewer update lanes (--update-lanes)"
    )


def test_a_log_of_failed_timing_is_explained():
    log = """Info: Routing..
Info: Max frequency for clock '$glbnet$clk': 30.00 MHz (PASS at 25.00 MHz)
ERROR: Max frequency for clock '$glbnet$clk': 21.50 MHz (FAIL at 25.00 MHz)
1 warning, 1 error
"""
    with pytest.raises(
        TimingError, match=r"reaches 21\.50 MHz, the board's clock is 25\.00 MHz: 14 % too slow"
    ):
        explain_failure(log, BOARD)


def test_a_log_of_a_full_device_is_explained_with_its_counts():
    log = """Info: Device utilisation:
Info: \t              DP16KD:      60/     56   107%
Info: \t          MULT18X18D:      23/     28    82%
ERROR: Unable to place cell 'linked.accelerator.layer0.0.0', no BELs remaining to implement cell type 'DP16KD'
"""
    with pytest.raises(
        DoesNotFitError, match=r"60 block RAMs \(DP16KD\) needed, 56 there, 4 \(7 %\) too many"
    ):
        explain_failure(log, BOARD)


def test_a_log_of_a_full_device_without_counts_still_names_the_resource():
    log = "ERROR: Unable to place cell 'x', no BELs remaining to implement cell type 'DP16KD'"
    with pytest.raises(DoesNotFitError, match=r"no block RAM \(DP16KD\) is left; use a smaller network"):
        explain_failure(log, BOARD)


def test_an_unknown_failure_is_left_to_others():
    assert explain_failure("ERROR: cannot open file\n", BOARD) is None


def test_the_first_error_of_a_log_is_found_else_its_last_line():
    assert tools.first_error("Info: a\nERROR: b\nERROR: c\n") == "ERROR: b"
    assert tools.first_error("x.ys:3: ERROR: no such command\n") == "x.ys:3: ERROR: no such command"
    assert tools.first_error("Info: a\nTraceback: z\n\n") == "Traceback: z"
    assert tools.first_error("") == "it said nothing"


def test_every_board_makes_a_platform_of_its_device_with_its_clock():
    for board in BOARDS.values():
        platform = board.make_platform()
        assert platform.device == board.device
        if board.pll:
            pll_dividers(from_hz=int(platform.default_clk_frequency), to_hz=board.clock_hz)
        else:
            assert platform.default_clk_frequency == board.clock_hz
        assert board.device in CAPACITY


def test_an_unknown_board_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(EgretError, match=r"board must be one of ulx3s_12f, .*icebreaker, not 'icestick'"):
        board_named("icestick")


def test_a_network_with_more_bits_than_the_device_is_refused_before_synthesis(tmp_path):
    image = small_image(inputs=256, units=(600,), weight_bits=8)
    with pytest.raises(
        DoesNotFitError, match=r"memories take \d+ bits \(\d+ of them weights\), the block RAMs hold"
    ):
        flow.build_bitstream(image, BOARD, tmp_path / "out", console=Console(file=io.StringIO()))
    assert not (tmp_path / "out").exists()


class Tools:
    """Stand-ins for the three tools: each is a Python program that the test writes."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        self.set("yosys", self.writes("egret.stat.json", '{"design": {"num_cells_by_type": {"LUT4": 5}}}'))
        self.set("nextpnr-ecp5", self.writes("egret.report.json", nextpnr_report()))
        self.set("ecppack", self.writes("egret.bit", "bits") + self.writes("egret.svf", "svf"))

    @staticmethod
    def writes(name, text):
        return f"open({name!r}, 'w').write({text!r})\n"

    def set(self, name, program):
        import sys

        path = self.folder / f"{name}.py"
        path.write_text(program)
        self.monkeypatch.setenv(tools.TOOLS[name].variable, f"'{sys.executable}' '{path}'")


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    return Tools(tmp_path, monkeypatch)


def build(tmp_path, **options):
    console = Console(file=io.StringIO())
    options = {"config": AcceleratorConfig(lanes=2)} | options
    report = flow.build_bitstream(small_image(), BOARD, tmp_path / "out", console=console, **options)
    return report, console.file.getvalue()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_flow_leaves_bitstream_report_and_logs_and_shows_its_stages(tmp_path, stand_ins):
    report, shown = build(tmp_path, seed=7)
    assert names(tmp_path / "out") == ["egret.bit", "egret.svf", "logs", "report.json"]
    assert names(tmp_path / "out" / "logs") == ["ecppack.log", "nextpnr-ecp5.log", "yosys.log"]
    for stage in ("Generation", "Synthesis", "Place and route", "Packing"):
        assert f"{stage} ..." in shown
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["report"] == "bitstream"
    assert written["seed"] == 7
    assert written["resources"]["DP16KD"] == {"kind": "block RAM", "used": 5, "available": 56, "percent": 8.9}
    assert written["clock"]["achieved_mhz"] == 80.0
    assert written["memories"] == describe_small()["memories"]
    assert report.as_json()["board"] == "ulx3s_12f"


def describe_small():
    from egret_hw.accelerator import Accelerator

    return describe(Accelerator(small_image(), AcceleratorConfig(lanes=2)))


def test_the_seed_and_the_report_reach_place_and_route(tmp_path, stand_ins):
    program = "import sys; print(sys.argv)\n" + Tools.writes("egret.report.json", nextpnr_report())
    stand_ins.set("nextpnr-ecp5", program)
    build(tmp_path, seed=11)
    log = (tmp_path / "out" / "logs" / "nextpnr-ecp5.log").read_text()
    assert "'--seed', '11'" in log
    assert "'--12k'" in log


def test_tables_show_every_resource_the_clock_and_every_memory(tmp_path, stand_ins):
    report, _ = build(tmp_path)
    console = Console(file=io.StringIO(), width=120)
    console.print(resource_table(report))
    console.print(memory_table(report))
    text = console.file.getvalue()
    for expected in (
        "LUT (TRELLIS_COMB)",
        "flip-flop",
        "block RAM",
        "multiplier",
        "80.0",
        "25.0",
        "layer0.weights",
    ):
        assert expected in text


def failing(error, place="nextpnr-ecp5"):
    return {place: f"import sys; print({error!r}); sys.exit(1)\n"}


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        (
            {"nextpnr-ecp5": Tools.writes("egret.report.json", nextpnr_report(achieved=20.0))},
            TimingError,
            r"reaches 20\.00 MHz",
        ),
        (
            {"nextpnr-ecp5": Tools.writes("egret.report.json", nextpnr_report(used=(1, 1, 57, 1)))},
            DoesNotFitError,
            r"57 block RAMs \(DP16KD\) needed",
        ),
        (
            {
                "yosys": Tools.writes(
                    "egret.stat.json", '{"design": {"num_cells_by_type": {"MULT18X18D": 29}}}'
                )
            },
            DoesNotFitError,
            r"29 multipliers \(MULT18X18D\) needed, 28 there, 1 \(4 %\) too many",
        ),
        (
            failing("ERROR: Max frequency for clock 'c': 9.00 MHz (FAIL at 25.00 MHz)"),
            TimingError,
            r"reaches 9\.00 MHz",
        ),
        (
            failing("ERROR: odd"),
            tools.ToolError,
            r"Place and route failed: ERROR: odd \(all of it in .*nextpnr-ecp5.log",
        ),
        (failing("ERROR: odd", "yosys"), tools.ToolError, r"Synthesis failed: ERROR: odd"),
        (failing("ERROR: odd", "ecppack"), tools.ToolError, r"Packing failed: ERROR: odd"),
    ],
)
def test_a_failure_leaves_logs_but_no_bitstream(tmp_path, stand_ins, program, error, message):
    for name, text in program.items():
        stand_ins.set(name, text)
    with pytest.raises(error, match=message):
        build(tmp_path)
    assert names(tmp_path / "out") == ["logs"]


def test_a_tool_that_is_not_there_is_named(tmp_path, stand_ins, monkeypatch):
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(tools.ToolError, match="Synthesis: 'no-such-yosys' cannot be started"):
        build(tmp_path)


def test_an_output_directory_that_cannot_be_made_is_refused(tmp_path, stand_ins):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(EgretError, match=r"output directory .*out cannot be written: File exists"):
        build(tmp_path)


def test_the_real_tools_make_a_bitstream_of_a_tiny_network_and_the_prediction_is_a_lower_bound(tmp_path):
    image = small_image(inputs=2, units=(2,), weight_bits=2, input_bits=2, event_bits=2, table_bits=4)
    predicted = []
    console = Console(file=io.StringIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "check_fit", lambda resources, board: predicted.append(resources))
        report = flow.build_bitstream(
            image,
            BOARD,
            tmp_path / "out",
            config=AcceleratorConfig(lanes=1, readout_lanes=1),
            console=console,
        )
    assert b"LFE5U-12F" in (tmp_path / "out" / "egret.bit").read_bytes()[:200]
    assert report.clock.met and report.clock.required_mhz == pytest.approx(25.0, abs=0.01)
    before = {usage.resource: usage for usage in predicted[0]}
    placed = {usage.resource: usage for usage in report.resources}
    for resource, usage in before.items():
        assert 0 < usage.used <= placed[resource].used
        assert usage.available == placed[resource].available, "the device table says what nextpnr says"
    assert before["DP16KD"].used == placed["DP16KD"].used
    assert before["MULT18X18D"].used == placed["MULT18X18D"].used
    assert "End of script" in (tmp_path / "out" / "logs" / "yosys.log").read_text()


def test_the_real_tools_make_a_bitstream_for_an_ultraplus_whose_weights_come_later(tmp_path):
    image = small_image(inputs=2, units=(2,), weight_bits=2, input_bits=2, event_bits=2, table_bits=4)
    board = BOARDS["icebreaker"]
    config = AcceleratorConfig(lanes=2, readout_lanes=1, weights=board.weights, compact=board.compact)
    console = Console(file=io.StringIO())
    report = flow.build_bitstream(image, board, tmp_path / "out", config=config, console=console)
    assert names(tmp_path / "out") == ["egret.bin", "logs", "report.json", "weights.bin"]
    assert report.clock.met and report.clock.required_mhz == pytest.approx(24.0, abs=0.01)
    used = {usage.resource: usage.used for usage in report.resources}
    have = {usage.resource: usage.available for usage in report.resources}
    assert {name: have[name] for name in CAPACITY["iCE40UP5K"]} == CAPACITY["iCE40UP5K"]
    assert used["ICESTORM_SPRAM"] == 1, "a word of two weights is at most 16 bits wide"
    assert used["ICESTORM_DSP"] == 5, "one for the lanes, two for the update, two for the readout"
    assert used["ICESTORM_RAM"] > 0
    words = Accelerator(image, config).tiles[0].weight_words
    assert len((tmp_path / "out" / "weights.bin").read_bytes()) == 5 * len(words) + 4, "LOADs and a CHECK"


def test_weights_wider_than_the_single_port_memories_are_refused_with_what_there_is():
    image = small_image(units=(40,), weight_bits=8)
    board = BOARDS["icebreaker"]
    config = AcceleratorConfig(lanes=16, compact=True, weights="loaded")
    memories = describe(Accelerator(image, config))["memories"]
    with pytest.raises(
        DoesNotFitError, match=r"words of 128 bits take 8 single-port RAMs .* there are 4; lanes x"
    ):
        flow.check_memories(memories, board, loaded=True)
    narrow = AcceleratorConfig(lanes=8, compact=True, weights="loaded")
    flow.check_memories(describe(Accelerator(image, narrow))["memories"], board, loaded=True)


def test_the_clock_of_the_ultraplus_is_one_that_its_pll_makes():
    divf, divq = pll_dividers(from_hz=12_000_000, to_hz=24_000_000)
    assert 12_000_000 * (divf + 1) == 24_000_000 << divq
    with pytest.raises(
        EgretError, match="clock must be one that the PLL makes of 12000000 Hz, not 24000001 Hz"
    ):
        pll_dividers(from_hz=12_000_000, to_hz=24_000_001)


def test_logits_that_the_link_cannot_carry_are_refused_before_synthesis():
    rng = np.random.default_rng(1)
    image = random_image(
        rng, inputs=3, units=(300,), classes=2, mode="mean", max_steps=1 << 24, event_bits=8, extreme=True,
        readout_weight_bits=8, name="wide",
    )  # fmt: skip
    with pytest.raises(
        EgretError, match=r"logits must fit the 40 bits of the link, but those of wide can be"
    ):
        flow.board_top(image, board_named("ulx3s_85f"))

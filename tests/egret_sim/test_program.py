"""Programs of a driver and a design are built once, run, and not kept if they cannot be built."""

import pytest

from egret_sim.build import SimulationError
from egret_sim.program import OPTIMISATION, Recipe, build_program, run_program

RECIPE = Recipe("test_program", "the test's program", "Vsum", ("-Wall",))
DESIGN = "module sum (input logic [7:0] a, b, output logic [7:0] y); assign y = a + b; endmodule\n"
DRIVER = """
#include <cstdio>
#include "numbers.h"
#include "Vsum.h"
int main(int, char** words) {
    Vsum sum;
    sum.a = words[1][0] - '0';
    sum.b = SECOND;
    sum.eval();
    std::printf("sum %d\\n", sum.y);
    return sum.y != 5;
}
"""
CONTENTS = {"sum.sv": DESIGN, "numbers.h": "constexpr int SECOND = 2;\n", "driver.cpp": DRIVER}


def build(contents, root):
    return build_program(RECIPE, contents, top="sum", optimise=OPTIMISATION["quick"], root=root)


def test_a_program_is_built_once_and_its_status_and_log_are_told(tmp_path):
    program = build(CONTENTS, tmp_path)
    log, looks = tmp_path / "log", []
    assert run_program([program, "3"], log, watch=lambda: looks.append(1)) == 0
    assert log.read_text() == "sum 5\n" and looks
    assert run_program([program, "4"], log) == 1
    assert log.read_text() == "sum 6\n"
    made = program.stat().st_mtime_ns
    assert build(CONTENTS, tmp_path) == program
    assert program.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    "broken", [{"sum.sv": DESIGN.replace("a + b", "a + c")}, {"driver.cpp": DRIVER.replace("SECOND", "NONE")}]
)
def test_sources_that_are_refused_are_an_error_with_its_reason_and_nothing_is_kept(broken, tmp_path):
    for _ in range(2):
        with pytest.raises(
            SimulationError, match=r"building the test's program failed; see .*build\.log"
        ) as caught:
            build(CONTENTS | broken, tmp_path)
        assert "'c'" in str(caught.value) or "NONE" in str(caught.value)


def test_a_program_is_watched_while_it_runs_and_once_after_its_end(tmp_path):
    ended = tmp_path / "ended"
    looks = []
    command = ["sh", "-c", f"sleep 1; touch '{ended}'"]
    assert run_program(command, tmp_path / "log", watch=lambda: looks.append(ended.exists())) == 0
    assert looks[0] is False and looks[-1] is True

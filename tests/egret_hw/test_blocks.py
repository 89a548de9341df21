"""Hard blocks of a family do cycle by cycle what the portable components do, in Verilator."""

import json
import random
import re
from dataclasses import dataclass, field

import block_bench
import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.vendor import GowinPlatform, LatticeECP5Platform, LatticeICE40Platform
from egret_sim.build import build
from egru.errors import EgretError

from egret_hw.blocks import family as families
from egret_hw.blocks.ecp5_multiplier import Mult18x18
from egret_hw.blocks.family import ECP5, FAMILIES, GENERIC, ICE40, Family, family_of, models
from egret_hw.blocks.ice40_multiplier import Mac16, PairMac16
from egret_hw.memory import Ram, Rom, SpramMemory
from egret_hw.multiplier import Multiplier, PairMultiplier

WARM_UP = 80
"""Cycles before the first comparison: the addressed words of every memory have been written by then."""

SPOTS = 64
"""Addresses of a memory that the bench uses: enough to reach all its blocks, few enough to meet each often."""


@dataclass(frozen=True)
class Case:
    """A component, made for `family` and in its portable form, with equal inputs."""

    name: str
    family: str
    component: wiring.Component
    reference: wiring.Component
    limits: dict[str, int] = field(default_factory=dict)  # input: number of words it may address
    never: dict[str, int] = field(default_factory=dict)  # input: value it never has
    gap: bool = False  # a read in the cycle of a write is undefined

    def ports(self):
        for path, member, _ in self.component.signature.flatten(self.component):
            yield path[0], member.flow == wiring.In, len(self.component.__dict__[path[0]])


def words(width, depth, seed=1):
    rng = random.Random(seed)
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
    spoilt = [contents[0] ^ 16, *contents[1:]]
    return Case(
        "spoilt_rom",
        ECP5,
        Rom(shape=unsigned(9), contents=spoilt),
        Rom(shape=unsigned(9), contents=contents),
        limits={"address0": 700},
    )


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
    *(multiplier(a, b, ICE40) for a, b in ((8, 9), (16, 16), (16, 17), (17, 16), (17, 17))),
    *(pair(w, v, ICE40) for w, v in ((2, 9), (4, 8), (4, 9), (8, 8), (8, 9), (9, 9))),
    rom(9, 20, ICE40),
    rom(9, 300, ICE40, ports=2),
    ram(16, 40, ICE40),
    *(ram(w, d, ICE40, kind=SpramMemory) for w, d in ((16, 16384), (20, 100), (8, 40000))),
    spoilt_rom(),
]


def bench(cases):
    """SystemVerilog that drives both forms of each case with the same random inputs and counts where they differ."""
    lines = [
        f"module block_bench(input clk, output [{32 * len(cases) - 1}:0] checks, errors);",
        "int cycle = 0;",
        "always @(posedge clk) cycle <= cycle + 1;",
    ]
    for number, item in enumerate(cases):
        ports = list(item.ports())
        inputs = [(name, width) for name, is_input, width in ports if is_input]
        outputs = [(name, width) for name, is_input, width in ports if not is_input]
        lines.append(f"generate if (1) begin : case{number}")
        for name, width in inputs:
            lines.append(f"reg [{width - 1}:0] {name} = 0;")
            if name in item.limits:
                rng = random.Random(width)
                limit = item.limits[name]
                spots = [0, limit - 1, *(rng.randrange(limit) for _ in range(SPOTS - 2))]
                table = ", ".join(f"{width}'d{spot}" for spot in reversed(spots))
                lines.append(f"localparam [{width * SPOTS - 1}:0] {name}_spots = {{{table}}};")
        for side, form in (("made", item.name), ("portable", f"{item.name}_portable")):
            for name, width in outputs:
                lines.append(f"wire [{width - 1}:0] {side}_{name};")
            pins = [".clk(clk)", ".rst(1'b0)", *(f".{name}({name})" for name, _ in inputs)]
            pins += [f".{name}({side}_{name})" for name, _ in outputs]
            lines.append(f"{form} {side}({', '.join(pins)});")
        lines += [
            "int checked = 0, wrong = 0;",
            "reg [31:0] draw;",
            "reg [1:0] undefined = 0;",
            "always @(posedge clk) begin",
        ]
        for name, width in inputs:
            if name in item.limits:
                # At first every address in turn, so that no memory is read before it was written.
                spot = f"(cycle < {SPOTS} ? cycle : $urandom_range({SPOTS - 1}))"
                lines.append(f"{name} = {name}_spots[{width} * {spot} +: {width}];")
            elif name == "write_enable":
                continue
            else:
                lines.append("draw = $urandom;")
                noise = ", ".join(["$urandom"] * (-(-width // 32)))
                lines += [
                    f"{name} = {width}'({{{noise}}});",
                    f"if (draw[2:0] == 0) {name} = {width}'d1 << {width - 1};",
                    f"if (draw[2:0] == 1) {name} = ~({width}'d1 << {width - 1});",
                    f"if (draw[2:0] == 2) {name} = {{{width}{{draw[3]}}}};",
                ]
            if name in item.never:
                lines.append(f"if ({name} == {item.never[name]}) {name} = 1;")
        if any(name == "write_enable" for name, _ in inputs):
            lines += [
                "draw = $urandom;",
                f"write_enable = cycle < {SPOTS} || draw[1:0] != 0;",
                f"if (cycle < {SPOTS}) address = address_spots[{item.limits['address']} - 1 >= 1];"
                if False
                else "",
                "if (write_address == address) begin",
                f"if (cycle < {SPOTS}) address = address_spots[{dict(inputs)['address']} * ((cycle + 1) % {SPOTS}) +: "
                f"{dict(inputs)['address']}];",
                "else write_enable = 0;",
                "end",
            ]
        skipped = "write_enable" if item.gap else "1'b0"
        same = " && ".join(f"made_{name} == portable_{name}" for name, _ in outputs)
        lines += [
            f"undefined <= {{undefined[0], {skipped}}};",
            "end",
            "always @(negedge clk)",
            f"if (cycle > {WARM_UP} && !undefined[1]) begin",
            "checked <= checked + 1;",
            f"if (!({same})) wrong <= wrong + 1;",
            "end",
            "end endgenerate",
            f"assign checks[{32 * number} +: 32] = case{number}.checked;",
            f"assign errors[{32 * number} +: 32] = case{number}.wrong;",
        ]
    return "\n".join([*lines, "endmodule", ""])

"""Comparison of components made for a family with their portable form: the harness, and its cocotb bench."""

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import cocotb
from amaranth.hdl import Array, Cat, Fragment, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from egret_hw.blocks.family import GENERIC, Family

CYCLES = 6000
SPOT_BITS = 6
"""A bench uses 2**SPOT_BITS addresses of a memory: enough to reach all its blocks, and each of them often."""
WARM_UP = (1 << SPOT_BITS) + 8
"""Cycles before the first comparison; each address that is used has been written by then."""
NOISE_BITS = 256
COUNT_BITS = 16


@dataclass(frozen=True)
class Case:
    """A component, once to be made for `family` and once in its portable form, to be fed equal inputs."""

    name: str
    family: str
    made: wiring.Component
    portable: wiring.Component
    limits: dict[str, int] = field(default_factory=dict)
    """Input: number of words that it addresses."""
    never: dict[str, int] = field(default_factory=dict)
    """Input: a value that it never has."""
    gap: bool = False
    """A read in the cycle of a write is undefined."""


class Comparison(wiring.Component):
    """All cases side by side, driven from `noise`, with counts of comparisons and of mismatches for each.

    Members
    -------
    noise : In, random bits, new ones in each cycle
    checks, errors : Out, a count of `COUNT_BITS` for each case, the first lowest
    """

    def __init__(self, cases: list[Case]):
        self.cases = cases
        width = COUNT_BITS * len(cases)
        super().__init__({"noise": In(NOISE_BITS), "checks": Out(width), "errors": Out(width)})

    def elaborate(self, platform):
        m = Module()
        self._cycle = Signal(range(WARM_UP + 1))
        with m.If(self._cycle != WARM_UP):
            m.d.sync += self._cycle.eq(self._cycle + 1)
        for number, case in enumerate(self.cases):
            check, error = self._compare(m, number, case)
            for counts, strobe in ((self.checks, check), (self.errors, error)):
                count = Signal(COUNT_BITS, name=f"{case.name}_count")
                m.d.sync += count.eq(count + strobe)
                m.d.comb += counts.word_select(number, COUNT_BITS).eq(count)
        return m

    def _compare(self, m: Module, number: int, case: Case) -> tuple[Value, Value]:
        """Strobes: outputs were compared, and differed."""
        made = Fragment.get(case.made, Family(case.family))
        m.submodules[f"made_{case.name}"] = made
        m.submodules[f"portable_{case.name}"] = Fragment.get(case.portable, Family(GENERIC))
        inputs: dict[str, Value] = {}
        same, taken = [], 17 * number
        for path, member, value in case.made.signature.flatten(case.made):
            name, shape = path[0], value.shape()
            if member.flow == wiring.Out:
                same.append(value == getattr(case.portable, name))
                continue
            noise = Cat(self.noise, self.noise)[taken % NOISE_BITS :]
            taken += 37
            inputs[name] = Signal(shape, name=f"{case.name}_{name}")
            m.d.sync += inputs[name].eq(self._drawn(noise, name, len(value), case))
            m.d.comb += [value.eq(inputs[name]), getattr(case.portable, name).eq(inputs[name])]
        gap = 0
        if "write_enable" in inputs:
            # Never a read of the word that is being written.
            clash = inputs["write_address"] == inputs["address"]
            for form in (case.made, case.portable):
                m.d.comb += form.write_enable.eq(inputs["write_enable"] & ~clash)
            if case.gap:
                gap = Signal(2, name=f"{case.name}_gap")
                m.d.sync += gap.eq(Cat(form.write_enable, gap))
        valid = (self._cycle == WARM_UP) & ~Cat(gap)[-1] if case.gap else self._cycle == WARM_UP
        return valid, valid & ~Cat(same).all()

    def _drawn(self, noise: Value, name: str, width: int, case: Case) -> Value:
        """A value for an input: an address that the case uses, or random bits, often extreme ones."""
        if name in case.limits:
            rng, limit = random.Random(width), case.limits[name]
            spots = [0, limit - 1, *(rng.randrange(limit) for _ in range((1 << SPOT_BITS) - 2))]
            # At first, what is written goes through all addresses, while what is read stays one behind.
            start = self._cycle - (name == "address")
            return Array(spots)[Mux(self._cycle == WARM_UP, noise[:SPOT_BITS], start)[:SPOT_BITS]]
        if name == "write_enable":
            return (self._cycle != WARM_UP) | noise[:2].any()
        choice, sign, value = noise[:3], noise[3], noise[4 : 4 + width]
        lowest = 1 << (width - 1)
        value = Mux(
            choice == 0, lowest, Mux(choice == 1, lowest - 1, Mux(choice == 2, sign.replicate(width), value))
        )
        return Mux(value == case.never[name], 1, value) if name in case.never else value


@cocotb.test()
async def count_mismatches(dut):
    """Drive random bits, then write the counts to the file that BLOCK_BENCH_RESULT names."""
    dut.noise.value = 0
    dut.rst.value = 0
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(CYCLES):
        await FallingEdge(dut.clk)
        dut.noise.value = random.getrandbits(NOISE_BITS)
    counts = {name: getattr(dut, name).value.to_unsigned() for name in ("checks", "errors")}
    Path(os.environ["BLOCK_BENCH_RESULT"]).write_text(json.dumps(counts))

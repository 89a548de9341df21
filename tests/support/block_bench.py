"""cocotb bench that clocks a comparison of components and writes what it counted to a file."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

CYCLES = 6000


@cocotb.test()
async def count_mismatches(dut):
    Clock(dut.clk, 10, unit="ns").start()
    await ClockCycles(dut.clk, CYCLES)
    counts = {name: getattr(dut, name).value for name in ("checks", "errors")}
    words = {
        name: [value[32 * index + 31 : 32 * index].to_unsigned() for index in range(len(value) // 32)]
        for name, value in counts.items()
    }
    Path(os.environ["BLOCK_BENCH_RESULT"]).write_text(json.dumps(words))

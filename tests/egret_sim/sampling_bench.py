"""cocotb tests for test_build.py: what a bench sees, and when."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge


@cocotb.test()
async def sampling(dut):
    """A register read right after the edge that changes it has its old value; after ReadOnly the new one.

    All benches here therefore drive and sample between the edges.
    """
    Clock(dut.clk, 10, unit="ns").start()
    await FallingEdge(dut.clk)
    for _ in range(5):
        before = dut.count.value.to_unsigned()
        await RisingEdge(dut.clk)
        assert dut.count.value.to_unsigned() == before
        await ReadOnly()
        assert dut.count.value.to_unsigned() == before + 1
        await FallingEdge(dut.clk)
        assert dut.count.value.to_unsigned() == before + 1


@cocotb.test()
async def fails(dut):
    """Fails, and says why."""
    await cocotb.triggers.Timer(1, unit="ns")
    raise AssertionError("the reason")


@cocotb.test()
async def hidden_is_out_of_reach(dut):
    """A signal inside the design has no handle in a plain build."""
    await cocotb.triggers.Timer(1, unit="ns")
    assert not hasattr(dut, "hidden")
    assert hasattr(dut, "count")


@cocotb.test()
async def hidden_is_in_reach(dut):
    """In a debug build it has."""
    await cocotb.triggers.Timer(1, unit="ns")
    assert hasattr(dut, "hidden")

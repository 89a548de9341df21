"""The queue behind every stream: order, capacity, latency and throughput."""

import random

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator
from streams import receive, send

from egret_hw.fifo import PassingFifo

LAYOUT = data.StructLayout({"number": 12})
ITEMS = 300


def through(depth, *, send_stall=0.0, receive_stall=0.0, hold=0):
    """Numbers that come out of a queue, and the cycles it took; the reader first sleeps for `hold` cycles."""
    dut = PassingFifo(LAYOUT, depth=depth)
    got, cycles = [], [0]

    async def sender(ctx):
        items = [{"number": n} for n in range(ITEMS)]
        await send(ctx, dut.i, items, rng=random.Random(1), stall=send_stall)

    async def receiver(ctx):
        for _ in range(hold):
            await ctx.tick()
        got.extend(await receive(ctx, dut.o, ITEMS, rng=random.Random(2), stall=receive_stall))

    async def clock(ctx):
        while True:
            await ctx.tick()
            cycles[0] += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(sender)
    simulator.add_testbench(receiver)
    simulator.add_testbench(clock, background=True)
    simulator.run()
    return [payload["number"] for payload in got], cycles[0]


@pytest.mark.parametrize("depth", [1, 2, 5, 16, 17, 18, 40, 150])
@pytest.mark.parametrize("stalls", [(0.7, 0.0), (0.0, 0.7), (0.5, 0.5)])
def test_items_come_out_in_order_whatever_stalls(depth, stalls):
    got, _ = through(depth, send_stall=stalls[0], receive_stall=stalls[1], hold=2 * depth)
    assert got == list(range(ITEMS))


@pytest.mark.parametrize("depth", [1, 16, 40])
def test_one_item_passes_per_cycle_and_takes_one_cycle(depth):
    assert through(depth)[1] == ITEMS + 1


@pytest.mark.parametrize("depth", [1, 7, 16, 17, 50])
def test_it_holds_its_depth_and_one_at_the_output(depth):
    dut = PassingFifo(LAYOUT, depth=depth)
    taken = [0]

    async def fill(ctx):
        ctx.set(dut.i.valid, 1)
        for _ in range(2 * depth + 20):
            taken[0] += ctx.get(dut.i.ready)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(fill)
    simulator.run()
    assert taken[0] >= depth + 1


def test_a_depth_of_zero_is_refused():
    with pytest.raises(ValueError, match="depth must be 1 or more, not 0"):
        PassingFifo(LAYOUT, depth=0)

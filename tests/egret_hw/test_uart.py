"""The serial port, in Amaranth's own simulator."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from egret_hw.uart import UARTReceiver, UARTTransmitter, divisor_for


def simulate(dut, *processes, background=()):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for process in processes:
        simulator.add_testbench(process)
    for process in background:
        simulator.add_testbench(process, background=True)
    simulator.run()


async def send_on_line(ctx, line, byte, *, cycles_per_bit, stop=1):
    for bit in (0, *((byte >> i) & 1 for i in range(8)), stop):
        ctx.set(line, bit)
        await ctx.tick().repeat(cycles_per_bit)


@pytest.mark.parametrize("divisor", [4, 5, 25])
def test_the_transmitter_puts_start_bit_data_and_stop_bit_on_the_line_at_the_divisor(divisor):
    dut = UARTTransmitter(divisor=divisor)
    data = [0x00, 0xFF, 0xA5, 0x01, 0x80]
    seen = []

    async def source(ctx):
        for byte in data:
            ctx.set(dut.bytes.payload, byte)
            ctx.set(dut.bytes.valid, 1)
            await ctx.tick().until(dut.bytes.ready)
        ctx.set(dut.bytes.valid, 0)

    async def sample(ctx):
        for _ in data:
            await ctx.tick().until(~dut.line)
            bits = []
            for cycles in [divisor // 2] + [divisor] * 9:
                await ctx.tick().repeat(cycles)
                bits.append(ctx.get(dut.line))
            assert (bits[0], bits[9]) == (0, 1), "start bit low, stop bit high"
            seen.append(sum(bit << i for i, bit in enumerate(bits[1:9])))

    simulate(dut, source, sample)
    assert seen == data


@pytest.mark.parametrize("stretch", [0, -1, 1])
def test_the_receiver_reads_bytes_sent_four_per_cent_slow_or_fast(stretch):
    dut = UARTReceiver(divisor=25)
    data = random.Random(1).sample(range(256), 20)
    seen = []

    async def line(ctx):
        await ctx.tick().repeat(10)
        for byte in data:
            await send_on_line(ctx, dut.line, byte, cycles_per_bit=25 + stretch)
        await ctx.tick().repeat(50)

    async def sink(ctx):
        ctx.set(dut.bytes.ready, 1)
        async for _, _, valid, byte in ctx.tick().sample(dut.bytes.valid, dut.bytes.payload):
            if valid:
                seen.append(byte)

    simulate(dut, line, background=[sink])
    assert seen == data


def test_a_byte_that_nobody_took_is_kept_and_the_next_one_is_reported_lost():
    dut = UARTReceiver(divisor=8)
    overflows = 0

    async def line(ctx):
        await ctx.tick().repeat(10)
        for byte in (0x11, 0x22, 0x33):
            await send_on_line(ctx, dut.line, byte, cycles_per_bit=8)
        await ctx.tick().repeat(10)
        assert ctx.get(dut.bytes.valid) == 1
        assert ctx.get(dut.bytes.payload) == 0x11

    async def count(ctx):
        nonlocal overflows
        async for _, _, overflow in ctx.tick().sample(dut.overflow):
            overflows += overflow

    simulate(dut, line, background=[count])
    assert overflows == 2


def test_a_low_stop_bit_drops_the_byte_is_reported_once_and_the_next_byte_arrives():
    dut = UARTReceiver(divisor=8)
    errors, seen = 0, []

    async def line(ctx):
        await ctx.tick().repeat(10)
        await send_on_line(ctx, dut.line, 0x55, cycles_per_bit=8, stop=0)
        await ctx.tick().repeat(200)  # a break: the line stays low
        ctx.set(dut.line, 1)
        await ctx.tick().repeat(20)
        await send_on_line(ctx, dut.line, 0x66, cycles_per_bit=8)
        await ctx.tick().repeat(20)

    async def watch(ctx):
        nonlocal errors
        ctx.set(dut.bytes.ready, 1)
        async for _, _, error, valid, byte in ctx.tick().sample(
            dut.framing_error, dut.bytes.valid, dut.bytes.payload
        ):
            errors += error
            if valid:
                seen.append(byte)

    simulate(dut, line, background=[watch])
    assert errors == 1
    assert seen == [0x66]


def test_a_glitch_shorter_than_half_a_bit_starts_no_byte():
    dut = UARTReceiver(divisor=16)

    async def line(ctx):
        await ctx.tick().repeat(10)
        ctx.set(dut.line, 0)
        await ctx.tick().repeat(4)
        ctx.set(dut.line, 1)
        await ctx.tick().repeat(400)
        assert ctx.get(dut.bytes.valid) == 0

    simulate(dut, line)


def test_transmitter_and_receiver_pass_random_bytes_with_random_pauses():
    receiver, transmitter = UARTReceiver(divisor=5), UARTTransmitter(divisor=5)
    rng = random.Random(2)
    data = [rng.randrange(256) for _ in range(100)]
    seen = []
    m = Module()
    m.submodules.receiver, m.submodules.transmitter = receiver, transmitter
    m.d.comb += receiver.line.eq(transmitter.line)

    async def source(ctx):
        for byte in data:
            await ctx.tick().repeat(rng.choice([1, 1, 1, 20, 77]))
            ctx.set(transmitter.bytes.payload, byte)
            ctx.set(transmitter.bytes.valid, 1)
            await ctx.tick().until(transmitter.bytes.ready)
            ctx.set(transmitter.bytes.valid, 0)

    async def sink(ctx):
        for _ in data:
            await ctx.tick().repeat(rng.randrange(1, 20))
            ctx.set(receiver.bytes.ready, 1)
            (byte,) = await ctx.tick().sample(receiver.bytes.payload).until(receiver.bytes.valid)
            ctx.set(receiver.bytes.ready, 0)
            seen.append(byte)

    simulate(m, source, sink)
    assert seen == data


def test_the_divisor_is_the_nearest_whole_number_of_cycles_per_bit():
    assert divisor_for(clock_hz=25_000_000, baud=1_000_000) == 25
    assert divisor_for(clock_hz=12_000_000, baud=115_200) == 104


@pytest.mark.parametrize("baud", [12_000_000, 3_900_000])
def test_a_rate_that_the_clock_cannot_make_is_refused(baud):
    with pytest.raises(ValueError, match=r"^baud must be within 2 % of the clock divided by"):
        divisor_for(clock_hz=25_000_000, baud=baud)


@pytest.mark.parametrize("component", [UARTReceiver, UARTTransmitter])
def test_a_divisor_that_is_too_small_or_no_integer_is_refused(component):
    with pytest.raises(ValueError, match="divisor must be at least 4 clock cycles per bit, not 3"):
        component(divisor=3)
    with pytest.raises(TypeError, match=r"divisor must be an integer, not 25\.0"):
        component(divisor=25.0)

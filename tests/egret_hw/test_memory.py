"""The portable memories against Python's lists, in Amaranth's own simulator."""

import random

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.sim import Simulator

from egret_hw.memory import READ_LATENCY, Ram, Rom, SpramMemory, is_small


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("depth", [1, 2, 10, 300])
@pytest.mark.parametrize("ports", [1, 2])
def test_a_read_only_memory_gives_each_word_after_its_latency_at_every_port(depth, ports):
    rng = random.Random(depth)
    contents = [rng.randrange(-128, 128) for _ in range(depth)]
    dut = Rom(shape=signed(8), contents=contents, ports=ports)
    asked = [[rng.randrange(depth) for _ in range(ports)] for _ in range(200)]
    seen = []

    async def bench(ctx):
        for addresses in asked:
            for port, address in enumerate(addresses):
                ctx.set(getattr(dut, f"address{port}"), address)
            _, _, *got = await ctx.tick().sample(*(getattr(dut, f"data{port}") for port in range(ports)))
            seen.append(got)

    simulate(dut, bench)
    assert seen[READ_LATENCY:] == [
        [contents[address] for address in addresses] for addresses in asked[:-READ_LATENCY]
    ]


@pytest.mark.parametrize("kind", [Ram, SpramMemory])
@pytest.mark.parametrize("depth", [2, 20, 100])
def test_a_memory_gives_what_was_written_before_the_cycle_of_the_read(kind, depth):
    rng = random.Random(depth)
    dut = kind(shape=unsigned(12), depth=depth)
    model = [0] * depth
    expected, seen = [], []

    async def bench(ctx):
        for _ in range(500):
            write, place, word = rng.randrange(2), rng.randrange(depth), rng.getrandbits(12)
            address = rng.choice([other for other in range(depth) if other != place])
            for name, value in (
                ("write_enable", write),
                ("write_address", place),
                ("write_data", word),
                ("address", address),
            ):
                ctx.set(getattr(dut, name), value)
            expected.append(model[address])
            if write:
                model[place] = word
            _, _, got = await ctx.tick().sample(dut.data)
            seen.append(got)

    simulate(dut, bench)
    assert seen[READ_LATENCY:] == expected[:-READ_LATENCY]


def test_a_read_only_memory_of_no_words_is_refused():
    with pytest.raises(ValueError, match="contents must hold at least one word, not none"):
        Rom(shape=unsigned(8), contents=[])


@pytest.mark.parametrize(
    ("width", "depth", "small"),
    [(500, 32, True), (16, 64, True), (17, 64, False), (1, 65, False), (36, 33, False)],
)
def test_memories_of_few_words_or_bits_count_as_small(width, depth, small):
    assert is_small(width=width, depth=depth) is small

"""Protection by parity: it changes no result and no cycle, and it sees wrong words."""

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, wiring
from amaranth.sim import Simulator
from streams import receive, send

from egret_hw.accelerator import Accelerator
from egret_hw.blocks.ports import ram_members
from egret_hw.config import AcceleratorConfig
from egret_hw.counters import COUNTED
from egret_hw.cycle_model import turns_of
from egret_hw.fifo import PassingFifo
from egret_hw.memory import READ_LATENCY, Ram, Rom
from egret_hw.protection import FAULT_LATENCY, GROUPS, Guard, fault_layout, parity_words
from egret_hw.stream import Kind
from egru.errors import EgretError
from egru.testing import random_image, random_input


def logits_and_cycles(image, config, sequences, *, stall):
    """Logit tokens, each with its cycle; the counters of all layers; and the fault bits, if there are any."""
    dut = Accelerator(image, config)
    tokens = []
    for kind, sequence, step in turns_of([len(x) for x in sequences], dut.config.streams):
        if kind == Kind.TICK.value:
            x = sequences[sequence][step]
            tokens += [{"kind": Kind.EVENT, "index": int(j), "value": int(x[j])} for j in np.flatnonzero(x)]
        tokens.append({"kind": Kind(kind), "index": 0, "value": 0})
    each = image.readout.spec.classes + 1
    every = image.readout.spec.mode == "every"
    count = sum(each * len(x) + 1 if every else each for x in sequences)
    logits, counters, faults = [], [], []

    async def sender(ctx):
        await send(ctx, dut.events, tokens, rng=random.Random(1), stall=stall)

    async def receiver(ctx):
        for token in await receive(ctx, dut.logits, count, rng=random.Random(2), stall=stall):
            logits.append((token.kind, token.index, token.value))
        for number in range(len(image.layers)):
            values = getattr(dut, f"counters{number}")
            counters.append([ctx.get(getattr(values, name)) for name in COUNTED])
        await ctx.tick().repeat(FAULT_LATENCY)
        if dut.protected:
            faults.append(ctx.get(dut.fault.as_value()))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(sender)
    simulator.add_testbench(receiver)
    simulator.run()
    return logits, counters, faults


@pytest.mark.parametrize(
    "lanes,mode,streams,image",
    [
        pytest.param(8, "mean", 2, {"weight_bits": 4}, id="rows-of-two-words"),
        pytest.param(
            6, "every", 1, {"reset": "before", "state_reset": "output"}, id="the-resets-of-the-paper"
        ),
        pytest.param(16, "last", 1, {"state_reset": "output"}, id="rows-of-one-word"),
    ],
)
def test_parity_changes_no_logit_and_no_cycle_and_raises_no_fault(lanes, mode, streams, image):
    rng = np.random.default_rng(lanes)
    image = random_image(
        rng, inputs=3, units=(4,), classes=2, mode=mode, threshold=(0.0, 0.2), table_bits=8, **image
    )
    sequences = [random_input(rng, image, steps, density=0.7) for steps in (3, 1, 2)]
    config = AcceleratorConfig(lanes=lanes, queue_depth=20, streams=streams)
    bare = logits_and_cycles(image, config, sequences, stall=0.2)
    guarded = logits_and_cycles(image, replace(config, protection="parity"), sequences, stall=0.2)
    assert len({value for _, _, value in bare[0]}) > 1
    assert guarded[:2] == bare[:2]
    assert guarded[2] == [0]


def test_without_protection_the_verilog_has_none_of_it():
    image = random_image(np.random.default_rng(1), inputs=1, units=(1,), classes=1, table_bits=6)
    texts = {
        protection: verilog.convert(
            Accelerator(image, AcceleratorConfig(lanes=1, protection=protection)), name="top", emit_src=False
        )
        for protection in ("none", "parity")
    }
    assert all(word in texts["parity"] for word in ("_fault", "_copy", "parity", "_odd"))
    assert not any(word in texts["none"] for word in ("_fault", "_copy", "parity", "_odd"))


def test_an_unknown_protection_is_refused():
    image = random_image(np.random.default_rng(1), inputs=1, units=(1,), classes=1)
    with pytest.raises(EgretError, match="protection must be one of none, parity, not 'secded'"):
        AcceleratorConfig(protection="secded").resolve(image)


@pytest.mark.parametrize(
    ("form", "named"),
    [({"compact": True}, "in the compact form"), ({"weights": "loaded"}, "with weights='loaded'")],
)
def test_protection_is_refused_where_a_memory_would_not_be_watched(form, named):
    image = random_image(np.random.default_rng(1), inputs=1, units=(3,), classes=1)
    with pytest.raises(EgretError, match=f"protection must be 'none' {named}, not 'parity'"):
        AcceleratorConfig(lanes=4, protection="parity", **form).resolve(image)


def test_words_with_parity_have_an_even_number_of_ones_and_their_bits():
    words = [-1, 0, 1, 6, 7]
    coded = parity_words(words, 4)
    assert [word & 15 for word in coded] == [15, 0, 1, 6, 7]
    assert all(word.bit_count() % 2 == 0 for word in coded)


class Guarded(Elaboratable):
    """A component under a guard, with its sticky bits."""

    def __init__(self, component):
        self.component = component
        self.fault = Signal(fault_layout())

    def elaborate(self, platform):
        m = Module()
        guard = Guard()
        m.submodules.component = guard.elaborated(self.component, platform)
        guard.collect(m, self.fault)
        return m


def faults_of(component, bench):
    """Run `bench(ctx, component)`; names of the bits that are 1 then, and `FAULT_LATENCY` cycles later."""
    dut = Guarded(component)
    seen = []

    async def testbench(ctx):
        await bench(ctx, component)
        for _ in range(2):
            seen.append({name for name in GROUPS if ctx.get(dut.fault[name])})
            await ctx.tick().repeat(FAULT_LATENCY)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return seen


async def read_words(ctx, memory):
    for address in (0, 2, 1, 0, 0):
        ctx.set(memory.address0, address)
        await ctx.tick()


def test_a_wrong_word_of_a_rom_is_seen_when_it_is_read(monkeypatch):
    def rom():
        return Rom(shape=5, contents=[3, 9, 30], group="weights")

    assert faults_of(rom(), read_words) == [set(), set()]
    guard_rom = Guard.rom

    def with_a_wrong_word(self, outer, bare, latency):
        bare.contents[1] ^= 1
        return guard_rom(self, outer, bare, latency)

    monkeypatch.setattr(Guard, "rom", with_a_wrong_word)
    assert faults_of(rom(), read_words) == [set(), {"weights"}]


@pytest.mark.parametrize("address,seen", [(3, set()), (1, {"weights"})])
def test_what_lies_beyond_a_memorys_words_is_not_looked_at(monkeypatch, address, seen):
    """Three words, and an address for a fourth one, where hardware may have anything."""
    guard_rom = Guard.rom

    def with_wrong_words(self, outer, bare, latency):
        bare.contents[1] ^= 1
        bare.contents.append(1)
        return guard_rom(self, outer, bare, latency)

    async def read(ctx, memory):
        ctx.set(memory.address0, address)
        await ctx.tick().repeat(3)

    monkeypatch.setattr(Guard, "rom", with_wrong_words)
    assert faults_of(Rom(shape=5, contents=[3, 9, 30], group="weights"), read)[-1] == seen


async def write_and_read_at_once(ctx, memory):
    ctx.set(memory.write_enable, 1)
    for word in range(4):
        ctx.set(memory.write_address, word)
        ctx.set(memory.address, word)
        ctx.set(memory.write_data, 5 + word)
        await ctx.tick()
    ctx.set(memory.write_enable, 0)
    for word in range(4):
        ctx.set(memory.address, word)
        await ctx.tick()


def test_a_ram_raises_no_fault_however_it_is_written_and_read():
    assert faults_of(Ram(shape=6, depth=4), write_and_read_at_once) == [set(), set()]


class Torn(wiring.Component):
    """In place of a memory: every word is zero, but what is read while it is written has an odd bit."""

    def __init__(self, width, depth):
        super().__init__(ram_members(width, depth))

    def elaborate(self, platform):
        m = Module()
        clash = self.write_enable & (self.write_address == self.address)
        torn = Signal(READ_LATENCY)
        m.d.sync += torn.eq(Cat(clash, torn))
        m.d.comb += self.data.eq(torn[-1])
        return m


def test_what_a_ram_reads_while_it_is_written_is_not_looked_at(monkeypatch):
    guard_ram = Guard.ram
    monkeypatch.setattr(
        Guard,
        "ram",
        lambda self, outer, bare, latency: guard_ram(self, outer, Torn(bare.shape, bare.depth), latency),
    )
    assert faults_of(Ram(shape=6, depth=4), write_and_read_at_once) == [set(), set()]


def test_a_queue_raises_no_fault_and_keeps_its_items():
    layout = data.StructLayout({"a": 3, "b": 4})
    items = [{"a": n % 8, "b": n % 13} for n in range(60)]
    got = []

    async def bench(ctx, queue):
        sent = 0
        while len(got) < len(items):
            ctx.set(queue.i.valid, sent < len(items))
            ctx.set(queue.i.payload, items[min(sent, len(items) - 1)])
            ctx.set(queue.o.ready, sent > 25 or sent % 3 == 0)
            _, _, taken, valid, ready, item = await ctx.tick().sample(
                queue.i.ready, queue.o.valid, queue.o.ready, queue.o.payload
            )
            sent += taken and sent < len(items)
            if valid and ready:
                got.append({"a": item.a, "b": item.b})

    assert faults_of(PassingFifo(layout, depth=20), bench) == [set(), set()]
    assert got == items

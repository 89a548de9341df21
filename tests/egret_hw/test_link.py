"""The byte link, in Amaranth's own simulator, with a stand-in for the accelerator."""

import random

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.sim import Simulator

from egret_hw.link import ByteLink
from egret_hw.link_protocol import (
    RESYNC_BYTE,
    Flag,
    Message,
    Request,
    Source,
    decode_message,
    encode_token,
)
from egret_hw.stream import Kind

INPUTS, UNITS, CLASSES = 13, 5, 3


def make_link(**changes):
    parameters = {
        "inputs": INPUTS,
        "input_value": signed(8),
        "units": UNITS,
        "unit_value": unsigned(8),
        "classes": CLASSES,
        "logit_value": signed(23),
        "receive_depth": 64,
        "event_depth": 12,
    }
    return ByteLink(**(parameters | changes))


async def wait(ctx, cycles):
    """A loop, because a simulation that ends within `repeat` or `until` warns."""
    for _ in range(cycles):
        await ctx.tick()


async def take(ctx, stream):
    """The next transfer's payload."""
    ctx.set(stream.ready, 1)
    while True:
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if valid:
            ctx.set(stream.ready, 0)
            return payload


async def give(ctx, stream, payload):
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    while True:
        _, _, ready = await ctx.tick().sample(stream.ready)
        if ready:
            ctx.set(stream.valid, 0)
            return


class Bench:
    """A host on one side of a link and a stand-in for the accelerator on the other.

    The stand-in answers a TICK with the events that `fire` lists for that step and a TICK, and an END with
    END on both outputs; each action waits a random number of cycles.
    """

    def __init__(self, dut, *, sent, fire=(), logits=(), seed=0, slowness=3, expect_messages=None):
        self.dut, self.to_send, self.fire, self.logits = dut, sent, list(fire), list(logits)
        self.rng = random.Random(seed)
        self.slowness = slowness
        self.expect_messages = expect_messages
        self.tokens: list[tuple] = []
        self.bytes = bytearray()
        self.finished = False

    def pause(self):
        return self.rng.choice([1, 1, 2, self.rng.randrange(1, 1 + self.slowness)])

    async def host_sends(self, ctx):
        dut = self.dut
        for byte in self.to_send:
            await give(ctx, dut.received, byte)
            await wait(ctx, self.pause())

    async def host_reads(self, ctx):
        dut = self.dut
        while len(self.bytes) < 8 * self.expect_messages:
            await wait(ctx, self.pause())
            self.bytes.append(await take(ctx, dut.sent))
        self.finished = True

    async def tap(self, ctx, kind, index=0, value=0):
        await wait(ctx, self.pause())
        ctx.set(self.dut.tap.token, {"kind": kind, "index": index, "value": value})
        ctx.set(self.dut.tap.strobe, 1)
        await ctx.tick()
        ctx.set(self.dut.tap.strobe, 0)

    async def accelerator(self, ctx):
        dut = self.dut
        fire = iter(self.fire)
        while True:
            await wait(ctx, self.pause())
            token = await take(ctx, dut.events)
            self.tokens.append((token.kind, token.index, token.value))
            if token.kind == Kind.TICK:
                for index, value in next(fire, ()):
                    await self.tap(ctx, Kind.EVENT, index, value)
                await self.tap(ctx, Kind.TICK)
            elif token.kind == Kind.END:
                await self.tap(ctx, Kind.END)

    async def readout(self, ctx):
        dut = self.dut
        for kind, index, value in self.logits:
            await wait(ctx, self.pause())
            await give(ctx, dut.logits, {"kind": kind, "index": index, "value": value})

    def run(self):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.host_sends)
        simulator.add_testbench(self.host_reads)
        simulator.add_testbench(self.readout)
        simulator.add_process(self.idle_inputs)
        simulator.add_testbench(self.accelerator, background=True)
        deadline_us = 200 * self.slowness * (len(self.to_send) + self.expect_messages)
        for end_us in range(500, deadline_us, 500):
            simulator.run_until(end_us * 1e-6)
            if self.finished:
                break
        assert self.finished, "the host waits for messages that never came"
        return [decode_message(bytes(self.bytes[i : i + 8])) for i in range(0, len(self.bytes), 8)]

    async def idle_inputs(self, ctx):
        ctx.set(self.dut.overflow, 0)


def from_source(messages, source):
    return [(m.kind, m.index, m.value) for m in messages if m.source is source]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slowness", [1, 40])
def test_bytes_become_tokens_and_tokens_become_messages_under_random_stalls(seed, slowness):
    rng = random.Random(seed)
    sent, fire = [], []
    for _ in range(8):
        sent += [
            (Kind.EVENT, i, rng.randrange(-128, 128)) for i in rng.sample(range(INPUTS), rng.randrange(4))
        ]
        sent.append((Kind.TICK, 0, 0))
        fire.append([(u, rng.randrange(1, 256)) for u in rng.sample(range(UNITS), rng.randrange(UNITS + 1))])
    sent.append((Kind.END, 0, 0))
    logits = [(Kind.EVENT, c, rng.randrange(-(1 << 22), 1 << 22)) for c in range(CLASSES)] + [
        (Kind.END, 0, 0)
    ]
    events = [t for step in fire for t in [*((Kind.EVENT, *e) for e in step), (Kind.TICK, 0, 0)]] + [
        (Kind.END, 0, 0)
    ]

    bench = Bench(
        make_link(),
        sent=b"".join(encode_token(*token) for token in sent),
        fire=fire,
        logits=logits,
        seed=seed,
        slowness=slowness,
        expect_messages=len(events) + len(logits),
    )
    messages = bench.run()

    assert bench.tokens == sent
    assert from_source(messages, Source.EVENTS) == events
    assert from_source(messages, Source.LOGITS) == logits
    assert from_source(messages, Source.STATUS) == []


def test_no_event_is_lost_when_every_unit_fires_in_every_step_and_the_host_reads_slowly():
    steps = 12
    fire = [[(u, 1 + u + t) for u in range(UNITS)] for t in range(steps)]
    expected = [t for step in fire for t in [*((Kind.EVENT, *e) for e in step), (Kind.TICK, 0, 0)]]

    class SlowHost(Bench):
        async def host_reads(self, ctx):
            await ctx.tick().repeat(400)  # long enough for the event buffer to fill
            self.most_ticks = sum(kind is Kind.TICK for kind, _, _ in self.tokens)
            await super().host_reads(ctx)

    bench = SlowHost(
        make_link(),
        sent=encode_token(Kind.TICK) * steps,
        fire=fire,
        slowness=1,
        expect_messages=len(expected),
    )
    assert from_source(bench.run(), Source.EVENTS) == expected
    assert bench.most_ticks < steps, (
        "the buffer has 12 places and a step takes 6: the host must be waited for"
    )


@pytest.mark.parametrize("byte", [Kind.PASS.value, Request.LOAD, Request.CHECK, Request.COUNTER, RESYNC_BYTE])
def test_a_first_byte_that_is_no_kind_is_ignored_and_reported(byte):
    good = encode_token(Kind.EVENT, 7, -5)
    bench = Bench(make_link(), sent=bytes([byte]) + good + encode_token(Kind.TICK), expect_messages=2)
    messages = bench.run()
    assert bench.tokens == [(Kind.EVENT, 7, -5), (Kind.TICK, 0, 0)]
    assert [m.value for m in messages if m.source is Source.STATUS] == [Flag.BAD_KIND]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_four_resync_bytes_bring_a_reader_that_lost_bytes_back_to_a_first_byte(cut):
    good = encode_token(Kind.EVENT, 2, 9)
    sent = encode_token(Kind.EVENT, 1, 1)[:cut] + bytes([RESYNC_BYTE] * 4) + good + encode_token(Kind.TICK)
    bench = Bench(make_link(), sent=sent, expect_messages=2)
    bench.run()
    assert bench.tokens[-2:] == [(Kind.EVENT, 2, 9), (Kind.TICK, 0, 0)]


@pytest.mark.parametrize(
    ("index", "value", "shape"),
    [
        (INPUTS, 1, signed(8)),
        (65535, 1, signed(8)),
        (0, 8, signed(4)),
        (0, -9, signed(4)),
        (0, 16, unsigned(4)),
    ],
)
def test_an_event_outside_the_network_is_ignored_and_reported(index, value, shape):
    sent = encode_token(Kind.EVENT, index, value) + encode_token(Kind.EVENT, 3, 2) + encode_token(Kind.TICK)
    bench = Bench(make_link(input_value=shape), sent=sent, expect_messages=2)
    messages = bench.run()
    assert bench.tokens == [(Kind.EVENT, 3, 2), (Kind.TICK, 0, 0)]
    assert [m.value for m in messages if m.source is Source.STATUS] == [Flag.BAD_EVENT]


def test_the_receivers_errors_are_reported():
    class Faulty(Bench):
        async def idle_inputs(self, ctx):
            await wait(ctx, 5)
            for signal in (self.dut.overflow, self.dut.framing_error):
                ctx.set(signal, 1)
                await ctx.tick()
                ctx.set(signal, 0)
                await wait(ctx, 300)

    messages = Faulty(make_link(), sent=b"", expect_messages=2).run()
    assert messages == [
        Message(Source.STATUS, Kind.EVENT, 0, Flag.OVERFLOW),
        Message(Source.STATUS, Kind.EVENT, 0, Flag.FRAMING),
    ]


def test_a_fault_is_reported_once():
    class Faulty(Bench):
        async def idle_inputs(self, ctx):
            await wait(ctx, 5)
            ctx.set(self.dut.fault, 1)  # and it stays 1
            await wait(ctx, 600)
            ctx.set(self.dut.overflow, 1)
            await ctx.tick()
            ctx.set(self.dut.overflow, 0)

    messages = Faulty(make_link(), sent=b"", expect_messages=2).run()
    assert [message.value for message in messages] == [Flag.FAULT, Flag.OVERFLOW]


def test_the_widest_logit_keeps_its_sign_and_its_bits():
    logits = [(Kind.EVENT, 0, -(1 << 39)), (Kind.EVENT, 1, (1 << 39) - 1), (Kind.EVENT, 2, -1)]
    bench = Bench(make_link(logit_value=signed(40)), sent=b"", logits=logits, expect_messages=3)
    assert from_source(bench.run(), Source.LOGITS) == logits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event_depth": 11}, "event_depth must be at least 12, two steps of all units firing, not 11"),
        ({"receive_depth": 3}, "receive_depth must be at least 4 bytes, one token, not 3"),
        ({"inputs": 0}, "inputs must be in 1 .. 65536, not 0"),
        ({"units": 65537}, "units must be in 1 .. 65536, not 65537"),
        ({"logit_value": signed(41)}, "logit_value must be 1 to 40 bits wide, not signed(41)"),
    ],
)
def test_sizes_that_do_not_fit_the_format_are_refused(changes, message):
    with pytest.raises(ValueError) as caught:
        make_link(**changes)
    assert str(caught.value) == message


def test_messages_and_tokens_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"index must be in 0 \.\. 65535, not 65536"):
        encode_token(Kind.EVENT, 65536)
    with pytest.raises(ValueError, match=r"value must be in -128 \.\. 255, not 256"):
        encode_token(Kind.EVENT, 0, 256)
    with pytest.raises(ValueError, match="a message must be 8 bytes long, not 7"):
        decode_message(bytes(7))
    with pytest.raises(ValueError, match="0 is not a valid Source"):
        decode_message(bytes(8))

"""The whole board, at the pins of its serial port, against the integer model."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from egret.build.top import LinkedAccelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.counters import COUNTED
from egret_hw.link_protocol import (
    MESSAGE_BYTES,
    RESYNC_BYTE,
    Flag,
    Source,
    checksum,
    decode_message,
    encode_check,
    encode_counter,
    encode_load,
    encode_token,
    encode_weights,
)
from egret_hw.stream import Kind
from egru.integer import IntegerNetwork
from egru.testing import random_image

DIVISOR = 4
CYCLES_MAX = 60_000


def tokens_of(x):
    for step in x:
        yield from ((Kind.EVENT, int(index), int(step[index])) for index in np.flatnonzero(step))
        yield Kind.TICK, 0, 0
    yield Kind.END, 0, 0


def talk(dut, data, *, sequences):
    """Send bytes on the serial line and return the messages until all sequences have ended.

    Fails when they stop coming.
    """
    received = []

    def finished():
        ended = [message.source for message in received if message.kind is Kind.END]
        return all(ended.count(source) == sequences for source in (Source.LOGITS, Source.EVENTS))

    async def host_sends(ctx):
        for byte in data:
            for bit in (0, *((byte >> i) & 1 for i in range(8)), 1):
                ctx.set(dut.rx, bit)
                for _ in range(DIVISOR):
                    await ctx.tick()

    async def host_reads(ctx):
        raw = bytearray()
        for _ in range(CYCLES_MAX):
            _, _, line = await ctx.tick().sample(dut.tx)
            if line:
                continue
            for _ in range(DIVISOR // 2):
                await ctx.tick()
            bits = []
            for _ in range(8):
                for _ in range(DIVISOR - 1):
                    await ctx.tick()
                _, _, bit = await ctx.tick().sample(dut.tx)
                bits.append(bit)
            for _ in range(DIVISOR):
                await ctx.tick()
            raw.append(sum(bit << i for i, bit in enumerate(bits)))
            if len(raw) == MESSAGE_BYTES:
                received.append(decode_message(bytes(raw)))
                raw.clear()
                if finished():
                    return

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host_sends)
    simulator.add_testbench(host_reads)
    simulator.run()
    assert finished(), "the board stopped talking"
    return received


def expected_of(image, sequences):
    events, logits = [], []
    for x in sequences:
        trace = IntegerNetwork(image).run(x)
        for y in trace.events[-1]:
            events.append({(int(unit), int(y[unit])) for unit in np.flatnonzero(y)})
        logits.append([(c, int(value)) for c, value in enumerate(trace.logits)])
    return events, logits


@pytest.mark.parametrize("units", [(5,), (4, 3)])
def test_a_host_on_the_serial_line_gets_the_integer_models_events_and_logits(units):
    rng = np.random.default_rng(7)
    image = random_image(rng, inputs=3, units=units, classes=2, mode="last", weight_bits=5, table_bits=8)
    fmt = image.input.format
    sequences = [
        rng.integers(fmt.lo, fmt.hi + 1, size=(steps, 3)) * rng.integers(0, 2, (steps, 3)) for steps in (3, 2)
    ]
    events, logits = expected_of(image, sequences)
    assert any(events), "a test of silence would prove little"
    data = b"".join(encode_token(*token) for x in sequences for token in tokens_of(x))

    board = LinkedAccelerator(image, AcceleratorConfig(lanes=2), divisor=DIVISOR)
    messages = talk(board, data, sequences=len(sequences))

    seen, step = [], set()
    for message in messages:
        if message.source is Source.EVENTS and message.kind is Kind.EVENT:
            step.add((message.index, message.value))
        elif message.source is Source.EVENTS and message.kind is Kind.TICK:
            seen.append(step)
            step = set()
    assert seen == events
    assert [(m.index, m.value) for m in messages if m.source is Source.LOGITS and m.kind is Kind.EVENT] == [
        entry for one in logits for entry in one
    ]
    assert [m for m in messages if m.source is Source.STATUS] == []


def test_a_host_that_attaches_in_the_middle_of_a_token_gets_a_clean_sequence_after_an_end():
    rng = np.random.default_rng(8)
    image = random_image(rng, inputs=3, units=(4,), classes=2, mode="last", weight_bits=5, table_bits=8)
    x = rng.integers(image.input.format.lo, image.input.format.hi + 1, size=(2, 3))
    _, logits = expected_of(image, [x])
    rest_of_a_token = encode_token(Kind.EVENT, 1, 3)[1:]
    attach = bytes([RESYNC_BYTE] * 4) + encode_token(Kind.TICK) + encode_token(Kind.END)
    data = rest_of_a_token + attach + b"".join(encode_token(*token) for token in tokens_of(x))
    board = LinkedAccelerator(image, AcceleratorConfig(lanes=2), divisor=DIVISOR)

    messages = talk(board, data, sequences=2)

    flags = [m.value for m in messages if m.source is Source.STATUS]
    assert flags and all(value & ~(Flag.BAD_KIND | Flag.BAD_EVENT) == 0 for value in flags)
    of_logits = [m for m in messages if m.source is Source.LOGITS]
    assert [(m.index, m.value) for m in of_logits[-3:-1]] == logits[0]


def loaded_board(**options):
    image = random_image(
        np.random.default_rng(7), inputs=3, units=(5,), classes=2, mode="last", weight_bits=5, table_bits=8
    )
    config = AcceleratorConfig(lanes=2, compact=True, weights="loaded")
    return image, LinkedAccelerator(image, config, divisor=DIVISOR, **options)


def a_sequence(image):
    fmt = image.input.format
    x = np.random.default_rng(7).integers(fmt.lo, fmt.hi + 1, size=(3, 3))
    events, logits = expected_of(image, [x])
    assert any(events), "a test of silence would prove little"
    return b"".join(encode_token(*token) for token in tokens_of(x)), logits[0]


def logits_of(messages):
    return [(m.index, m.value) for m in messages if m.source is Source.LOGITS and m.kind is Kind.EVENT]


def test_a_host_loads_the_weights_over_the_line_and_gets_their_checksum_and_then_the_models_logits():
    image, board = loaded_board()
    tokens, answer = encode_weights(
        [tile.weight_words for tile in board.accelerator.tiles], word_bytes=board.link.word_bytes
    )
    data, logits = a_sequence(image)

    messages = talk(board, tokens + data, sequences=1)

    assert [m for m in messages if m.source is Source.WEIGHTS] == [answer]
    assert logits_of(messages) == logits
    assert [m for m in messages if m.source is Source.STATUS] == []


def test_a_byte_that_changed_on_the_line_changes_the_checksum():
    image, board = loaded_board()
    words = [tile.weight_words for tile in board.accelerator.tiles]
    tokens, answer = encode_weights(words, word_bytes=board.link.word_bytes)
    spoilt = bytearray(tokens)
    spoilt[5] ^= 4
    data, _ = a_sequence(image)

    messages = talk(board, bytes(spoilt) + data, sequences=1)

    (got,) = [m for m in messages if m.source is Source.WEIGHTS]
    assert got.index == answer.index and got.value != answer.value


def test_a_load_beyond_the_memory_is_refused_and_reported_and_does_not_count_as_written():
    image, board = loaded_board()
    size = board.link.word_bytes
    words = board.accelerator.tiles[0].weight_words
    beyond = encode_load(0, len(words), 1, word_bytes=size) + encode_load(1, 0, 1, word_bytes=size)
    tokens, _ = encode_weights([words], word_bytes=size)
    data, logits = a_sequence(image)

    messages = talk(board, beyond + encode_check() + tokens + data, sequences=1)

    first, second = [m for m in messages if m.source is Source.WEIGHTS]
    assert (first.index, first.value) == (0, checksum(beyond))
    assert second.index == len(words)
    flags = [m.value for m in messages if m.source is Source.STATUS]
    assert flags and all(value == Flag.BAD_REQUEST for value in flags)
    assert logits_of(messages) == logits


def test_a_load_that_was_cut_off_is_completed_by_resync_bytes_and_a_new_load_puts_it_right():
    image, board = loaded_board()
    size = board.link.word_bytes
    tokens, answer = encode_weights([board.accelerator.tiles[0].weight_words], word_bytes=size)
    cut = tokens[: 4 + size + 3] + bytes([RESYNC_BYTE] * (4 + size)) + encode_check()
    data, logits = a_sequence(image)

    messages = talk(board, cut + tokens + data, sequences=1)

    assert [m for m in messages if m.source is Source.WEIGHTS][1] == answer
    assert logits_of(messages) == logits


def test_a_host_reads_the_performance_counters():
    image, board = loaded_board()
    tokens, _ = encode_weights([board.accelerator.tiles[0].weight_words], word_bytes=board.link.word_bytes)
    data, _ = a_sequence(image)
    steps_end = data.rindex(encode_token(Kind.END))
    names = list(COUNTED)
    asked = ["input_events", "recurrent_events"]
    reads = b"".join(encode_counter(names.index(name)) for name in asked) + encode_counter(len(names))

    messages = talk(board, tokens + data[:steps_end] + reads + data[steps_end:], sequences=1)

    counters = {names[m.index]: m.value for m in messages if m.source is Source.COUNTERS}
    assert set(counters) == set(asked)
    sent = [data[at] for at in range(0, steps_end, 4)]
    assert counters["input_events"] == sent.count(Kind.EVENT.value) > 0
    assert [m.value for m in messages if m.source is Source.STATUS] == [Flag.BAD_REQUEST]

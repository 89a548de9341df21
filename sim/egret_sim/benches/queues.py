"""Benches of the two queues: nothing lost, nothing doubled, nothing out of order."""

import cocotb

from egret_hw.stream import Kind
from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Probe, Sink, Source, Stall

TOKENS = 300


def numbers(token) -> tuple[int, int, int]:
    """A token as plain numbers."""
    return (int(token.kind.value), int(token.index), int(token.value))


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def event_queue(dut, stalls):
    """Tokens come out as they went in; while the far end is shut, `depth` of them find a place."""
    shape = shapes.current()
    queue = shape.components["event_queue"]
    bench = Bench(dut, "event_queue", stalls)
    low, high = shape.image.input.format.lo, shape.image.input.format.hi
    items = [
        {
            "kind": bench.rng.choice(list(Kind)),
            "index": bench.rng.randrange(shape.inputs),
            "value": bench.rng.randint(low, high),
        }
        for _ in range(TOKENS)
    ]
    source = Source(bench, "i", queue.layout, items)
    sink = Sink(bench, "o", queue.layout)

    def compare(token) -> None:
        sent = source.sent[len(sink.received) - 1]
        bench.expect("token", (sent["kind"].value, sent["index"], sent["value"]), numbers(token))

    sink.on_received = compare
    sink.open = False
    await bench.start()
    await bench.run(lambda: len(source.sent) >= queue.depth, f"{queue.depth} tokens to find a place")
    sink.open = True
    await bench.run(lambda: len(sink.received) == TOKENS, "all tokens")
    bench.finish(TOKENS)


@cocotb.test()
async def event_queue_speed(dut):
    """Without stalls the queue moves a token in every cycle."""
    shape = shapes.current()
    queue = shape.components["event_queue"]
    bench = Bench(dut, "event_queue")
    source = Source(bench, "i", queue.layout, [{"kind": Kind.EVENT, "index": 0, "value": 1}] * 50)
    sink = Sink(bench, "o", queue.layout)
    cycles = []
    sink.on_received = lambda token: cycles.append(bench.cycle)
    await bench.start()
    await bench.run(lambda: len(sink.received) == 50, "all tokens")
    bench.expect("cycles from the first token to the last", 49, cycles[-1] - cycles[0])
    bench.expect("tokens sent", 50, len(source.sent))


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def recurrent_queue(dut, stalls):
    """Tokens come out as they went in; there is always room for an event of every unit, and a tick."""
    shape = shapes.current()
    queue = shape.components["recurrent_queue"]
    bench = Bench(dut, "recurrent_queue", stalls)
    room = shape.streams * (shape.units + 1)
    top = shape.image.layers[0].event_format.hi
    items = [
        {
            "kind": bench.rng.choice([Kind.EVENT, Kind.TICK]),
            "index": bench.rng.randrange(shape.units),
            "value": bench.rng.randint(1, top),
        }
        for _ in range(TOKENS)
    ]
    waiting = 0

    def feed() -> None:
        # No more are under way than that: it is what the queue is promised.
        if items and waiting + len(source.items) < room:
            source.items.append(items.pop(0))

    def look() -> None:
        if waiting < room:
            bench.expect("ready with room for a token", 1, bench.get("i__ready"))

    # Before the agents, so that it looks before they count this cycle's transfers.
    Probe(bench, drive=feed, sample=look)
    source = Source(bench, "i", queue.layout)
    sink = Sink(bench, "o", queue.layout)

    def count_in(_item) -> None:
        nonlocal waiting
        waiting += 1

    def compare(token) -> None:
        nonlocal waiting
        waiting -= 1
        sent = source.sent[len(sink.received) - 1]
        bench.expect("token", (sent["kind"].value, sent["index"], sent["value"]), numbers(token))

    source.on_sent, sink.on_received = count_in, compare
    sink.open = False
    await bench.start()
    await bench.run(lambda: waiting == room, f"{room} tokens to find a place")
    sink.open = True
    await bench.run(lambda: len(sink.received) == TOKENS, "all tokens")
    bench.finish(TOKENS)

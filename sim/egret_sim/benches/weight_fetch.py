"""Bench of the weight fetch: the right address and tag for every word, borders in their place, no gaps."""

from itertools import pairwise

import cocotb

from egret_hw.geometry import GATES
from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Probe, Source, Stall, unpack

REQUESTS = 200
TAG = ("value", "recurrent", "bank", "first", "first_kind")


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def weight_fetch(dut, stalls):
    """Each request gives all words of its row, in order; a border comes with the first, or alone."""
    shape = shapes.current()
    fetch = shape.components["weight_fetch"]
    bench = Bench(dut, "weight_fetch", stalls)
    value = fetch.request["value"].shape
    low, high = -(1 << value.width - 1), (1 << value.width - 1) - 1
    requests: list[dict[str, int]] = []
    expected: list[tuple[int, ...]] = []  # border, word, and what is said of the word
    for _ in range(REQUESTS):
        close = int(bench.rng.random() < 0.2)
        request = {
            "close": close,
            "fetch": int(not close or bench.rng.random() < 0.7),
            "row": bench.rng.randrange(fetch.rows),
            "value": bench.rng.randint(low, high),
            "recurrent": bench.rng.randrange(2),
            "bank": bench.rng.randrange(2),
            "first": bench.rng.randrange(2),
            "first_kind": bench.rng.randrange(2),
        }
        requests.append(request)
        if not request["fetch"]:
            expected.append((1, 0))
            continue
        for word in range(fetch.words):
            place = (request["row"] * fetch.words + word, word, word // GATES, word % GATES)
            expected.append((int(close and word == 0), 1, *place, *(request[name] for name in TAG)))
    got: list[tuple[int, ...]] = []
    cycles: list[int] = []

    def look() -> None:
        strobe, close = bench.get("strobe"), bench.get("close")
        if not strobe and not close:
            return
        here: tuple[int, ...] = (close, strobe)
        if strobe:
            word = unpack(fetch.word.shape(), bench.get("word"))
            place = (bench.get("address"), int(word.word), int(word.third), int(word.phase))
            here = (*here, *place, *(int(getattr(word, name)) for name in TAG))
        want = expected[len(got)] if len(got) < len(expected) else "nothing"
        got.append(here)
        cycles.append(bench.cycle)
        bench.note()
        bench.expect(f"border, word, address, number, its third and phase, {', '.join(TAG)}", want, here)

    Probe(bench, sample=look)
    flip = 1 << fetch.request["row"].offset
    Source(bench, "i", fetch.request, requests, flip=lambda request: flip if request["fetch"] else 0)
    await bench.start()
    await bench.run(lambda: len(got) == len(expected), "all words")
    bench.finish(REQUESTS)
    if stalls == "none":
        # Words follow each other without a gap; beside a border that comes alone there may be one.
        for number, (here, there) in enumerate(pairwise(zip(got, cycles, strict=True))):
            apart, alone = there[1] - here[1], not (here[0][1] and there[0][1])
            if not (alone and apart == 2):
                bench.expect(f"cycles from word {number} to the next", 1, apart)

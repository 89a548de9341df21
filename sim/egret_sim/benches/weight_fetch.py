"""Bench of the weight fetch: the right address and tag for every word, borders in their place, no gaps."""

import cocotb

from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Probe, Source, Stall, unpack

REQUESTS = 200


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def weight_fetch(dut, stalls):
    """Each request gives all words of its row, in order; a close gives a close, and nothing else."""
    shape = shapes.current()
    fetch = shape.components["weight_fetch"]
    bench = Bench(dut, "weight_fetch", stalls)
    value = fetch.request["value"].shape
    low, high = -(1 << value.width - 1), (1 << value.width - 1) - 1
    requests, expected = [], []
    for _ in range(REQUESTS):
        request = {
            "close": int(bench.rng.random() < 0.15),
            "row": bench.rng.randrange(fetch.rows),
            "value": bench.rng.randint(low, high),
            "set": bench.rng.randrange(2),
            "bank": bench.rng.randrange(2),
            "first": bench.rng.randrange(2),
        }
        requests.append(request)
        if request["close"]:
            expected.append("close")
        else:
            tag = (request["value"], request["set"], request["first"])
            for word in range(fetch.words):
                address, slot = request["row"] * fetch.words + word, request["bank"] * fetch.words + word
                expected.append((address, slot, *tag))
    got, cycles = [], []

    def look() -> None:
        strobe, close = bench.get("strobe"), bench.get("close")
        if not strobe and not close:
            return
        bench.expect("strobe and close at once", False, bool(strobe and close))
        word = unpack(fetch.word.shape(), bench.get("word"))
        here = (bench.get("address"), int(word.slot), int(word.value), int(word.set), int(word.first))
        want = expected[len(got)] if len(got) < len(expected) else "nothing"
        got.append("close" if close else here)
        cycles.append(bench.cycle)
        bench.note()
        bench.expect("address, slot, value, set, first", want, got[-1])

    Probe(bench, sample=look)
    Source(bench, "i", fetch.request, requests, flip=lambda request: 0 if request["close"] else 2)
    await bench.start()
    await bench.run(lambda: len(got) == len(expected), "all words")
    bench.finish(REQUESTS)
    if stalls == "none":
        bench.expect("cycles from the first word to the last", len(expected) - 1, cycles[-1] - cycles[0])

"""Bench of the lanes and their accumulators: sums of products, two banks at once."""

from collections import deque

import cocotb

from egret_hw.memory import READ_LATENCY
from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Probe, Stall, pack, unpack

STEPS = 12
MOST_ROWS = 31  # of one set in one step: what the widths of the sums have room for


class Words:
    """Drives rows of words, and their weights when the memory would answer; keeps the sums that must come of them."""

    def __init__(self, bench: Bench, macs) -> None:
        self.bench = bench
        self.macs = macs
        self.stall = bench.stall()
        self.step = 0
        self.pending = deque([0] * READ_LATENCY)
        self.script = deque()
        self.expected = []
        self.sums = {}
        self.held = False  # a border waits until the other bank has been read
        bench.add(self)

    def begin(self) -> None:
        """Draw a step: rows for both sets, and a border behind them."""
        rng, macs = self.bench.rng, self.macs
        width = macs.word_layout["value"].shape.width
        counts = [rng.choice([0, 1, rng.randint(0, MOST_ROWS), MOST_ROWS]) for _ in range(2)]
        rows = [0] * counts[0] + [1] * counts[1]
        rng.shuffle(rows)
        seen = set()
        for set_ in rows:
            # The ends of the ranges come often: there sums grow largest.
            low, high = -(1 << width - 1), (1 << width - 1) - 1
            value = rng.choice([low, high, rng.randint(low, high)])
            for word in range(macs.words):
                tag = {
                    "slot": self.step % 2 * macs.words + word,
                    "value": value,
                    "set": set_,
                    "first": int(set_ not in seen),
                }
                low_w, high_w = -(1 << macs.weight_bits - 1), (1 << macs.weight_bits - 1) - 1
                weights = [rng.choice([low_w, high_w, rng.randint(low_w, high_w)]) for _ in range(macs.lanes)]
                self.script.append((tag, weights))
            seen.add(set_)
        self.script.append(None)
        self.sums = {}

    def drive(self) -> None:
        """Drive one cycle."""
        bench, macs = self.bench, self.macs
        if not self.script and self.step < STEPS:
            self.begin()
        strobe = close = weights_now = 0
        if self.script and not self.stall() and not (self.script[0] is None and self.held):
            item = self.script.popleft()
            bench.note()
            if item is None:
                close = 1
                self.expected.append((self.step, self.sums))
                self.held = True
                self.step += 1
            else:
                strobe = 1
                tag, weights = item
                bench.set(
                    "word", bench.tamper(pack(macs.word_layout, tag), 1 << macs.word_layout["value"].offset)
                )
                for lane, weight in enumerate(weights):
                    place = (tag["set"], tag["slot"], lane)
                    before = 0 if tag["first"] else self.sums[place]
                    self.sums[place] = before + weight * tag["value"]
                    weights_now |= (weight & (1 << macs.weight_bits) - 1) << (lane * macs.weight_bits)
        bench.set("strobe", strobe)
        bench.set("close", close)
        self.pending.append(weights_now)
        bench.set("weights", self.pending.popleft())

    def sample(self) -> None:
        """All is in the driving."""


class Reader:
    """Once a step is closed, reads its bank, each lane at a slot of its own, and compares."""

    def __init__(self, bench: Bench, macs, words: Words) -> None:
        self.bench = bench
        self.macs = macs
        self.words = words
        self.reads = deque()
        self.asked = None
        self.closed = 0
        self.current = (0, {})
        bench.add(self)

    def drive(self) -> None:
        """Ask for sums, from the cycle in which they are said to be complete."""
        if self.bench.get("closed"):
            self.current = self.words.expected[self.closed]
            self.closed += 1
            base = self.current[0] % 2 * self.macs.words
            orders = [list(range(base, base + self.macs.words)) for _ in range(self.macs.lanes)]
            for order in orders:
                self.bench.rng.shuffle(order)
            self.reads.extend(zip(*orders, strict=True))
        self.now = self.reads.popleft() if self.reads else None
        if self.now:
            self.bench.set("read_slots", pack(self.macs.read_slots.shape(), list(self.now)))

    def sample(self) -> None:
        """Compare what was asked for one cycle ago."""
        if self.asked:
            lanes = unpack(self.macs.sums.shape(), self.bench.get("sums"))
            step, sums = self.current
            for lane, slot in enumerate(self.asked):
                for set_ in range(2):
                    place = (set_, slot, lane)
                    if place in sums:
                        got = int(getattr(lanes[lane], f"set{set_}"))
                        self.bench.expect(
                            f"step {step}, lane {lane}, slot {slot}, set {set_}", sums[place], got
                        )
            if not self.reads and not self.now:
                self.words.held = False
                self.bench.note()
        self.asked = self.now


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def mac_array(dut, stalls):
    """While one bank is read, the other fills; sums of both are exact."""
    macs = shapes.current().components["mac_array"]
    bench = Bench(dut, "mac_array", stalls)
    words = Words(bench, macs)
    reader = Reader(bench, macs, words)
    Probe(bench)
    await bench.start()
    await bench.run(lambda: reader.closed == STEPS and not words.held, "the sums of all steps")
    bench.finish(STEPS)

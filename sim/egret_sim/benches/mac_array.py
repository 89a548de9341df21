"""Bench of the lanes and their accumulators: sums of products, two banks at once."""

from collections import deque

import cocotb

from egret_hw.accumulator import SUM_LATENCY, SUM_READ_LATENCY
from egret_hw.geometry import CANDIDATE, GATES
from egret_hw.mac_array import PRODUCT_LATENCY
from egret_hw.memory import READ_LATENCY
from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Stall, pack, unpack

STEPS = 12
MOST_ROWS = 15  # of one kind in one step: what the width of a sum has room for

#: Sums by position in a row. A candidate has a second one, of its recurrent products.
Sums = dict[tuple[str, int], int]


class Words:
    """Drives rows of words, and their weights when the memory would answer; keeps the sums that are due."""

    def __init__(self, bench: Bench, macs) -> None:
        self.bench = bench
        self.macs = macs
        self.stall = bench.stall()
        self.step = 0
        self.pending = deque([0] * READ_LATENCY)
        self.script: deque[tuple[dict[str, int], list[int]] | None] = deque()
        self.closed: list[Sums] = []
        self.sums: Sums = {}
        self.product_cycles = (
            PRODUCT_LATENCY + SUM_LATENCY - macs.ask_latency
        )  # of a word, until it is closed
        self.strobed = -self.product_cycles  # cycle of the last word
        self.held = False  # a border waits until the other bank has been read
        bench.add(self)

    def begin(self) -> None:
        """Draw a step: rows of both kinds, and a border behind them."""
        rng, macs, words = self.bench.rng, self.macs, self.macs.geometry.words
        value_bits = macs.word_layout["value"].shape.width
        counts = [rng.choice([0, 1, rng.randint(0, MOST_ROWS), MOST_ROWS]) for _ in range(2)]
        kinds = [0] * counts[0] + [1] * counts[1]
        rng.shuffle(kinds)
        seen: set[int] = set()
        for recurrent in kinds:
            value = self.number(value_bits)
            for word in range(words):
                tag = {
                    "word": word,
                    "third": word // GATES,
                    "phase": word % GATES,
                    "value": value,
                    "recurrent": recurrent,
                    "bank": self.step % 2,
                    "first": int(not seen),
                    "first_kind": int(recurrent not in seen),
                }
                self.script.append((tag, [self.number(macs.weight_bits) for _ in range(macs.lanes)]))
            seen.add(recurrent)
        self.script.append(None)
        self.sums = {}

    def number(self, bits: int) -> int:
        """A signed number; the ends of the range come often, since there sums grow largest."""
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        return self.bench.rng.choice([low, high, self.bench.rng.randint(low, high)])

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
                self.closed.append(self.sums)
                self.held = True
                self.step += 1
            else:
                strobe = 1
                self.strobed = bench.cycle
                tag, weights = item
                flip = 1 << macs.word_layout["value"].offset
                bench.set("word", bench.tamper(pack(macs.word_layout, tag), flip))
                for lane, weight in enumerate(weights):
                    self.count(tag, tag["word"] * macs.lanes + lane, weight * tag["value"])
                    weights_now |= (weight & (1 << macs.weight_bits) - 1) << (lane * macs.weight_bits)
        bench.set("strobe", strobe)
        bench.set("close", close)
        self.pending.append(weights_now)
        bench.set("weights", self.pending.popleft())

    def count(self, tag: dict[str, int], position: int, product: int) -> None:
        """Add a product where it belongs. Positions of a candidate keep the two kinds apart."""
        kind = "second" if position % GATES == CANDIDATE and tag["recurrent"] else "first"
        self.sums[kind, position] = self.sums.get((kind, position), 0) + product

    def sample(self) -> None:
        """Whether products are under way must be known."""
        empty = self.bench.cycle - self.strobed >= self.product_cycles
        self.bench.expect("empty", int(empty), self.bench.get("empty"))


class Reader:
    """Once a step is closed, reads its bank, each lane at a slot of its own, and compares."""

    def __init__(self, bench: Bench, macs, words: Words) -> None:
        self.bench = bench
        self.macs = macs
        self.words = words
        self.reads: deque[tuple[int, ...] | None] = deque()
        self.asked: deque[tuple[int, ...] | None] = deque([None] * SUM_READ_LATENCY)
        self.closed = 0
        bench.add(self)

    def drive(self) -> None:
        """Ask for sums, as early as a reader may once they are said to be complete."""
        if self.bench.get("closed"):
            self.closed += 1
            orders = [list(range(self.macs.slots)) for _ in range(self.macs.lanes)]
            for order in orders:
                self.bench.rng.shuffle(order)
            self.reads.extend([None] * self.macs.ask_latency)
            self.reads.extend(zip(*orders, strict=True))
        now = self.reads.popleft() if self.reads else None
        self.bench.set("reading", now is not None)
        if now:
            self.bench.set("read_bank", (self.closed - 1) % 2)
            self.bench.set("read_slots", pack(self.macs.read_slots.shape(), list(now)))
        self.asked.append(now)

    def sample(self) -> None:
        """Compare what was asked for some cycles ago."""
        slots = self.asked.popleft()
        if not slots:
            return
        got = unpack(self.macs.sums.shape(), self.bench.get("sums"))
        sums = self.words.closed[self.closed - 1]
        for lane, slot in enumerate(slots):
            key = self.meaning(lane, slot)
            if key in sums:
                self.bench.expect(
                    f"step {self.closed - 1}, {key[0]} sum of position {key[1]}", sums[key], got[lane]
                )
        if not self.reads and not any(self.asked):
            self.words.held = False
            self.bench.note()

    def meaning(self, lane: int, slot: int) -> tuple[str, int]:
        """Which sum a slot holds: first sums lie word by word; second ones behind, packed where possible."""
        geometry = self.macs.geometry
        if slot < geometry.words:
            return "first", slot * geometry.lanes + lane
        number = slot - geometry.words
        words = range(GATES * number, GATES * number + GATES) if geometry.mixed else [number]
        for word in words:
            position = word * geometry.lanes + lane
            if position % GATES == CANDIDATE:
                return "second", position
        return "nothing", 0


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def mac_array(dut, stalls):
    """While one bank is read, the other fills; sums of both are exact."""
    macs = shapes.current().components["mac_array"]
    bench = Bench(dut, "mac_array", stalls)
    words = Words(bench, macs)
    reader = Reader(bench, macs, words)
    await bench.start()
    await bench.run(lambda: reader.closed == STEPS and not words.held, "the sums of all steps")
    bench.finish(STEPS)

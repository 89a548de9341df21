"""Bench of the update: random sums, against the arithmetic of docs/numerics.md, section 3."""

from collections import deque

import cocotb
import numpy as np

from egret_hw.neuron_update import NeuronUpdate
from egret_hw.sum_gather import GATHER_LATENCY
from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Stall, pack, unpack
from egru.formats import NARROW_BITS, NARROW_FRAC, STATE_FRAC, round_shift, saturate_signed
from egru.image import Layer

STEPS = 60


class Model:
    """The layer's states, and what one step of sums does to them."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.c = np.zeros(layer.spec.units, np.int64)

    def step(self, sums_in: np.ndarray, sums_back: np.ndarray, fresh: bool) -> np.ndarray:
        """Payloads (0 = silent) for input sums A and recurrent sums Q, both 3 x units."""
        layer = self.layer
        k, fa, half = layer.spec.table_bits, layer.acc_frac, 1 << layer.spec.table_bits - 1
        bias = layer.bias.astype(np.int64)
        a, q = sums_in << layer.input_shift, sums_back << layer.recurrent_shift
        c = np.zeros_like(self.c) if fresh else self.c

        def gate(row: int) -> np.ndarray:
            index = saturate_signed(round_shift(a[row] + q[row] + bias[row], fa - (k - 4)), k)
            return layer.sigmoid[half + index].astype(np.int64)

        z, r = gate(0), gate(1)
        candidate = saturate_signed(round_shift(a[2] + bias[2], fa - NARROW_FRAC), NARROW_BITS)
        back = saturate_signed(round_shift(q[2] + bias[3], fa - NARROW_FRAC), NARROW_BITS)
        index = round_shift((candidate << STATE_FRAC) + r * back, STATE_FRAC + NARROW_FRAC - (k - 3))
        g = layer.tanh[half + saturate_signed(index, k)].astype(np.int64)
        moved = g + round_shift(z * (c - g), STATE_FRAC)
        theta = layer.threshold.astype(np.int64)
        fired = moved > theta
        self.c = np.where(fired, moved - theta, moved)
        payload = round_shift(moved, STATE_FRAC - layer.spec.event_bits)
        return np.where(fired, np.minimum(layer.event_format.hi, payload), 0)


class Driver:
    """Gives groups of sums, announced as a gather would, and compares what comes of them."""

    def __init__(self, bench: Bench, update: NeuronUpdate, model: Model) -> None:
        self.bench = bench
        self.update = update
        self.model = model
        self.stall = bench.stall()
        self.steps = 0
        self.results = update.groups  # of the current step, so far
        self.given = update.groups
        self.due: deque[int | None] = deque([None] * GATHER_LATENCY)
        self.rng = np.random.default_rng(bench.rng.getrandbits(32))
        self.payloads = np.zeros(0, np.int64)
        bench.add(self)

    def begin(self) -> None:
        """Draw a step. Sums come from all of their range, but more often from its middle, where tables are steep."""
        layout = self.update.positions.shape().elem_shape
        units, sums = self.update.units, []
        for name in ("set0", "set1"):
            bits = layout[name].shape.width
            full = self.rng.integers(-(1 << bits - 1), 1 << bits - 1, (3, units))
            shrunk = full >> self.rng.integers(0, bits, (3, units))
            sums.append(np.where(self.rng.random((3, units)) < 0.3, full, shrunk))
        self.sums = sums
        self.has = [bool(self.rng.random() < 0.8) for _ in range(2)]
        self.fresh = self.steps == 0 or bool(self.rng.random() < 0.1)
        counted = [array if has else np.zeros_like(array) for array, has in zip(sums, self.has, strict=True)]
        self.payloads = self.model.step(*counted, self.fresh)
        self.steps += 1
        self.given = self.results = 0

    def drive(self) -> None:
        """Drive one cycle."""
        bench, update = self.bench, self.update
        if self.results == update.groups and self.steps < STEPS:
            self.begin()
        group = None
        if self.given < update.groups and not self.stall():
            group = self.given
            self.given += 1
            bench.set("ahead_group", group)
        self.due.append(group)
        now = self.due.popleft()
        bench.set("strobe", now is not None)
        bench.set("has_input", self.has[0])
        bench.set("has_recurrent", self.has[1])
        bench.set("fresh", self.fresh)
        if now is None:
            return
        bench.set("group", now)
        bench.set("last", now == update.groups - 1)
        positions = []
        for place in range(update.lanes):
            unit = min(now * update.lanes + place, update.units - 1)
            positions += [
                {"set0": int(self.sums[0][g, unit]), "set1": int(self.sums[1][g, unit])} for g in range(3)
            ]
        shape = update.positions.shape()
        bench.set("positions", bench.tamper(pack(shape, positions), (1 << shape.size) - 1))

    def sample(self) -> None:
        """Compare a group's result."""
        bench, update = self.bench, self.update
        if not bench.get("result_strobe"):
            return
        bench.note()
        result = unpack(update.result_layout, bench.get("result"))
        bench.expect("group", self.results, int(result.group))
        bench.expect("last", int(self.results == update.groups - 1), int(result.last))
        for place in range(update.lanes):
            unit = self.results * update.lanes + place
            want = int(self.payloads[unit]) if unit < update.units else 0
            fired = int(result.fired) >> place & 1
            got = int(result["values"][place]) if fired else 0
            bench.expect(f"step {self.steps - 1}, unit {unit}: fired", int(want > 0), fired)
            bench.expect(f"step {self.steps - 1}, unit {unit}: payload", want, got)
        self.results += 1


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def neuron_update(dut, stalls):
    """Every unit of every step fires, or not, and sends what the model says."""
    shape = shapes.current()
    update = shape.components["neuron_update"]
    bench = Bench(dut, "neuron_update", stalls)
    driver = Driver(bench, update, Model(shape.image.layers[0]))
    driver.begin()
    await bench.start()
    await bench.run(lambda: driver.steps == STEPS and driver.results == update.groups, "all results")
    bench.finish(STEPS * update.units)

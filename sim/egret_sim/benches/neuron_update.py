"""Bench of the update: random sums, against the arithmetic of docs/numerics.md, section 3."""

from collections import deque

import cocotb
import numpy as np

from egret_hw.geometry import GATES
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.sum_gather import GATHER_LATENCY
from egret_hw.widths import CANDIDATE_INPUT, CANDIDATE_RECURRENT, R, Z, rounded_biases
from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Stall, pack, unpack
from egru.formats import NARROW_BITS, NARROW_FRAC, STATE_FRAC, round_shift, saturate_signed
from egru.image import Layer

STEPS = 60


class Model:
    """The states of a layer, one set for each stream, and what one step of sums does to them."""

    def __init__(self, layer: Layer, streams: int) -> None:
        self.layer = layer
        self.c = np.zeros((streams, layer.spec.units), np.int64)

    def step(self, sums: np.ndarray, stream: int, fresh: bool) -> np.ndarray:
        """Payloads (0 = silent) for sums of z, r, a, q, without bias, at the layer's fraction, 4 x units."""
        layer = self.layer
        k, fa, half = layer.spec.table_bits, layer.acc_frac, 1 << layer.spec.table_bits - 1
        z_sum, r_sum, a_sum, q_sum = sums + layer.bias.astype(np.int64)
        c = np.zeros_like(self.c[stream]) if fresh else self.c[stream]

        def gate(total: np.ndarray) -> np.ndarray:
            index = saturate_signed(round_shift(total, fa - (k - 4)), k)
            return layer.sigmoid[half + index].astype(np.int64)

        z, r = gate(z_sum), gate(r_sum)
        a = saturate_signed(round_shift(a_sum, fa - NARROW_FRAC), NARROW_BITS)
        q = saturate_signed(round_shift(q_sum, fa - NARROW_FRAC), NARROW_BITS)
        index = round_shift((a << STATE_FRAC) + r * q, STATE_FRAC + NARROW_FRAC - (k - 3))
        g = layer.tanh[half + saturate_signed(index, k)].astype(np.int64)
        moved = g + round_shift(z * (c - g), STATE_FRAC)
        theta = layer.threshold.astype(np.int64)
        fired = moved > theta
        self.c[stream] = np.where(fired, moved - theta, moved)
        payload = round_shift(moved, STATE_FRAC - layer.spec.event_bits)
        return np.where(fired, np.minimum(layer.event_format.hi, payload), 0)


def room(update: NeuronUpdate) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sums (4 x units) whose totals stay within the widths of the update."""
    widths = update.widths
    rounded = rounded_biases(update.layer, widths.gate_shift, widths.candidate_shift)
    limits = np.array(
        [[1 << widths.total_bits(kind) - 1] for kind in (Z, R, CANDIDATE_INPUT, CANDIDATE_RECURRENT)]
    )
    low = -((limits + rounded) >> widths.common_shift)
    return low, (limits - 1 - rounded) >> widths.common_shift


class Driver:
    """Gives groups of sums, announced as a gather would, and compares what comes of them.

    A stream's next step begins when the results of its last one are out; steps of other streams may come
    between.
    """

    def __init__(self, bench: Bench, update: NeuronUpdate, model: Model) -> None:
        self.bench = bench
        self.update = update
        self.model = model
        self.stall = bench.stall()
        self.rng = np.random.default_rng(bench.rng.getrandbits(32))
        self.begun = self.finished = 0
        self.given = update.groups  # groups given of the step begun last
        self.result_group = 0
        self.under_way: deque[np.ndarray] = deque()  # payloads of the steps whose results are to come
        self.sums = np.zeros((4, update.units), np.int64)
        self.room = room(update)
        self.step: dict[str, int] = {}
        # What is to be driven in the cycles to come: (group, sums, step), and second sums a cycle behind.
        self.due: deque[tuple | None] = deque([None] * GATHER_LATENCY)
        self.late: tuple | None = None
        bench.add(self)

    def begin(self) -> None:
        """Draw a step. Sums come from all of their range, mostly its middle, where tables are steep."""
        update, units = self.update, self.update.units
        bits = update.seconds.shape().elem_shape.width
        full = self.rng.integers(-(1 << bits - 1), 1 << bits - 1, (4, units))
        shrunk = full >> self.rng.integers(0, bits, (4, units))
        drawn = np.where(self.rng.random((4, units)) < 0.3, full, shrunk)
        self.sums = np.clip(drawn, *self.room)
        stream = self.begun % update.streams
        self.step = {
            "has_any": 1,
            "has_input": 1,
            "has_recurrent": 1,
            "fresh": int(self.begun < update.streams or self.rng.random() < 0.1),
            "stream": stream,
        }
        shifted = self.sums << update.widths.common_shift
        self.under_way.append(self.model.step(shifted, stream, bool(self.step["fresh"])))
        self.begun += 1
        self.given = 0

    def drive(self) -> None:
        """Drive one cycle."""
        bench, update = self.bench, self.update
        if self.given == update.groups and self.begun < STEPS and len(self.under_way) < update.streams:
            self.begin()
        coming = None
        if self.given < update.groups and not self.stall():
            bench.set("ahead_group", self.given)
            coming = (self.given, self.sums, self.step)
            self.given += 1
        self.due.append(coming)
        now = self.due.popleft()
        bench.set("strobe", now is not None)
        if now:
            group, sums, step = now
            units = self.units(group)
            firsts = [int(sums[gate, unit]) for unit in units for gate in range(GATES)]
            shape = update.firsts.shape()
            bench.set("group", group)
            bench.set("last", group == update.groups - 1)
            bench.set("step", pack(update.step.shape(), step))
            bench.set("firsts", bench.tamper(pack(shape, firsts), (1 << shape.size) - 1))
        if self.late:
            group, sums, _ = self.late
            bench.set(
                "seconds", pack(update.seconds.shape(), [int(sums[3, unit]) for unit in self.units(group)])
            )
        self.late = now

    def units(self, group: int) -> list[int]:
        """Units of a group; what its places beyond the last unit are given makes no difference."""
        first = group * self.update.lanes
        return [min(unit, self.update.units - 1) for unit in range(first, first + self.update.lanes)]

    def sample(self) -> None:
        """Compare a group's result."""
        bench, update = self.bench, self.update
        if not bench.get("result_strobe"):
            return
        bench.note()
        result = unpack(update.result_layout, bench.get("result"))
        last = self.result_group == update.groups - 1
        bench.expect("group", self.result_group, int(result.group))
        bench.expect("last", int(last), int(result.last))
        for place in range(update.lanes):
            unit = self.result_group * update.lanes + place
            want = int(self.under_way[0][unit]) if unit < update.units else 0
            fired = int(result.fired) >> place & 1
            got = int(result["values"][place]) if fired else 0
            bench.expect(f"step {self.finished}, unit {unit}: fired", int(want > 0), fired)
            bench.expect(f"step {self.finished}, unit {unit}: payload", want, got)
        self.result_group = 0 if last else self.result_group + 1
        if last:
            self.under_way.popleft()
            self.finished += 1


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def neuron_update(dut, stalls):
    """Every unit of every step fires, or not, and sends what the model says."""
    shape = shapes.current()
    update = shape.components["neuron_update"]
    bench = Bench(dut, "neuron_update", stalls)
    driver = Driver(bench, update, Model(shape.image.layers[0], shape.streams))
    await bench.start()
    await bench.run(lambda: driver.finished == STEPS, "all results")
    bench.finish(STEPS * update.units)

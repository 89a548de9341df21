"""Bench of the event encoder: each unit that fired once on each side, and the borders in their places."""

import cocotb

from egret_hw.event_encoder import EventEncoder, job_layout
from egret_hw.stream import Kind
from egret_sim.benches import shapes
from egret_sim.benches.queues import numbers
from egret_sim.benches.testbench import Bench, Probe, Sink, Source, Stall, pack, unpack
from egret_sim.tokens import EVENT, TICK

STEPS = 60


class Update:
    """Plays the update and the scheduler: orders what is to be sent, and gives the results of each step.

    A step's results come after its job was ordered, and no more steps are under way than the encoder has
    room for.
    """

    def __init__(self, bench: Bench, encoder: EventEncoder, steps: int) -> None:
        self.bench = bench
        self.encoder = encoder
        self.steps = steps
        self.stall = bench.stall()
        self.jobs = Source(bench, "jobs", job_layout(), flip=lambda job: 0)
        self.jobs.on_sent = self.ordered
        self.order: list[Kind] = []  # jobs taken
        self.steps_events: list[list[tuple[int, int, int]]] = []  # of each step whose results have begun
        self.begun = self.under_way = self.waiting = 0
        self.group = encoder.groups
        self.share = 0.0
        bench.add(self)

    @property
    def done(self) -> bool:
        """True when all was ordered, given and closed."""
        idle = not self.jobs.items and not self.waiting and self.group == self.encoder.groups
        return self.begun == STEPS and idle and not self.under_way

    def ordered(self, job: dict) -> None:
        """A job was taken; a step's results are then to come."""
        self.order.append(job["kind"])
        self.waiting += job["kind"] is Kind.TICK

    def drive(self) -> None:
        """Drive one cycle."""
        bench, encoder, rng = self.bench, self.encoder, self.bench.rng
        if self.begun < STEPS and self.under_way < self.steps and not self.jobs.items:
            self.begun += 1
            self.under_way += 1
            self.jobs.items.append({"kind": Kind.TICK})
            self.jobs.items.extend({"kind": kind} for kind in (Kind.END, Kind.PASS) if rng.random() < 0.3)
        if self.waiting and self.group == encoder.groups:
            self.waiting -= 1
            self.group = 0
            self.steps_events.append([])
            self.share = rng.choice([0.0, 0.1, 0.5, 1.0])
        strobe = self.group < encoder.groups and not self.stall()
        bench.set("result_strobe", strobe)
        if strobe:
            self.give()

    def give(self) -> None:
        """Give the result of the next group."""
        bench, encoder, rng = self.bench, self.encoder, self.bench.rng
        fired, values = 0, []
        for place in range(encoder.lanes):
            unit = self.group * encoder.lanes + place
            value = rng.randrange(1, 1 << encoder.result_layout["values"].shape.elem_shape.width)
            values.append(value)
            if unit < encoder.units and rng.random() < self.share:
                fired |= 1 << place
                self.steps_events[-1].append((EVENT, unit, value))
        result = {
            "group": self.group,
            "last": self.group == encoder.groups - 1,
            "fired": fired,
            "values": values,
        }
        flip = ((1 << encoder.lanes) - 1) << encoder.result_layout["values"].offset if fired else 0
        bench.set("result", bench.tamper(pack(encoder.result_layout, result), flip))
        self.group += 1

    def sample(self) -> None:
        """Count the steps that were closed."""
        if self.bench.get("done"):
            self.under_way -= 1
            self.bench.note()

    def expected(self, inside: bool) -> list[tuple[int, int, int]]:
        """Tokens due so far, to the next layer, or back into the tile (a pass is a step without events)."""
        tokens: list[tuple[int, int, int]] = []
        steps = iter(self.steps_events)
        for kind in self.order:
            if kind is Kind.TICK:
                tokens += next(steps, [])
            if inside and kind is not Kind.END:
                tokens.append((TICK, 0, 0))
            elif not inside:
                tokens.append((kind.value, 0, 0))
        return tokens


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def event_encoder(dut, stalls):
    """Both ways carry the same events, in the order of the units, however the next layer stalls."""
    shape = shapes.current()
    encoder = shape.components["event_encoder"]
    bench = Bench(dut, "event_encoder", stalls)
    update = Update(bench, encoder, min(2, shape.streams))
    ahead = Sink(bench, "o", encoder.token_layout)
    back: list[tuple[int, int, int]] = []

    def look() -> None:
        if bench.get("recurrent__strobe"):
            back.append(numbers(unpack(encoder.token_layout, bench.get("recurrent__token"))))
            bench.note()

    Probe(bench, sample=look)
    await bench.start()
    await bench.run(lambda: update.done, "all steps to be closed", settle=200)
    for name, tokens in (("o", [numbers(token) for token in ahead.received]), ("recurrent", back)):
        want = update.expected(inside=name == "recurrent")
        # The index and value of a border mean nothing.
        got = [token if token[0] == EVENT else (token[0], 0, 0) for token in tokens]
        for place in range(max(len(want), len(got))):
            pair = [some[place] if place < len(some) else "nothing" for some in (want, got)]
            bench.expect(f"{name}, token {place}", *pair)
    bench.finish(STEPS)

"""Bench of the event encoder: each unit that fired once on each side, then TICK, then END where it is due."""

import cocotb

from egret_hw.stream import Kind
from egret_sim.benches import shapes
from egret_sim.benches.queues import numbers
from egret_sim.benches.testbench import Bench, Sink, Stall, pack

STEPS = 60


class Scheduler:
    """Plays the update and the scheduler: gives results, holds `busy`, and asks for END now and then."""

    def __init__(self, bench: Bench, encoder) -> None:
        self.bench = bench
        self.encoder = encoder
        self.stall = bench.stall()
        self.tokens: list[tuple[int, int, int]] = []  # expected, to the next layer
        self.events: list[tuple[int, int]] = []  # expected, back into the tile
        self.steps = 0
        self.busy = False
        self.end_pending = False
        self.end_wanted = False
        self.group = encoder.groups
        bench.add(self)

    @property
    def done(self) -> bool:
        """True when all was given and closed."""
        return self.steps == STEPS and not (self.busy or self.end_pending or self.end_wanted)

    def drive(self) -> None:
        """Drive one cycle."""
        bench, encoder, rng = self.bench, self.encoder, self.bench.rng
        if not self.busy and not self.end_pending and not self.end_wanted and self.steps < STEPS:
            self.steps += 1
            self.busy = True
            self.group = 0
            self.share = rng.choice([0.0, 0.1, 0.5, 1.0])
            self.end_wanted = rng.random() < 0.3
        # END may become pending while the step is under way, or only later.
        if self.end_wanted and self.group == encoder.groups and rng.random() < 0.2:
            self.end_wanted, self.end_pending = False, True
            self.tokens.append((Kind.END.value, 0, 0))
        strobe = self.busy and self.group < encoder.groups and not self.stall()
        bench.set("busy", self.busy)
        bench.set("end_pending", self.end_pending)
        bench.set("result_strobe", strobe)
        if not strobe:
            return
        fired, values = 0, []
        for place in range(encoder.lanes):
            unit = self.group * encoder.lanes + place
            value = rng.randrange(1, 1 << self.encoder.result_layout["values"].shape.elem_shape.width)
            values.append(value)
            if unit < encoder.units and rng.random() < self.share:
                fired |= 1 << place
                self.tokens.append((Kind.EVENT.value, unit, value))
                self.events.append((unit, value))
        last = self.group == encoder.groups - 1
        if last:
            self.tokens.append((Kind.TICK.value, 0, 0))
        result = {"group": self.group, "last": last, "fired": fired, "values": values}
        flip = ((1 << encoder.lanes) - 1) << encoder.result_layout["values"].offset if fired else 0
        bench.set("result", bench.tamper(pack(encoder.result_layout, result), flip))
        self.group += 1

    def sample(self) -> None:
        """React to the encoder, as registers do."""
        if self.bench.get("done"):
            self.bench.expect("done while busy", True, self.busy)
            self.busy = False
            self.bench.note()
        if self.bench.get("end_done"):
            self.bench.expect("end_done while END is pending", True, self.end_pending)
            self.end_pending = False
            self.bench.note()


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def event_encoder(dut, stalls):
    """Both streams carry the same events, in the order of the units, whichever of them stalls."""
    encoder = shapes.current().components["event_encoder"]
    bench = Bench(dut, "event_encoder", stalls)
    scheduler = Scheduler(bench, encoder)
    ahead = Sink(bench, "o", encoder.token_layout)
    back = Sink(bench, "recurrent", encoder.recurrent_layout)

    def compare_token(token) -> None:
        place = len(ahead.received) - 1
        want = scheduler.tokens[place] if place < len(scheduler.tokens) else "nothing"
        got = numbers(token)
        bench.expect("token", want, got if got[0] == Kind.EVENT.value else (got[0], 0, 0))

    def compare_event(event) -> None:
        place = len(back.received) - 1
        want = scheduler.events[place] if place < len(scheduler.events) else "nothing"
        bench.expect("recurrent event", want, (int(event.index), int(event.value)))

    ahead.on_received, back.on_received = compare_token, compare_event
    await bench.start()
    await bench.run(
        lambda: (
            scheduler.done
            and len(ahead.received) == len(scheduler.tokens)
            and len(back.received) == len(scheduler.events)
        ),
        "all tokens",
    )
    bench.finish(STEPS)

"""Bench of the gather: the sums of every group, in order, from whichever lanes hold them."""

from collections import deque

import cocotb

from egret_hw.accumulator import SUM_READ_LATENCY
from egret_hw.geometry import CANDIDATE, GATES
from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Probe, Stall, pack, unpack

PASSES = 20
EARLIEST_START = 2
"""Cycles from `done` or reset to a start, at the earliest."""


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def sum_gather(dut, stalls):
    """Lanes answer some cycles after their address, from memories filled with random numbers."""
    shape = shapes.current()
    gather = shape.components["sum_gather"]
    bench = Bench(dut, "sum_gather", stalls)
    geometry, layout = gather.geometry, gather.lane_sums.shape()
    width = gather.sum_shape.width
    pause = bench.stall()
    rng = bench.rng

    def draw() -> int:
        return rng.randint(-(1 << width - 1), (1 << width - 1) - 1)

    # By bank, lane and slot.
    memory = [[[draw() for _ in range(geometry.slots)] for _ in range(geometry.lanes)] for _ in range(2)]
    answers: deque[list[int]] = deque([[0] * geometry.lanes for _ in range(SUM_READ_LATENCY)])
    idle, passes, finished, group = True, 0, 0, 0
    since_done = 0
    started: deque[tuple[int, dict[str, int]]] = deque()  # bank and step of each pass whose sums are to come
    announced: deque[int] = deque()
    seconds_due: tuple[int, int, dict[str, int]] | None = None  # group, bank and step

    def first(unit: int, gate: int, bank: int, step: dict[str, int]) -> int:
        if not step["has_input" if gate == CANDIDATE else "has_any"]:
            return 0  # nothing was added to it
        word, lane = divmod(GATES * unit + gate, geometry.lanes)
        return memory[bank][lane][word]

    def second(unit: int, bank: int, step: dict[str, int]) -> int:
        if not step["has_recurrent"]:
            return 0
        word, lane = divmod(geometry.second_position(unit, gather.units), geometry.lanes)
        return memory[bank][lane][geometry.words + (word // GATES if geometry.mixed else word)]

    def drive() -> None:
        nonlocal idle, passes
        start = idle and since_done >= EARLIEST_START and passes < PASSES and not pause()
        if start:
            step = {name: rng.randrange(2) for name in ("has_input", "has_recurrent", "fresh")}
            step["has_any"] = step["has_input"] | step["has_recurrent"]
            step["stream"] = rng.randrange(shape.streams)
            started.append((rng.randrange(2), step))
            bench.set("bank", started[-1][0])
            bench.set("step", pack(gather.step.shape(), step))
            idle = False
            passes += 1
        bench.set("start", start)
        bits = pack(layout, answers.popleft())
        bench.set("lane_sums", bench.tamper(bits, (1 << layout.size) - 1 if passes else 0))

    def look() -> None:
        nonlocal idle, since_done, finished, group, seconds_due
        since_done += 1
        slots = unpack(gather.read_slots.shape(), bench.get("read_slots"))
        bank = bench.get("read_bank")
        # Between passes an address may point past the memory; nobody looks at the answer.
        limit = geometry.slots - 1
        answers.append([memory[bank][lane][min(int(slots[lane]), limit)] for lane in range(geometry.lanes)])
        if bench.get("done"):
            bench.expect("done while reading", False, idle)
            idle, since_done = True, 1
            bench.note()
        if seconds_due:
            seconds = unpack(gather.seconds.shape(), bench.get("seconds"))
            for place in range(gather.units):
                unit = seconds_due[0] * gather.units + place
                if unit < shape.units:
                    bench.expect(
                        f"second sum of unit {unit}", second(unit, *seconds_due[1:]), int(seconds[place])
                    )
            seconds_due = None
        if bench.get("strobe"):
            bank, step = started[0]
            last = group == gather.groups - 1
            bench.expect("group", group, bench.get("group"))
            bench.expect("group that was announced", group, announced.popleft())
            bench.expect("last", int(last), bench.get("last"))
            bench.expect("step", pack(gather.step.shape(), step), bench.get("sums_step"))
            firsts = unpack(gather.firsts.shape(), bench.get("firsts"))
            for place in range(GATES * gather.units):
                unit, gate = divmod(group * GATES * gather.units + place, GATES)
                if unit < shape.units:
                    want = first(unit, gate, bank, step)
                    bench.expect(f"first sum of unit {unit}, gate {gate}", want, int(firsts[place]))
            seconds_due = (group, bank, step)
            group = 0 if last else group + 1
            if last:
                started.popleft()
                finished += 1
            bench.note()
        if bench.get("ahead"):
            announced.append(bench.get("ahead_group"))

    Probe(bench, sample=look, drive=drive)
    await bench.start()
    await bench.run(lambda: finished == PASSES, "all groups")
    bench.finish(PASSES * shape.units * (GATES + 1))

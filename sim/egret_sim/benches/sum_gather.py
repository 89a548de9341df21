"""Bench of the gather: the sums of every group, in order, from whichever lanes hold them."""

import cocotb

from egret_sim.benches import shapes
from egret_sim.benches.testbench import Bench, Probe, Stall, pack, unpack

PASSES = 20


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def sum_gather(dut, stalls):
    """Lanes answer one cycle after their address, from memories filled with random numbers."""
    gather = shapes.current().components["sum_gather"]
    bench = Bench(dut, "sum_gather", stalls)
    lanes, words = gather.geometry.lanes, gather.geometry.words
    stall = bench.stall()
    memory = [
        [(bench.rng.getrandbits(16), bench.rng.randint(-4, 3)) for _ in range(2 * words)]
        for _ in range(lanes)
    ]
    answered = [0] * lanes
    bank, wanted, passes, ahead = 0, 0, 0, []

    def drive() -> None:
        nonlocal bank, wanted, passes
        start = wanted == 0 and not ahead and passes < PASSES
        if start:
            bank, wanted = bench.rng.randrange(2), gather.groups
            passes += 1
        bench.set("start", start)
        bench.set("bank", bank)
        bench.set("proceed", not stall())
        sums = [
            dict(zip(("set0", "set1"), memory[lane][slot], strict=True)) for lane, slot in enumerate(answered)
        ]
        bits = pack(gather.lane_sums.shape(), sums)
        bench.set("lane_sums", bench.tamper(bits, (1 << gather.lane_sums.shape().size) - 1))

    def look() -> None:
        nonlocal wanted
        slots = unpack(gather.read_slots.shape(), bench.get("read_slots"))
        # Between passes an address may point past the memory; nobody looks at the answer.
        answered[:] = [min(int(slots[lane]), 2 * words - 1) for lane in range(lanes)]
        if bench.get("strobe"):
            group = gather.groups - wanted
            bench.expect("group", group, bench.get("group"))
            bench.expect("group that was announced", group, ahead.pop(0))
            bench.expect("last", int(group == gather.groups - 1), bench.get("last"))
            positions = unpack(gather.positions.shape(), bench.get("positions"))
            for place in range(gather.size):
                position = group * gather.size + place
                if position < gather.geometry.positions:
                    lane, word = position % lanes, position // lanes
                    got = (int(positions[place].set0), int(positions[place].set1))
                    bench.expect(f"position {position}", memory[lane][bank * words + word], got)
            wanted -= 1
            bench.note()
        if bench.get("ahead"):
            ahead.append(bench.get("ahead_group"))

    Probe(bench, sample=look, drive=drive)
    await bench.start()
    await bench.run(lambda: passes == PASSES and wanted == 0, "all groups")
    bench.finish(PASSES * gather.geometry.positions)

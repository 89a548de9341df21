"""An accelerator in Amaranth's simulator with input always there and logits always taken."""

from amaranth.sim import Simulator

from egret_hw.accelerator import Accelerator
from egret_hw.counters import COUNTED
from egret_hw.cycle_model import turns_of
from egret_hw.stream import Kind

CYCLES_MAX = 100_000


def count_cycles(image, config, sequences):
    """At each END of the logits, the cycles since reset, and the counters of each layer.

    `sequences` are T x I integers. They follow each other, or take turns in as many streams as `config` has.
    """
    dut = Accelerator(image, config)
    streams = dut.config.streams
    tokens = []
    for kind, sequence, step in turns_of([len(x) for x in sequences], streams):
        if kind == Kind.TICK.value:
            x = sequences[sequence][step]
            tokens += [{"kind": Kind.EVENT, "index": int(j), "value": int(x[j])} for j in x.nonzero()[0]]
        tokens.append({"kind": Kind(kind), "index": 0, "value": 0})
    snapshots = []

    async def send(ctx):
        ctx.set(dut.events.valid, 1)
        for token in tokens:
            ctx.set(dut.events.payload, token)
            await ctx.tick().until(dut.events.ready)
        ctx.set(dut.events.valid, 0)

    async def receive(ctx):
        ctx.set(dut.logits.ready, 1)
        cycles = 0
        async for _, _, valid, kind in ctx.tick().sample(dut.logits.valid, dut.logits.payload.kind):
            cycles += 1
            if valid and Kind(kind) == Kind.END:
                layers = [getattr(dut, f"counters{number}") for number in range(len(image.layers))]
                values = [{name: ctx.get(getattr(n, name)) for name in COUNTED} for n in layers]
                snapshots.append((cycles, values))
            if len(snapshots) == len(sequences):
                return
            if cycles > CYCLES_MAX:
                raise TimeoutError(
                    f"{len(snapshots)} of {len(sequences)} sequences after {CYCLES_MAX} cycles"
                )

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send, background=True)
    simulator.add_testbench(receive)
    simulator.run()
    return snapshots

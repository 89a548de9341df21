"""Amaranth-simulator helpers: send and receive tokens with random stalls."""

import random


async def send(ctx, stream, payloads, *, rng: random.Random, stall: float) -> None:
    """Send each payload once; before each, wait with probability `stall` per cycle."""
    for payload in payloads:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(stream.payload, payload)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def receive(ctx, stream, count: int, *, rng: random.Random, stall: float) -> list:
    """Receive `count` payloads; before each, hold `ready` low with probability `stall` per cycle."""
    got = []
    for _ in range(count):
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(stream.ready, 1)
        (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
        ctx.set(stream.ready, 0)
        got.append(payload)
    return got

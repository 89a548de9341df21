"""What the component benches are made of: a clocked loop, and agents for streams.

Everything happens in one place per cycle: inputs are driven at the falling edge, and what they lead to is
sampled when all has settled, before the rising edge takes it. So a bench sees each cycle as the design does,
and an agent may rely on the order in which agents were added.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

CLOCK_NS = 10


def seed() -> int:
    """The seed of this run."""
    return int(os.environ.get("EGRET_SEED", "1"))


def planted() -> bool:
    """Whether to plant a fault: from some transfer on, an input bit is flipped behind the model's back."""
    return os.environ.get("EGRET_PLANT") == "1"


class Stall:
    """Decides cycle by cycle whether an agent pauses.

    ``none`` never, ``half`` in every other cycle or so, ``bursts`` for long whiles at a time.
    """

    MODES = ("none", "half", "bursts")

    def __init__(self, rng: random.Random, mode: str) -> None:
        self._rng = rng
        self._mode = mode
        self._left = 0
        self._pausing = False

    def __call__(self) -> bool:
        """Whether to pause in this cycle."""
        if self._mode == "none":
            return False
        if self._mode == "half":
            return self._rng.random() < 0.5
        if self._left == 0:
            self._pausing = not self._pausing
            self._left = self._rng.randrange(1, 40)
        self._left -= 1
        return self._pausing


def pack(layout: data.Layout, value: Any) -> int:
    """The bits of a structure given as dict or list."""
    return layout.const(value).as_bits()


def unpack(layout: data.Layout, bits: int) -> data.Const:
    """A structure whose fields can be read by name."""
    return layout.from_bits(bits)


class Bench:
    """One component of a bundle: its ports, a clock, a reset, and the loop."""

    #: Cycles without progress after which a bench gives up.
    PATIENCE = 3000

    def __init__(self, dut, name: str, stalls: str = "none") -> None:
        self.dut = dut
        self.name = name
        self.rng = random.Random(f"{seed()} {name} {stalls}")
        self.stalls = stalls
        self.cycle = 0
        self.progress = 0
        self.compared = 0
        self._agents: list[Any] = []
        self._plant_at = self.rng.randrange(5, 15) if planted() else None

    def signal(self, path: str):
        """The port with this path inside the component."""
        return getattr(self.dut, f"{self.name}__{path}")

    def get(self, path: str) -> int:
        """A port's value; of one that has no bits, 0."""
        signal = getattr(self.dut, f"{self.name}__{path}", None)
        return 0 if signal is None else int(signal.value)

    def set(self, path: str, bits: int) -> None:
        """Drive an input."""
        self.signal(path).value = bits

    def stall(self) -> Stall:
        """A stall pattern of this run's kind."""
        return Stall(self.rng, self.stalls)

    def tamper(self, bits: int, flip: int = 1) -> int:
        """What the design is given instead of ``bits``: the same, unless this run plants a fault.

        ``flip`` is the bit that the fault flips; 0 for a transfer in which it would mean nothing.
        """
        if self._plant_at is None or not flip:
            return bits
        self._plant_at = max(0, self._plant_at - 1)
        return bits if self._plant_at else bits ^ flip

    def add(self, agent):
        """Have an agent's ``drive`` and ``sample`` called in every cycle."""
        self._agents.append(agent)
        return agent

    def note(self) -> None:
        """Say that something moved."""
        self.progress = self.cycle

    def expect(self, what: str, expected: Any, got: Any) -> None:
        """Compare two values."""
        self.compared += 1
        if expected != got:
            raise AssertionError(f"{self.name}, cycle {self.cycle}, {what}: expected {expected}, got {got}")

    async def start(self) -> None:
        """Start the clock and reset the design. Call it when the inputs have their idle values."""
        Clock(self.dut.clk, CLOCK_NS, unit="ns").start()
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        for _ in range(3):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def step(self) -> None:
        """One cycle: drive, settle, sample. On return the cycle's rising edge is still to come."""
        for agent in self._agents:
            agent.drive()
        await ReadOnly()
        for agent in self._agents:
            agent.sample()
        await FallingEdge(self.dut.clk)
        self.cycle += 1

    async def run(self, done: Callable[[], bool], waiting_for: str, settle: int = 30) -> None:
        """Step until ``done``, and a while longer, so that what should not come has time to come."""
        self.note()
        while not done():
            await self.step()
            if self.cycle - self.progress > self.PATIENCE:
                raise AssertionError(
                    f"{self.name}: nothing moved in {self.PATIENCE} cycles, waiting for {waiting_for}"
                )
        for _ in range(settle):
            await self.step()

    def finish(self, at_least: int) -> None:
        """Fail if fewer values were compared than a bench is to compare."""
        if self.compared < max(1, at_least):
            raise AssertionError(
                f"{self.name}: {self.compared} values were compared, expected {at_least} or more"
            )


class Source:
    """Sends items into a stream, with stalls. An item is what the payload's layout takes.

    ``flip`` says which bit of an item's payload a planted fault flips.
    """

    def __init__(
        self,
        bench: Bench,
        path: str,
        layout: data.Layout,
        items: Iterable[Any] = (),
        flip: Callable[[Any], int] = lambda item: 1,
    ) -> None:
        self.bench = bench
        self.path = path
        self.layout = layout
        self.items: deque[Any] = deque(items)
        self.flip = flip
        self.sent: list[Any] = []
        self.on_sent: Callable[[Any], None] = lambda item: None
        self._stall = bench.stall()
        self._offered = False
        bench.set(f"{path}__valid", 0)
        bench.set(f"{path}__payload", 0)
        bench.add(self)

    def drive(self) -> None:
        """Offer an item; once offered it stays."""
        if not self._offered and self.items and not self._stall():
            self._offered = True
            bits = pack(self.layout, self.items[0])
            self.bench.set(f"{self.path}__payload", self.bench.tamper(bits, self.flip(self.items[0])))
        self.bench.set(f"{self.path}__valid", self._offered)

    def sample(self) -> None:
        """Note a transfer."""
        if self._offered and self.bench.get(f"{self.path}__ready"):
            self._offered = False
            item = self.items.popleft()
            self.sent.append(item)
            self.bench.note()
            self.on_sent(item)


class Sink:
    """Takes a stream, with stalls, and checks the handshake: an offer stays, unchanged, until it is taken."""

    def __init__(self, bench: Bench, path: str, layout: data.Layout) -> None:
        self.bench = bench
        self.path = path
        self.layout = layout
        self.on_received: Callable[[data.Const], None] = lambda item: None
        self.received: list[data.Const] = []
        self.open = True  # False: never ready
        self._stall = bench.stall()
        self._ready = False
        self._pending: int | None = None
        bench.set(f"{path}__ready", 0)
        bench.add(self)

    def drive(self) -> None:
        """Be ready, or not."""
        self._ready = self.open and not self._stall()
        self.bench.set(f"{self.path}__ready", self._ready)

    def sample(self) -> None:
        """Note a transfer."""
        valid, bits = self.bench.get(f"{self.path}__valid"), self.bench.get(f"{self.path}__payload")
        if self._pending is not None and (not valid or bits != self._pending):
            now = f"{bits:#x}" if valid else "nothing"
            raise AssertionError(
                f"{self.bench.name}, cycle {self.bench.cycle}, {self.path}: "
                f"offered {self._pending:#x}, then {now}, before it was taken"
            )
        self._pending = bits if valid and not self._ready else None
        if valid and self._ready:
            item = unpack(self.layout, bits)
            self.received.append(item)
            self.bench.note()
            self.on_received(item)


class Probe:
    """Calls a function with the bench's outputs in every cycle, and another one to set inputs."""

    def __init__(
        self,
        bench: Bench,
        sample: Callable[[], None] = lambda: None,
        drive: Callable[[], None] = lambda: None,
    ) -> None:
        self.sample = sample
        self.drive = drive
        bench.add(self)

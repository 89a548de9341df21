"""An accelerator with counters of its cover points beside it, as Verilog."""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from egret_hw.accelerator import Accelerator
from egret_hw.blocks.family import GENERIC, Family
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import TOP
from egru.image import NetworkImage

from .cover_points import HARDWARE_POINTS, READOUT_POINTS, TILE_POINTS, observe, observe_readout

#: A counter stays at its largest value.
COUNT_BITS = 32


class CoveredAccelerator(wiring.Component):
    """An accelerator, with the same ports, and ``cover``: counts of :data:`HARDWARE_POINTS`, lowest first.

    A point counts the cycles in which any tile is there. Counters outlive a reset.
    """

    def __init__(self, image: NetworkImage, config: AcceleratorConfig | None = None) -> None:
        self.accelerator = accelerator = Accelerator(image, config)
        members = dict(accelerator.signature.members)
        super().__init__({**members, "cover": Out(COUNT_BITS * len(HARDWARE_POINTS))})

    def elaborate(self, platform):
        """Put the counters beside the accelerator."""
        m = Module()
        m.submodules.accelerator = dut = self.accelerator
        connect(m, flipped(self.events), dut.events)
        connect(m, dut.logits, flipped(self.logits))
        for number in range(len(dut.tiles)):
            tap, inner = getattr(self, f"tap{number}"), getattr(dut, f"tap{number}")
            m.d.comb += [tap.strobe.eq(inner.strobe), tap.token.eq(inner.token)]
            m.d.comb += getattr(self, f"counters{number}").eq(getattr(dut, f"counters{number}"))
            if dut.config.loaded:
                connect(m, flipped(getattr(self, f"load{number}")), getattr(dut, f"load{number}"))
        if dut.protected:
            m.d.comb += self.fault.eq(dut.fault)
        pasts = [(tile, observe(m, tile, number)) for number, tile in enumerate(dut.tiles)]
        there = {name: [point(tile, past) for tile, past in pasts] for name, point in TILE_POINTS.items()}
        summed = observe_readout(m, dut.readout)
        there |= {name: [point(dut.readout, summed)] for name, point in READOUT_POINTS.items()}
        for number, name in enumerate(HARDWARE_POINTS):
            count = Signal(COUNT_BITS, name=f"count{number}", reset_less=True)
            hit = Signal(name=f"hit{number}")
            for value in there[name]:
                with m.If(value):
                    m.d.comb += hit.eq(1)
            with m.If(hit & ~count.all()):
                m.d.sync += count.eq(count + 1)
            m.d.comb += self.cover.word_select(number, COUNT_BITS).eq(count)
        return m

    def verilog(self) -> str:
        """Verilog of the accelerator and its counters; the top has the accelerator's name."""
        return verilog.convert(self, name=TOP, emit_src=False, platform=Family(GENERIC))

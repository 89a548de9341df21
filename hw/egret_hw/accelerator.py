"""The whole network in hardware: a chain of tiles and a readout."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from egru.image import NetworkImage

from .config import AcceleratorConfig
from .counters import counters_layout
from .protection import NONE, Guard, fault_layout
from .readout import ReadoutTile
from .stream import tap_signature
from .tile import Tile


class Accelerator(wiring.Component):
    """A network image as a chain of tiles, one for each layer, and a readout behind them.

    Results depend on the image alone; the configuration changes cycles and size.

    Members
    -------
    events : In, stream of tokens: the network's input events, TICK after each step, END after each sequence
    logits : Out, stream of tokens: C logits with ascending index, then TICK (mode "every") or END
    tap{k} : Out, what layer k sends on, for an observer
    counters{k} : Out, layer k's performance counters
    load{k} : In, stream of words of weights for layer k, only if the configuration says weights="loaded"
    fault : Out, with protection only: :func:`~egret_hw.protection.fault_layout`
    """

    def __init__(self, image: NetworkImage, config: AcceleratorConfig | None = None):
        self.image = image
        self.config = (config or AcceleratorConfig()).resolve(image)
        self.tiles = [
            Tile(
                layer=layer,
                lanes=lanes,
                update_lanes=update,
                queue_depth=self.config.queue_depth,
                streams=self.config.streams,
                loaded=self.config.loaded,
                compact=self.config.compact,
            )
            for layer, lanes, update in zip(
                image.layers, self.config.lanes, self.config.update_lanes, strict=True
            )
        ]
        self.readout = ReadoutTile(
            readout=image.readout,
            events=image.layers[-1].event_format,
            lanes=self.config.readout_lanes,
            queue_depth=self.config.queue_depth,
            streams=self.config.streams,
            compact=self.config.compact,
        )
        members = {
            "events": In(stream.Signature(self.tiles[0].i.payload.shape())),
            "logits": Out(stream.Signature(self.readout.o.payload.shape())),
        }
        for number, tile in enumerate(self.tiles):
            members[f"tap{number}"] = Out(tap_signature(tile.o.payload.shape()))
            members[f"counters{number}"] = Out(counters_layout())
            if tile.loaded:
                members[f"load{number}"] = In(stream.Signature(tile.load_layout))
        self.protected = self.config.protection != NONE
        if self.protected:
            members["fault"] = Out(fault_layout())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        guard = Guard() if self.protected else None
        upstream = flipped(self.events)
        for number, tile in enumerate(self.tiles):
            m.submodules[f"layer{number}"] = guard.elaborated(tile, platform) if guard else tile
            connect(m, upstream, tile.i)
            tap = getattr(self, f"tap{number}")
            m.d.comb += [tap.strobe.eq(tile.o.valid & tile.o.ready), tap.token.eq(tile.o.payload)]
            m.d.comb += getattr(self, f"counters{number}").eq(tile.counters)
            if tile.loaded:
                connect(m, flipped(getattr(self, f"load{number}")), tile.load)
            upstream = tile.o
        m.submodules.readout = guard.elaborated(self.readout, platform) if guard else self.readout
        connect(m, upstream, self.readout.i)
        connect(m, self.readout.o, flipped(self.logits))
        if guard:
            guard.collect(m, self.fault)
        return m

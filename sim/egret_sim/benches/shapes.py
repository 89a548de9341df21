"""The components under test, in a few shapes, and all of one shape bundled into one design.

One build then serves all benches of a shape: compiling is most of what a small bench costs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from egret_hw.event_encoder import EventEncoder
from egret_hw.mac_array import MacArray
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.queues import EventQueue, RecurrentQueue
from egret_hw.readout import ReadoutTile
from egret_hw.sum_gather import START_LATENCY, SumGather
from egret_hw.tile import Tile
from egret_hw.weight_fetch import WeightFetch
from egret_sim.overflow import stop_at_overflow
from egru.image import NetworkImage
from egru.testing import random_image

TOP = "bundle"


@dataclass(frozen=True)
class Shape:
    """A tile with a readout behind it: what to draw, and how many lanes."""

    inputs: int
    units: int
    classes: int
    mode: str
    lanes: int
    update_lanes: int
    readout_lanes: int
    queue_depth: int
    streams: int
    seed: int

    @cached_property
    def image(self) -> NetworkImage:
        """A random network of one layer."""
        return random_image(
            np.random.default_rng(self.seed),
            inputs=self.inputs,
            units=[self.units],
            classes=self.classes,
            mode=self.mode,
            max_steps=100,
            threshold=(0.02, 0.4),
        )

    @cached_property
    def components(self) -> dict[str, wiring.Component]:
        """The components, by name."""
        image = self.image
        layer = image.layers[0]
        tile = Tile(
            layer=layer,
            lanes=self.lanes,
            update_lanes=self.update_lanes,
            queue_depth=self.queue_depth,
            streams=self.streams,
        )
        readout = ReadoutTile(
            readout=image.readout,
            events=layer.event_format,
            lanes=self.readout_lanes,
            queue_depth=self.queue_depth,
            streams=self.streams,
        )
        geometry, event_bits = tile.geometry, layer.spec.event_bits
        return {
            "event_queue": EventQueue(size=self.inputs, value=tile.input_value, depth=self.queue_depth),
            "recurrent_queue": RecurrentQueue(units=self.units, event_bits=event_bits, streams=self.streams),
            "weight_fetch": WeightFetch(
                rows=self.inputs + self.units, words=geometry.words, value=tile.value, banks=2
            ),
            # Sums with room for the 32 rows that the bench adds up, whatever their values.
            "mac_array": MacArray(
                geometry=geometry,
                weight_bits=tile.weight_bits,
                value=tile.value,
                sum_bits=tile.weight_bits + tile.value.width + 5,
                banks=2,
                ask_latency=START_LATENCY,
            ),
            "sum_gather": SumGather(
                geometry=geometry, units=self.update_lanes, sum_bits=12, streams=self.streams
            ),
            "neuron_update": NeuronUpdate(
                layer=layer,
                lanes=self.update_lanes,
                streams=self.streams,
                widths=tile.widths,
            ),
            "event_encoder": EventEncoder(
                units=self.units, lanes=self.update_lanes, event_bits=event_bits, steps=min(2, self.streams)
            ),
            "tile": tile,
            "readout": readout,
        }


#: Lanes that do not divide a row; one of everything; rows of one word, so that sums are forwarded, with lanes
#: enough to read two kinds of sums at once; lanes that each hold one gate; second sums beside the
#: first ones.
SHAPES = {
    "uneven": Shape(
        3, 5, 3, "every", lanes=7, update_lanes=2, readout_lanes=2, queue_depth=4, streams=1, seed=11
    ),
    "single": Shape(
        1, 1, 1, "last", lanes=1, update_lanes=1, readout_lanes=1, queue_depth=3, streams=1, seed=12
    ),
    "wide": Shape(
        9, 6, 5, "mean", lanes=26, update_lanes=4, readout_lanes=8, queue_depth=16, streams=3, seed=13
    ),
    "gates": Shape(
        4, 7, 3, "mean", lanes=6, update_lanes=1, readout_lanes=2, queue_depth=8, streams=2, seed=14
    ),
    "spread": Shape(
        5, 16, 3, "every", lanes=8, update_lanes=2, readout_lanes=2, queue_depth=8, streams=2, seed=15
    ),
}


def current() -> Shape:
    """The shape of this run of a bench."""
    return SHAPES[os.environ["EGRET_SHAPE"]]


class Bundle(wiring.Component):
    """Components side by side, each with its ports under its own name."""

    def __init__(self, components: dict[str, wiring.Component]) -> None:
        self._parts = components
        super().__init__({name: Out(component.signature) for name, component in components.items()})

    def elaborate(self, platform) -> Module:
        """Pass every port through."""
        m = Module()
        for name, component in self._parts.items():
            m.submodules[name] = component
            connect(m, flipped(getattr(self, name)), component)
        return m


def convert(shape: Shape) -> str:
    """The bundle of a shape as Verilog."""
    return stop_at_overflow(verilog.convert(Bundle(shape.components), name=TOP, emit_src=False))

"""How many cycles an accelerator takes, without its RTL.

Results do not depend on time, so the integer model says what happens, and this model says when: it
gives each token the cycle in which it moves (:mod:`egret_hw.cycle_parts`). Its cycles are those of the RTL
when input is always there and logits are taken at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError
from egru.image import NetworkImage
from egru.integer import IntegerNetwork, Trace

from .config import AcceleratorConfig, ResolvedConfig
from .cycle_parts import END, EVENT, PASS, TICK, ReadoutModel, TileModel, Tokens


@dataclass(frozen=True)
class Shape:
    """What cycles depend on, apart from events.

    Attributes
    ----------
    units : units of each layer
    classes, mode : of the readout
    config : lanes, update lanes, queues, streams
    gate_first : for each layer, whether its reset gate acts on events (reset="before")

    Raises
    ------
    EgretError
        If the configuration is compact: that form takes cycles from the products, which are not modelled.
    """

    units: tuple[int, ...]
    classes: int
    mode: str
    config: ResolvedConfig
    gate_first: tuple[bool, ...]

    def __post_init__(self) -> None:
        if self.config.compact:
            raise EgretError(
                "compact must be off for a prediction: the cycle model does not know the compact form; "
                "measure its cycles in RTL instead (egret simulate --compact)"
            )

    @classmethod
    def of(cls, image: NetworkImage, config: AcceleratorConfig | None = None) -> Shape:
        """Shape of the accelerator of an image; EgretError where the configuration does not suit it."""
        units = tuple(layer.spec.units for layer in image.layers)
        spec = image.readout.spec
        gate_first = tuple(layer.spec.reset == "before" for layer in image.layers)
        return cls(units, spec.classes, spec.mode, (config or AcceleratorConfig()).resolve(image), gate_first)


@dataclass(frozen=True)
class Activity:
    """What happens in a sequence, step by step.

    Attributes
    ----------
    inputs : number of input events in each step
    fired : for each layer and step, the units that fire, ascending
    gated : the same of the gated events, for layers with reset="before"; nothing for others
    """

    inputs: Sequence[int]
    fired: Sequence[Sequence[Sequence[int]]]
    gated: Sequence[Sequence[Sequence[int]]] = ()

    @classmethod
    def of(cls, x: np.ndarray, trace: Trace) -> Activity:
        """Activity of input `x` (T x I) and its trace."""
        gated = trace.gated or [None] * len(trace.events)
        return cls(
            inputs=np.count_nonzero(x, axis=1).tolist(),
            fired=[_units(layer) for layer in trace.events],
            gated=[[] if layer is None else _units(layer) for layer in gated],
        )


@dataclass(frozen=True)
class TileCycles:
    """Where the cycles of a tile went: `busy` ones, in which its lanes got a word, and idle ones."""

    lanes: int
    input_events: int
    recurrent_events: int
    gated_events: int
    busy: int
    idle: int


@dataclass(frozen=True)
class Cycles:
    """What was predicted.

    Attributes
    ----------
    cycles : from reset to the last END of the logits
    steps : of all sequences
    ends : cycle in which each sequence's END leaves, in the order in which they end
    tiles : of each layer
    readout : of the readout; its events are input events
    """

    cycles: int
    steps: int
    ends: tuple[int, ...]
    tiles: tuple[TileCycles, ...]
    readout: TileCycles

    @property
    def per_step(self) -> float:
        """Cycles over steps."""
        return self.cycles / self.steps


def activity_of(image: NetworkImage, sequences: Iterable[np.ndarray]) -> list[Activity]:
    """Activity of sequences (each T x I integers), from the integer model."""
    network = IntegerNetwork(image)
    return [Activity.of(x, network.run(x)) for x in sequences]


def predict(
    image: NetworkImage, sequences: Iterable[np.ndarray], config: AcceleratorConfig | None = None
) -> Cycles:
    """Cycles that an accelerator takes for sequences (each T x I integers), back to back or in turns."""
    return predict_activity(Shape.of(image, config), activity_of(image, sequences))


def predict_activity(shape: Shape, activities: Sequence[Activity]) -> Cycles:
    """Cycles that an accelerator takes for sequences of which the events are known."""
    if not activities:
        raise EgretError("there must be at least one sequence to predict cycles for")
    config = shape.config
    turns = list(turns_of([len(activity.inputs) for activity in activities], config.streams))
    steps = [(sequence, step) for kind, sequence, step in turns if kind == TICK]
    source = _play(turns, activities)
    tiles = []
    for index, units in enumerate(shape.units):
        gated = None
        if shape.gate_first[index]:
            gated = [activities[sequence].gated[index][step] for sequence, step in steps]
        tile = TileModel(
            units=units,
            lanes=config.lanes[index],
            update_lanes=config.update_lanes[index],
            queue_depth=config.queue_depth,
            streams=config.streams,
            source=source,
            fired=[activities[sequence].fired[index][step] for sequence, step in steps],
            gated=gated,
        )
        tiles.append(tile)
        source = tile.tokens()
    readout = ReadoutModel(
        classes=shape.classes,
        mode=shape.mode,
        lanes=config.readout_lanes,
        queue_depth=config.queue_depth,
        source=source,
    )
    ends = tuple(readout.ends())
    cycles = ends[-1] + 1

    def spent(lanes: int, part: TileModel | ReadoutModel) -> TileCycles:
        return TileCycles(
            lanes=lanes,
            input_events=part.input_events,
            recurrent_events=part.recurrent_events,
            gated_events=part.gated_events,
            busy=part.lanes.busy,
            idle=cycles - part.lanes.busy,
        )

    return Cycles(
        cycles=cycles,
        steps=len(steps),
        ends=ends,
        tiles=tuple(spent(lanes, tile) for lanes, tile in zip(config.lanes, tiles, strict=True)),
        readout=spent(config.readout_lanes, readout),
    )


def turns_of(lengths: Sequence[int], streams: int) -> Iterator[tuple[int, int, int]]:
    """Turns of sequences with these lengths as (kind, sequence, step): kind is TICK, END or PASS.

    Streams take turns; one takes up the next sequence when its own has ended, and passes when none is left.
    """
    waiting = iter(range(len(lengths)))
    places: list[tuple[int, int] | None] = [None] * streams
    left = len(lengths)
    while True:
        for stream in range(streams):
            if places[stream] is None and (sequence := next(waiting, None)) is not None:
                places[stream] = sequence, 0
            place = places[stream]
            if place is None:
                yield PASS, 0, 0
                continue
            sequence, step = place
            yield TICK, sequence, step
            places[stream] = sequence, step + 1
            if step + 1 == lengths[sequence]:
                yield END, sequence, step + 1
                places[stream] = None
                left -= 1
                if not left:
                    return


def _play(turns: Iterable[tuple[int, int, int]], activities: Sequence[Activity]) -> Tokens:
    """Input tokens, each offered as soon as the one before it is taken."""
    offered = 0
    for kind, sequence, step in turns:
        if kind == TICK:
            for _ in range(activities[sequence].inputs[step]):
                offered = (yield EVENT, offered) + 1
        offered = (yield kind, offered) + 1


def _units(events: np.ndarray) -> list[list[int]]:
    """Units that fire in each step of `events` (T x N)."""
    steps, units = np.nonzero(events)
    return [part.tolist() for part in np.split(units, np.searchsorted(steps, np.arange(1, len(events))))]

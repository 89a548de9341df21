"""Shares multipliers among the tiles of an accelerator so that they take equal time on real data.

What a tile needs depends on how often its units and those before it fire, which the integer model tells. The
search begins with a rule of thumb (rows times words, and the update of all units) and ends with the
cycle model, which knows latencies, queues and what waits for what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from egret_hw.config import LANES_MAX, AcceleratorConfig
from egret_hw.cycle_model import Activity, Cycles, Shape, predict_activity
from egret_hw.cycle_parts import UpdateTiming
from egret_hw.geometry import GATES, LayerGeometry
from egret_hw.multiplier import PairMultiplier
from egret_hw.widths import LayerWidths, event_shape_bits
from egru.errors import EgretError
from egru.image import NetworkImage

UPDATE_MULTIPLIERS = 2
"""Multipliers of an update lane: one for the reset gate, one for the state."""
SCAN_MULTIPLIERS = 1
"""Multipliers of the readout that are not lanes: bias times steps."""

#: A change is worth its multipliers if it saves this share of all cycles.
_WORTH = 0.001


@dataclass(frozen=True)
class Plan:
    """A configuration, what it takes, and what is predicted for it.

    Attributes
    ----------
    image, config : the network and how it is to be built
    multipliers, available : those that it takes, and those that it may
    cycles : predicted for the data that the plan was made with
    useful_macs, readout_macs : products with events, all of them and those of the readout
    dense_macs : products of a network that knows no silence
    """

    image: NetworkImage
    config: AcceleratorConfig
    multipliers: int
    available: int
    cycles: Cycles
    useful_macs: int
    readout_macs: int
    dense_macs: int

    @property
    def options(self) -> str:
        """The configuration as options of `egret generate`, `simulate` and `bitstream`."""
        resolved = self.config.resolve(self.image)
        text = f"--lanes {_listed(resolved.lanes)} --update-lanes {_listed(resolved.update_lanes)}"
        text += f" --readout-lanes {resolved.readout_lanes}"
        if resolved.streams > 1:
            text += f" --streams {resolved.streams}"
        return text

    @property
    def layers_busy_percent(self) -> float:
        """Busy-MAC % of the layers' lanes: useful MACs / (lanes x cycles)."""
        lanes = sum(tile.lanes for tile in self.cycles.tiles)
        return 100 * (self.useful_macs - self.readout_macs) / (lanes * self.cycles.cycles)

    @property
    def busy_percent(self) -> float:
        """The same of all lanes, those of the readout included."""
        return 100 * self.useful_macs / (self._lanes * self.cycles.cycles)

    @property
    def effective_over_peak(self) -> float:
        """Dense MACs / (all lanes x cycles)."""
        return self.dense_macs / (self._lanes * self.cycles.cycles)

    @cached_property
    def _lanes(self) -> int:
        return sum(tile.lanes for tile in self.cycles.tiles) + self.cycles.readout.lanes

    def as_dict(self) -> dict[str, Any]:
        """The plan, ready for JSON."""
        resolved = self.config.resolve(self.image)
        tiles = [*self.cycles.tiles, self.cycles.readout]
        return {
            "network": self.image.name,
            "lanes": list(resolved.lanes),
            "update_lanes": list(resolved.update_lanes),
            "readout_lanes": resolved.readout_lanes,
            "queue_depth": resolved.queue_depth,
            "streams": resolved.streams,
            "multipliers": self.multipliers,
            "multipliers_available": self.available,
            "predicted": {
                "steps": self.cycles.steps,
                "cycles": self.cycles.cycles,
                "cycles_per_step": self.cycles.per_step,
                "busy_percent": self.busy_percent,
                "layers_busy_percent": self.layers_busy_percent,
                "effective_over_peak": self.effective_over_peak,
                "tiles_busy_percent": [100 * tile.busy / self.cycles.cycles for tile in tiles],
            },
        }


@dataclass(frozen=True)
class _Choice:
    """Lanes and update lanes of each tile, and lanes of the readout."""

    tiles: tuple[tuple[int, int], ...]
    readout: int

    def config(self, streams: int, queue_depth: int) -> AcceleratorConfig:
        lanes, update = zip(*self.tiles, strict=True)
        return AcceleratorConfig(
            lanes=lanes,
            update_lanes=update,
            readout_lanes=self.readout,
            queue_depth=queue_depth,
            streams=streams,
        )


def make_plan(
    image: NetworkImage,
    activities: Sequence[Activity],
    *,
    multipliers: int,
    streams: int = 1,
    queue_depth: int = 16,
    progress: Callable[[int], None] | None = None,
) -> Plan:
    """Find the configuration that takes the fewest cycles with so many multipliers.

    Parameters
    ----------
    image
        The network.
    activities
        What happens on the data that it is to be fast for.
    multipliers
        How many there are, for lanes, updates and readout.
    streams, queue_depth
        As in the configuration.
    progress
        Is called with the number of configurations tried.

    Raises
    ------
    EgretError
        If the multipliers are not enough for one lane in each tile.
    """
    search = _Search(image, activities, streams, queue_depth, progress)
    choice = search.rule_of_thumb(multipliers)
    choice = search.improved(choice, multipliers)
    work = _work(image, activities)
    return Plan(
        image=image,
        config=choice.config(streams, queue_depth),
        multipliers=search.cost(choice),
        available=multipliers,
        cycles=search.cycles(choice),
        **work,
    )


class _Search:
    def __init__(
        self,
        image: NetworkImage,
        activities: Sequence[Activity],
        streams: int,
        queue_depth: int,
        progress: Callable[[int], None] | None,
    ):
        self.image = image
        self.activities = activities
        self.streams = streams
        self.queue_depth = queue_depth
        self.progress = progress
        self.known: dict[_Choice, Cycles] = {}
        self.units = [layer.spec.units for layer in image.layers]
        self.readout_lanes = _lane_options(image.readout.spec.classes)
        self.steps = sum(len(activity.inputs) for activity in activities)
        self.rows = _rows(activities)
        self.shared = _sharing(image)
        self.lanes = [_lane_options(GATES * units) for units in self.units]
        #: Of each tile, and of each number of its lanes: the numbers of update lanes that differ in time.
        self.updates = [
            {lanes: _update_options(units, lanes) for lanes in options}
            for units, options in zip(self.units, self.lanes, strict=True)
        ]

    def cost(self, choice: _Choice) -> int:
        """Multipliers that it takes."""
        lanes = [*(tile[0] for tile in choice.tiles), choice.readout]
        return _cost(self.shared, lanes, [tile[1] for tile in choice.tiles])

    def cycles(self, choice: _Choice) -> Cycles:
        """Predicted cycles."""
        if choice not in self.known:
            shape = Shape.of(self.image, choice.config(self.streams, self.queue_depth))
            self.known[choice] = predict_activity(shape, self.activities)
            if self.progress:
                self.progress(len(self.known))
        return self.known[choice]

    def rule_of_thumb(self, multipliers: int) -> _Choice:
        """Give the slowest tile more, as long as there are multipliers."""
        choice = _Choice(tuple((1, 1) for _ in self.units), 1)
        if self.cost(choice) > multipliers:
            raise EgretError(
                f"multipliers must be {self.cost(choice)} or more for network {self.image.name}, "
                f"not {multipliers}"
            )
        while True:
            times = [self._time(choice, index) for index in range(len(self.rows))]
            slowest = int(np.argmax(times))
            better = [
                other
                for other in self._others(choice, slowest)
                if self._time(other, slowest) < times[slowest] and self.cost(other) <= multipliers
            ]
            if not better:
                return choice
            choice = min(better, key=lambda other: (self.cost(other), self._time(other, slowest)))

    def improved(self, choice: _Choice, multipliers: int) -> _Choice:
        """Try neighbours with the cycle model, until none is better."""
        while True:
            best, least = choice, self.cycles(choice).cycles
            for other in self._neighbours(choice):
                cost = self.cost(other)
                fewer = cost < self.cost(best)
                enough = least if fewer else least * (1 - _WORTH)
                if cost > multipliers or self._at_least(other) > enough:
                    continue
                taken = self.cycles(other).cycles
                if taken < enough or (taken == least and fewer):
                    best, least = other, taken
            if best == choice:
                return choice
            choice = best

    def _at_least(self, choice: _Choice) -> int:
        """Cycles below which it cannot come."""
        return max(self._time(choice, index) for index in range(len(self.rows)))

    def _time(self, choice: _Choice, index: int) -> int:
        """Cycles of all steps that a tile, or the readout behind them, needs by itself."""
        if index == len(self.units):
            words = -(-self.image.readout.spec.classes // choice.readout)
            return self.rows[index] * words
        lanes, update = choice.tiles[index]
        geometry = LayerGeometry.of(units=self.units[index], lanes=lanes)
        return max(self.rows[index] * geometry.words, self.steps * _update_cycles(geometry, update))

    def _others(self, choice: _Choice, index: int) -> Iterator[_Choice]:
        """All that one tile, or the readout, may be instead."""
        if index == len(self.units):
            yield from (_Choice(choice.tiles, lanes) for lanes in self.readout_lanes)
            return
        for lanes, options in self.updates[index].items():
            for update in options:
                yield _with_tile(choice, index, (lanes, update))

    def _neighbours(self, choice: _Choice) -> Iterator[_Choice]:
        """Choices in which a tile or the readout has a little more or less, or gets what another gives."""
        places = range(len(choice.tiles))
        yield from (_Choice(choice.tiles, lanes) for lanes in _near(self.readout_lanes, choice.readout)[1:])
        for index in places:
            for tile in self._near_tiles(index, choice.tiles[index])[1:]:
                yield _with_tile(choice, index, tile)
        for index, other in permutations(places, 2):
            lanes, update = choice.tiles[other]
            for fewer in [n for n in self.lanes[other] if n < lanes][-1:]:
                narrow = _with_tile(choice, other, (fewer, min(update, self.updates[other][fewer][-1])))
                lanes, update = choice.tiles[index]
                for more in [n for n in self.lanes[index] if n > lanes][:1]:
                    yield _with_tile(narrow, index, (more, update))
                for more in [n for n in self.updates[index][lanes] if n > update][:1]:
                    yield _with_tile(narrow, index, (lanes, more))

    def _near_tiles(self, index: int, tile: tuple[int, int]) -> list[tuple[int, int]]:
        """The tile itself, and those with the next numbers of lanes and of update lanes."""
        found = [tile]
        for lanes in _near(self.lanes[index], tile[0]):
            options = self.updates[index][lanes]
            found += [(lanes, update) for update in _near(options, min(tile[1], options[-1]))]
        return list(dict.fromkeys(found))


def multipliers_of(image: NetworkImage, config: AcceleratorConfig) -> int:
    """Multipliers of an accelerator, lanes that share one counted as one.

    Operands that are wider than a multiplier of the device take more than one; none are in the networks that
    are usual.
    """
    resolved = config.resolve(image)
    return _cost(_sharing(image), [*resolved.lanes, resolved.readout_lanes], resolved.update_lanes)


def available_multipliers(device: str) -> int:
    """Multipliers of a device that `egret.build.boards` knows.

    Raises
    ------
    EgretError
        If the device has no such multipliers as the plans count.
    """
    from egret.build.boards import CAPACITY

    try:
        return CAPACITY[device]["MULT18X18D"]
    except KeyError:
        raise EgretError(f"device must be an ECP5 to plan for, not {device}") from None


def _sharing(image: NetworkImage) -> list[bool]:
    """Of each tile and of the readout: whether two of its lanes share a multiplier."""
    bits = []
    for layer in image.layers:
        weight_bits = max(layer.spec.input_weight_bits, layer.spec.recurrent_weight_bits)
        bits.append((weight_bits, LayerWidths.of(layer, weight_bits=weight_bits).value_bits))
    bits.append((image.readout.spec.weight_bits, event_shape_bits(image.layers[-1].event_format)))
    return [PairMultiplier.shares(weight_bits=weight, value_bits=value) for weight, value in bits]


def _cost(shared: Sequence[bool], lanes: Sequence[int], update_lanes: Sequence[int]) -> int:
    """Multipliers of all lanes (the readout's last), of the updates and of the readout's scan."""
    products = sum(-(-count // 2) if pairs else count for pairs, count in zip(shared, lanes, strict=True))
    return products + UPDATE_MULTIPLIERS * sum(update_lanes) + SCAN_MULTIPLIERS


def _update_cycles(geometry: LayerGeometry, update: int) -> int:
    """Cycles in which the update of one step takes up sums."""
    timing = UpdateTiming.of(geometry, update)
    return timing.groups * timing.interval


def _update_options(units: int, lanes: int) -> list[int]:
    """Numbers of update lanes, ascending, of which each takes fewer cycles than those before it."""
    geometry = LayerGeometry.of(units=units, lanes=lanes)
    options, least = [1], _update_cycles(geometry, 1)
    for update in range(2, min(units, lanes // GATES) + 1):
        if (cycles := _update_cycles(geometry, update)) < least:
            options.append(update)
            least = cycles
    return options


def _lane_options(positions: int) -> list[int]:
    """Numbers of lanes, ascending: the fewest for each number of words in a row."""
    options = {-(-positions // words) for words in range(1, positions + 1)}
    return sorted(lanes for lanes in options if lanes <= LANES_MAX)


def _near(options: Sequence[int], chosen: int) -> list[int]:
    """A number out of ascending options, with those beside it."""
    below = [option for option in options if option < chosen]
    above = [option for option in options if option > chosen]
    return [chosen, *above[:2], *below[-1:]]


def _with_tile(choice: _Choice, index: int, tile: tuple[int, int]) -> _Choice:
    tiles = list(choice.tiles)
    tiles[index] = tile
    return _Choice(tuple(tiles), choice.readout)


def _rows(activities: Sequence[Activity]) -> list[int]:
    """Rows that each layer and the readout fetch."""
    rows = [0] * (len(activities[0].fired) + 1)
    for activity in activities:
        arriving = sum(activity.inputs)
        for index, steps in enumerate(activity.fired):
            fired = [len(units) for units in steps]
            gated = activity.gated[index] if activity.gated else []
            rows[index] += arriving + sum(fired[:-1]) + sum(len(units) for units in gated)
            arriving = sum(fired)
        rows[-1] += arriving
    return rows


def _work(image: NetworkImage, activities: Sequence[Activity]) -> dict[str, int]:
    """Products with events, and those of a network without silence."""
    rows = _rows(activities)
    steps = sum(len(activity.inputs) for activity in activities)
    classes = image.readout.spec.classes
    dense, useful = classes * image.layers[-1].spec.units, 0
    for layer, count in zip(image.layers, rows, strict=False):
        useful += GATES * layer.spec.units * count
        dense += GATES * layer.spec.units * (layer.spec.inputs + layer.spec.units)
    readout = classes * rows[-1]
    return {"useful_macs": useful + readout, "readout_macs": readout, "dense_macs": dense * steps}


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(str(number) for number in numbers)

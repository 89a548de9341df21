"""How an accelerator is built: everything that changes its speed and size, and no bit of its results."""

from dataclasses import dataclass

from egru.errors import EgretError
from egru.image import NetworkImage

from .geometry import GATES
from .protection import NONE, PROTECTIONS

LANES_MAX = 64
STREAMS_MAX = 16
#: Lanes of a tile for each unit that its update handles per cycle, unless said otherwise.
_LANES_PER_UPDATE_LANE = 16


@dataclass(frozen=True)
class AcceleratorConfig:
    """What a user may choose. One number stands for every layer; a tuple has one for each.

    Attributes
    ----------
    lanes : multipliers for products in each layer's tile, 1..64
    update_lanes : units updated per cycle in each tile; None = one for 16 lanes
    readout_lanes : multipliers in the readout; None = so many that an event costs it no more cycles than
        the last layer
    queue_depth : tokens that wait in front of each tile, 1..4096
    streams : independent sequences whose steps are taken in turn, 1..16
    protection : "none", or "parity": every memory and stream register is watched, and an output `fault` says
        where a bit was wrong
    """

    lanes: int | tuple[int, ...] = 16
    update_lanes: int | tuple[int, ...] | None = None
    readout_lanes: int | None = None
    queue_depth: int = 16
    streams: int = 1
    protection: str = NONE

    def resolve(self, image: NetworkImage) -> "ResolvedConfig":
        """The numbers for each layer of `image`; EgretError where one is outside its range."""
        count = len(image.layers)
        lanes = _each("lanes", self.lanes, count)
        if self.update_lanes is None:
            update = tuple(
                min(max(1, -(-n // _LANES_PER_UPDATE_LANE)), layer.spec.units)
                for n, layer in zip(lanes, image.layers, strict=True)
            )
        else:
            update = _each("update_lanes", self.update_lanes, count)
        if self.readout_lanes is None:
            # As many as make an event no dearer in the readout than in the last layer.
            words = -(-GATES * image.layers[-1].spec.units // max(1, lanes[-1]))
            readout = min(LANES_MAX, -(-image.readout.spec.classes // words))
        else:
            readout = self.readout_lanes
        for index, layer in enumerate(image.layers):
            _check(f"lanes of layer {index}", lanes[index], 1, LANES_MAX)
            # A group of units is read in one cycle: three sums each, from different lanes.
            most = max(1, min(layer.spec.units, lanes[index] // GATES))
            _check(f"update_lanes of layer {index}", update[index], 1, most)
        _check("readout_lanes", readout, 1, LANES_MAX)
        _check("queue_depth", self.queue_depth, 1, 4096)
        _check("streams", self.streams, 1, STREAMS_MAX)
        if self.protection not in PROTECTIONS:
            raise EgretError(f"protection must be one of {', '.join(PROTECTIONS)}, not {self.protection!r}")
        return ResolvedConfig(lanes, update, readout, self.queue_depth, self.streams, self.protection)


@dataclass(frozen=True)
class ResolvedConfig:
    """An :class:`AcceleratorConfig` with a checked number for each layer."""

    lanes: tuple[int, ...]
    update_lanes: tuple[int, ...]
    readout_lanes: int
    queue_depth: int
    streams: int
    protection: str = NONE


def _each(name: str, value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * count
    if len(value) != count:
        raise EgretError(
            f"{name} must be one number or one for each of {count} layers, not {len(value)} numbers"
        )
    return tuple(value)


def _check(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise EgretError(f"{name} must be an integer from {low} to {high}, not {value!r}")

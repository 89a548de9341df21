"""How an accelerator is built: everything that changes its speed and size, and no bit of its results."""

from dataclasses import dataclass

from egru.errors import EgretError
from egru.image import NetworkImage

from .geometry import GATES
from .protection import NONE, PROTECTIONS

LANES_MAX = 64
STREAMS_MAX = 16
QUEUE_DEPTH = 16
COMPACT_QUEUE_DEPTH = 4
WEIGHTS = ("fixed", "loaded")
#: Lanes of a tile for each unit that its update handles per cycle, unless said otherwise: first up to two of
#: those, then beyond. One update lane takes as many look-up tables as two or three lanes.
_LANES_PER_UPDATE_LANE = 8, 16


@dataclass(frozen=True)
class AcceleratorConfig:
    """What a user may choose. One number stands for every layer; a tuple has one for each.

    Attributes
    ----------
    lanes : multipliers for products in each layer's tile, 1..64
    update_lanes : units updated per cycle in each tile; None = one for 8 lanes up to two, one
        for 16 lanes beyond (:func:`default_update_lanes`)
    readout_lanes : multipliers in the readout; None = so many that an event costs it no more cycles than
        the last layer
    queue_depth : tokens that wait in front of each tile, 1..4096; None = 16, or 4 in the compact form
    streams : independent sequences whose steps are taken in turn, 1..16
    weights : "fixed" = in the memories from the start; "loaded" = the layers' weights are written at run time
    compact : a form for small devices: sums in block memory, read in cycles that the products give up, an
        update of one unit in three cycles, two lanes to a multiplier of two 8 x 8 products, short queues
    protection : "none", or "parity": every memory and stream register is watched, and an output `fault` says
        where a bit was wrong
    """

    lanes: int | tuple[int, ...] = 16
    update_lanes: int | tuple[int, ...] | None = None
    readout_lanes: int | None = None
    queue_depth: int | None = None
    streams: int = 1
    weights: str = "fixed"
    compact: bool = False
    protection: str = NONE

    def resolve(self, image: NetworkImage) -> "ResolvedConfig":
        """The numbers for each layer of `image`; EgretError where one is outside its range."""
        count = len(image.layers)
        lanes = _each("lanes", self.lanes, count)
        if self.update_lanes is None and self.compact:
            update: tuple[int, ...] = (1,) * count
        elif self.update_lanes is None:
            update = tuple(
                min(default_update_lanes(n), layer.spec.units)
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
            # The compact form takes a second word of sums a cycle after the first.
            _check(f"lanes of layer {index}", lanes[index], 2 if self.compact else 1, LANES_MAX)
            # A group of units is read in one cycle: three sums each, from different lanes.
            most = max(1, min(layer.spec.units, lanes[index] // GATES))
            _check(f"update_lanes of layer {index}", update[index], 1, most)
        _check("readout_lanes", readout, 1, LANES_MAX)
        depth = self.queue_depth
        if depth is None:
            depth = COMPACT_QUEUE_DEPTH if self.compact else QUEUE_DEPTH
        _check("queue_depth", depth, 1, 4096)
        _check("streams", self.streams, 1, STREAMS_MAX)
        if self.weights not in WEIGHTS:
            raise EgretError(f"weights must be one of {', '.join(WEIGHTS)}, not {self.weights!r}")
        if self.protection not in PROTECTIONS:
            raise EgretError(f"protection must be one of {', '.join(PROTECTIONS)}, not {self.protection!r}")
        if self.protection != NONE and (self.compact or self.weights != "fixed"):
            form = "in the compact form" if self.compact else "with weights='loaded'"
            raise EgretError(f"protection must be {NONE!r} {form}, not {self.protection!r}")
        if self.compact:
            _check_compact(image, update)
        return ResolvedConfig(
            lanes, update, readout, depth, self.streams, self.weights, self.compact, self.protection
        )


@dataclass(frozen=True)
class ResolvedConfig:
    """An :class:`AcceleratorConfig` with a checked number for each layer."""

    lanes: tuple[int, ...]
    update_lanes: tuple[int, ...]
    readout_lanes: int
    queue_depth: int
    streams: int
    weights: str
    compact: bool
    protection: str = NONE

    @property
    def loaded(self) -> bool:
        """Whether the layers' weights are written at run time."""
        return self.weights == "loaded"


def _check_compact(image: NetworkImage, update_lanes: tuple[int, ...]) -> None:
    """Refuse what the compact form has no place for."""
    for index, layer in enumerate(image.layers):
        if layer.spec.reset != "after":
            raise EgretError(
                f"reset of layer {index} must be 'after' in the compact form, not {layer.spec.reset!r}; "
                "build without compact"
            )
        if update_lanes[index] != 1:
            raise EgretError(
                f"update_lanes of layer {index} must be 1 in the compact form, not {update_lanes[index]}"
            )


def default_update_lanes(lanes: int) -> int:
    """Units updated per cycle beside so many lanes.

    With 16 lanes a second update lane brings 7 % more busy lanes where a step has few events. Beyond, events
    leave the lanes so soon that a step's latency counts, and not its update.
    """
    first, beyond = _LANES_PER_UPDATE_LANE
    return max(1, min(2, lanes // first), -(-lanes // beyond))


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

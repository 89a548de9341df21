"""The accelerator's forms: compact, with weights that are loaded, watched by parity.

They are drawn from random numbers of their own: the network, the sizes and the sequences of a case do not
depend on them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from egret_hw.config import AcceleratorConfig
from egret_hw.protection import PARITY
from egret_hw.tile import weight_words
from egru.image import NetworkImage

if TYPE_CHECKING:
    from .case import Case, Phase

#: Shares of the cases. The compact form is taken where every layer's reset is "after" and there is no parity.
LOADED_CHANCE, PARITY_CHANCE, COMPACT_CHANCE = 0.25, 0.25, 0.7
#: Lanes that the compact form has at least.
COMPACT_LANES_MIN = 2
#: Of the phases of an accelerator with loaded weights: those that load any, those of them that load others
#: than the network's, and those that go on without a reset.
LOAD_CHANCE, OTHERS_CHANCE, ON_CHANCE = 0.6, 0.6, 0.5
#: Share of the weights that are 0 in the place of the network's.
SILENCED = 0.4
#: The network's own weights, as a :attr:`~egret_sim.fuzz.case.Phase.load`.
OWN = 0


def draw_form(rng: np.random.Generator, image: NetworkImage, config: AcceleratorConfig) -> AcceleratorConfig:
    """The configuration in a form that suits it."""
    kind, compact = rng.random(), rng.random() < COMPACT_CHANCE
    if kind < LOADED_CHANCE:
        config = dataclasses.replace(config, weights="loaded")
    elif kind < LOADED_CHANCE + PARITY_CHANCE:
        return dataclasses.replace(config, protection=PARITY)
    if not compact or any(layer.spec.reset != "after" for layer in image.layers):
        return config
    lanes = tuple(max(COMPACT_LANES_MIN, count) for count in config.resolve(image).lanes)
    return dataclasses.replace(config, compact=True, lanes=lanes, update_lanes=1)


def draw_loads(rng: np.random.Generator, phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """The phases of an accelerator with loaded weights: what each loads, and if it begins with a reset."""
    drawn = []
    for phase in phases:
        load = None
        if rng.random() < LOAD_CHANCE:
            load = int(rng.integers(1, 1 << 31)) if rng.random() < OTHERS_CHANCE else OWN
        drawn.append(dataclasses.replace(phase, load=load, reset=bool(rng.random() >= ON_CHANCE)))
    return tuple(drawn)


def with_weights(image: NetworkImage, load: int) -> NetworkImage:
    """The network that an accelerator computes with these weights in its memories.

    Other weights than its own have zeros in random places: no sum leaves the widths that were worked out for
    the image.
    """
    if load == OWN:
        return image
    rng = np.random.default_rng(load)
    layers = []
    for layer in image.layers:
        arrays = {name: getattr(layer, name) for name in ("input_weight", "recurrent_weight")}
        masked: dict[str, Any] = {
            name: np.where(rng.random(array.shape) < SILENCED, 0, array) for name, array in arrays.items()
        }
        layers.append(dataclasses.replace(layer, **masked))
    return dataclasses.replace(image, layers=tuple(layers))


@dataclasses.dataclass(frozen=True)
class Start:
    """How a phase begins: with a reset or not, with words of weights or without; and what is then computed.

    ``contents`` are the words of each layer by address.
    """

    fresh: bool
    image: NetworkImage
    contents: tuple[tuple[int, ...], ...] = ()


def starts(case: Case) -> Iterator[Start]:
    """How each phase begins, whatever was left out of a case.

    A phase behind one that was cut off begins with a reset, and the first one with a reset and weights.
    """
    config = case.config.resolve(case.image)
    image, cut = case.image, True
    for number, phase in enumerate(case.phases):
        fresh, cut = phase.reset or cut, phase.reset_tokens > 0
        load = OWN if number == 0 and phase.load is None else phase.load
        if not config.loaded or load is None:
            yield Start(fresh, image)
            continue
        image = with_weights(case.image, load)
        contents = (
            weight_words(layer, lanes, update, compact=config.compact)
            for layer, lanes, update in zip(image.layers, config.lanes, config.update_lanes, strict=True)
        )
        yield Start(fresh, image, tuple(map(tuple, contents)))

"""Smaller networks for :mod:`egret_sim.fuzz.shrink`: fewer layers, units, inputs, classes, options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from egret_hw.config import AcceleratorConfig
from egret_hw.geometry import GATES
from egru.image import Layer, NetworkImage

from .case import Case


def smaller_networks(case: Case) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Names of moves and ways to make them; some make no valid network, and raise EgretError."""
    image = case.image
    for keep in range(1, len(image.layers)):
        yield f"the first {keep} layers", partial(_cut_layers, case, keep)
    for place, layer in enumerate(image.layers):
        for kept in _halves(layer.spec.units):
            yield f"{len(kept)} units in layer {place}", partial(_keep_units, case, place, kept)
    for kept in _halves(image.input.size):
        yield f"{len(kept)} inputs", partial(_keep_inputs, case, kept)
    for kept in _halves(image.readout.spec.classes):
        yield f"{len(kept)} classes", partial(_keep_classes, case, kept)
    for place, layer in enumerate(image.layers):
        for name, plain in (("reset", "after"), ("state_reset", "threshold")):
            if getattr(layer.spec, name) != plain:
                yield f"{name} {plain} in layer {place}", partial(_with_spec, case, place, {name: plain})
    for place, layer in enumerate(image.layers):
        for name in ("input_weight", "recurrent_weight", "bias"):
            array = getattr(layer, name)
            if np.any(array):
                zeros = {name: np.zeros_like(array)}
                yield f"{name} 0 in layer {place}", partial(_with_layer, case, place, zeros)


def _halves(count: int) -> Iterator[np.ndarray]:
    """What to keep of ``count`` things: either half, then all but one (of a few)."""
    if count < 2:
        return
    numbers = np.arange(count)
    yield numbers[: count // 2]
    yield numbers[count // 2 :]
    if count <= 8:
        for left_out in range(count):
            yield np.delete(numbers, left_out)


def _with_image(case: Case, image: NetworkImage) -> Case:
    return dataclasses.replace(case, image=image)


def _with_layer(case: Case, place: int, changes: dict[str, Any]) -> Case:
    layers = list(case.image.layers)
    layers[place] = dataclasses.replace(layers[place], **changes)
    return _with_image(case, dataclasses.replace(case.image, layers=tuple(layers)))


def _with_spec(case: Case, place: int, changes: dict[str, Any]) -> Case:
    spec = dataclasses.replace(case.image.layers[place].spec, **changes)
    return _with_layer(case, place, {"spec": spec})


def _fitted(config: AcceleratorConfig, image: NetworkImage, before: Case) -> AcceleratorConfig:
    """The configuration with as many update lanes as the smaller layers can have."""
    resolved = config.resolve(before.image)
    count = len(image.layers)
    lanes = resolved.lanes[:count]
    update = tuple(
        min(p, max(1, min(layer.spec.units, n // GATES)))
        for p, n, layer in zip(resolved.update_lanes, lanes, image.layers, strict=False)
    )
    return dataclasses.replace(config, lanes=lanes, update_lanes=update, readout_lanes=resolved.readout_lanes)


def _cut_layers(case: Case, keep: int) -> Case:
    """The first layers alone; the readout's weights are repeated or cut to their number of units."""
    image = case.image
    units = image.layers[keep - 1].spec.units
    weight = np.resize(image.readout.weight, (image.readout.spec.classes, units))
    readout = dataclasses.replace(image.readout, weight=weight)
    smaller = dataclasses.replace(image, layers=image.layers[:keep], readout=readout)
    return Case(smaller, _fitted(case.config, smaller, case), case.phases)


def _keep_units(case: Case, place: int, kept: np.ndarray) -> Case:
    image, layer = case.image, case.image.layers[place]
    units = layer.spec.units
    rows = np.concatenate([gate * units + kept for gate in range(GATES)])
    layers: list[Layer] = list(image.layers)
    layers[place] = dataclasses.replace(
        layer,
        spec=dataclasses.replace(layer.spec, units=len(kept)),
        input_weight=layer.input_weight[rows],
        recurrent_weight=layer.recurrent_weight[np.ix_(rows, kept)],
        bias=layer.bias[:, kept],
        threshold=layer.threshold[kept],
    )
    readout = image.readout
    if place + 1 < len(layers):
        behind = layers[place + 1]
        layers[place + 1] = dataclasses.replace(
            behind,
            spec=dataclasses.replace(behind.spec, inputs=len(kept)),
            input_weight=behind.input_weight[:, kept],
        )
    else:
        readout = dataclasses.replace(readout, weight=readout.weight[:, kept])
    smaller = dataclasses.replace(image, layers=tuple(layers), readout=readout)
    return Case(smaller, _fitted(case.config, smaller, case), case.phases)


def _keep_inputs(case: Case, kept: np.ndarray) -> Case:
    image = case.image
    layer = image.layers[0]
    first = dataclasses.replace(
        layer,
        spec=dataclasses.replace(layer.spec, inputs=len(kept)),
        input_weight=layer.input_weight[:, kept],
    )
    smaller = dataclasses.replace(
        image, input=dataclasses.replace(image.input, size=len(kept)), layers=(first, *image.layers[1:])
    )
    phases = tuple(
        dataclasses.replace(phase, sequences=tuple(x[:, kept] for x in phase.sequences))
        for phase in case.phases
    )
    return Case(smaller, case.config, phases)


def _keep_classes(case: Case, kept: np.ndarray) -> Case:
    image, readout = case.image, case.image.readout
    smaller = dataclasses.replace(
        readout,
        spec=dataclasses.replace(readout.spec, classes=len(kept)),
        weight=readout.weight[kept],
        bias=readout.bias[kept],
    )
    return _with_image(case, dataclasses.replace(image, readout=smaller))

"""Words of weights for hardware that gets them at run time."""

import numpy as np

from egru.errors import EgretError
from egru.image import Layer, NetworkImage

from .config import AcceleratorConfig
from .tile import weight_words
from .widths import LayerWidths

#: What a network may have of its own in hardware that was built for another one.
_LOADED = ("input_weight", "recurrent_weight")


def loaded_words(built: NetworkImage, config: AcceleratorConfig, image: NetworkImage) -> list[list[int]]:
    """The weights of `image` as the memories of an accelerator hold them: words of each layer, by address.

    The accelerator was built for the network `built` with `config`, and all of it but the layers' weights is
    fixed: sizes, formats, biases, thresholds, tables, the readout, and the widths of all sums.

    Raises
    ------
    EgretError
        Before a word is made: if weights are not loaded at run time; if anything else differs between the
        networks, by its name; if a sum of the new weights does not fit the width that was built.
    """
    resolved = config.resolve(built)
    if not resolved.loaded:
        raise EgretError("weights of the accelerator must be 'loaded' to load others, not 'fixed'")
    if image.input != built.input:
        raise EgretError(f"input must be {built.input}, as the hardware was built, not {image.input}")
    if len(image.layers) != len(built.layers):
        raise EgretError(
            f"layers must be {len(built.layers)}, as the hardware was built, not {len(image.layers)}"
        )
    for number, (old, new) in enumerate(zip(built.layers, image.layers, strict=True)):
        _check_same(f"layer {number}", old, new)
        _check_fits(f"layer {number}", *(_widths(layer, resolved.compact) for layer in (old, new)))
    if image.readout != built.readout:
        raise EgretError("readout must be the one that the hardware was built with: it is not loaded")
    sizes = zip(image.layers, resolved.lanes, resolved.update_lanes, strict=True)
    return [weight_words(layer, lanes, update, compact=resolved.compact) for layer, lanes, update in sizes]


def word_bytes(image: NetworkImage, config: AcceleratorConfig) -> int:
    """Bytes of a word of weights on the link: those of the widest layer's."""
    lanes = config.resolve(image).lanes
    return max(-(-count * _weight_bits(layer) // 8) for count, layer in zip(lanes, image.layers, strict=True))


def _weight_bits(layer: Layer) -> int:
    return max(layer.spec.input_weight_bits, layer.spec.recurrent_weight_bits)


def _widths(layer: Layer, compact: bool) -> LayerWidths:
    return LayerWidths.of(layer, weight_bits=_weight_bits(layer), compact=compact)


def _check_same(name: str, built: Layer, layer: Layer) -> None:
    if (layer.spec, layer.input_format) != (built.spec, built.input_format):
        raise EgretError(f"spec of {name} must be {built.spec}, as the hardware was built, not {layer.spec}")
    for tensor in Layer.TENSORS:
        if tensor not in _LOADED and not np.array_equal(getattr(layer, tensor), getattr(built, tensor)):
            raise EgretError(f"{tensor} of {name} must be as the hardware was built: only weights are loaded")


def _check_fits(name: str, built: LayerWidths, widths: LayerWidths) -> None:
    rooms = [(f"{kind} sum", bounds, built.sum_bits) for kind, bounds in widths.sums.items()]
    rooms += [(f"{kind} total", bounds, built.total_bits(kind)) for kind, bounds in widths.totals.items()]
    for what, bounds, bits in rooms:
        if not bounds.fits(bits):
            raise EgretError(
                f"weights of {name} must keep every {what} within the {bits} bits of the hardware, but it "
                f"can be {bounds}: build a bitstream for this network"
            )

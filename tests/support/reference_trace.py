"""The second implementation of the numerics, run on an image by way of its file."""

import tempfile
from pathlib import Path

import integer_reference

from egru.image import NetworkImage, save_image
from egru.integer import Trace


def network_of(image: NetworkImage) -> dict:
    """The image as `integer_reference` reads it from its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.egret"
        save_image(image, path)
        return integer_reference.read(path)


def reference_trace(image: NetworkImage, x, **rules) -> Trace:
    """Trace of one sequence x (T x I) by the second implementation; `rules` as its `run` takes them."""
    events, states, gated, logits = integer_reference.run(network_of(image), x, **rules)
    return Trace(events, states, logits, gated)

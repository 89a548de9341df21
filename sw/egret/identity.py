"""Which network a result belongs to: names are anybody's, contents are not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from egru.image import NetworkImage


def identity(image: NetworkImage) -> str:
    """Return a sha256, in hexadecimal, of all that has a part in what an image computes: not name or info."""
    digest = hashlib.sha256()
    parts: list[Any] = [image.input, *image.layers, image.readout]
    for part in parts:
        content = asdict(part)
        arrays = {name: np.ascontiguousarray(v) for name, v in content.items() if isinstance(v, np.ndarray)}
        digest.update(json.dumps(content | {k: _shape(v) for k, v in arrays.items()}).encode())
        for values in arrays.values():
            digest.update(values.tobytes())
    return digest.hexdigest()


def _shape(values: np.ndarray) -> list[Any]:
    return [values.dtype.str, *values.shape]

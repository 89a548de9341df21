"""Which kernel computes a layer: PyTorch's dense operations, or the event-driven kernels."""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

from egru.errors import EgretError
from egru.kernels.library import library

DTYPES = (torch.float32, torch.float64)

AUTO_UNITS = 32  #: "auto" is sparse from this many units: fewer do not fill the vectors
AUTO_ROWS = 8  #: and from this many steps x sequences: before the first, the weights are put in another order


def is_sparse(kernel: str, x: Tensor, units: int, frozen: bool = False) -> bool:
    """Tell whether a layer of `units` units runs x (T x B x I) event by event.

    "auto" depends on sizes, dtype, device, whether weights are frozen (put in order once, for many calls) and
    whether there is a compiler, never on values or on what ran before: the same program takes the same
    path, and gives the same bits, each time. The kernels look at activity themselves, and use dense products
    where most units fire.

    Raises EgretError where "sparse" cannot be had, saying what to do.
    """
    if kernel == "dense":
        return False
    supported = x.device.type == "cpu" and x.dtype in DTYPES
    if kernel == "sparse":
        if not supported:
            raise EgretError(
                f"kernel 'sparse' needs float32 or float64 on the CPU, not {x.dtype} on {x.device}: "
                "move the module, or choose kernel='dense' or 'auto'"
            )
        library()
        return True
    large = units >= AUTO_UNITS and (frozen or x.shape[0] * x.shape[1] >= AUTO_ROWS)
    return supported and large and _available()


@cache
def _available() -> bool:
    try:
        library()
    except EgretError as error:
        warnings.warn(f"dense operations are used instead: {error}", stacklevel=2)
        return False
    return True

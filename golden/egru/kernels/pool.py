"""Large memory that is used again: fresh memory costs a page fault for every 4 KiB, each time.

The operating system hands out pages one by one and cleared. For the tensors of a long sequence that takes
longer than an event-driven pass itself.
"""

from __future__ import annotations

import math
import threading
import weakref

import numpy as np
import torch
from torch import Tensor

KEPT_BYTES = 1 << 30  #: at most this much memory waits for its next use
SMALLEST = 1 << 20  #: bytes; below this, PyTorch's own allocation is as fast
_GRANULE = 1 << 18
_LINE = 64  # bytes of a cache line, on whose borders vectors are read fastest

_free: list[np.ndarray] = []
_lock = threading.RLock()  # a finalizer may run inside a locked part


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor; its memory comes back by itself when nothing refers to it any more."""
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(_lease(size)).view(dtype).view(shape)


def _lease(size: int) -> np.ndarray:
    whole = -(-(size + _LINE) // _GRANULE) * _GRANULE
    with _lock:
        for k, block in enumerate(_free):
            if block.size == whole:
                del _free[k]
                break
        else:
            block = np.empty(whole, dtype=np.uint8)
    # The tensor keeps this very view; a view of it would refer to the block, and not to it.
    first = -block.ctypes.data % _LINE
    view = block[first : first + size]
    weakref.finalize(view, _give_back, block).atexit = False
    return view


def _give_back(block: np.ndarray) -> None:
    with _lock:
        _free.append(block)
        while sum(kept.size for kept in _free) > KEPT_BYTES:
            _free.pop(0)


def release() -> None:
    """Give all waiting memory back to the operating system."""
    with _lock:
        _free.clear()

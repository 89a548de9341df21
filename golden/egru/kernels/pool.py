"""Large memory that is used again: fresh memory costs a page fault for every 4 KiB, each time.

The operating system hands out pages one by one and cleared. For the tensors of a long sequence that takes
longer than an event-driven pass itself. As much memory waits for its next use as was in use at once lately,
which is what a step of training needs, however many sizes its tensors have had.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor

from egru.errors import EgretError

KEPT_BYTES = 1 << 30  #: at most this much memory waits for its next use
SMALLEST = 1 << 20  #: bytes; below this, PyTorch's own allocation is as fast
LATELY = 512  #: so many tensors, to twice as many: some steps of training
_GRANULE = 1 << 18
_LINE = 64  # bytes of a cache line, on whose borders vectors are read fastest

_free: list[np.ndarray] = []  # the longest waiting first
_returned: deque[tuple[np.ndarray, int]] = deque()  # what finalizers gave back, not yet in order
_lock = (
    threading.Lock()
)  # of what is above and below, but for `_returned`, whose ends are safe to use at once
_leased = 0  # bytes that are in use
_peaks = [0, 0]  # most bytes in use at once, among the latest tensors and among those before
_leases = 0


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor; its memory comes back by itself when nothing refers to it any more."""
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(_lease(size)).view(dtype).view(shape)


def release() -> None:
    """Give all waiting memory back to the operating system, and forget what was in use lately."""
    with _lock:
        _settle()
        _free.clear()
        _peaks[:] = [_leased, _leased]


def waiting() -> int:
    """Bytes that wait for their next use."""
    with _lock:
        _settle()
        return sum(block.size for block in _free)


def _lease(size: int) -> np.ndarray:
    global _leased, _leases
    whole = _rounded(size + _LINE)
    with _lock:
        _settle()
        fitting = [k for k, block in enumerate(_free) if whole <= block.size <= whole + whole // 4]
        block = _free.pop(min(fitting, key=lambda k: _free[k].size)) if fitting else _fresh(whole)
        _leased += whole
        _leases += 1
        if _leases % LATELY == 0:
            _peaks[:] = [_leased, _peaks[0]]
        _peaks[0] = max(_peaks[0], _leased)
    # The tensor keeps this very view; a view of it would refer to the block, and not to it.
    first = -block.ctypes.data % _LINE
    view = block[first : first + size]
    weakref.finalize(view, _give_back, block, whole).atexit = False
    return view


def _rounded(size: int) -> int:
    """Round up, by an eighth at most or to whole granules, so that similar sizes share blocks."""
    unit = max(_GRANULE, 1 << (size.bit_length() - 4))
    return -(-size // unit) * unit


def _fresh(size: int) -> np.ndarray:
    try:
        return np.empty(size, dtype=np.uint8)
    except (MemoryError, ValueError):
        raise EgretError(
            f"a layer needs {size} more bytes, and this machine does not have them: take fewer sequences or "
            "steps at once, or fewer units"
        ) from None


def _give_back(block: np.ndarray, whole: int) -> None:
    # A finalizer runs wherever the interpreter happens to be, inside a locked part of this thread, too: it
    # must not wait, and may leave the rest to who has the lock, or to the next who takes it.
    _returned.append((block, whole))
    if _lock.acquire(blocking=False):
        try:
            _settle()
        finally:
            _lock.release()


def _settle() -> None:
    """Put what was given back among the free blocks, and let go of the oldest beyond what is kept."""
    global _leased
    while _returned:
        block, whole = _returned.popleft()
        _leased -= whole
        _free.append(block)
    kept = min(max(_peaks), KEPT_BYTES)
    while sum(block.size for block in _free) > kept:
        del _free[0]

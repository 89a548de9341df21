"""The compiled library: built once with the machine's C++ compiler, then kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import platformdirs
from rich.console import Console

from egru.errors import EgretError

SOURCES = ("egru.cpp", "forward.h", "backward.h", "layer.h", "simd.h", "team.h", "tile.h")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-fopenmp")
COMPILERS = ("g++", "c++", "clang++")  # tried in this order, unless CXX names one

_INTEGERS = (
    "steps", "batch", "inputs", "units", "threads", "after", "threshold_reset", "skip", "sparse_input",
    "ordered",
)  # fmt: skip
_POINTERS = (
    "x", "c0", "y0", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "theta", "lengths",
    "workspace", "packed", "packed_inputs", "kept", "y", "o", "c_last", "y_last",
    "grad_y", "grad_o", "grad_c_last", "grad_y_last",
)  # fmt: skip
_STRIDES = ("grad_y_step", "grad_y_sequence", "grad_o_step", "grad_o_sequence")
_GRADIENTS = (
    "grad_x", "grad_weight_ih", "grad_weight_hh", "grad_bias_ih", "grad_bias_hh",
    "grad_theta", "grad_c0", "grad_y0",
)  # fmt: skip


class Layer(ctypes.Structure):
    """Mirrors ``struct Layer`` in layer.h."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in _INTEGERS]
        + [(name, ctypes.c_double) for name in ("gamma", "eps")]
        + [(name, ctypes.c_void_p) for name in _POINTERS]
        + [(name, ctypes.c_int64) for name in _STRIDES]
        + [(name, ctypes.c_void_p) for name in _GRADIENTS]
    )


@cache
def library() -> ctypes.CDLL:
    """Return the compiled kernels, building them if this machine has not done so yet.

    Raises EgretError, with what to do, if there is no compiler or it fails.
    """
    path = _cache() / f"kernels-{_fingerprint()}.so"
    if not path.is_file():
        with Console(stderr=True).status("compiling the event-driven kernels, once for this machine"):
            _build(path)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise EgretError(
            f"event-driven kernels {path} must be loadable: {error}; remove the file to have it built again"
        ) from None
    for name in ("egru_panel", "egru_workspace", "egru_size", "egru_layer_size"):
        getattr(loaded, name).restype = ctypes.c_int64
    loaded.egru_panel.argtypes = (ctypes.c_int64,)
    loaded.egru_layer_size.argtypes = ()
    for name in ("egru_workspace", "egru_size"):
        getattr(loaded, name).argtypes = (ctypes.POINTER(Layer), ctypes.c_int64, ctypes.c_int64)
    for name in ("egru_forward", "egru_backward"):
        getattr(loaded, name).restype = None
        getattr(loaded, name).argtypes = (ctypes.POINTER(Layer), ctypes.c_int64)
    return loaded


def compiler() -> str:
    """Path of the C++ compiler; EgretError, with what to install, if there is none."""
    wanted = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    for name in wanted:
        if found := shutil.which(name):
            return found
    raise EgretError(
        f"event-driven kernels need a C++ compiler, and none of {', '.join(wanted)} is on the path: "
        "install one (on Debian: apt-get install g++) or choose kernel='dense'"
    )


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("egret")) / "kernels"


def _fingerprint() -> str:
    """Tell apart sources, flags, and machines that share a cache but not an instruction set."""
    digest = hashlib.sha256(repr((FLAGS, platform.machine(), _instructions())).encode())
    for name in SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def _instructions() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _build(path: Path) -> None:
    """Compile to `path`, which appears whole or not at all."""
    program = compiler()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
            unit, shared = Path(folder) / "egru.o", Path(folder) / "egru.so"
            _run([program, *FLAGS, "-c", str(Path(__file__).parent / "egru.cpp"), "-o", str(unit)])
            # PyTorch has loaded an OpenMP runtime. Without one of its own the library uses that: two would
            # keep two teams of threads, which get in each other's way.
            for runtime in ((), ("-fopenmp",)):
                _run([program, "-shared", str(unit), *runtime, "-o", str(shared)])
                if _loads(shared):
                    break
            os.replace(shared, path)
    except OSError as error:
        raise EgretError(
            f"event-driven kernels must be built in {path.parent}: {error}; "
            "choose kernel='dense' to do without"
        ) from None


def _loads(path: Path) -> bool:
    try:
        ctypes.CDLL(str(path))
    except OSError:
        return False
    return True


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        first = next(
            (line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-200:]
        )
        raise EgretError(
            f"{command[0]} must compile the event-driven kernels, and says: {first}; "
            "set CXX to another compiler or choose kernel='dense'"
        )

"""The compiled library: built once with the machine's C++ compiler, then kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs
from rich.console import Console

from egru import processes
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


_FUNCTIONS: dict[str, tuple] = {  # result and arguments
    "egru_layer_size": (ctypes.c_int64,),
    "egru_panel": (ctypes.c_int64, ctypes.c_int64),
    "egru_workspace": (ctypes.c_int64, ctypes.POINTER(Layer), ctypes.c_int64, ctypes.c_int64),
    "egru_size": (ctypes.c_int64, ctypes.POINTER(Layer), ctypes.c_int64, ctypes.c_int64),
    "egru_forward": (None, ctypes.POINTER(Layer), ctypes.c_int64),
    "egru_backward": (None, ctypes.POINTER(Layer), ctypes.c_int64),
}
_lock = threading.Lock()


@cache
def library() -> ctypes.CDLL:
    """Return the compiled kernels, building them if this machine has not done so yet.

    Raises EgretError, with what to do, if there is no compiler or it fails.
    """
    with _lock:  # one thread builds, others wait for it and find what it built
        path = _whole()
        if path is None or not _loads(path):  # that of another PyTorch may have another OpenMP runtime
            with Console(stderr=True).status("compiling the event-driven kernels, once for this machine"):
                path = _build()
    try:
        loaded = ctypes.CDLL(str(path))
        functions = [getattr(loaded, name) for name in _FUNCTIONS]
    except (OSError, AttributeError):
        raise EgretError(
            f"event-driven kernels {path} must be loadable: remove the file to have it built again, "
            "or choose kernel='dense'"
        ) from None
    for function, (result, *arguments) in zip(functions, _FUNCTIONS.values(), strict=True):
        function.restype, function.argtypes = result, arguments
    if loaded.egru_layer_size() != ctypes.sizeof(Layer):
        raise EgretError(
            f"event-driven kernels {path} must read {ctypes.sizeof(Layer)} bytes of a layer, not "
            f"{loaded.egru_layer_size()}: layer.h and library.py differ; install Egret anew"
        )
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
    digest = hashlib.sha256(repr((FLAGS, _more_flags(), platform.machine(), _instructions())).encode())
    for name in SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def _instructions() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _whole() -> Path | None:
    """Return the library in the cache, if there is one whose bytes have the hash that its name ends with.

    A part of a library, as a full disk or a lost machine leaves it, would end the process when it is used.
    """
    return next(filter(_is_whole, _candidates()), None)


def _build() -> Path:
    """Compile into the cache, where the library appears whole or not at all; return its path."""
    program, folder = compiler(), _cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as building:
            unit, shared = Path(building) / "egru.o", Path(building) / "egru.so"
            flags = [*FLAGS, *_more_flags()]
            _run([program, *flags, "-c", str(Path(__file__).parent / "egru.cpp"), "-o", str(unit)])
            # PyTorch has loaded an OpenMP runtime. Without one of its own the library uses that: two would
            # keep two teams of threads, which get in each other's way.
            for runtime in ((), ("-fopenmp",)):
                _run([program, "-shared", str(unit), *_more_flags(), *runtime, "-o", str(shared)])
                if _loads(shared):
                    break
            else:
                raise EgretError(
                    f"{program} must make a library that can be loaded, and did not: set CXX to another "
                    "compiler or choose kernel='dense'"
                )
            path = folder / f"kernels-{_fingerprint()}-{_hash(shared.read_bytes())}.so"
            os.replace(shared, path)
    except OSError as error:
        raise EgretError(
            f"event-driven kernels must be built in {folder}: {error.strerror or 'it cannot be written'}; "
            "make room or set XDG_CACHE_HOME to a folder that can be written, or choose kernel='dense'"
        ) from None
    for other in _candidates():
        if not _is_whole(other):
            with suppress(OSError):
                other.unlink()
    return path


def _candidates() -> list[Path]:
    return sorted(_cache().glob(f"kernels-{_fingerprint()}-*.so"))


def _is_whole(path: Path) -> bool:
    try:
        return path.is_file() and path.stem.endswith(f"-{_hash(path.read_bytes())}")
    except OSError:
        return False


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _more_flags() -> list[str]:
    """Flags from the environment, for sanitizers: see `make sanitize`."""
    return os.environ.get("EGRET_KERNEL_FLAGS", "").split()


def _loads(path: Path) -> bool:
    try:
        ctypes.CDLL(str(path))
    except OSError:
        return False
    return True


def _run(command: list[str]) -> None:
    done = processes.run(command, capture_output=True, text=True)
    if done.returncode:
        first = next(
            (line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-200:]
        )
        raise EgretError(
            f"{command[0]} must compile the event-driven kernels, and says: {first}; "
            "set CXX to another compiler or choose kernel='dense'"
        )

"""The model: what the hardware must compute.

The modules that need PyTorch are imported on first use, so that a user of the integer model alone, the
accelerator generator for one, never loads it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from egru.errors import EgretError

if TYPE_CHECKING:
    from egru.egru import EGRU
    from egru.image import NetworkImage, load_image, save_image
    from egru.integer import IntegerNetwork
    from egru.network import Network, NetworkOutput
    from egru.quant import QuantNetwork

__all__ = [
    "EGRU",
    "EgretError",
    "IntegerNetwork",
    "Network",
    "NetworkImage",
    "NetworkOutput",
    "QuantNetwork",
    "load_image",
    "save_image",
]

_HOME = {
    "EGRU": "egru.egru",
    "IntegerNetwork": "egru.integer",
    "Network": "egru.network",
    "NetworkImage": "egru.image",
    "NetworkOutput": "egru.network",
    "QuantNetwork": "egru.quant",
    "load_image": "egru.image",
    "save_image": "egru.image",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'egru' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""How many cycles an accelerator takes, without its RTL.

Results do not depend on time, so the integer model says what happens, and this model says when: it
gives each token the cycle in which it moves, from queue to scheduler to lanes to update to the next tile. A
component here is what is left of its RTL when only time counts: a register is a cycle, a handshake the
later of two cycles, a pipeline the latency that its component exports. There is no loop over cycles, so
a step costs as much work as it has events.

Tokens are pulled: a tile asks the one before it for a token when it has taken the last one, so whatever
a time depends on is known when it is asked for, back-pressure included.

Input is always there, and logits are taken at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError
from egru.image import NetworkImage
from egru.integer import IntegerNetwork

from .accumulator import SUM_LATENCY
from .config import AcceleratorConfig, ResolvedConfig
from .event_encoder import JOBS_DEPTH
from .fifo import NEAR_DEPTH
from .geometry import LayerGeometry, RowGeometry
from .mac_array import PRODUCT_LATENCY
from .memory import READ_LATENCY
from .multiplier import MULTIPLY_LATENCY
from .neuron_update import NeuronUpdate
from .stream import Kind
from .sum_gather import GATHER_LATENCY, Reads

_EVENT, _TICK, _END, _PASS = (kind.value for kind in (Kind.EVENT, Kind.TICK, Kind.END, Kind.PASS))
_NEVER = 1 << 62

#: Cycles from the last word of a step, or the border behind it, to the first read of its sums.
_CLOSE_LATENCY = PRODUCT_LATENCY + SUM_LATENCY - 1
#: Cycles from a read of a class's sum to its logit at the output.
_LOGIT_LATENCY = READ_LATENCY + MULTIPLY_LATENCY + 3

#: Tokens of a tile on their way to the next one: (kind, cycle in which it is offered); the cycle in which it
#: was taken is sent back.
_Tokens = Generator[tuple[int, int], int, None]


@dataclass(frozen=True)
class Shape:
    """What the cycles of an accelerator depend on, events aside.

    Attributes
    ----------
    units : units of each layer
    classes, mode : of the readout
    config : lanes, update lanes, queues, streams
    """

    units: tuple[int, ...]
    classes: int
    mode: str
    config: ResolvedConfig

    @classmethod
    def of(cls, image: NetworkImage, config: AcceleratorConfig | None = None) -> Shape:
        """Shape of the accelerator that `image` and `config` give; EgretError as the accelerator itself."""
        units = tuple(layer.spec.units for layer in image.layers)
        spec = image.readout.spec
        return cls(units, spec.classes, spec.mode, (config or AcceleratorConfig()).resolve(image))

"""Shares multipliers among the tiles of an accelerator so that they take equal time on real data.

What a tile needs depends on how often its units and those before it fire, which the integer model tells. The
search begins with a rule of thumb, rows times words, and ends with the cycle model, which knows
latencies, queues and the update as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from egret_hw.accumulator import SUM_READ_LATENCY  # noqa: F401
from egret_hw.config import LANES_MAX, AcceleratorConfig

"""How a row of weights lies across the lanes, and where its sums are kept.

A row holds every weight that leaves one source: `positions` numbers. For a layer, position 3u + g is gate g
(z, r, candidate) of unit u; for a readout, position j is class j. Position p sits in lane p mod L of word p
div L. So a source costs ceil(positions / L) words, no lane idles before a row's last word, and the sums of
one unit lie in neighbouring lanes.

Each position has one accumulator, but a candidate has two, since its recurrent part is gated by r before it
meets the input part. The second ones lie behind the first in each lane. Three words in a row hold
one candidate in each lane unless L is a multiple of 3: then some lanes hold nothing but candidates.

The sums of P units that are read in one cycle want 4P different lanes, but a candidate's two sums lie in one.
With L = 4P lanes the recurrent weights of candidates therefore change places (`spreads`): a group's second
sums come to lie in the P lanes that its first ones leave free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GATES = 3
CANDIDATE = 2


@dataclass(frozen=True)
class RowGeometry:
    """A row of `positions` weights across `lanes` lanes."""

    positions: int
    lanes: int

    @property
    def words(self) -> int:
        """Words of one row, which are also the cycles that one event costs."""
        return -(-self.positions // self.lanes)

    def pack(self, rows: np.ndarray, bits: int) -> list[int]:
        """Memory contents for `rows` (sources x positions): one integer per word, lane 0 lowest.

        Words of one source follow each other. Lanes beyond the last position hold zero.
        """
        sources = rows.shape[0]
        padded = np.zeros((sources, self.words * self.lanes), dtype=np.int64)
        padded[:, : self.positions] = rows
        codes = (padded & ((1 << bits) - 1)).reshape(sources * self.words, self.lanes)
        return [sum(int(code) << (bits * lane) for lane, code in enumerate(word)) for word in codes]


@dataclass(frozen=True)
class LayerGeometry(RowGeometry):
    """A layer's row, with second accumulators for the candidates' recurrent parts."""

    @classmethod
    def of(cls, *, units: int, lanes: int) -> "LayerGeometry":
        return cls(positions=GATES * units, lanes=lanes)

    @property
    def mixed(self) -> bool:
        """Whether every lane holds all three gates in turn."""
        return self.lanes % GATES != 0

    def gate(self, lane: int, phase: int) -> int:
        """Gate that `lane` holds in a word whose number is `phase` modulo 3."""
        return (lane + self.lanes * phase) % GATES

    @property
    def second_words(self) -> int:
        """Second accumulators of a lane: one for three words, or one for each word."""
        return -(-self.words // GATES) if self.mixed else self.words

    def spreads(self, update_lanes: int) -> bool:
        """Whether second sums lie in other lanes than first ones, for an update of so many units at once."""
        units = self.positions // GATES
        return self.mixed and self.lanes == (GATES + 1) * update_lanes and units % self.lanes == 0

    def second_position(self, unit: int, update_lanes: int) -> int:
        """Where a row has the recurrent weight of a unit's candidate, and its lane the second sum.

        Three words hold L candidates, one in each lane, and the first sums of four groups.
        """
        if not self.spreads(update_lanes):
            return GATES * unit + CANDIDATE
        three_words, place = divmod(unit, self.lanes)
        group, member = divmod(place, update_lanes)
        lane = self.lanes - update_lanes * (group + 1) + member  # just below the group's first sums
        phase = next(n for n in range(GATES) if self.gate(lane, n) == CANDIDATE)
        return (GATES * three_words + phase) * self.lanes + lane

    @property
    def slots(self) -> int:
        """Accumulators of a lane in one bank."""
        return self.words + self.second_words


def layer_rows(
    input_weight: np.ndarray, recurrent_weight: np.ndarray, seconds: Sequence[int] | None = None
) -> np.ndarray:
    """Rows of a layer in memory order: I input sources, then N recurrent ones; each 3N positions.

    The image stores 3N x sources with gate blocks (row g*N + u); here position 3u + g comes of it. If
    `seconds` is given, it has each unit's position for the recurrent weight of its candidate.
    """
    together = np.concatenate([input_weight, recurrent_weight], axis=1)  # 3N x (I + N)
    units = together.shape[0] // GATES
    blocks = together.reshape(GATES, units, -1)  # gate, unit, source
    rows = blocks.transpose(2, 1, 0).reshape(together.shape[1], GATES * units)
    if seconds is not None:
        recurrent = rows[input_weight.shape[1] :]
        recurrent[:, list(seconds)] = recurrent[:, CANDIDATE::GATES].copy()
    return rows

"""How a row of weights lies across the lanes.

A row holds every weight that leaves one source: `positions` numbers. For a layer,
position 3u + g is gate g (z, r, candidate) of unit u; for a readout, position j is class j. Position
p sits in lane p mod L of word p div L. So a source costs ceil(positions / L) words, no lane idles before a
row's last word, and the sums of one unit lie in neighbouring lanes.
"""

from dataclasses import dataclass

import numpy as np


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


def layer_rows(input_weight: np.ndarray, recurrent_weight: np.ndarray) -> np.ndarray:
    """Rows of a layer in memory order: I input sources, then N recurrent ones; each 3N positions.

    The image stores 3N x sources with gate blocks (row g*N + u); here position 3u + g comes of it.
    """
    together = np.concatenate([input_weight, recurrent_weight], axis=1)  # 3N x (I + N)
    units = together.shape[0] // 3
    blocks = together.reshape(3, units, -1)  # gate, unit, source
    return blocks.transpose(2, 1, 0).reshape(together.shape[1], 3 * units)

"""The dense baseline: torch's own GRU behind the same readout as :class:`egru.Network`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from egru.network import read_out


class BaselineOutput(NamedTuple):
    """What a forward pass returns."""

    logits: Tensor  #: B x C, or T x B x C for readout="every"
    state: Tensor  #: layers x B x H, after the last step; of padded sequences, after the padding


class GRUNetwork(nn.Module):
    """A GRU and a linear readout; ``readout`` is "mean", "last" or "every", as that of `egru.Network`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_classes: int,
        num_layers: int = 1,
        *,
        readout: str = "mean",
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, num_layers)
        self.readout = nn.Linear(hidden_size, num_classes)
        self.readout_mode = readout

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: Tensor | None = None
    ) -> BaselineOutput:
        """Answer for ``x`` (T x B x I, padded) of ``lengths`` (None: all T) from ``state`` (None: zeros)."""
        h, last = self.gru(x, state)
        if lengths is not None:
            inside = torch.arange(len(x), device=x.device).unsqueeze(1) < lengths
            h = h * inside.unsqueeze(2)
        return BaselineOutput(read_out(self.readout, self.readout_mode, h, lengths), last)

"""The dense baseline: torch's own GRU behind the same readout as :class:`egru.Network`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class BaselineOutput(NamedTuple):
    """What a forward pass returns; logits are B x C."""

    logits: Tensor


class GRUNetwork(nn.Module):
    """A GRU and a linear readout of the mean over each sequence's own steps."""

    def __init__(self, input_size: int, hidden_size: int, num_classes: int, num_layers: int = 1) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, num_layers)
        self.readout = nn.Linear(hidden_size, num_classes)

    def forward(self, x: Tensor, lengths: Tensor) -> BaselineOutput:
        """Classify ``x`` (T x B x I, padded) of ``lengths`` (B)."""
        h, _ = self.gru(x)
        inside = torch.arange(len(x), device=x.device).unsqueeze(1) < lengths
        mean = (h * inside.unsqueeze(2)).sum(0) / lengths.unsqueeze(1)
        return BaselineOutput(self.readout(mean))

"""The processes that train one network together; by default there is one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Team:
    """One process alone. `egret.distributed` has the team of several."""

    rank = 0  #: this process
    size = 1  #: of how many
    device = torch.device("cpu")

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return what to call instead of ``network``, so that gradients become those of the whole team."""
        return network

    def backward(self, loss: Tensor) -> None:
        """Leave in every parameter's ``grad`` the mean of the gradients of the team's losses."""
        loss.backward()

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a value over the team."""
        return value

    def gathered(self, value: Tensor) -> list[Tensor]:
        """Return the values of all processes, by rank."""
        return [value]

    def shared(self, value: Any) -> Any:
        """Return the value that the first process has."""
        return value


ALONE = Team()

"""Several processes that train one network, each on its share of every batch, through Lightning Fabric.

Launched by torchrun, which tells each process its place by environment variables:

    torchrun --nproc-per-node 2 -m egret train ptb-word --recipe paper
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from egru.errors import EgretError

from .team import ALONE, Team


class FabricTeam(Team):
    """The processes that torchrun started, with distributed data parallelism among them."""

    def __init__(self, device: str = "cpu") -> None:
        try:
            from lightning_fabric import Fabric
        except ModuleNotFoundError:
            raise EgretError(
                "training by several processes needs Lightning Fabric: pip install 'egret-hdl[distributed]'"
            ) from None
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // local
        self.fabric: Any = Fabric(accelerator=device, devices=local, num_nodes=nodes, strategy="ddp")
        self.fabric.launch()
        self.rank = self.fabric.global_rank
        self.size = self.fabric.world_size
        self.device = self.fabric.device

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return what to call instead of ``network``; the first process's weights become everyone's."""
        return self.fabric.setup_module(network)

    def backward(self, loss: Tensor) -> None:
        """Leave in every parameter's ``grad`` the mean of the gradients of the team's losses."""
        self.fabric.backward(loss)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a value over the team, without a gradient."""
        return self.fabric.all_reduce(value.detach().clone(), reduce_op="sum")

    def gathered(self, value: Tensor) -> list[Tensor]:
        """Return the values of all processes, by rank."""
        return list(self.fabric.all_gather(value.unsqueeze(0)).flatten(0, 1))

    def shared(self, value: Any) -> Any:
        """Return the value that the first process has; all wait for one another."""
        return self.fabric.broadcast(value, src=0)


def team(device: str = "cpu") -> Team:
    """Return the team that this process is in: that of torchrun's processes, or itself alone.

    Raises EgretError for a device that is not there.
    """
    if device not in ("cpu", "cuda"):
        raise EgretError(f"device must be cpu or cuda, not {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise EgretError("device cuda must be one that this PyTorch sees: it sees none")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return FabricTeam(device)
    if device == "cpu":
        return ALONE
    alone = Team()
    alone.device = torch.device(device)
    return alone

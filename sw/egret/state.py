"""The state of a training between two epochs, so exact that a resumed run equals one that never stopped.

One safetensors file holds every tensor (weights, the best weights, the optimiser's moments, the states of
torch's generators), and its JSON header the rest. Never a pickle.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from egru.errors import EgretError

from .files import write_whole
from .selection import MEASURES, Epoch
from .team import ALONE, Team
from .torch_tensors import read_tensors

FORMAT = "egret-training-state"
VERSION = 1


@dataclass
class Run:
    """A training in progress: all that the next epoch depends on."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator
    generators: dict[str, torch.Generator]  # of the objective; torch's global one counts, too
    step: int = 0  # batches done
    best: Epoch | None = None
    weights: dict[str, Any] = field(default_factory=dict)  # of the best epoch
    history: list[Epoch] = field(default_factory=list)  # from epoch 1

    def generator_states(self) -> dict[str, Tensor]:
        """Return the states of torch's generators by name."""
        states = {name: generator.get_state() for name, generator in self.generators.items()}
        if next(self.network.parameters()).device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state()
        return {"torch": torch.get_rng_state(), **states}


@dataclass(frozen=True)
class Keeper:
    """Saves and restores a run in one file.

    Attributes
    ----------
    identity
        What makes the run what it is (task, model, seed, recipe and so on), ready for JSON. A state of
        another run is refused.
    """

    path: Path
    identity: dict[str, Any]
    team: Team = ALONE

    def save(self, run: Run) -> None:
        """Write the state; the file is the old one or the new one, never half of either."""
        tensors = {f"network/{k}": v for k, v in run.network.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in run.weights.items()}
        for number, values in run.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{k}": v for k, v in values.items()}
        for name, state in run.generator_states().items():
            states = self.team.gathered(state.to(self.team.device))
            tensors |= {f"generator/{name}/{rank}": s for rank, s in enumerate(states)}
        header = {
            "format": FORMAT,
            "version": VERSION,
            "identity": self.identity,
            "step": run.step,
            "best": None if run.best is None else _as_dict(run.best),
            "history": [_as_dict(epoch) for epoch in run.history],
            "numpy": run.rng.bit_generator.state,
        }
        if self.team.rank == 0:
            # Copies, for tied weights share their memory, which the format refuses.
            whole = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
            write_whole(self.path, save(whole, metadata={"egret": json.dumps(header)}))

    def restore(self, run: Run) -> bool:
        """Bring a fresh run to the state in the file; return whether there is one.

        Raises EgretError for a damaged or foreign file, and for the state of another run.
        """
        if not self.path.exists():
            return False
        header, tensors = self._read()
        for name, value in self.identity.items():
            if (found := header["identity"].get(name)) != value:
                raise EgretError(
                    f"training state {self.path} must be of a run with {_difference(name, value, found)}: "
                    "give the same command as before, or delete the file to start again"
                )
        try:
            run.network.load_state_dict(_under("network/", tensors))
            run.weights = _under("best/", tensors)
            optimizer = run.optimizer.state_dict()
            optimizer["state"] = {}
            for name, value in _under("optimizer/", tensors).items():
                number, _, key = name.partition("/")
                optimizer["state"].setdefault(int(number), {})[key] = value
            run.optimizer.load_state_dict(optimizer)
            for name in run.generator_states():
                state = tensors[f"generator/{name}/{self.team.rank}"]
                if name == "torch":
                    torch.set_rng_state(state)
                elif name == "cuda":
                    torch.cuda.set_rng_state(state)
                else:
                    run.generators[name].set_state(state)
            run.rng.bit_generator.state = header["numpy"]
            run.step = int(header["step"])
            run.best = None if header["best"] is None else _epoch(header["best"])
            run.history = [_epoch(values) for values in header["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError, StopIteration) as error:
            raise EgretError(f"training state {self.path} must be complete: {error}") from error
        return True

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        header, tensors = read_tensors("training state", self.path)
        if header.get("format") != FORMAT:
            raise EgretError(f"{self.path} must be a training state of `egret train`: its header differs")
        if header.get("version") != VERSION or not isinstance(header.get("identity"), dict):
            raise EgretError(f"training state {self.path} must have version {VERSION} and an identity")
        return header, tensors


def state_path(checkpoint: Path) -> Path:
    """Return where the state of a run stands that will write ``checkpoint``."""
    return checkpoint.with_suffix(".state.safetensors")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _as_dict(epoch: Epoch) -> dict[str, Any]:
    values = {f.name: getattr(epoch, f.name) for f in dataclasses.fields(epoch)}
    return {**values, "measure": epoch.measure.key}


def _epoch(values: dict[str, Any]) -> Epoch:
    measure = next(m for m in MEASURES if m.key == values["measure"])
    return Epoch(**{**values, "measure": measure})


def _difference(name: str, value: Any, found: Any) -> str:
    if isinstance(value, dict) and isinstance(found, dict):
        keys = [k for k in (*value, *found) if value.get(k) != found.get(k)]
        return f"{name} {keys[0]} {value.get(keys[0])!r}, not {found.get(keys[0])!r}"
    return f"{name} {value!r}, not {found!r}"

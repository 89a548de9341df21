"""Float checkpoints: one safetensors file whose header carries a JSON description. Never a pickle."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from egru import Network
from egru.errors import EgretError

from .baseline import GRUNetwork
from .books import nearest
from .files import write_whole
from .paper import PaperNetwork
from .recipes import Recipe, check_model
from .settings import differences

FORMAT = "egret-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained float network and where it came from.

    Attributes
    ----------
    figures
        What was measured: validation accuracy and activity of the selected epoch, and so on.
    """

    task: str
    model: str
    seed: int
    recipe: Recipe
    input_size: int
    num_classes: int
    weights: dict[str, torch.Tensor]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command that trains this network again."""
        words = command_of(self.task, self.model, self.seed, self.recipe)
        return f"{words} && {self.figures['pruned_by']}" if "pruned_by" in self.figures else words

    def network(self) -> nn.Module:
        """Build the network with its trained weights, in evaluation mode."""
        network = build(self.model, self.input_size, self.num_classes, self.recipe)
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            raise EgretError(
                f"weights must fit a {self.model} of {self.recipe.label} units: {error}"
            ) from error
        return network.eval()


def for_hardware(checkpoint: Checkpoint) -> Network:
    """Return a checkpoint's network in the form that the hardware has, in evaluation mode.

    Raises EgretError, saying why, where there is none.
    """
    network = checkpoint.network()
    if isinstance(network, PaperNetwork):
        return network.plain()
    if not isinstance(network, Network):
        raise EgretError(f"only a model of kind egru can be quantised, not {checkpoint.model}")
    return network


def command_of(task: str, model: str, seed: int, chosen: Recipe) -> str:
    """Return the command that trains a network so."""
    book, base = nearest(chosen, task)
    words = ["egret", "train", task, *([] if book == "default" else ["--recipe", book]), "--seed", str(seed)]
    words += differences(chosen, base, ("units", "layers", "epochs"))
    return shlex.join(words if model == "egru" else [*words, "--model", model])


def build(model: str, input_size: int, num_classes: int, recipe: Recipe) -> nn.Module:
    """Make an untrained network, ``egru`` or ``gru``, from torch's global random state."""
    sizes = (input_size, recipe.units, num_classes, recipe.layers)
    special = recipe.paper_options()
    names = ("readout", "kernel", "eps", "gamma", "memory", "input_std")
    options: dict[str, Any] = {name: getattr(recipe, name) for name in names}
    if check_model(model) == "egru":
        if special or recipe.sizes:
            return PaperNetwork(input_size, recipe.shape, num_classes, **options, **special)
        return Network(*sizes, **options)
    if special or recipe.sizes:
        raise EgretError(f"model must be egru for a recipe with {', '.join(special) or 'sizes'}, not {model}")
    return GRUNetwork(*sizes, readout=recipe.readout)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; the file appears complete or not at all."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "task": checkpoint.task,
        "model": checkpoint.model,
        "seed": checkpoint.seed,
        "recipe": checkpoint.recipe.as_dict(),
        "input_size": checkpoint.input_size,
        "num_classes": checkpoint.num_classes,
        "figures": checkpoint.figures,
    }
    weights = {name: value.detach().contiguous() for name, value in checkpoint.weights.items()}
    write_whole(path, save(weights, metadata={"egret": json.dumps(header)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises EgretError for a missing, foreign, damaged or later-version file, and for weights that are not
    finite.
    """
    if not path.is_file():
        raise EgretError(f"checkpoint {path} must be an existing file")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("egret", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise EgretError(f"checkpoint {path} must be a safetensors file: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise EgretError(f"{path} must be a checkpoint of `egret train`: its header does not say so")
    if header.get("version") != VERSION:
        raise EgretError(f"checkpoint {path} must have version {VERSION}, not {header.get('version')!r}")
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise EgretError(f"{name} of checkpoint {path} must hold finite numbers only")
    kinds = {"task": str, "model": str, "seed": int, "input_size": int, "num_classes": int, "figures": dict}
    for key, kind in kinds.items():
        if type(header.get(key)) is not kind:
            raise EgretError(
                f"{key} of checkpoint {path} must be of type {kind.__name__}, not {header.get(key)!r}"
            )
    try:
        chosen = Recipe(**header["recipe"])
    except (KeyError, TypeError) as error:
        raise EgretError(f"recipe of checkpoint {path} must be complete: {error}") from error
    return Checkpoint(**{key: header[key] for key in kinds}, recipe=chosen, weights=weights)

"""Float checkpoints: one safetensors file whose header carries a JSON description. Never a pickle."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from egru import Network
from egru.errors import EgretError
from egru.untrusted import brief, shown

from .baseline import GRUNetwork
from .books import nearest
from .files import write_whole
from .paper import PaperNetwork
from .recipes import Recipe, check_model, check_seed
from .settings import differences
from .torch_tensors import check_finite, misfit, read_tensors

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
        what = f"weights must fit a {self.model} of {shown(self.recipe.label)} units"
        check_room(what, self.weights, self.input_size, self.recipe.shape, self.num_classes)
        network = build(self.model, self.input_size, self.num_classes, self.recipe)
        if reason := misfit(network, self.weights):
            raise EgretError(f"{what}: {reason}")
        network.load_state_dict(self.weights)
        return network.eval()


def check_room(
    what: str, weights: Mapping[str, torch.Tensor], inputs: int, sizes: tuple[int, ...], classes: int
) -> None:
    """Raise EgretError if a network needs more numbers than there are: before it is made, as it may be huge.

    It has ``inputs``, layers of ``sizes`` units and ``classes``, as a file says that may say anything.
    """
    there, needed = sum(value.numel() for value in weights.values()), 0
    for units in sizes:
        needed += 3 * units * (inputs + units)
        inputs = units
    needed += inputs * classes
    if needed > there:
        raise EgretError(f"{what}: it needs {brief(needed)} numbers, and there are {there}")


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
    what = f"checkpoint {shown(path)}"
    header, weights = read_tensors("checkpoint", path)
    if header.get("format") != FORMAT:
        raise EgretError(f"{shown(path)} must be a checkpoint of `egret train`: its header does not say so")
    if header.get("version") != VERSION:
        raise EgretError(f"{what} must have version {VERSION}, not {brief(header.get('version'))}")
    check_finite(what, weights)
    kinds = {"task": str, "model": str, "seed": int, "input_size": int, "num_classes": int, "figures": dict}
    for key, kind in kinds.items():
        if type(header.get(key)) is not kind:
            raise EgretError(f"{key} of {what} must be of type {kind.__name__}, not {brief(header.get(key))}")
    for key in ("input_size", "num_classes"):
        if header[key] < 1:
            raise EgretError(f"{key} of {what} must be at least 1, not {brief(header[key])}")
    try:
        check_model(header["model"])
        check_seed(header["seed"])
        chosen = _recipe(header.get("recipe"), len(weights))
    except EgretError as error:
        raise EgretError(f"{what}: {error}") from None
    return Checkpoint(**{key: header[key] for key in kinds}, recipe=chosen, weights=weights)


#: What a value in JSON may be for a field of a recipe, by the field's type.
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "bool": (bool,),
    "tuple[int, ...]": (list,),
}


def _recipe(values: object, tensors: int) -> Recipe:
    """Make a recipe of a checkpoint's header; a layer has at least one of its ``tensors``."""
    if not isinstance(values, dict):
        raise EgretError(f"recipe must be complete: an object of settings, not {brief(values)}")
    types = {entry.name: _JSON_TYPES[str(entry.type)] for entry in dataclasses.fields(Recipe)}
    for name, value in values.items():
        if name not in types:
            raise EgretError(f"recipe must be complete and no more: it has no setting {brief(name)}")
        if type(value) not in types[name]:
            raise EgretError(f"recipe must have {name} of type {types[name][0].__name__}, not {brief(value)}")
        if type(value) is int and float in types[name] and abs(value) > _LARGEST:
            raise EgretError(f"recipe must have a number for {name}, not {brief(value)}")
    chosen = Recipe(**values)
    if chosen.layers > tensors:
        raise EgretError(f"recipe must not have more layers than tensors: {brief(chosen.layers)}")
    return chosen


_LARGEST = 10**300  # floating point numbers end not far beyond

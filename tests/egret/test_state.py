"""Resuming: a training that was interrupted ends with the bits of one that was not."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_text import small_text

from egret import training
from egret.augmentation import Augmentation
from egret.recipes import Recipe
from egru.errors import EgretError

TEXT = Recipe(units=8, epochs=4, batch_size=20, readout="every", window=25, activity_limit=1.0)


class StopError(Exception):
    """Stands for whatever ends a process."""


def stop_after(number: int, seen: list):
    def report(epoch):
        seen.append(epoch)
        if epoch.number == number:
            raise StopError

    return report


def interrupted(task, recipe, state, *, after: int = 2, **options):
    """Train, stop after an epoch, go on; return the checkpoint and all epochs that were reported."""
    epochs = []
    with pytest.raises(StopError):
        training.train(task, recipe, report=stop_after(after, epochs), state=state, **options)
    torch.manual_seed(999)  # another process has other random states
    np.random.default_rng(999)
    made = training.train(task, recipe, report=epochs.append, state=state, **options)
    return made, epochs


@pytest.mark.parametrize("model", ["egru", "gru"])
@pytest.mark.parametrize("after", [1, 3])
def test_two_halves_are_one_whole_bit_for_bit(small_task, small_recipe, tmp_path, model, after):
    recipe = small_recipe.but(epochs=4)
    epochs = []
    straight = training.train(small_task, recipe, model=model, seed=5, report=epochs.append)
    made, cut = interrupted(small_task, recipe, tmp_path / "s", after=after, model=model, seed=5)
    assert cut == epochs and len(epochs) == 4
    assert made.figures == straight.figures
    assert all(torch.equal(made.weights[n], straight.weights[n]) for n in straight.weights)


def test_a_text_is_resumed_bit_for_bit(tmp_path):
    epochs = []
    straight = training.train(small_text(), TEXT, seed=5, report=epochs.append)
    made, cut = interrupted(small_text(), TEXT, tmp_path / "s", seed=5)
    assert cut == epochs
    assert all(torch.equal(made.weights[n], straight.weights[n]) for n in straight.weights)


def test_the_comparison_would_see_a_generator_that_is_not_restored(
    small_task, small_recipe, tmp_path, monkeypatch
):
    straight = training.train(small_task, small_recipe.but(epochs=4), seed=5)
    original = Augmentation.__init__

    def forgetful(self, task, recipe, generator):
        original(self, task, recipe, torch.Generator().manual_seed(5))

    monkeypatch.setattr(Augmentation, "__init__", forgetful)
    made, _ = interrupted(small_task, small_recipe.but(epochs=4), tmp_path / "s", seed=5)
    assert not all(torch.equal(made.weights[n], straight.weights[n]) for n in straight.weights)


def test_the_best_epoch_from_before_the_interruption_is_kept(small_task, small_recipe, tmp_path, monkeypatch):
    values = iter([0.9, 0.5, 0.4, 0.3])
    monkeypatch.setattr("egret.classification.Classification.judge", lambda *_: (next(values), 0.0))
    made, epochs = interrupted(small_task, small_recipe.but(epochs=4), tmp_path / "s", seed=5)
    assert [e.kept for e in epochs] == [True, False, False, False]
    assert made.figures["epoch"] == 1 and made.figures["validation_accuracy"] == 0.9


def test_a_finished_state_gives_its_network_again(small_task, small_recipe, tmp_path):
    one = training.train(small_task, small_recipe, seed=1, state=tmp_path / "s")
    two = training.train(small_task, small_recipe, seed=1, state=tmp_path / "s")
    assert all(torch.equal(one.weights[n], two.weights[n]) for n in one.weights)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"seed": 2}, {}, "must be of a run with seed 2, not 1"),
        ({"model": "gru"}, {}, "must be of a run with model 'gru', not 'egru'"),
        ({}, {"noise": 0.7}, "must be of a run with recipe noise 0.7, not 0.1"),
        ({}, {"eps": 2.0}, "must be of a run with recipe eps 2.0, not None"),
    ],
)
def test_the_state_of_another_run_is_refused(small_task, small_recipe, tmp_path, options, change, message):
    training.train(small_task, small_recipe.but(epochs=1), seed=1, state=tmp_path / "s")
    with pytest.raises(EgretError, match=message):
        training.train(
            small_task,
            small_recipe.but(epochs=1, **change),
            **{"seed": 1, **options},
            state=tmp_path / "s",
        )


def test_damaged_and_foreign_states_are_refused(small_task, small_recipe, tmp_path):
    path = tmp_path / "s"
    training.train(small_task, small_recipe.but(epochs=1), state=path)
    data = path.read_bytes()
    for cut in (0, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(EgretError, match="must be a safetensors file"):
            training.train(small_task, small_recipe.but(epochs=1), state=path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(EgretError, match="must be a training state"):
        training.train(small_task, small_recipe.but(epochs=1), state=path)


def test_a_state_that_lacks_a_tensor_is_refused(small_task, small_recipe, tmp_path):
    from safetensors import safe_open

    path = tmp_path / "s"
    training.train(small_task, small_recipe.but(epochs=1), state=path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {n: file.get_tensor(n) for n in file.keys() if not n.startswith("generator/torch")}  # noqa: SIM118
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(EgretError, match="must be complete"):
        training.train(small_task, small_recipe.but(epochs=1), state=path)

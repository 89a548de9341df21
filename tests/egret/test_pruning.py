"""Pruning: what goes is what the hardware fetches together, and what is gone stays gone."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from egret import tasks, training
from egret.checkpoint import load_checkpoint, save_checkpoint
from egret.cli.main import main
from egret.evaluation import evaluate_image
from egret.frontier import Point
from egret.pruning import (
    Pruning,
    blocks_of,
    image_density,
    prune,
    prune_,
    rows_of,
    strongest,
    zeros_kept,
)
from egret.quantisation import agree, post_training, quantise
from egret.recipes import RECIPES
from egru import EgretError, Network
from egru.image import load_image


@pytest.fixture
def trained(small_task, small_recipe, monkeypatch):
    monkeypatch.setitem(RECIPES, small_task.name, small_recipe)
    return training.train(small_task, small_recipe, seed=0)


def test_a_row_has_the_order_that_the_accelerator_stores():
    """Position 3u + g of source j's row holds gate g of unit u."""
    units, sources = 4, 3
    weight = torch.arange(3 * units * sources).reshape(3 * units, sources)
    rows = rows_of(weight)
    for g in range(3):
        for u in range(units):
            assert torch.equal(rows[:, 3 * u + g], weight[g * units + u])


def test_a_row_is_cut_into_blocks_and_its_last_one_filled_with_zeros():
    weight = torch.ones(12, 2)
    blocks = blocks_of(weight, 5)
    assert blocks.shape == (2, 3, 5) and blocks.sum(2).tolist() == [[5, 5, 2]] * 2
    assert blocks_of(weight, 0).shape == (2, 1, 12)


@pytest.mark.parametrize(("block", "density"), [(0, 0.5), (1, 0.3), (5, 0.4), (36, 0.5), (8, 1.0)])
def test_whole_blocks_go_and_they_are_the_weakest(block, density):
    torch.manual_seed(block)
    weight = torch.randn(36, 12)
    kept = strongest(weight, density, block)
    blocks, left = blocks_of(weight, block), blocks_of(weight * kept, block)
    stays = left.any(2)
    assert stays.sum() == round(density * stays.numel())
    assert torch.equal(left[stays], blocks[stays])
    strength = blocks.square().sum(2)
    assert density == 1.0 or strength[stays].min() >= strength[~stays].max()


def test_at_least_one_block_stays_and_equals_go_from_the_end():
    kept = strongest(torch.ones(6, 2), 0.001, 3)
    assert kept.sum() == 3 and torch.equal(rows_of(kept)[0], torch.tensor([1.0, 1, 1, 0, 0, 0]))


def test_zeros_stay_zero_under_adam_with_weight_decay_and_move_again_afterwards():
    torch.manual_seed(0)
    network = Network(5, 8, 3, 2)
    prune_(network, 0.25, 4)
    zero = {n: p == 0 for n, p in network.named_parameters() if n.endswith(("ih_l1", "hh_l0"))}
    assert all(z.any() for n, z in zero.items() if "weight" in n)
    optimiser = torch.optim.AdamW(network.parameters(), 0.1, weight_decay=0.1)

    def step():
        optimiser.zero_grad()
        network(torch.randn(6, 4, 5)).logits.square().sum().backward()
        optimiser.step()

    with zeros_kept(network):
        for _ in range(5):
            step()
    for name, value in network.named_parameters():
        if "weight" in name and name in zero:
            assert torch.equal(value == 0, zero[name])
    step()
    assert not torch.equal(network.egru.weight_hh_l0 == 0, zero["egru.weight_hh_l0"])


def test_a_network_without_zeros_is_left_alone():
    network = Network(5, 8, 3)
    with zeros_kept(network):
        assert not any(p._backward_hooks for p in network.parameters())


@pytest.mark.parametrize("block", [0, 4])
@pytest.mark.parametrize("learn_scales", [False, True])
def test_pruned_blocks_stay_zero_through_training_and_fine_tuning_into_the_image(
    small_task, small_recipe, trained, block, learn_scales
):
    done = prune(small_task, trained, Pruning(0.5, block, 2, 2), small_recipe)
    network = done.network()
    recurrent = blocks_of(network.egru.weight_hh_l0.detach(), block).any(2)
    assert recurrent.float().mean() == pytest.approx(0.5)
    inputs = blocks_of(network.egru.weight_ih_l0.detach(), block).any(2).float().mean()
    assert inputs == (1.0 if block == 0 else 0.5)
    recipe = small_recipe.but(learn_scales=learn_scales or None, qat_learning_rate=2e-2)
    image = quantise(small_task, done, bits=8, recipe=recipe).image
    found = blocks_of(torch.from_numpy(image.layers[0].recurrent_weight.copy()), block).any(2)
    assert not (found & ~recurrent).any() and found.any()
    assert not np.array_equal(
        image.layers[0].recurrent_weight, post_training(done).to_image("small").layers[0].recurrent_weight
    )
    assert image_density(image, block) <= (0.5 if block else (8 * 0.5 + 3) / 11) + 1e-9
    assert agree(post_training(done), small_task.validation)
    assert done.figures["validation_accuracy"] > 0.75


def test_the_test_part_has_no_influence_on_what_is_pruned(small_task, small_recipe, trained):
    spoilt = dataclasses.replace(small_task, test=small_task.train)
    one, two = (prune(t, trained, Pruning(0.5, 4, 1, 1), small_recipe) for t in (small_task, spoilt))
    assert all(torch.equal(one.weights[n], two.weights[n]) for n in one.weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": 0.0}, r"density must be above 0 and at most 1, not 0\.0"),
        ({"density": 1.5}, "density must be above 0 and at most 1"),
        ({"density": float("nan")}, "density must be above 0 and at most 1"),
        ({"density": 0.5, "block": -1}, "block must be an integer of at least 0, not -1"),
        ({"density": 0.5, "rounds": 0}, "rounds must be an integer of at least 1, not 0"),
        ({"density": 0.5, "epochs": 0}, "epochs must be an integer of at least 1, not 0"),
    ],
)
def test_a_pruning_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(EgretError, match=message):
        Pruning(**arguments)


def test_a_dense_baseline_cannot_be_pruned(small_task, small_recipe):
    dense = training.train(small_task, small_recipe.but(epochs=1), model="gru")
    with pytest.raises(EgretError, match="only a model of kind egru can be pruned"):
        prune(small_task, dense, Pruning(0.5), small_recipe)


@pytest.fixture
def as_digits(small_task, small_recipe, trained, tmp_path, monkeypatch):
    task = dataclasses.replace(small_task, name="digits")
    monkeypatch.setattr(tasks, "load", lambda _name: task)
    monkeypatch.setitem(RECIPES, "digits", small_recipe)
    monkeypatch.chdir(tmp_path)
    save_checkpoint(dataclasses.replace(trained, task="digits"), tmp_path / "s.safetensors")
    return task


def test_prune_then_quantize_and_the_image_names_both_commands(as_digits, capsys):
    options = "--density 0.5 --block 4 --rounds 1 --epochs 1"
    assert main(["prune", "s.safetensors", *options.split()]) == 0
    assert "of the validation part at" in capsys.readouterr().out
    assert load_checkpoint(Path("s-pruned.safetensors")).figures["pruning"]["density"] == 0.5
    assert main(["quantize", "s-pruned.safetensors", "--epochs", "1"]) == 0
    image = load_image("s-pruned.egret")
    assert f"&& egret prune s.safetensors {options} && egret quantize" in image.info["command"]
    assert image_density(image, 4) <= 0.5


def test_frontier_writes_page_figures_and_picture_of_the_points_that_it_measured(as_digits, trained, capsys):
    arguments = [
        "--densities",
        "1,0.5",
        "--activities",
        "0.2",
        "--rounds",
        "1",
        "--epochs",
        "1",
        "--block",
        "4",
    ]
    assert main(["frontier", "s.safetensors", *arguments, "-o", "out"]) == 0
    assert "digits, density 0.5, activity 0.2: epoch 1/1" in capsys.readouterr().err
    figures = json.loads(Path("out/sparsity.json").read_text())
    ((full, half),) = [n["points"] for n in figures["networks"]]
    recipe = trained.recipe.but(activity_target=0.2, activity_limit=0.3)
    wanted = prune(as_digits, trained, Pruning(0.5, 4, 1, 1), recipe)
    image = post_training(wanted).to_image("digits")
    assert half["test"] == evaluate_image(image, as_digits.test).accuracy
    assert half["density"] == image_density(image, 4) <= 0.5 < full["density"]
    page = Path("out/sparsity.md").read_text()
    assert f"{half['validation']:.2%}" in page and "blocks of 4 numbers" in page
    assert "<svg" in Path("out/sparsity.svg").read_text()


def test_work_is_what_is_left_of_rows_of_the_sources_that_fired():
    assert Point(0.5, 0.1, 0.4, 0.05, 0.9, 0.9).work == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune", "s.safetensors", "--density", "2"], "density must be above 0 and at most 1, not 2.0"),
        (["prune", "none.safetensors", "--density", "0.5"], "none.safetensors must be an existing file"),
        (["frontier", "s.safetensors", "--densities", "1,x"], "densities must be numbers above 0"),
        (["frontier", "s.safetensors", "--activities", "0"], "activities must be numbers above 0"),
        (["frontier", "s.safetensors", "--block", "-1"], "block must be an integer of at least 0, not -1"),
    ],
)
def test_a_bad_request_gets_one_line_and_leaves_nothing(as_digits, capsys, arguments, message):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert len(shown.err.strip().splitlines()) == 1 and message in shown.err
    assert os.listdir() == ["s.safetensors"]

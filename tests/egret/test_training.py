"""Training: batches, schedules, pressure, selection, checkpoints."""

import dataclasses
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from egret import checkpoint, objective, schedules, selection, training
from egret.augmentation import Augmentation, rotations
from egret.baseline import GRUNetwork
from egret.batches import batches_per_epoch, bucketed
from egret.books import PAPER, recipe
from egret.modules import evaluate_module
from egret.quantisation import fine_tune, post_training
from egret.recipes import RECIPES, Recipe, parse_seeds
from egret.tasks import NAMES, TEXT_NAMES, Sequences
from egru import Network
from egru.errors import EgretError
from egru.writing import check_output

# Batches


@pytest.mark.parametrize("count", [1, 7, 8, 63, 64, 65, 200])
def test_every_sequence_comes_once_per_epoch_and_the_batches_are_as_many_as_announced(count):
    x = tuple(np.zeros((1 + i % 9, 2), np.float32) for i in range(count))
    batches = list(bucketed(Sequences(x, np.zeros(count, np.int64)), 8, np.random.default_rng(0)))
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert max(len(b) for b in batches) <= 8
    assert len(batches) == batches_per_epoch(count, 8)


def test_batches_hold_sequences_of_similar_length():
    rng = np.random.default_rng(2)
    x = tuple(np.zeros((n, 1), np.float32) for n in rng.integers(1, 100, 512))
    sequences = Sequences(x, np.zeros(512, np.int64))
    padded = sum(sequences.lengths[b].max() * len(b) for b in bucketed(sequences, 16, rng))
    assert padded < 1.3 * sequences.lengths.sum()


# Schedules and pressure


def test_pressure_is_absent_in_the_first_third_and_full_from_the_second():
    phase = schedules.Phase(30, 1e-3, (1 / 3, 2 / 3))
    assert [schedules.pressure_at(phase, p, 6.0) for p in (0, 0.2, 0.333)] == [0, 0, 0]
    assert schedules.pressure_at(phase, 0.5, 6.0) == pytest.approx(3.0)
    assert [schedules.pressure_at(phase, p, 6.0) for p in (0.67, 1.0)] == [6, 6]
    assert schedules.pressure_at(schedules.Phase(5, 1e-3, (0, 0)), 0.0, 6.0) == 6


def test_the_learning_rate_rises_then_falls_to_zero():
    rates = [schedules.learning_rate_at(1e-2, p, 0.1) for p in np.linspace(0, 1, 101)]
    assert rates[0] == 0 and rates[10] == pytest.approx(1e-2) and rates[-1] == pytest.approx(0)
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_the_activity_is_a_mean_over_real_steps_and_its_gradient_reaches_every_weight():
    torch.manual_seed(3)
    network = Network(3, 8, 2, 2)
    x, lengths = torch.randn(9, 4, 3), torch.tensor([9, 5, 7, 1])
    output = network(x, lengths)
    activity = objective.mean_activity(output.spikes, lengths)
    counted = [sum(float((y[:n, b] != 0).sum()) for b, n in enumerate(lengths)) for y in output.events]
    assert activity.item() == pytest.approx(sum(counted) / (2 * 22 * 8))
    assert 0 < activity.item() < 1
    activity.backward()
    for name, value in network.egru.named_parameters():
        assert value.grad is not None and value.grad.abs().max() > 0, name


def test_a_step_down_the_activity_gradient_makes_a_network_quieter():
    torch.manual_seed(4)
    network = Network(3, 16, 2)
    x, lengths = torch.randn(20, 8, 3), torch.full((8,), 20)
    optimizer = torch.optim.SGD(network.parameters(), lr=2.0)
    seen = []
    for _ in range(6):
        activity = objective.mean_activity(network(x, lengths).spikes, lengths)
        seen.append(activity.item())
        optimizer.zero_grad()
        activity.backward()
        optimizer.step()
    assert seen[-1] < 0.8 * seen[0]


def test_pressure_trains_a_quiet_network_that_still_knows_its_classes(small_task, small_recipe):
    activity = {}
    for pressure in (0.0, 10.0):
        recipe = small_recipe.but(epochs=12, pressure=pressure, activity_target=0.05)
        network = training.train(small_task, recipe, seed=1).network()
        seen = evaluate_module(network, small_task.validation)
        activity[pressure] = seen.mean_activity
        assert seen.accuracy > 0.8
    assert activity[10.0] < 0.6 * activity[0.0]


@pytest.mark.parametrize(
    ("fired", "expected", "slope"),
    [(3, 1.0 + 10 * (0.75 - 0.5), 10 / 4), (2, 1.0, 0.0), (1, 1.0, 0.0), (0, 1.0 + 4 * 0.25, -4 / 4)],
)
def test_pressure_is_on_activity_above_the_target_and_below_the_floor_alone(fired, expected, slope):
    spikes = torch.tensor([1.0] * fired + [0.0] * (4 - fired)).view(2, 1, 2).requires_grad_()
    step = objective.Step(torch.tensor(1.0), [spikes], torch.tensor([2]))
    loss = objective.whole_loss(step, 10.0, 0.5, lift=4.0, floor=0.25)
    loss.backward()
    assert loss.item() == expected and (spikes.grad == slope).all()


def test_a_floor_lifts_the_activity_from_the_first_step_on(small_task, small_recipe):
    recipe = small_recipe.but(epochs=6, activity_target=1.0, activity_limit=1.0, ramp_start=1.0, ramp_end=1.0)
    activity = {}
    for floor in (0.0, 0.9):
        network = training.train(small_task, recipe.but(activity_floor=floor), seed=1).network()
        activity[floor] = evaluate_module(network, small_task.validation).mean_activity
    assert activity[0.0] < 0.8 and activity[0.9] > 0.85


def test_thresholds_stay_where_the_hardware_can_hold_them(small_task, small_recipe):
    weights = training.train(small_task, small_recipe.but(learning_rate=0.5, epochs=2), seed=0).weights
    theta = weights["egru.theta_l0"]
    assert theta.min() >= 2**-8 and theta.max() <= 1


# The loop


def test_training_lowers_the_loss_and_learns(small_task, small_recipe):
    epochs = []
    made = training.train(small_task, small_recipe.but(pressure=0.0, epochs=12), seed=0, report=epochs.append)
    assert [e.number for e in epochs] == list(range(1, 13))
    assert epochs[-1].loss < 0.7 * epochs[0].loss
    assert evaluate_module(made.network(), small_task.test).accuracy > 0.8


def test_the_dense_baseline_learns_by_the_same_loop_and_has_no_activity(small_task, small_recipe):
    epochs = []
    made = training.train(small_task, small_recipe, model="gru", seed=0, report=epochs.append)
    assert all(e.activity is None for e in epochs)
    assert evaluate_module(made.network(), small_task.test).accuracy > 0.8


def test_the_loop_is_the_plain_one_bit_for_bit(small_task, small_recipe):
    """Shipped networks must reproduce: the same random streams and the same operations in the same order."""
    recipe, seed = small_recipe.but(epochs=2, ramp_start=0.2, ramp_end=0.6, activity_target=0.01), 3
    torch.manual_seed(seed)
    network = Network(3, 8, 2, 1, kernel="dense")
    rng = np.random.default_rng(seed)
    augment = Augmentation(small_task, recipe, torch.Generator().manual_seed(seed))
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    phase, total = schedules.Phase(2, recipe.learning_rate, (0.2, 0.6)), 2 * batches_per_epoch(96, 16)
    weights = []
    for step in range(total):
        if step % (total // 2) == 0:
            batches = bucketed(small_task.train, 16, rng)
        chosen = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = schedules.learning_rate_at(recipe.learning_rate, step / total, recipe.warmup)
        x, lengths = (torch.from_numpy(a) for a in small_task.train.padded(chosen))
        output = network(augment(x), lengths)
        labels = torch.from_numpy(small_task.train.y[chosen])
        loss = torch.nn.functional.cross_entropy(output.logits, labels, label_smoothing=0.05)
        if pressure := schedules.pressure_at(phase, step / total, recipe.pressure):
            activity = objective.mean_activity(output.spikes, lengths)
            loss = loss + pressure * torch.relu(activity - recipe.activity_target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimizer.step()
        training.clamp_thresholds(network)
        if (step + 1) % (total // 2) == 0:
            weights.append({n: v.clone() for n, v in network.state_dict().items()})
    made = training.train(small_task, recipe, seed=seed)
    kept = weights[made.figures["epoch"] - 1]
    assert all(torch.equal(made.weights[name], kept[name]) for name in kept)


def test_training_moves_thresholds_at_their_own_rate(small_task, small_recipe):
    recipe = small_recipe.but(epochs=1, threshold_rate=1e-6)
    torch.manual_seed(3)
    first = checkpoint.build("egru", small_task.input_size, small_task.num_classes, recipe).state_dict()
    slow = training.train(small_task, recipe, seed=3).weights
    usual = training.train(small_task, recipe.but(threshold_rate=1.0), seed=3).weights
    for name in (name for name in first if "theta" in name):
        assert torch.allclose(slow[name], first[name], atol=1e-5)
        assert (usual[name] - first[name]).abs().max() > 1e-3
    assert (slow["egru.weight_hh_l0"] - first["egru.weight_hh_l0"]).abs().max() > 1e-3


def test_the_same_seed_gives_the_same_network_and_another_seed_another(small_task, small_recipe):
    one, two, other = (training.train(small_task, small_recipe, seed=s).weights for s in (7, 7, 8))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_test_part_has_no_influence_on_training(small_task, small_recipe):
    spoilt = dataclasses.replace(small_task, test=Sequences(small_task.test.x, 1 - small_task.test.y))
    one, two = (training.train(t, small_recipe, seed=2).weights for t in (small_task, spoilt))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_kept_epoch_is_the_one_whose_weights_are_returned(small_task, small_recipe):
    epochs = []
    made = training.train(small_task, small_recipe, seed=3, report=epochs.append)
    kept = [e for e in epochs if e.kept][-1]
    seen = evaluate_module(made.network(), small_task.validation)
    assert (seen.accuracy, seen.mean_activity) == (kept.accuracy, kept.activity)
    assert made.figures["epoch"] == kept.number


def epoch(accuracy: float, activity: float | None) -> selection.Epoch:
    return selection.Epoch(1, 0.0, accuracy, activity, kept=False)


@pytest.mark.parametrize(
    ("candidate", "best", "expected"),
    [
        ((0.90, 0.30), None, True),
        ((0.90, 0.05), (0.99, 0.30), True),
        ((0.99, 0.30), (0.50, 0.05), False),
        ((0.90, 0.07), (0.89, 0.02), True),
        ((0.88, 0.02), (0.89, 0.07), False),
        ((0.567, 0.20), (0.973, 0.30), False),
        ((0.973, 0.30), (0.567, 0.20), True),
        ((0.96, 0.20), (0.973, 0.30), True),
        ((0.98, 0.30), (0.973, 0.20), False),
        ((0.99, 0.30), (0.973, 0.20), False),
        ((0.995, 0.30), (0.973, 0.20), True),
        ((math.nan, 0.30), (0.5, 0.40), False),
        ((0.5, 0.40), (math.nan, 0.30), True),
        ((0.5, None), (math.nan, None), True),
        ((0.90, 0.05), (0.90, 0.05), True),
        ((0.91, None), (0.90, None), True),
        ((0.89, None), (0.90, None), False),
    ],
)
def test_epochs_are_chosen_within_the_activity_limit_first_then_by_accuracy(candidate, best, expected):
    assert selection.better(epoch(*candidate), best and epoch(*best), limit=0.08) is expected


def test_where_no_epoch_is_within_the_limit_value_does_not_drift_away_for_silence():
    """Each is a little worse and a little quieter than the one before: all are held against the best."""
    history, best = [], None
    for number, accuracy in enumerate((0.97, 0.98, 0.97, 0.961, 0.955, 0.94, 0.93)):
        now = selection.Epoch(number, 0.0, accuracy, 0.5 - 0.01 * number, kept=False)
        if selection.better(now, best, 0.08, history):
            best = now
        history.append(now)
    assert best is not None and best.number == 3
    late = selection.Epoch(9, 0.0, 0.6, 0.08, kept=False)
    assert selection.better(late, best, 0.08, history)  # what is within the limit is better than any


@pytest.mark.parametrize(
    ("candidate", "best", "expected"),
    [((5.0, 0.3), (9.0, 0.2), True), ((9.0, 0.2), (5.0, 0.3), False), ((5.09, 0.2), (5.0, 0.3), True)],
)
def test_the_same_rule_holds_where_less_is_better(candidate, best, expected):
    of = [
        selection.Epoch(1, 0.0, *values, kept=False, measure=selection.PERPLEXITY)
        for values in (candidate, best)
    ]
    assert selection.better(*of, limit=0.08) is expected


def test_a_limit_that_no_epoch_meets_is_told_and_never_ends_the_wait(small_task, small_recipe):
    epochs = []
    recipe = small_recipe.but(activity_limit=1e-6, activity_target=0.5, patience=1, epochs=9)
    made = training.train(small_task, recipe, seed=0, report=epochs.append)
    assert len(epochs) == 9
    top = max(e.accuracy for e in epochs)
    assert made.figures["validation_accuracy"] >= top - selection.NEAR
    told = selection.told_above_limit(made.figures, recipe.activity_limit)
    assert "no epoch was within the activity limit of 0.00%" in told
    assert f"at {made.figures['validation_activity']:.2%};" in told
    assert selection.told_above_limit({"validation_activity": [0.1, 0.3]}, 0.2) is None
    assert "at 20.00%" in selection.told_above_limit({"validation_activity": [0.1, 0.3]}, 0.1)
    assert selection.told_above_limit({"validation_activity": None}, 0.1) is None


@pytest.mark.parametrize(
    ("number", "best", "patience", "expected"),
    [
        (9, 1, 0, False),
        (9, 6, 3, True),
        (8, 6, 3, False),
        (8, 1, 3, False),
        (9, 1, 3, True),
        (9, 9, 3, False),
    ],
)
def test_waiting_for_a_better_epoch_begins_when_the_pressure_is_full(number, best, patience, expected):
    phase = schedules.Phase(9, 1e-3, (1 / 3, 2 / 3))
    assert selection.waited_enough(number, selection.Epoch(best, 0, 0, 0, True), phase, patience) is expected


def test_training_stops_early_when_no_epoch_gets_better(small_task, small_recipe):
    epochs = []
    recipe = small_recipe.but(epochs=40, learning_rate=1e-1, patience=2)
    training.train(small_task, recipe, seed=0, report=epochs.append)
    last_kept = [e.number for e in epochs if e.kept][-1]
    assert len(epochs) == max(last_kept, 27) + 2 < 40


def test_a_loss_that_is_not_finite_is_an_error(small_task, small_recipe, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda logits, *_a, **_k: logits.sum() * np.inf)
    with pytest.raises(EgretError, match="training diverged in epoch 1"):
        training.train(small_task, small_recipe)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_parameter_that_stops_being_a_number_ends_the_training_before_anything_is_kept(
    small_task, small_recipe, tmp_path, monkeypatch, quantised, value
):
    """Spikes of a network of NaN are zero and its loss may look plausible: the parameters are looked at."""

    def spoil(network, _recipe):
        network.egru.weight_hh_l0.grad.view(-1)[3] = value

    monkeypatch.setattr(training, "clip", spoil)
    state = tmp_path / "state.safetensors"
    weights = Network(3, 8, 2).state_dict()
    untrained = checkpoint.Checkpoint("small", "egru", 0, small_recipe, 3, 2, weights)
    if quantised:
        with pytest.raises(EgretError, match=r"weight_hh_l0 .*NaN or infinity"):
            fine_tune(post_training(untrained), small_task, small_recipe, 0, None)
    else:
        with pytest.raises(EgretError, match=r"diverged in epoch 1, as egru\.\w+_l0 holds NaN"):
            training.train(small_task, small_recipe, state=state)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_ends_the_epoch_at_once(small_task, small_recipe, monkeypatch):
    steps = []
    monkeypatch.setattr(training, "clip", lambda *_: steps.append(1))
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda logits, *_a, **_k: logits.sum() * np.nan)
    with pytest.raises(EgretError, match="training diverged in epoch 1, as"):
        training.train(small_task, small_recipe)
    assert len(steps) == 1


# The dense baseline


def test_the_baseline_ignores_padding():
    torch.manual_seed(0)
    network = GRUNetwork(3, 5, 2)
    x, lengths = torch.randn(7, 2, 3), torch.tensor([7, 4])
    spoilt = x.clone()
    spoilt[4:, 1] = 99.0
    torch.testing.assert_close(network(x, lengths).logits, network(spoilt, lengths).logits)
    alone = network(x[:4, 1:], torch.tensor([4])).logits
    torch.testing.assert_close(network(x, lengths).logits[1:], alone)


# Augmentation


def test_rotations_are_rotations_and_their_angles_have_the_deviation_asked_for():
    made = rotations(2000, 0.2, torch.Generator().manual_seed(1))
    torch.testing.assert_close(made @ made.mT, torch.eye(3).expand(2000, 3, 3), atol=1e-5, rtol=0)
    assert (torch.linalg.det(made) > 0).all()
    cosine = ((made.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)
    assert torch.arccos(cosine).square().mean().sqrt().item() == pytest.approx(0.2, rel=0.1)


def test_a_turned_sequence_keeps_the_lengths_of_its_vectors(small_task, small_recipe):
    task = dataclasses.replace(small_task, vectors=((0, 1, 2),))
    recipe = small_recipe.but(noise=0.0, rotation_degrees=30.0)
    x = torch.randn(6, 4, 3)
    turned = Augmentation(task, recipe, torch.Generator().manual_seed(0))(x)
    offset, scale = (torch.tensor(v) for v in (task.normalisation.offset, task.normalisation.scale))
    before, after = (v / scale + offset for v in (x, turned))
    torch.testing.assert_close(after.norm(dim=2), before.norm(dim=2), atol=1e-4, rtol=1e-4)
    assert (turned - x).abs().max() > 0.1


def test_without_vectors_only_noise_is_added(small_task, small_recipe):
    recipe = small_recipe.but(noise=0.5, rotation_degrees=30.0, gain=0.5)
    x = torch.randn(200, 8, 3)
    added = Augmentation(small_task, recipe, torch.Generator().manual_seed(0))(x) - x
    assert added.std().item() == pytest.approx(0.5, rel=0.05)
    quiet = Augmentation(small_task, recipe.but(noise=0.0), torch.Generator())
    assert torch.equal(quiet(x), x)


# Recipes


def test_every_task_has_a_recipe():
    assert set(RECIPES) | set(PAPER) == {*NAMES, *TEXT_NAMES}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 0}, "units must be an integer of at least 1, not 0"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"qat_epochs": -1}, "qat_epochs must be an integer of at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"noise": -0.1}, "noise must be"),
        ({"eps": 0.0}, "eps must be a finite number above 0"),
        ({"patience": -1}, "patience must be an integer of at least 0"),
        ({"sizes": (8, 0)}, "sizes must be integers of at least 1"),
        ({"zoneout": 1.0}, "zoneout must be at least 0 and below 1, not 1.0"),
        ({"activity_target": 1.5}, r"activity_target must lie in 0\.\.1"),
        ({"activity_floor": -0.1}, "activity_floor must lie in 0..1"),
        ({"activity_floor": 0.1}, "activity_floor must be at most activity_target, 0.05, not 0.1"),
        ({"ramp_start": 0.9, "ramp_end": 0.5}, "ramp_end must be at least ramp_start"),
    ],
)
def test_a_recipe_out_of_range_is_refused(change, message):
    with pytest.raises(EgretError, match=message):
        Recipe(**change)


def test_a_recipe_that_a_book_lacks_is_refused_with_a_hint():
    assert recipe("smnist", "paper").units == 590
    for task, book, message in (
        ("digits", "paper", "task digits has no paper recipe: choose --recipe default"),
        ("wikitext-2", "default", "task wikitext-2 has no default recipe: choose --recipe paper"),
        ("digits", "best", "recipe must be one of default, paper, not 'best'"),
    ):
        with pytest.raises(EgretError, match=message):
            recipe(task, book)


def test_seeds_are_read_from_a_list():
    assert parse_seeds("0,1, 5") == (0, 1, 5)
    for bad in ("", "0,,1", "x", "-1", "1.5", "3,3"):
        with pytest.raises(EgretError, match="seed"):
            parse_seeds(bad)


# Checkpoints


@pytest.fixture
def saved(tmp_path, small_task, small_recipe):
    made = training.train(small_task, small_recipe.but(epochs=1), seed=0)
    path = tmp_path / "small.safetensors"
    checkpoint.save_checkpoint(made, path)
    return made, path


def test_a_checkpoint_comes_back_as_it_was(saved):
    made, path = saved
    read = checkpoint.load_checkpoint(path)
    assert dataclasses.replace(read, weights={}) == dataclasses.replace(made, weights={})
    assert all(torch.equal(read.weights[name], made.weights[name]) for name in made.weights)
    assert [p.name for p in path.parent.iterdir()] == ["small.safetensors"]


def test_the_command_of_a_checkpoint_names_what_differs_from_the_recipe(saved):
    made = dataclasses.replace(saved[0], task="digits", recipe=RECIPES["digits"].but(epochs=7), seed=4)
    assert made.command == "egret train digits --seed 4 --epochs 7"
    assert dataclasses.replace(made, model="gru").command.endswith(" --model gru")
    paper = dataclasses.replace(made, task="smnist", recipe=PAPER["smnist"].but(threads=2))
    assert paper.command == "egret train smnist --recipe paper --seed 4 --set threads=2"


def rewrite(path, change) -> None:
    """Change the JSON header of a checkpoint."""
    read = checkpoint.load_checkpoint(path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["egret"])
    change(header)
    save_file(read.weights, path, metadata={"egret": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(version=2), "must have version 1, not 2"),
        (lambda h: h.update(format="x"), "must be a checkpoint"),
        (lambda h: h.pop("seed"), "seed of checkpoint .* must be of type int, not None"),
        (lambda h: h["recipe"].update(unknown=1), "must be complete"),
        (lambda h: h["recipe"].update(units=0), "units must be"),
        (lambda h: h.update(task=["digits"]), "must be of type str"),
        (lambda h: h.update(figures=3), "must be of type dict"),
    ],
)
def test_a_checkpoint_with_a_wrong_header_is_refused(saved, change, message):
    rewrite(saved[1], change)
    with pytest.raises(EgretError, match=message):
        checkpoint.load_checkpoint(saved[1])


def test_missing_truncated_and_foreign_checkpoints_are_refused(saved, tmp_path):
    _, path = saved
    with pytest.raises(EgretError, match="must be an existing file"):
        checkpoint.load_checkpoint(tmp_path / "none.safetensors")
    data = path.read_bytes()
    for cut in (0, 5, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(EgretError, match="must be a safetensors file"):
            checkpoint.load_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(EgretError, match="must be a checkpoint"):
        checkpoint.load_checkpoint(path)


def test_weights_that_are_not_finite_or_do_not_fit_are_refused(saved):
    made, path = saved
    checkpoint.save_checkpoint(
        dataclasses.replace(made, weights={**made.weights, "readout.bias": torch.tensor([1.0, np.nan])}), path
    )
    with pytest.raises(EgretError, match=r"readout\.bias of checkpoint .* finite"):
        checkpoint.load_checkpoint(path)
    unfit = dataclasses.replace(made, recipe=made.recipe.but(units=9))
    with pytest.raises(EgretError, match="weights must fit a egru of 9 units"):
        unfit.network()


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path):
    for path in (tmp_path, Path("/dev/null/x.safetensors")):
        with pytest.raises(EgretError, match="output"):
            check_output(path)

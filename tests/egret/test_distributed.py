"""Two processes with half of every batch do what one with the whole batch does, to rounding."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import two_processes
from safetensors.torch import load_file

from egret import distributed, training
from egret.batches import bucketed
from egret.checkpoint import build, load_checkpoint
from egret.language import LanguageModelling
from egret.objective import mean_activity
from egret.team import ALONE, Team
from egru.errors import EgretError

SUPPORT = Path(two_processes.__file__).parent


def torchrun(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(SUPPORT), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory) -> list[dict[str, torch.Tensor]]:
    directory = tmp_path_factory.mktemp("two")
    done = torchrun(str(SUPPORT / "two_processes.py"), str(directory), cwd=directory)
    assert done.returncode == 0, done.stderr[-3000:]
    return [load_file(directory / f"{rank}.safetensors") for rank in (0, 1)]


@pytest.mark.parametrize("kind", ["labelled", "silent", "text"])
def test_the_gradients_are_those_of_one_process_with_the_whole_batch(by_rank, kind):
    task, recipe = {
        "labelled": (two_processes.sequences(), two_processes.LABELLED),
        "silent": (two_processes.sequences(), two_processes.SILENT),
        "text": (two_processes.small_text("word", 4), two_processes.TEXT),
    }[kind]
    expected = two_processes.gradients(ALONE, task, recipe, 3)
    assert len(expected) > 15
    for made in by_rank:
        for name, value in expected.items():
            torch.testing.assert_close(made[f"{kind}/{name}"], value, rtol=1e-4, atol=1e-6)


def test_shares_of_a_batch_must_be_weighed_or_the_comparison_sees_it():
    task, recipe = two_processes.sequences(), two_processes.LABELLED.but(pressure=0.0)
    expected = two_processes.gradients(ALONE, task, recipe, 1)["0/loss"].item()  # of 15 sequences
    torch.manual_seed(0)
    network = build("egru", 3, 2, recipe)
    steps = []
    for rank in (0, 1):
        share = Team()
        share.rank, share.size = rank, 2
        objective = training.objective_of(task, recipe, 0, share)
        steps.append(objective.step(network, next(objective.epoch(np.random.default_rng(0)))))
    assert [step.weight for step in steps] == [16 / 15, 14 / 15]
    alike = sum(step.loss.item() for step in steps) / 2
    weighed = sum(step.loss.item() * step.weight for step in steps) / 2
    pressed = 10 * max(0.0, expected_activity(network, task) - recipe.activity_target)
    assert weighed + pressed == pytest.approx(expected, rel=1e-5)
    assert alike + pressed != pytest.approx(expected, rel=1e-4)


def expected_activity(network, task) -> float:
    """The activity on the first batch."""
    chosen = next(bucketed(task.train, 15, np.random.default_rng(0)))
    x, lengths = (torch.from_numpy(a) for a in task.train.padded(chosen))
    return mean_activity(network(x, lengths).spikes, lengths).item()


def test_all_processes_end_with_the_same_weights_and_their_own_random_streams(by_rank):
    one, two = by_rank
    names = [n for n in one if n.startswith(("trained/", "run/"))]
    assert len(names) > 20 and all(torch.equal(one[n], two[n]) for n in names)
    assert not torch.equal(one["own noise"], two["own noise"])


def test_a_run_of_two_processes_is_resumed_bit_for_bit(by_rank):
    for made in by_rank:
        names = [n.removeprefix("run/straight/") for n in made if n.startswith("run/straight/")]
        assert names and all(torch.equal(made[f"run/straight/{n}"], made[f"run/halves/{n}"]) for n in names)


def test_egret_train_runs_under_torchrun_and_the_first_process_writes(tmp_path):
    words = ["-m", "egret", "train", "wikitext-2", "--recipe", "paper", "--epochs", "1", "--data", "."]
    words += ["-o", "w.safetensors"]
    for setting in ("sizes=12,8", "embedding=8", "batch_size=4", "window=10"):
        words += ["--set", setting]
    for part in ("train", "valid", "test"):
        (tmp_path / f"wiki.{part}.tokens").write_text("the dollar rose \n the <unk> fell \n" * 20, "utf-8")
    done = torchrun(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("wrote w.safetensors") == 1 and "perplexity on the validation" in done.stdout
    files = {"w.safetensors", "w.csv"} | {f"wiki.{part}.tokens" for part in ("train", "valid", "test")}
    assert set(os.listdir(tmp_path)) == files
    made = load_checkpoint(tmp_path / "w.safetensors")
    assert made.recipe.sizes == (12, 8) and made.command.startswith("egret train wikitext-2 --recipe paper")


def test_one_process_is_alone_and_other_devices_are_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert distributed.team() is ALONE
    with pytest.raises(EgretError, match="device must be cpu or cuda, not 'tpu'"):
        distributed.team("tpu")


def test_without_fabric_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(EgretError, match="pip install 'egret-hdl\\[distributed\\]'"):
        distributed.team()


def test_a_text_needs_a_batch_that_the_processes_can_share():
    team = Team()
    team.size = 3
    with pytest.raises(EgretError, match="batch_size must be a multiple of the 3 processes, not 10"):
        LanguageModelling(two_processes.small_text("word", 4), two_processes.TEXT, team)

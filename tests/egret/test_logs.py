"""Logs of a training: CSV and TensorBoard."""

import csv
import sys

import pytest

from egret import training
from egret.logs import CsvLog, TensorBoardLog, Together
from egret.selection import Epoch
from egru.errors import EgretError


def test_the_csv_log_has_a_line_per_epoch_with_the_figures_reported(small_task, small_recipe, tmp_path):
    epochs = []
    log = CsvLog(tmp_path / "log.csv")
    training.train(small_task, small_recipe.but(epochs=3), report=Together(log, epochs.append))
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3]
    for row, epoch in zip(rows, epochs, strict=True):
        assert float(row["loss"]) == epoch.loss and float(row["validation_accuracy"]) == epoch.value
        assert float(row["validation_activity"]) == epoch.activity and bool(int(row["kept"])) == epoch.kept
        assert float(row["seconds"]) > 0


def test_a_network_without_events_leaves_the_activity_empty(tmp_path):
    CsvLog(tmp_path / "log.csv")(Epoch(1, 0.5, 0.9, None, kept=True))
    assert (tmp_path / "log.csv").read_text().splitlines()[1] == "1,0.5,0.9,,1,0.0"


def test_every_batch_is_reported_to_those_that_want_to_know(small_task, small_recipe, tmp_path):
    class Watch:
        def __init__(self):
            self.batches = []

        def __call__(self, epoch):
            pass

        def batch(self, done, of):
            self.batches.append((done, of))

    watch = Watch()
    training.train(
        small_task, small_recipe.but(epochs=2), report=Together(watch, CsvLog(tmp_path / "log.csv"))
    )
    assert watch.batches == [(i, 6) for i in range(1, 7)] * 2


def test_tensorboard_reads_the_figures_back(small_task, small_recipe, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    epochs = []
    log = TensorBoardLog(tmp_path)
    training.train(small_task, small_recipe.but(epochs=3), report=Together(log, epochs.append))
    log.close()
    read = EventAccumulator(str(tmp_path)).Reload()
    for name, values in (
        ("training/loss", [e.loss for e in epochs]),
        ("validation/accuracy", [e.value for e in epochs]),
        ("validation/activity", [e.activity for e in epochs]),
    ):
        assert [s.step for s in read.Scalars(name)] == [1, 2, 3]
        assert [s.value for s in read.Scalars(name)] == pytest.approx(values, rel=1e-6)


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(EgretError, match="pip install 'egret-hdl\\[logs\\]'"):
        TensorBoardLog(tmp_path)

"""`egret train`, `quantize`, `evaluate` and `seeds`, from the command line."""

import os

import numpy as np
import pytest

from egret import tasks, training
from egret.checkpoint import load_checkpoint
from egret.cli.main import main
from egret.recipes import RECIPES
from egru.image import load_image, save_image
from egru.testing import random_image


@pytest.fixture
def as_digits(small_task, small_recipe, monkeypatch):
    """Let the small task stand for digits, with its recipe."""
    task = type(small_task)(**{**vars(small_task), "name": "digits"})
    monkeypatch.setattr(tasks, "load", lambda _name: task)
    monkeypatch.setitem(RECIPES, "digits", small_recipe)
    return task


def test_train_then_quantize_then_evaluate(as_digits, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--seed", "3", "-o", "small.safetensors"]) == 0
    shown = capsys.readouterr()
    assert "of the validation part at" in shown.out
    assert "digits egru-8 seed 3: epoch 6/6" in shown.err
    assert main(["quantize", "small.safetensors", "--bits", "6", "--epochs", "1"]) == 0
    shown = capsys.readouterr()
    assert "6 bits, fine-tuned" in shown.out
    assert main(["quantize", "small.safetensors", "--epochs", "0", "-o", "plain.egret"]) == 0
    shown = capsys.readouterr()
    assert "8 bits, as quantised" in shown.out and "fine-tuned" not in shown.out
    os.remove("plain.egret")
    image = load_image("small.egret")
    command = "egret train digits --seed 3 && egret quantize small.safetensors --bits 6 --epochs 1"
    assert image.info["command"] == command
    assert main(["evaluate", "small.egret", "--split", "test"]) == 0
    shown = capsys.readouterr()
    assert f"{image.info['figures']['quantised']['test_accuracy']:.2%}" in shown.out
    assert f"{image.info['figures']['quantised']['test_activity'][0]:.2%}" in shown.out
    assert main(["evaluate", "small.safetensors"]) == 0
    shown = capsys.readouterr()
    assert "egru 8 of small.safetensors on digits, test part, float" in " ".join(shown.out.split())
    assert f"{image.info['figures']['float']['test_accuracy']:.2%}" in shown.out
    assert f"{image.info['figures']['float']['test_activity'][0]:.2%}" in shown.out
    assert sorted(os.listdir()) == ["small.csv", "small.egret", "small.safetensors"]


def test_settings_reach_the_recipe_and_the_command_of_the_checkpoint(as_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "digits", "--set", "eps=2.5", "--epochs", "2", "--set", "noise=0.0"]
    assert main([*arguments, "-o", "small.safetensors"]) == 0
    made = load_checkpoint(tmp_path / "small.safetensors")
    assert made.recipe.eps == made.network().egru.options.eps == 2.5
    assert made.command == "egret train digits --seed 0 --epochs 2 --set noise=0.0 --set eps=2.5"
    assert main([*made.command.split()[1:], "-o", "again.safetensors"]) == 0
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "small.safetensors").read_bytes()


def interrupting(monkeypatch, after: int) -> None:
    """Let the next training be interrupted when epoch ``after`` is reported."""
    original = training.fit

    def fit(*arguments, report, **options):
        monkeypatch.setattr(training, "fit", original)

        def report_then_stop(epoch):
            report(epoch)
            if epoch.number == after:
                raise KeyboardInterrupt

        return original(*arguments, report=report_then_stop, **options)

    monkeypatch.setattr(training, "fit", fit)


def test_an_interrupted_run_says_how_to_go_on_and_ends_with_the_same_file(
    as_digits, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "4", "-o", "straight.safetensors"]) == 0
    interrupting(monkeypatch, after=2)
    capsys.readouterr()
    assert main(["train", "digits", "--epochs", "4", "-o", "cut.safetensors"]) == 130
    said = capsys.readouterr().err.strip().splitlines()[-1]
    command = said.partition("whole epoch: ")[2]
    assert command == "egret train digits --seed 0 --epochs 4 -o cut.safetensors --resume"
    assert (tmp_path / "cut.state.safetensors").is_file() and not (tmp_path / "cut.safetensors").exists()
    assert main(command.removesuffix(" --resume").split()[1:]) == 2
    assert "go on with --resume, or delete it" in capsys.readouterr().err
    assert main(command.split()[1:]) == 0
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "straight.safetensors").read_bytes()
    logs = [(tmp_path / f"{n}.csv").read_text().splitlines() for n in ("cut", "straight")]
    without_time = [[line.rpartition(",")[0] for line in log] for log in logs]
    assert without_time[0] == without_time[1] and len(without_time[0]) == 5
    assert sorted(os.listdir()) == ["cut.csv", "cut.safetensors", "straight.csv", "straight.safetensors"]


def test_resume_without_a_state_starts_from_the_beginning_and_says_so(
    as_digits, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "1", "-o", "a.safetensors", "--resume"]) == 0
    assert "no state a.state.safetensors: training starts from the beginning" in capsys.readouterr().err


def test_an_interrupt_in_the_first_epoch_leaves_nothing(as_digits, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    interrupting(monkeypatch, after=1)
    monkeypatch.setattr("egret.state.Keeper.save", lambda *_: None)
    assert main(["train", "digits", "-o", "a.safetensors"]) == 130
    assert "before the first epoch was done" in capsys.readouterr().err
    assert os.listdir() == ["a.csv"]


def test_quantize_takes_widths_tensor_by_tensor_and_names_them_in_its_command(
    as_digits, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--layers", "2", "--epochs", "1", "-o", "s.safetensors"]) == 0
    widths = ["--weight-bits", "4,3,5,6,7", "--event-bits", "6,4", "--table-bits", "8", "--input-bits", "7"]
    assert (
        main(["quantize", "s.safetensors", *widths, "--epochs", "0", "--learn-scales", "-o", "s.egret"]) == 0
    )
    assert "weights 4 3 5 6 7, events 6 4, tables 8, inputs 7" in capsys.readouterr().out.replace("\n", " ")
    image = load_image("s.egret")
    specs = [layer.spec for layer in image.layers]
    assert [(s.input_weight_bits, s.recurrent_weight_bits) for s in specs] == [(4, 3), (5, 6)]
    assert [s.event_bits for s in specs] == [6, 4] and [s.table_bits for s in specs] == [8, 8]
    assert image.readout.spec.weight_bits == 7 and image.input.bits == 7
    assert image.info["command"].endswith(
        "egret quantize s.safetensors " + " ".join(widths) + " --epochs 0 --learn-scales"
    )
    assert main(["quantize", "s.safetensors", "--event-bits", "6,4,5"]) == 2
    assert (
        "event_bits must be one integer, or one for each of 2 layers, not (6, 4, 5)"
        in capsys.readouterr().err
    )


def test_seeds_prints_a_table_and_writes_what_it_made(as_digits, tmp_path, capsys):
    assert main(["seeds", "digits", "--seeds", "0,1", "--epochs", "2", "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for word in ("GRU", "float", "PTQ", "QAT", "activity", "validation", "mean", "deviation"):
        assert word in shown
    assert (tmp_path / "out" / "digits-egru-1.egret").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "mnist"], "task must be one of digits, har, "),
        (["seeds", "ptb-char"], "task ptb-char is a text, and labelled sequences are needed here"),
        (["train", "wikitext-2", "--recipe", "paper"], "wikitext-2 needs --data, the directory with wiki."),
        (["train", "wikitext-2"], "task wikitext-2 has no default recipe: choose --recipe paper"),
        (["train", "digits", "--recipe", "best"], "recipe must be one of default, paper, not 'best'"),
        (["train", "digits", "--data", "x"], "--data is for texts that are not fetched, not for digits"),
        (["train", "digits", "--units", "0"], "units must be an integer of at least 1, not 0"),
        (["train", "digits", "--epochs", "-1"], "epochs must be an integer of at least 1, not -1"),
        (["train", "digits", "--seed", "-1"], "seed must be at least 0"),
        (["train", "digits", "--model", "lstm"], "model must be one of egru, gru, not 'lstm'"),
        (["train", "digits", "--set", "unit=3"], "a recipe has no setting 'unit': did you mean units?"),
        (
            ["train", "digits", "-o", "other.egret/x"],
            "output other.egret/x cannot be written: Not a directory",
        ),
        (["train", "digits", "-o", "."], "output . must be a file"),
        (["quantize", "none.safetensors"], "checkpoint none.safetensors must be an existing file"),
        (["quantize", "none.safetensors", "--bits", "9"], "bits must be an integer 2..8, not 9"),
        (["quantize", "none.safetensors", "--bits", "1"], "bits must be an integer 2..8, not 1"),
        (["quantize", "none.safetensors", "--weight-bits", "4,9,4"], "2..8, not (4, 9, 4)"),
        (
            ["quantize", "none.safetensors", "--weight-bits", "4,x"],
            "weight-bits must be a number, or numbers",
        ),
        (["quantize", "none.safetensors", "--bits", "4", "--weight-bits", "4"], "and not both"),
        (["quantize", "none.safetensors", "--event-bits", "1"], "event_bits must be an integer 2..8, not 1"),
        (
            ["quantize", "none.safetensors", "--table-bits", "13"],
            "table_bits must be an integer 4..12, not 13",
        ),
        (["quantize", "none.safetensors", "--input-bits", "9"], "input_bits must be an integer 2..8, not 9"),
        (["evaluate"], "evaluate needs a network or --task"),
        (["evaluate", "--task", "mnist"], "task must be one of digits, har, "),
        (["evaluate", "none.egret", "--task", "digits"], "none.egret"),
        (["evaluate", "other.egret"], "other.egret names no task: give --task"),
        (["evaluate", "other.egret", "--task", "digits", "--split", "x"], "split must be one of train, "),
        (
            ["evaluate", "other.egret", "--task", "digits"],
            "the network must take 3 inputs for task digits, not 5",
        ),
        (["seeds", "digits", "--seeds", "0,0"], "seeds must differ"),
        (["seeds", "digits", "-o", "other.egret"], "output directory other.egret must not be a file"),
        (["seeds", "digits", "-o", "other.egret/x"], "output directory other.egret/x cannot be written"),
        (["seeds", "digits", "--bits", "12"], "bits must be an integer 2..8, not 12"),
    ],
)
def test_a_bad_request_gets_one_line_and_leaves_nothing(
    as_digits, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    save_image(random_image(np.random.default_rng(0), inputs=5, units=(4,), classes=2), "other.egret")
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("egret: ") and message in lines[0]
    assert os.listdir() == ["other.egret"]

"""Campaigns of upsets: what they flip, how they judge, and that they find a hole in the protection."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from egret import evaluation, tasks
from egret.cli.main import main
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import generate
from egret_hw.protection import GROUPS, Guard
from egret_sim.build import SimulationError
from egret_sim.faults import campaign
from egret_sim.faults.campaign import Effect, Share, prepare, read_logits, run_campaign
from egret_sim.faults.targets import PROTECTED, TARGETS, find_targets
from egret_sim.tokens import END, EVENT, Field, TokenLayout
from egru.image import save_image
from egru.testing import random_image, random_input

INPUTS = 3
#: What `egret faults` is given, so that its builds are those of the other tests.
OPTIONS = ("--lanes", "4", "--queue-depth", "18")
CONFIG = AcceleratorConfig(lanes=4, queue_depth=18)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(4)
    image = random_image(
        rng,
        inputs=INPUTS,
        units=[5],
        classes=3,
        mode="every",
        weight_bits=8,
        input_bits=8,
        threshold=(0.02, 0.2),
        table_bits=6,
        reset="before",
        state_reset="output",
    )
    return replace(image, name="small", info={"task": "digits"})


@pytest.fixture(scope="module")
def sequences(image):
    rng = np.random.default_rng(1)
    return [random_input(rng, image, steps, density=0.7) for steps in (4, 1, 6, 3)]


@pytest.fixture(scope="module")
def guarded(image):
    return prepare(image, replace(CONFIG, protection="parity"), optimise="quick")


@pytest.fixture(scope="module")
def bare(image):
    return prepare(image, CONFIG, optimise="quick")


def test_with_parity_no_upset_of_a_memory_or_a_stream_is_silent(guarded, sequences):
    found = run_campaign(guarded, sequences, flips=1200, seed=1, kinds=PROTECTED)
    assert not found.silent
    for kind in PROTECTED:
        upsets = found.of(kind)
        assert len(upsets) == 200
        assert any(u.effect is not Effect.MASKED for u in upsets), kind
        # The bit that rises is the one that the kind is watched by, and no other is first.
        bit = 1 << list(GROUPS).index(kind)
        flags = {u.flags for u in upsets if u.flagged}
        assert flags, kind
        assert kind == "streams" or all(f & bit for f in flags), (kind, flags)


def test_without_protection_upsets_change_what_is_sent_and_nothing_is_flagged(bare, sequences):
    found = run_campaign(bare, sequences, flips=140, seed=2)
    assert {upset.job.target.kind for upset in found.upsets} == set(TARGETS)
    changed = [upset for upset in found.upsets if upset.effect is not Effect.MASKED]
    assert changed
    assert all(upset.silent and not upset.flags for upset in changed)
    figures = found.as_dict()
    assert figures["flips"] == 140
    assert sum(of["flips"] - of["masked"] for of in figures["targets"].values()) == len(changed)


def test_a_campaign_can_be_repeated(bare, sequences):
    upsets = [run_campaign(bare, sequences, flips=40, seed=seed).upsets for seed in (5, 5, 6)]
    assert upsets[0] == upsets[1]
    assert upsets[0] != upsets[2]


def test_an_accelerator_that_is_wrong_without_a_flip_is_refused(bare, image, sequences):
    bias = np.array(image.readout.bias)
    bias[1] += 1
    wrong = replace(bare, image=replace(image, readout=replace(image.readout, bias=bias)))
    with pytest.raises(SimulationError, match="differs from the integer model without any flip"):
        run_campaign(wrong, sequences, flips=1, seed=1)


@pytest.fixture
def workplace(image, tmp_path, monkeypatch):
    """The network in a file, a data set in place of the digits, quick builds, and a place for the figures."""
    path = tmp_path / "small.egret"
    save_image(image, path)
    rng = np.random.default_rng(3)
    x = tuple(rng.normal(size=(int(steps), INPUTS)) for steps in rng.integers(2, 7, 8))
    test = tasks.Sequences(x, np.zeros(8, np.int64))
    monkeypatch.setattr(tasks, "load", lambda name: SimpleNamespace(test=test))
    monkeypatch.setattr(evaluation, "check_data", lambda image, data: None)
    monkeypatch.setattr(campaign, "prepare", partial(prepare, optimise="quick"))
    return SimpleNamespace(path=path, out=tmp_path / "out")


def faults(workplace, *options):
    return main(
        ["faults", str(workplace.path), "-o", str(workplace.out), "--samples", "1", *OPTIONS, *options]
    )


def test_the_command_writes_figures_of_both_accelerators(workplace, capsys):
    assert faults(workplace, "--flips", "70") == 0
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in TARGETS)
    figures = json.loads((workplace.out / "faults.json").read_text())
    assert list(figures["campaigns"]) == ["none", "parity"]
    assert all(found["flips"] == 70 for found in figures["campaigns"].values())
    assert (workplace.out / "faults.svg").read_text().startswith("<?xml")
    assert "## small, protection parity" in (workplace.out / "faults-figures.md").read_text()


def test_a_memory_that_is_not_watched_is_found_and_the_command_exits_with_1(workplace, monkeypatch, capsys):
    check = Guard._check

    def with_a_hole(self, m, group, name, word, valid):
        check(self, m, group, name, word, valid & (group != "state"))

    monkeypatch.setattr(Guard, "_check", with_a_hole)
    options = ("--flips", "60", "--protection", "parity", "--target", "state")
    assert faults(workplace, *options) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "silent upsets, the first: bit" in err
    assert "in layer0." in err
    of = json.loads((workplace.out / "faults.json").read_text())["campaigns"]["parity"]["targets"]["state"]
    assert of["silent"] > 0
    assert of["flagged"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--flips", "0"], "flips must be 1 or more, not 0"),
        (["--samples", "0"], "samples must be 1 or more, not 0"),
        (["--samples", "2"], "samples must be at most 8"),
        (["--target", "moon"], "target must be one of weights, parameters,"),
        (["--protection", "secded"], "secded"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(workplace, capsys, options, message):
    assert faults(workplace, *options) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("egret: ")]
    assert message in line
    assert not workplace.out.exists()


def test_a_memory_that_the_sidecar_does_not_name_is_refused(image, tmp_path):
    sidecar = generate(image, tmp_path, CONFIG)
    verilog = (tmp_path / "accelerator.v").read_text()
    assert {target.kind for target in find_targets(verilog, sidecar, registers=True)} == set(TARGETS)
    known = sidecar["memories"]
    without = [entry for entry in known if entry["path"] != "layer0.update.state"]
    with pytest.raises(ValueError, match=r"memory layer0\.update\.state of the Verilog is none"):
        find_targets(verilog, {**sidecar, "memories": without}, registers=False)
    more = [*known, {**known[0], "path": "layer9.queue"}]
    with pytest.raises(ValueError, match=r"not in the Verilog: layer9\.queue"):
        find_targets(verilog, {**sidecar, "memories": more}, registers=False)


def test_shares_have_wilsons_interval():
    # Values of Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I.
    for count, of, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        assert Share(count, of).interval == pytest.approx((low, high), abs=5e-5)
    assert Share(0, 0).interval == (0, 1)


LAYOUT = TokenLayout(12, Field("kind", 0, 2, False), Field("index", 2, 2, False), Field("value", 4, 8, True))


def ran(logits, *, events=False, hung=False):
    kinds = [EVENT if value is not None else END for value in logits]
    values = [value or 0 for value in logits]
    words = LAYOUT.encode(np.array(kinds), np.zeros(len(kinds), int), np.array(values))
    return SimpleNamespace(hung=hung, ports=(events, logits != [1, 5, None, 4, 2, None]), logits=words)


@pytest.mark.parametrize(
    ("of", "effect"),
    [
        (ran([1, 5, None, 4, 2, None]), Effect.MASKED),
        (ran([1, 5, None, 4, 2, None], events=True), Effect.EVENTS),
        (ran([1, 6, None, 4, 2, None]), Effect.LOGITS),
        (ran([1, 5, None, 4, 4, None]), Effect.LOGITS),
        (ran([1, 5, None, 4, 6, None]), Effect.DECISION),
        (ran([1, 5, None, 4, None]), Effect.DECISION),
        (ran([1, 5, None]), Effect.DECISION),
        (ran([1, 5, None], hung=True), Effect.HANG),
    ],
)
def test_an_upset_is_judged_by_the_worst_that_it_changed(of, effect):
    clean = read_logits(LAYOUT, ran([1, 5, None, 4, 2, None]).logits)
    assert [list(logits) for logits in clean] == [[1, 5], [4, 2]]
    assert campaign._effect(of, clean, LAYOUT, 2) is effect

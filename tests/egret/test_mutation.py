"""Faults planted in a small design: which are caught, what is said of them, and how the score is counted."""

import json

import numpy as np
import pytest
from rich.console import Console

from egret import mutation_score
from egret.cli.main import main
from egret.mutation import _LEFT_OUT, Design, Mutant, designs, mutate
from egret.mutation_facts import Fact, checked, load_facts
from egret.mutation_score import Equivalent, Judged, Score, load_equivalents
from egret_hw.config import AcceleratorConfig
from egret_hw.geometry import GATES
from egret_hw.widths import LayerWidths
from egret_sim.mutation.campaign import VERDICTS, Campaign, Verdict, vectors
from egret_sim.mutation.equivalence import Equivalence
from egret_sim.mutation.program import build_mutants
from egret_sim.mutation.surroundings import GatherUse
from egru.errors import EgretError
from egru.formats import round_shift
from egru.integer import IntegerNetwork
from egru.testing import random_image

LINE = (
    r"mutate -ctrl mutant 16 7 -mode cnot1 -module accelerator.layer0.gather -cell $procmux$17823 -port Y "
    r"-portbit 4 -ctrlbit 6 -wire \$59 -wirebit 3 -src design.v:2055.14-2055.18 -src design.v:2778.9-2778.13"
)


def small_design() -> Design:
    image = random_image(
        np.random.default_rng(5), inputs=2, units=(3,), classes=2, mode="mean", input_bits=3, table_bits=4,
        weight_bits=3, event_bits=4, max_steps=64, threshold=(0.0, 0.1), name="small",
    )  # fmt: skip
    return Design("small", image, AcceleratorConfig(lanes=2, readout_lanes=1, queue_depth=2))


@pytest.fixture(scope="module")
def small_score():
    return mutation_score.run(
        24, seed=2, console=Console(quiet=True), chosen=[small_design()], equivalents=[]
    )


def test_most_faults_of_a_small_design_are_caught_and_each_catch_names_its_sign(small_score):
    assert len(small_score.faults) == 24
    assert len({fault.mutant.module for fault in small_score.faults}) > 10
    assert small_score.caught >= 14
    for fault in small_score.faults:
        if fault.verdict:
            assert fault.verdict.kind in VERDICTS
            assert fault.verdict.text
    assert small_score.by_kind["scoreboard"] > 0
    assert sum(small_score.by_kind.values()) == small_score.caught


def test_the_program_without_a_fault_passes_and_a_fault_in_the_logits_does_not():
    design = small_design()
    mutated = mutate(design, 3, seed=1, module="readout.scan", console=Console(quiet=True))
    assert all("readout.scan" in mutant.module for mutant in mutated.mutants)
    campaign = Campaign(design.image, design.config, build_mutants(mutated.text, mutated.sidecar), seed=1)
    numbers = [0, *(mutant.number for mutant in mutated.mutants)]
    verdicts = campaign.judge(numbers)
    assert verdicts[0] is None
    assert any(verdict and "readout" in verdict.text for verdict in verdicts.values())


def test_a_line_of_the_list_becomes_a_fault():
    mutant = Mutant.parse(LINE)
    assert (mutant.number, mutant.mode, mutant.cell, mutant.port) == (7, "cnot1", "$procmux$17823", "Y")
    assert mutant.place == "$59[3]"
    assert mutant.source == "design.v:2055.14-2055.18 design.v:2778.9-2778.13"
    assert str(mutant) == "accelerator.layer0.gather: cnot1 $59[3]"


def test_no_fault_is_planted_at_a_clock_or_at_the_enable_of_a_read():
    left_out = ("RD_CLK", "CLK", r"\clk", "RD_EN")
    assert [bool(_LEFT_OUT.search(LINE.replace("-port Y", f"-port {port}"))) for port in left_out] == [
        True
    ] * 4
    assert not any(_LEFT_OUT.search(LINE.replace("-port Y", f"-port {port}")) for port in ("Y", "D", "EN"))


def test_the_score_leaves_out_faults_that_change_nothing():
    mutant = Mutant.parse(LINE)
    caught = Judged("small", mutant, Verdict("scoreboard", "no stalls", "sequence 0"))
    faults = (*[caught] * 3, Judged("small", mutant, None), Judged("small", mutant, None, "unreachable"))
    score = Score(1, faults)
    assert score.percent == 75.0
    assert score.survivors == (faults[3],)
    figures = score.as_json()
    assert (figures["caught"], figures["equivalent"], figures["survived"]) == (3, 1, 1)
    assert figures["list"][4]["equivalent"] == "unreachable"


def test_an_entry_of_the_list_covers_the_faults_that_it_names_and_no_others():
    design, mutant = small_design(), Mutant.parse(LINE)
    assert Equivalent("accelerator.*.gather", "cnot?", "$59[3]", "why").covers(design, mutant)
    assert not Equivalent("accelerator.*.gather", "cnot?", "$59[4]", "why").covers(design, mutant)
    assert not Equivalent("accelerator.*.gather", "inv", "$59[3]", "why").covers(design, mutant)
    assert not Equivalent("accelerator.*.gather", "*", "*", "why", design="large").covers(design, mutant)
    assert Equivalent("*", "*", "*", "why", options="* -ctrlbit 6 *").covers(design, mutant)
    assert not Equivalent("*", "*", "*", "why", options="* -ctrlbit 5 *").covers(design, mutant)


def test_every_entry_of_the_list_has_a_reason(tmp_path):
    assert load_equivalents()
    path = tmp_path / "list.toml"
    path.write_text('[[fault]]\nmodule = "a"\nmode = "inv"\nplace = "b"\nreason = " "\n')
    with pytest.raises(EgretError, match="a, b must have a reason"):
        load_equivalents(path)
    path.write_text('[[fault]]\nmodule = "a"\n')
    with pytest.raises(EgretError, match="is no list of equivalent faults"):
        load_equivalents(path)


def test_every_fact_has_a_reason_and_a_module_that_is_there(tmp_path):
    assert load_facts()
    path = tmp_path / "list.toml"
    path.write_text('[[fact]]\ndesign = "d"\nmodule = "a"\nzero = ["b"]\nreason = " "\n')
    with pytest.raises(EgretError, match="a must have signals and a reason"):
        load_facts(path)
    path.write_text('[[fact]]\nmodule = "a"\n')
    with pytest.raises(EgretError, match="is no list of facts"):
        load_facts(path)
    with pytest.raises(EgretError, match=r"must have a module accelerator\.none"):
        checked("module top ();\nendmodule\n", [Fact("small", "accelerator.none", ("a",), "why")])


def test_a_fact_that_does_not_hold_stops_the_run_without_a_fault():
    design = small_design()
    mutated = mutate(design, 3, seed=1, module="encoder.groups", console=Console(quiet=True))
    module = "accelerator.layer0.encoder.groups"
    # Three units, one to a group: with one group at the output, the last place stays free.
    for bit, holds in ((0, False), (2, True)):
        text = checked(mutated.text, [Fact("small", module, (f"taken[{bit}]",), "planted")])
        program = build_mutants(text, mutated.sidecar)
        if holds:
            Campaign(design.image, design.config, program, seed=1)
            continue
        with pytest.raises(EgretError, match="without a fault fails"):
            Campaign(design.image, design.config, program, seed=1)


def test_a_fault_at_a_read_that_no_sum_is_chosen_of_is_proved_and_one_that_shows_is_not():
    design = designs()[0]
    mutated = mutate(design, 24, seed=2, module="layer1.gather.slot", console=Console(quiet=True))
    gather = "accelerator.layer1.gather"
    units = design.image.layers[1].spec.units
    equivalence = Equivalence(mutated.rtlil, gathers={gather: GatherUse(3, 1, units)})
    assert equivalence.around(f"{gather}.slot1")[1:3] == [gather, f"{gather}.in_use"]
    numbers = [mutant.number for mutant in mutated.mutants]
    in_use = {number: equivalence.ask(f"{gather}.in_use", number).equal for number in numbers}
    assert False in in_use.values()
    assert any(in_use[number] and not equivalence.ask(gather, number).equal for number in numbers)


def test_the_bits_of_a_sum_that_the_list_calls_hidden_never_change_its_index():
    design = designs()[1]
    layer, unit = design.image.layers[0], 1
    widths = LayerWidths.of(layer, weight_bits=layer.spec.input_weight_bits, compact=False)
    assert (widths.sum_bits, widths.common_shift) == (15, 1)
    assert design.config.lanes[0] == GATES * layer.spec.units
    shift = layer.acc_frac - (layer.spec.table_bits - 4)
    sums = np.arange(-(1 << 14), 1 << 14)

    def index(found: np.ndarray) -> np.ndarray:
        return round_shift((found << widths.common_shift) + int(layer.bias[1][unit]), shift)

    assert (index(sums | 2) == index(sums)).all()
    assert (index(sums ^ np.where(sums & 16, 0, 4)) == index(sums)).all()
    # Not so of other bits.
    assert (index(sums | 16) != index(sums)).any()


@pytest.mark.parametrize("design", designs(), ids=lambda design: design.name)
def test_every_unit_of_the_designs_sometimes_fires_and_sometimes_does_not(design):
    x = [x for chosen in vectors(design.image, 1) for x in chosen.sequences]
    lengths = np.array([len(sequence) for sequence in x])
    padded = np.zeros((lengths.max(), len(x), design.image.input.size), np.int64)
    for number, sequence in enumerate(x):
        padded[: len(sequence), number] = sequence
    for events in IntegerNetwork(design.image).run(padded, lengths).events:
        share = (events != 0).sum((0, 1)) / lengths.sum()
        assert share.min() > 0.02
        assert share.max() < 0.98


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mutants", "0"], "mutants must be 1 or more, not 0"),
        (["--mutants", "2", "--module", "nothing"], "no module's path holds 'nothing'"),
    ],
)
def test_the_command_refuses_what_cannot_be_done(options, message, capsys):
    assert main(["mutate", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("caught", "status"), [(20, 0), (18, 1)])
def test_the_command_reports_the_score_and_fails_below_the_target(
    caught, status, tmp_path, monkeypatch, capsys
):
    mutant = Mutant.parse(LINE)
    faults = [Judged("small", mutant, Verdict("time-out", "no stalls", "stuck"))] * caught
    faults += [Judged("small", mutant, None)] * (20 - caught)
    monkeypatch.setattr(mutation_score, "run", lambda *args, **options: Score(1, tuple(faults)))
    report = tmp_path / "out" / "mutation.json"
    assert main(["mutate", "--report", str(report)]) == status
    assert json.loads(report.read_text())["caught_by"]["time-out"] == caught
    out = capsys.readouterr().out
    assert out.count("survived: small, accelerator.layer0.gather: cnot1 $59[3]") == 20 - caught

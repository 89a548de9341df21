"""The quick proofs, the planted bugs that they must find, and what a failure says. `make formal` runs all."""

import inspect
import pkgutil
from dataclasses import replace
from importlib import import_module

import pytest
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import egret_hw
from egret_hw.accelerator import Accelerator
from egret_hw.event_encoder import EventEncoder
from egret_hw.fifo import PassingFifo
from egret_hw.link import ByteLink
from egret_hw.logit_scan import LogitScan
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.queues import RecurrentQueue
from egret_hw.readout import ReadoutTile
from egret_hw.readout_scheduler import ReadoutScheduler
from egret_hw.reset_gate import ResetGate
from egret_hw.tile import Tile
from egret_hw.tile_scheduler import TileScheduler
from egret_hw.uart import UARTReceiver
from egret_hw.widths import LayerWidths
from egret_sim.formal.checker import streams_of
from egret_sim.formal.combinational import ready_reaches_valid
from egret_sim.formal.page import bits_for, own_sum_bounds
from egret_sim.formal.planting import Edit, planted
from egret_sim.formal.proof import Bounded, Induction, Proof, Twin
from egret_sim.formal.proofs import PROOFS, find
from egret_sim.formal.run import Verdict, prove
from egret_sim.formal.streams import COMPONENTS, FORMS
from egret_sim.formal.width_layers import candidate_apart, small_layer
from egru.errors import EgretError

QUICK = [proof for proof in PROOFS if proof.quick]


@pytest.fixture(autouse=True)
def _files_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("EGRET_BUILD", str(tmp_path))


@pytest.mark.parametrize("proof", QUICK, ids=lambda proof: proof.name)
def test_a_quick_proof_holds_and_finds_the_bug_that_is_planted_in_its_twin(proof):
    result = prove(proof)
    assert result.problem is None
    assert result.twin.trace is not None and result.twin.trace.stat().st_size > 0


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_each_proof_and_its_twin_are_different_designs(proof):
    assert proof.rtlil() != proof.twin_rtlil()


@pytest.mark.parametrize(
    ("name", "component", "right", "wrong"),
    [
        ("widths/states-threshold", NeuronUpdate, "(potential + half(shift))", "(potential)"),
        ("widths/gate", ResetGate, "(product.product + half(GATE_BITS))", "(product.product)"),
        ("widths/logits-mean", LogitScan, "Mux(self.due.has_events, answer, 0)", "answer"),
    ],
)
def test_a_proof_of_widths_finds_wrong_arithmetic_in_which_nothing_overflows(name, component, right, wrong):
    proof = find(name)
    edits = (Edit(component, right, wrong),)
    result = prove(replace(proof, twin=Twin(f"{wrong} stands for {right}", edits, depth=proof.twin.depth)))
    assert result.good


def test_the_candidate_bounded_apart_is_a_bit_too_narrow_and_the_real_width_is_that_of_the_page():
    layer = small_layer(inputs=[[0], [0], [1]], recurrent=[[0], [0], [1]], reset="before")
    bits = bits_for(bounds for unit in own_sum_bounds(layer) for bounds in unit)
    assert LayerWidths.of(layer, weight_bits=2).sum_bits == bits
    assert candidate_apart(layer, weight_bits=2).sum_bits == bits - 1


def _counting(limit):
    """A counter that reaches 3, and a claim that it stays below `limit`."""

    def build(m: Module) -> None:
        count = Signal(2)
        m.d.sync += count.eq(count + 1)
        m.d.comb += Assert(count < limit)

    return build


def test_a_claim_that_is_wrong_is_refuted_with_a_trace():
    proof = Proof("wrong", "", "", Induction(6), _counting(3), Twin("it reaches 3", build=_counting(2)))
    result = prove(proof)
    assert result.outcome.verdict is Verdict.FAIL
    assert str(result.outcome.trace) in result.problem
    assert result.outcome.trace.is_file()


def test_a_twin_that_is_not_refuted_is_a_problem():
    proof = Proof("weak", "", "", Bounded(6), _counting(4), Twin("nothing is wrong", build=_counting(4)))
    result = prove(proof)
    assert result.outcome.verdict is Verdict.PASS
    assert not result.good
    assert "nothing is wrong" in result.problem


def test_a_claim_that_only_holds_from_reset_is_called_not_inductive():
    def build(m: Module) -> None:
        count = Signal(3)  # stays at 0, but would go on from 4 to 7
        with m.If(count[2]):
            m.d.sync += count.eq(count + 1)
        m.d.comb += Assert(count != 6)

    result = prove(Proof("loose", "", "", Induction(1), build, Twin("it counts", build=_counting(1))))
    assert result.outcome.verdict is Verdict.UNKNOWN
    assert "not inductive" in result.problem


def test_a_twin_whose_text_has_gone_from_the_source_says_so():
    with pytest.raises(EgretError, match=r"'not there' must stand once in egret_hw\.fifo"):
        with planted([Edit(PassingFifo, "not there", "")]):
            pass


def test_the_source_is_as_before_after_a_twin():
    before = PassingFifo.elaborate
    with planted([Edit(PassingFifo, "self.i.ready.eq(~taken[-1])", "self.i.ready.eq(1)")]):
        assert PassingFifo.elaborate is not before
    assert PassingFifo.elaborate is before


def test_two_changes_of_one_component_are_both_made():
    proof = find("tile/state")
    first, second = proof.twin.edits
    assert first.component is second.component
    twins = [replace(proof.twin, edits=edits) for edits in ((first, second), (first,), (second,))]
    assert len({replace(proof, twin=twin).twin_rtlil() for twin in twins}) == 3


def test_an_unknown_proof_is_refused():
    with pytest.raises(EgretError, match="egret formal --list"):
        find("nothing")


def test_names_are_unique():
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)


#: The proof of the rules over time, of each component that sends.
RULED = {
    PassingFifo: "fifo",
    RecurrentQueue: "recurrent-queue",
    TileScheduler: "scheduler-2",
    EventEncoder: "encoder",
    ReadoutScheduler: "readout-scheduler",
    LogitScan: "logit-scan",
    ReadoutTile: "readout",
    Tile: "tile",
    Accelerator: "accelerator",
    ByteLink: "link",
    UARTReceiver: "receiver",
}


def test_each_component_that_sends_a_stream_has_a_proof_of_its_rules():
    assert set(RULED) == {component for component in COMPONENTS if streams_of(COMPONENTS[component](), Out)}
    assert {f"stream/{name}" for name in RULED.values()} <= {proof.name for proof in PROOFS}


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_valid_never_looks_at_ready(component):
    assert ready_reaches_valid(COMPONENTS[component]()) == []


@pytest.mark.parametrize("form", FORMS)
def test_valid_never_looks_at_ready_in_other_forms_either(form):
    assert ready_reaches_valid(FORMS[form]()) == []


class _Impolite(wiring.Component):
    """Is valid only where it is waited for."""

    i: In(stream.Signature(1))
    o: Out(stream.Signature(1))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & self.o.ready),
            self.i.ready.eq(self.o.ready),
        ]
        return m


def test_a_valid_that_looks_at_ready_is_found():
    assert ready_reaches_valid(_Impolite()) == ["o"]


#: Components without a stream. A new component belongs here or into COMPONENTS.
STREAMLESS = {
    "Accumulator", "BlockSums", "ChoosingAdder", "Counters", "HalfTable", "MacArray", "Multiplier",
    "NeuronUpdate", "PairMultiplier", "Ram", "ResetGate", "Rom", "Selector", "SerialGather", "SpramMemory",
    "SumGather", "SumStore",
}  # fmt: skip
#: Queues that are PassingFifos of another name.
NAMED = {"EventQueue"}


def test_every_component_is_known_to_have_streams_or_none():
    found = set()
    for module in pkgutil.iter_modules(egret_hw.__path__, "egret_hw."):
        for name, member in vars(import_module(module.name)).items():
            own = inspect.isclass(member) and member.__module__ == module.name
            if own and issubclass(member, wiring.Component):
                found.add(name)
    assert found == {component.__name__ for component in COMPONENTS} | STREAMLESS | NAMED

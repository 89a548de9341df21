"""What a proof is: an environment, assertions, a method, and a twin with a planted bug."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from unittest.mock import patch

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Fragment, Module
from amaranth.lib import wiring

from .planting import Edit, planted

Build = Callable[[Module], None]
"""Fills a module with a component, its environment (Assume) and what is claimed (Assert)."""

StandIns = Mapping[type[wiring.Component], Callable]
"""Components that are replaced by what their contract allows: class -> its `elaborate`."""

TOP = "top"


@dataclass(frozen=True)
class Induction:
    """True in every reachable state: for `depth` cycles from reset, and after any `depth` cycles of it."""

    depth: int

    def __str__(self) -> str:
        return f"induction {self.depth}"


@dataclass(frozen=True)
class Bounded:
    """True in the first `depth` cycles after reset, whatever the environment does."""

    depth: int

    def __str__(self) -> str:
        return f"bounded {self.depth}"


@dataclass(frozen=True)
class Twin:
    """The same proof with a planted bug, which it must find.

    Attributes
    ----------
    says : what is wrong in it
    edits : changes of the RTL's source text
    build : an environment of its own, if the bug is not in the source
    depth : cycles in which the counterexample is to be found; by default those of the proof
    """

    says: str
    edits: tuple[Edit, ...] = ()
    build: Build | None = None
    depth: int | None = None


@dataclass(frozen=True)
class Proof:
    """One claim about one component at given parameters.

    Attributes
    ----------
    name : family/name, also the folder of its files
    says : the claim
    parameters : at which size it is proved
    method : by induction, or in a bounded number of cycles
    build : component, environment and assertions
    twin : the same with a bug
    stand_ins : components replaced by their contract
    quick : part of the slice that the tests run
    incremental : False = the solver begins anew in each step, which is faster for much arithmetic
    """

    name: str
    says: str
    parameters: str
    method: Induction | Bounded
    build: Build
    twin: Twin
    stand_ins: StandIns = field(default_factory=dict)
    quick: bool = False
    incremental: bool = True

    def rtlil(self) -> str:
        """The proof's top module in RTLIL."""
        return _rtlil(self.build, self.stand_ins)

    def twin_rtlil(self) -> str:
        """The twin's; EgretError where the text that it changes is no longer in the source."""
        with planted(self.twin.edits):
            return _rtlil(self.twin.build or self.build, self.stand_ins)


class _Top(Elaboratable):
    """A module without reset: its registers begin with their initial values, as after configuration."""

    def __init__(self, build: Build):
        self.build = build
        self.domain = ClockDomain("sync", reset_less=True)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = self.domain
        self.build(m)
        return m


def _rtlil(build: Build, stand_ins: StandIns) -> str:
    top = _Top(build)
    with ExitStack() as stack:
        for component, elaborate in stand_ins.items():
            stack.enter_context(patch.object(component, "elaborate", elaborate))
        return rtlil.convert(Fragment.get(top, None), ports=[top.domain.clk], name=TOP)

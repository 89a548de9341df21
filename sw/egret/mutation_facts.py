"""What is known of the designs that get faults, with reasons: signals that are 0 at all times.

A proof that a fault changes nothing often needs something that the module alone does not show, such as that
a queue never fills because of what its writer does. Each such fact has its reason written down, is checked in
each cycle of every run without a fault, and is taken for granted in proofs.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from egret_sim.mutation.program import SELECT
from egru.errors import EgretError

FACTS = Path(__file__).resolve().parent / "mutation_facts.toml"


@dataclass(frozen=True)
class Fact:
    """Signals of a module (`name`, or `name[bit]`) that are 0 at all times in a design, and why."""

    design: str
    module: str
    zero: tuple[str, ...]
    reason: str


def load_facts(path: Path = FACTS) -> tuple[Fact, ...]:
    """The list of facts; EgretError if it is none."""
    try:
        entries = tomllib.loads(path.read_text())["fact"]
        found = tuple(Fact(**{**entry, "zero": tuple(entry["zero"])}) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EgretError(f"{path} is no list of facts about the designs with faults: {error}") from None
    for fact in found:
        if not fact.zero or not fact.reason.strip():
            raise EgretError(f"{path}: {fact.module} must have signals and a reason")
    return found


def checked(text: str, facts: Sequence[Fact]) -> str:
    """The design's Verilog, stopping in a run without a fault in which a fact does not hold.

    A module in which no fault can be switched on is left as it is.
    """
    for fact in facts:
        head = re.search(rf"^module \\?{re.escape(fact.module)} \(.*?\);$", text, re.M | re.S)
        if head is None:
            raise EgretError(
                f"the design {fact.design!r} must have a module {fact.module}: correct {FACTS.name}"
            )
        if not re.search(rf"\b{SELECT}\b", head[0]):
            continue
        end = text.index("endmodule", head.end())
        check = f"  always @(posedge clk) if ({SELECT} == 0 && |{{{', '.join(fact.zero)}}}) $stop;\n"
        text = text[:end] + check + text[end:]
    return text

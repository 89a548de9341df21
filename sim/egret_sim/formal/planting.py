"""Bugs planted in the RTL, for the twins of the proofs."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from unittest.mock import patch

from amaranth.lib import wiring

from egru.errors import EgretError


@dataclass(frozen=True)
class Edit:
    """A change in the source of a component: `old`, which must stand there once, becomes `new`."""

    component: type[wiring.Component]
    old: str
    new: str


@contextmanager
def planted(edits: Sequence[Edit]) -> Iterator[None]:
    """Components are made of the changed source within this context; files stay as they are."""
    by_component: dict[type, list[Edit]] = {}
    for edit in edits:
        by_component.setdefault(edit.component, []).append(edit)
    with ExitStack() as stack:
        for component, own in by_component.items():
            changed = _changed(component, own)
            for name, function in vars(changed).items():
                # The constructor stays: its super() would belong to the changed class.
                if isinstance(function, FunctionType) and name != "__init__":
                    stack.enter_context(patch.object(component, name, function))
        yield


def _changed(component: type[wiring.Component], edits: Sequence[Edit]) -> type:
    """The component's class, from the source with all these changes."""
    original = sys.modules[component.__module__]
    source = inspect.getsource(original)
    for edit in edits:
        if source.count(edit.old) != 1:
            raise EgretError(
                f"the text {edit.old!r} must stand once in {original.__name__} for a twin to change it, not "
                f"{source.count(edit.old)} times: name in egret_sim/formal what stands there now"
            )
        source = source.replace(edit.old, edit.new)
    module = ModuleType(original.__name__)
    module.__package__ = original.__package__
    module.__file__ = original.__file__
    exec(compile(source, f"<{original.__name__}, changed>", "exec"), vars(module))
    return getattr(module, component.__name__)

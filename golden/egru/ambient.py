"""What PyTorch does around a call, and what it must not do to it.

The layers are computed by hand-written functions, in loops over steps that depend on values. So no
autocast may narrow what is inside them, and no tracer, compiler or transform of functions can look into
them: a trace would hold the result of one call, or memory that nobody wrote. Such calls are refused here,
in one place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from egru.errors import EgretError

_Function = TypeVar("_Function", bound=Callable[..., Any])

_ADVICE = "call it plainly, or write an ONNX graph of the float network with `egret export`"
_MODES = torch._C._TorchDispatchModeKey  # of the tracers below torch.export and torch.fx


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Compute in the types of the tensors at hand, whatever autocast is on."""
    kind = device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def refuse_tracing(values: Iterable[object] = ()) -> None:
    """Raise EgretError where a call is traced, exported or transformed, and for ``values`` of such a call."""
    values = tuple(values)
    if found := _tracer(values):
        raise EgretError(f"{found} cannot look into an EGRU: {_ADVICE}")


def refuse_scripting(module: object) -> None:
    """Raise EgretError: the modules' ``__prepare_scriptable__``, which torch.jit.script asks first."""
    raise EgretError(f"torch.jit.script cannot look into an EGRU: {_ADVICE}")


def _tracer(values: tuple[object, ...]) -> str | None:
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    if torch.compiler.is_exporting():
        return "torch.export"
    strange = [v for v in values if type(v) is not Tensor and type(v) is not torch.nn.Parameter]
    if any(isinstance(value, torch.fx.Proxy) for value in strange):
        return "torch.fx"
    if torch._C._are_functorch_transforms_active():
        return "torch.func"
    if any(isinstance(value, FakeTensor) for value in strange) or any(
        torch._C._get_dispatch_mode(mode) is not None for mode in (_MODES.PROXY, _MODES.FAKE)
    ):
        return "a tracer of PyTorch"
    if forward_ad._current_level >= 0 and any(
        isinstance(value, Tensor) and forward_ad.unpack_dual(value).tangent is not None for value in values
    ):
        return "forward-mode differentiation"
    return None


def _batched(value: Tensor) -> bool:
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(value) or functorch.is_legacy_batchedtensor(value)


def uncompiled(function: _Function) -> _Function:
    """Let a function run as it is written when torch.compile meets it, so that it keeps its every bit."""
    disabled: list[Callable[..., Any]] = []

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # nothing can be compiling, and to import it takes long
            return function(*args, **kwargs)
        if not disabled:
            reason = f"torch.compile cannot look into an EGRU: leave out fullgraph=True, {_ADVICE}"
            disabled.append(torch.compiler.disable(function, reason=reason))
        return disabled[0](*args, **kwargs)

    return run  # type: ignore[return-value]


def written_backward(function: _Function) -> _Function:
    """Guard the ``backward`` of an autograd function that is written by hand: once, and in full precision."""

    @wraps(function)
    def run(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch._C._are_functorch_transforms_active() or any(
            g is not None and _batched(g) for g in gradients
        ):
            raise EgretError(
                "gradients of an EGRU must be asked for one by one: without torch.func, vectorize and "
                "is_grads_batched"
            )
        if torch.is_grad_enabled():
            raise EgretError("an EGRU can be differentiated once: create_graph must be False")
        device = next((g.device for g in gradients if g is not None), torch.device("meta"))
        with full_precision(device):
            return function(ctx, *gradients)

    return run  # type: ignore[return-value]

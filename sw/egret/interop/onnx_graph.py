"""The float network as an ONNX graph, for any ONNX runtime: one Scan over the steps for each layer.

The graph's lengths T and B are free. It computes in the dtype of the network, in another order of summation
than PyTorch; so its events are those of `egru.Network` but for rounding, and spikes are the same unless
rounding moves a potential over its threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from egru import Network
from egru.errors import EgretError
from egru.functional import LayerParameters
from egru.options import Options

OPSET = 17
IR_VERSION = 8  #: of the same age as the operators: older runtimes read it


def require_onnx() -> Any:
    """Return the module onnx, or raise EgretError if it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise EgretError("the package onnx must be installed: pip install 'egret-hdl[onnx]'") from error
    return onnx


@torch.no_grad()
def to_onnx(network: Network, *, state: bool = False) -> Any:
    """Return an ``onnx.ModelProto`` that computes what the network computes, sequences of equal length only.

    Inputs: ``x`` (T x B x I), T and B at least 1; with ``state`` also ``c`` and ``y`` (layers x B x H), the
    state after the step before, which is zero without. Outputs: ``logits`` (B x C, or T x B x C in readout
    mode "every"), per layer k the graded events ``events_k`` (T x B x H), and with ``state`` ``c_last`` and
    ``y_last``.

    Raises EgretError if onnx is not installed, or the network is neither float32 nor float64.
    """
    onnx = require_onnx()
    stack = network.egru
    stack.clamp_thresholds_()
    kinds = {torch.float32: onnx.TensorProto.FLOAT, torch.float64: onnx.TensorProto.DOUBLE}
    dtype = stack.layer_parameters(0).theta.dtype
    if dtype not in kinds:
        raise EgretError(f"a network must be float32 or float64 for ONNX, not {dtype}: convert it first")
    build = _Builder(onnx, kinds[dtype])
    units, layers = stack.hidden_size, stack.num_layers
    inputs = [build.value("x", ["T", "B", stack.input_size])]
    if state:
        inputs += [build.value(name, [layers, "B", units]) for name in ("c", "y")]
        starts = [build.node("Split", [name], outputs=layers, axis=0) for name in ("c", "y")]
        starts = [[build.squeeze(s, 0) for s in parts] for parts in starts]
    else:
        batch = build.node("Slice", [build.node("Shape", ["x"])[0], *build.integers([1], [2])])[0]
        shape = build.node("Concat", [batch, build.integers([units])[0]], axis=0)[0]
        zeros = build.node("ConstantOfShape", [shape], value=build.tensor("", np.zeros(1), dtype))[0]
        starts = [[zeros] * layers] * 2
    values, last = "x", []
    for k in range(layers):
        values, *end = build.layer(
            k, values, starts[0][k], starts[1][k], stack.layer_parameters(k), stack.options
        )
        last.append(end)
    outputs = [_read_out(build, network, values)]
    outputs += [build.value(f"events_{k}", ["T", "B", units]) for k in range(layers)]
    if state:
        for name, parts in zip(("c_last", "y_last"), zip(*last, strict=True), strict=True):
            build.node("Concat", [build.unsqueeze(p, 0) for p in parts], to=[name], axis=0)
            outputs.append(build.value(name, [layers, "B", units]))
    graph = onnx.helper.make_graph(build.nodes, "egru", inputs, outputs, build.constants)
    model = onnx.helper.make_model(
        graph,
        producer_name="egret",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.helper.set_model_props(model, _description(network))
    onnx.checker.check_model(model, full_check=True)
    return model


def _description(network: Network) -> dict[str, str]:
    """Properties for people who open the file."""
    o = network.egru.options
    return {
        "reset": o.reset,
        "state_reset": o.state_reset,
        "zoneout": str(o.zoneout),
        "readout": network.readout_mode,
    }


def _read_out(build: _Builder, network: Network, events: str) -> Any:
    """Add the readout of the last layer's events, and return the description of the output logits."""
    weight, bias = network.readout.weight, network.readout.bias
    source = events
    shape: list[int | str] = ["B", network.num_classes]
    if network.readout_mode == "every":
        shape = ["T", *shape]
    elif network.readout_mode == "last":
        source = build.squeeze(build.node("Slice", [events, *build.integers([-1], [2**31], [0])])[0], 0)
    else:
        source = build.node("ReduceMean", [events], axes=[0], keepdims=0)[0]
    product = build.node("MatMul", [source, build.constant("readout_weight", weight.t())])[0]
    build.node("Add", [product, build.constant("readout_bias", bias)], to=["logits"])
    return build.value("logits", shape)


class _Builder:
    """Nodes and constants of a graph in the making."""

    def __init__(self, onnx: Any, kind: int, prefix: str = "") -> None:
        self.onnx, self.kind, self.prefix = onnx, kind, prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def value(self, name: str, shape: list[int | str]) -> Any:
        """Describe an input or output in the network's dtype."""
        return self.onnx.helper.make_tensor_value_info(name, self.kind, shape)

    def node(
        self,
        kind: str,
        inputs: list[str],
        *,
        outputs: int = 1,
        to: list[str] | None = None,
        **attributes: Any,
    ) -> list[str]:
        """Add a node, and return the names of its outputs: ``to``, or fresh ones."""
        number = len(self.nodes)
        to = to or [f"{self.prefix}{kind.lower()}_{number}_{i}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, to, **attributes))
        return to

    def tensor(self, name: str, values: np.ndarray, dtype: torch.dtype | None = None) -> Any:
        """Make a tensor, cast to ``dtype`` if it is given."""
        if dtype is not None:
            values = values.astype(torch.empty(0, dtype=dtype).numpy().dtype)
        return self.onnx.numpy_helper.from_array(values, name)

    def constant(self, name: str, values: Tensor) -> str:
        """Add a constant of the network, and return its name."""
        name = self.prefix + name
        self.constants.append(self.tensor(name, values.detach().cpu().contiguous().numpy()))
        return name

    def integers(self, *lists: list[int]) -> list[str]:
        """Add lists of integers, for shapes and positions, and return their names."""
        names = []
        for values in lists:
            names.append(f"{self.prefix}integers_{len(self.constants)}")
            self.constants.append(self.tensor(names[-1], np.array(values, dtype=np.int64)))
        return names

    def squeeze(self, name: str, axis: int) -> str:
        """Remove an axis of size 1."""
        return self.node("Squeeze", [name, *self.integers([axis])])[0]

    def unsqueeze(self, name: str, axis: int) -> str:
        """Add an axis of size 1."""
        return self.node("Unsqueeze", [name, *self.integers([axis])])[0]

    def layer(
        self, k: int, values: str, c0: str, y0: str, p: LayerParameters, options: Options
    ) -> tuple[str, str, str]:
        """Add layer k, and return the names of its events, of its last c and of its last y."""
        product = self.node("MatMul", [values, self.constant(f"weight_ih_{k}", p.weight_ih.t())])[0]
        sums = self.node("Add", [product, self.constant(f"bias_ih_{k}", p.bias_ih)])[0]
        body = _step(_Builder(self.onnx, self.kind, f"layer{k}_"), p, options)
        c_last, y_last, events = self.node(
            "Scan", [c0, y0, sums], to=[f"c_{k}", f"y_{k}", f"events_{k}"], body=body, num_scan_inputs=1
        )
        return events, c_last, y_last


def _step(build: _Builder, p: LayerParameters, options: Options) -> Any:
    """Graph of one step of a layer: from c, y and the input's sums to c, y and the events."""
    units = p.theta.shape[0]
    name = build.prefix

    def binary(kind: str, a: str, b: str, to: str | None = None) -> str:
        return build.node(kind, [a, b], to=[to] if to else None)[0]

    def recurrent(source: str, blocks: slice, label: str) -> str:
        rows = slice(blocks.start * units, blocks.stop * units)
        weight = build.constant(f"weight_hh_{label}", p.weight_hh[rows].t())
        return binary(
            "Add", binary("MatMul", source, weight), build.constant(f"bias_hh_{label}", p.bias_hh[rows])
        )

    def number(value: float, label: str) -> str:
        return build.constant(label, p.theta.new_tensor(value))

    c, y, sums = (f"{name}{part}" for part in ("c_in", "y_in", "sums"))
    parts = build.integers([2 * units, units])
    a_zr, a_g = build.node("Split", [sums, *parts], outputs=2, axis=1)
    if options.reset == "after":
        q_zr, q_g = build.node("Split", [recurrent(y, slice(0, 3), "zrg"), *parts], outputs=2, axis=1)
    else:
        q_zr = recurrent(y, slice(0, 2), "zr")
    zr = build.node("Sigmoid", [binary("Add", a_zr, q_zr)])[0]
    z, r = build.node("Split", [zr, *build.integers([units, units])], outputs=2, axis=1)
    if options.reset == "after":
        gated = binary("Mul", r, q_g)
    else:
        gated = recurrent(binary("Mul", r, y), slice(2, 3), "g")
    g = build.node("Tanh", [binary("Add", a_g, gated)])[0]
    if options.zoneout:
        z = binary("Mul", z, number(1 - options.zoneout, "one_minus_zoneout"))
        z = binary("Add", z, number(options.zoneout, "zoneout"))
    potential = binary("Add", g, binary("Mul", z, binary("Sub", c, g)))
    if options.state_reset == "output":
        potential = binary("Sub", potential, y)
    theta = build.constant("theta", p.theta)
    # Not "fired where greater": NaN is neither greater nor not, and must not become silence.
    silent = binary("LessOrEqual", potential, theta)
    zero = number(0.0, "zero")
    y_out = build.node("Where", [silent, zero, potential], to=[f"{name}y_out"])[0]
    build.node("Identity", [y_out], to=[f"{name}events"])
    if options.state_reset == "threshold":
        binary("Sub", potential, build.node("Where", [silent, zero, theta])[0], to=f"{name}c_out")
    else:
        build.node("Identity", [potential], to=[f"{name}c_out"])
    shape: list[int | str] = ["B", units]
    return build.onnx.helper.make_graph(
        build.nodes,
        f"{name}step",
        [build.value(c, shape), build.value(y, shape), build.value(sums, ["B", 3 * units])],
        [build.value(f"{name}{part}", shape) for part in ("c_out", "y_out", "events")],
        build.constants,
    )

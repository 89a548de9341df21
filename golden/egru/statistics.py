"""How much of a dense network's work an EGRU's events ask for, forward and backward.

What is counted is the matrix products, in multiply-accumulates (MACs); element-wise work is the same with or
without events. Counts are of *work asked for*: the dense kernels do not skip it, and the event-driven ones
skip it where that is faster.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from egru.backward import length_mask, surrogate
from egru.egru import EGRU, State, check_lengths
from egru.formats import STATE_FRAC
from egru.functional import forward_sequence
from egru.image import NetworkImage
from egru.integer import IntegerNetwork
from egru.kernels.border import check_inputs
from egru.network import Network
from egru.options import Options


@dataclass(frozen=True)
class Work:
    """MACs of one or more layers, each beside those of the same products in a dense network.

    Attributes
    ----------
    input : forward products W x[t]; 3H for each input value that is not zero.
    recurrent : forward products R y[t-1]; 3H for each event.
    weight_gradient : outer products for the gradients on W and R; 3H for each of the same values.
    y_gradient : R^T dq, the gradient on y[t-1]; 3H for each unit that fired or has a non-zero surrogate at
        t-1 (not before the first step).
    x_gradient : W^T da, the gradient on a layer's input; 3H for each unit of the layer below that fired or
        has a non-zero surrogate. The first layer's input needs none.
    dense_first_input : what `input` would be if the first layer multiplied its zero inputs, too.
    input_dense, recurrent_dense, weight_gradient_dense, y_gradient_dense, x_gradient_dense : without silence.
    """

    input: int
    recurrent: int
    y_gradient: int
    x_gradient: int
    dense_first_input: int
    input_dense: int
    recurrent_dense: int
    y_gradient_dense: int
    x_gradient_dense: int

    @property
    def weight_gradient(self) -> int:
        """As many as forward: the same values, each with all gates."""
        return self.input + self.recurrent

    @property
    def weight_gradient_dense(self) -> int:
        """As many as forward."""
        return self.input_dense + self.recurrent_dense

    @property
    def forward(self) -> int:
        """Products of the forward pass."""
        return self.input + self.recurrent

    @property
    def forward_dense(self) -> int:
        """The same without silence."""
        return self.input_dense + self.recurrent_dense

    @property
    def backward(self) -> int:
        """Products of the backward pass."""
        return self.weight_gradient + self.y_gradient + self.x_gradient

    @property
    def backward_dense(self) -> int:
        """The same without silence."""
        return self.weight_gradient_dense + self.y_gradient_dense + self.x_gradient_dense

    @property
    def zero_inputs(self) -> int:
        """Products of the forward pass that are saved because an input of the first layer is exactly zero.

        The backward pass saves as many in the weight gradient.
        """
        return self.dense_first_input - self.input

    def __add__(self, other: "Work") -> "Work":
        """Work of both."""
        if not isinstance(other, Work):
            return NotImplemented
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class LayerStatistics:
    """Counts of one layer, over the real steps of all sequences; counts of several batches may be added."""

    first: bool  #: whether the layer reads the network's input
    inputs: int
    units: int
    steps: int  #: sequence steps: the sum of all lengths
    sequences: int
    input_events: int  #: non-zero input values
    recurrent_events: int  #: non-zero values y[t-1]; less than the events, for no step hears the last ones
    events: int  #: fired units (o = 1)
    surrogate_units: int  #: units whose surrogate at c~ - theta, before the reset, is not zero
    backward_units: int  #: units that fired or have a non-zero surrogate
    carried_units: int  #: those of them that another step follows
    input_gradients: int  #: input values that need a gradient: `backward_units` of the layer below

    @property
    def input_activity(self) -> float:
        """Fraction of the input values that are not zero."""
        return self.input_events / (self.steps * self.inputs)

    @property
    def activity(self) -> float:
        """Fraction of units and steps that fired."""
        return self.events / (self.steps * self.units)

    @property
    def surrogate_activity(self) -> float:
        """Fraction of units and steps with a non-zero surrogate gradient."""
        return self.surrogate_units / (self.steps * self.units)

    @property
    def backward_activity(self) -> float:
        """Fraction of units and steps whose y needs a gradient: fired, or a non-zero surrogate."""
        return self.backward_units / (self.steps * self.units)

    @property
    def work(self) -> Work:
        """MACs, product by product."""
        row, dense_input = 3 * self.units, self.steps * self.inputs
        return Work(
            input=row * self.input_events,
            recurrent=row * self.recurrent_events,
            y_gradient=row * self.carried_units,
            x_gradient=row * self.input_gradients,
            dense_first_input=row * (dense_input if self.first else self.input_events),
            input_dense=row * dense_input,
            recurrent_dense=row * self.steps * self.units,
            y_gradient_dense=row * (self.steps - self.sequences) * self.units,
            x_gradient_dense=0 if self.first else row * dense_input,
        )

    @property
    def forward_macs(self) -> int:
        """MACs of the forward pass; see `Work`."""
        return self.work.forward

    @property
    def forward_macs_dense(self) -> int:
        """The same without silence."""
        return self.work.forward_dense

    @property
    def backward_macs(self) -> int:
        """MACs of the backward pass; see `Work`."""
        return self.work.backward

    @property
    def backward_macs_dense(self) -> int:
        """The same without silence."""
        return self.work.backward_dense

    def __add__(self, other: "LayerStatistics") -> "LayerStatistics":
        """Counts of both; the shapes of the layers must agree."""
        if not isinstance(other, LayerStatistics):
            return NotImplemented
        if (self.inputs, self.units, self.first) != (other.inputs, other.units, other.first):
            raise ValueError(
                f"statistics of a {self.inputs} x {self.units} and a {other.inputs} x {other.units} layer "
                "do not add"
            )
        counts, more = asdict(self), asdict(other)
        return LayerStatistics(
            **{k: v if k in ("first", "inputs", "units") else v + more[k] for k, v in counts.items()}
        )


@torch.no_grad()
def measure(
    model: EGRU | Network,
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
    *,
    eps: float | None = None,
) -> list[LayerStatistics]:
    """Statistics of every layer on a batch; arguments and errors as those of `EGRU.forward`.

    `eps` is the slope of the surrogate gradient that is counted, by default the model's.
    """
    stack = model.egru if isinstance(model, Network) else model
    options = stack.options if eps is None else replace(stack.options, eps=eps)
    values = stack.check_input(x)
    c0, y0 = stack.check_state(state, values)
    lengths = check_lengths(lengths, values)
    stack.clamp_thresholds_()
    steps, batch, _ = values.shape
    if lengths is None:
        lengths = torch.full((batch,), steps, device=values.device)
    inside = length_mask(lengths, steps).unsqueeze(2)
    result: list[LayerStatistics] = []
    for k in range(stack.num_layers):
        parameters = stack.layer_parameters(k)
        values = values.masked_fill(~inside, 0.0)
        check_inputs((values, c0[k], y0[k], *parameters), f"_l{k}")
        saved, _ = forward_sequence(values, c0[k], y0[k], parameters, options)
        near = surrogate(saved.c_tilde, parameters.theta, options) != 0
        y_prev = torch.cat((y0[k].unsqueeze(0), saved.y[:-1])) != 0
        result.append(_count(values != 0, y_prev, saved.o != 0, near, inside, result))
        values = saved.y
    return result


def measure_image(
    image: NetworkImage, x: np.ndarray, lengths: np.ndarray | None = None, *, eps: float = 1.0
) -> list[LayerStatistics]:
    """Statistics of every layer of a network image, as `IntegerNetwork.run` computes x (T x B x I integers).

    The backward figures are those of quantisation-aware training with a surrogate gradient of slope `eps`.
    Arguments and errors are otherwise those of `IntegerNetwork.run`.
    """
    Options(eps=eps)
    trace = IntegerNetwork(image).run(x, lengths)
    steps, batch, _ = trace.events[0].shape
    real = torch.full((batch,), steps) if lengths is None else torch.from_numpy(np.asarray(lengths))
    inside = length_mask(real, steps).unsqueeze(2)
    arriving = torch.from_numpy(np.asarray(x) != 0) & inside
    result: list[LayerStatistics] = []
    for layer, events, states in zip(image.layers, trace.events, trace.states, strict=True):
        fired = events != 0
        theta = layer.threshold.astype(np.int64)
        before = states + fired * theta if layer.spec.state_reset == "threshold" else states
        near = eps * np.abs(before - theta) < 2.0**STATE_FRAC
        spikes = torch.from_numpy(fired)
        y_prev = torch.cat((torch.zeros_like(spikes[:1]), spikes[:-1]))
        result.append(_count(arriving, y_prev, spikes, torch.from_numpy(near), inside, result))
        arriving = spikes
    return result


def _count(
    x: Tensor, y_prev: Tensor, fired: Tensor, near: Tensor, inside: Tensor, below: Sequence[LayerStatistics]
) -> LayerStatistics:
    """Count one layer: booleans T x B x ..., `inside` T x B x 1 for the real steps, and the layers below."""
    either = (fired | near) & inside
    lengths = inside.sum(0)
    return LayerStatistics(
        first=not below,
        inputs=x.shape[2],
        units=fired.shape[2],
        steps=int(lengths.sum()),
        sequences=inside.shape[1],
        input_events=int((x & inside).sum()),
        recurrent_events=int((y_prev & inside).sum()),
        events=int((fired & inside).sum()),
        surrogate_units=int((near & inside).sum()),
        backward_units=int(either.sum()),
        # The gradient on y[t-1] comes from step t, so the last step of a sequence receives none.
        carried_units=int((either[:-1] & inside[1:]).sum()),
        input_gradients=below[-1].backward_units if below else 0,
    )

"""How much of a dense network's work a float EGRU's events ask for, forward and backward.

What is counted is the matrix products, in multiply-accumulates (MACs); element-wise work is the same with or
without events. Counts are of *work asked for*: the kernels of `egru.functional` are dense and do not skip it.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from egru.backward import length_mask, surrogate
from egru.egru import EGRU, State, check_lengths
from egru.functional import forward_sequence
from egru.network import Network


@dataclass(frozen=True)
class LayerStatistics:
    """Counts of one layer, over the real steps of all sequences; counts of several batches may be added.

    A MAC count pairs with the dense count of the same products:

    * forward: W x[t] where x is not zero, R y[t-1] where y is not zero, each 3H per value;
    * backward: the gradients on W and R, an outer product of 3H per non-zero x and y; the gradient on
      y[t-1], 3H per unit that fired or has a non-zero surrogate at t-1 (not before the first step); and
      likewise the gradient on the input, except for the first layer, whose input needs none.
    """

    inputs: int
    units: int
    steps: int  #: sequence steps: the sum of all lengths
    input_events: int  #: non-zero input values
    events: int  #: fired units (o = 1)
    surrogate_units: int  #: units whose surrogate at c~ - theta, before the reset, is not zero
    backward_units: int  #: units that fired or have a non-zero surrogate
    forward_macs: int
    forward_macs_dense: int
    backward_macs: int
    backward_macs_dense: int

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

    def __add__(self, other: "LayerStatistics") -> "LayerStatistics":
        """Counts of both; the shapes of the layers must agree."""
        if not isinstance(other, LayerStatistics):
            return NotImplemented
        if (self.inputs, self.units) != (other.inputs, other.units):
            raise ValueError(
                f"statistics of a {self.inputs} x {self.units} and a {other.inputs} x {other.units} layer "
                "do not add"
            )
        names = [f.name for f in fields(self)[2:]]
        return LayerStatistics(
            self.inputs, self.units, *(getattr(self, name) + getattr(other, name) for name in names)
        )


@torch.no_grad()
def measure(
    model: EGRU | Network, x: Tensor, lengths: Tensor | None = None, state: State | None = None
) -> list[LayerStatistics]:
    """Statistics of every layer on a batch; arguments and errors as those of `EGRU.forward`."""
    stack = model.egru if isinstance(model, Network) else model
    values = stack.check_input(x)
    c0, y0 = stack.check_state(state, values)
    lengths = check_lengths(lengths, values)
    stack.clamp_thresholds_()
    steps, batch, _ = values.shape
    if lengths is None:
        lengths = torch.full((batch,), steps, device=values.device)
    inside = length_mask(lengths, steps).unsqueeze(2)
    real_steps = int(lengths.sum())
    result, needs_gradient = [], None
    for k in range(stack.num_layers):
        parameters = stack.layer_parameters(k)
        values = values.masked_fill(~inside, 0.0)
        saved, _ = forward_sequence(values, c0[k], y0[k], parameters, stack.options)
        y_prev = torch.cat((y0[k].unsqueeze(0), saved.y[:-1]))
        near = (surrogate(saved.c_tilde, parameters.theta, stack.options) != 0) & inside
        fired = (saved.o != 0) & inside
        either = near | fired
        inputs, units = values.shape[2], stack.hidden_size
        x_events = int(values.count_nonzero())
        y_events = int(((y_prev != 0) & inside).sum())
        # The gradient on y[t-1] comes from step t, so the last step of a sequence receives none.
        carried = int((either[:-1] & inside[1:]).sum())
        below, below_dense = (
            (0, 0) if needs_gradient is None else (int(needs_gradient.sum()), real_steps * inputs)
        )
        dense = real_steps * (inputs + units)
        result.append(
            LayerStatistics(
                inputs=inputs,
                units=units,
                steps=real_steps,
                input_events=x_events,
                events=int(fired.sum()),
                surrogate_units=int(near.sum()),
                backward_units=int(either.sum()),
                forward_macs=3 * units * (x_events + y_events),
                forward_macs_dense=3 * units * dense,
                backward_macs=3 * units * (x_events + y_events + carried + below),
                backward_macs_dense=3 * units * (dense + (real_steps - batch) * units + below_dense),
            )
        )
        values, needs_gradient = saved.y, either
    return result

"""A stack of EGRU layers with a linear readout of the last layer's events."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from egru.egru import EGRU, State, check_lengths, positive_integer
from egru.errors import EgretError
from egru.functional import length_mask
from egru.options import check_choice

READOUT_MODES = ("mean", "last", "every")


class NetworkOutput(NamedTuple):
    """What a network computed; all tensors are differentiable."""

    logits: Tensor  #: B x C, or T x B x C for readout="every" (zero beyond a sequence's length)
    events: list[Tensor]  #: per layer, T x B x H graded events y, zero beyond a sequence's length
    spikes: list[Tensor]  #: per layer, T x B x H, 1 where a unit fired; the gradient is the surrogate's
    state: State  #: (c, y), each num_layers x B x H, after the last step of each sequence


class Network(nn.Module):
    """EGRU stack and linear readout.

    Parameters
    ----------
    input_size, hidden_size, num_classes, num_layers : integers, at least 1.
    readout : "mean" (of the readout over the steps of each sequence), "last" (the last step of each
        sequence) or "every" (a result per step).
    options : keyword arguments of `EGRU`: reset, state_reset, gamma, eps, theta_mean, kernel,
        device, dtype.

    Attributes
    ----------
    egru : the `EGRU` stack.
    readout : torch.nn.Linear from the last layer's events to the classes.
    readout_mode : the argument `readout`.

    Raises EgretError for a value or shape out of range, TypeError for a wrong type.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_classes: int,
        num_layers: int = 1,
        *,
        readout: str = "mean",
        **options,
    ) -> None:
        super().__init__()
        check_choice("readout", readout, READOUT_MODES)
        if "batch_first" in options:
            raise TypeError("Network takes T x B x I only; batch_first is an option of EGRU")
        self.num_classes = positive_integer("num_classes", num_classes)
        self.readout_mode = readout
        self.egru = EGRU(input_size, hidden_size, num_layers, **options)
        theta = self.egru.layer_parameters(0).theta
        self.readout = nn.Linear(hidden_size, num_classes, device=theta.device, dtype=theta.dtype)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> NetworkOutput:
        """Run x (T x B x I) from `state` (zeros if None); see `EGRU.forward` for lengths and state."""
        out = self.egru.forward_layers(x, state, lengths)
        logits = read_out(self.readout, self.readout_mode, out.events[-1], check_lengths(lengths, x))
        return NetworkOutput(logits, out.events, out.spikes, out.state)


def read_out(readout: nn.Module, mode: str, events: Tensor, lengths: Tensor | None) -> Tensor:
    """Logits from the last layer's events (T x B x H, zero beyond a sequence's length), see `Network`.

    Any module may be the readout that takes events (... x H) of the events' dtype and device.
    """
    _check_readout(readout, events)
    steps, batch, _ = events.shape
    if mode == "every":
        logits = readout(events)
        if lengths is None:
            return logits
        return logits.masked_fill(~length_mask(lengths, steps).unsqueeze(2), 0.0)
    if mode == "last":
        if lengths is None:
            return readout(events[-1])
        return readout(events[lengths - 1, torch.arange(batch, device=events.device)])
    divisor = steps if lengths is None else lengths.unsqueeze(1)
    if isinstance(readout, nn.Linear):  # the mean of its results is its result for the mean
        return readout(events.sum(0) / divisor)
    logits = readout(events)
    if lengths is not None:
        logits = logits.masked_fill(~length_mask(lengths, steps).unsqueeze(2), 0.0)
    return logits.sum(0) / divisor


def _check_readout(readout: nn.Module, events: Tensor) -> None:
    if not isinstance(readout, nn.Module):
        raise TypeError(f"readout must be a torch.nn.Module, such as torch.nn.Linear, not {readout!r}")
    if isinstance(readout, nn.Linear) and readout.weight.shape[1:] != events.shape[2:]:
        raise EgretError(
            f"readout must take the {events.shape[2]} events of a step, not {readout.weight.shape[1]} numbers"
        )
    if torch.is_autocast_enabled(events.device.type):
        return
    for name, value in readout.named_parameters():
        if value.is_floating_point() and (value.dtype, value.device) != (events.dtype, events.device):
            raise EgretError(
                f"readout.{name} must be {events.dtype} on {events.device} like events, not {value.dtype} "
                f"on {value.device}"
            )

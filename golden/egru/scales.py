"""Learned power-of-two scales of weights: what a tensor's fraction is, training decides.

The scale of a tensor is the step between two neighbouring values. Its log2 is learned as a real number; the
hardware has the nearest integer fraction. The rounding to it is straight-through, and the gradient with
respect to the logarithm is that of trained quantisation thresholds (TQT: S. R. Jain, A. Gural, M. Wu,
C. H. Dick, "Trained quantization thresholds for accurate and efficient fixed-point inference of deep neural
networks", MLSys 2020). With
s = 2^log2_scale, n and p the ends of the integer format and v = floor(w / s + 1/2):

    q = s * min(max(v, n), p)
    dq / dlog2_scale = s ln 2 * (v - w / s    where n <= v <= p;    n below;    p above)

which is the slope of s * min(max(w / s + e, n), p) where the rounding error e is held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from egru.ambient import written_backward
from egru.errors import EgretError
from egru.formats import FRAC_RANGE, IntFormat
from egru.quant_layer import passes, to_integers

#: A parameter is the logarithm over this number: an optimiser that takes steps of one size for all parameters
#: (Adam) then moves the logarithm ten times as far as a weight, as TQT's own rates do.
GAIN = 10.0


class LearnedScales(nn.Module):
    """One scale per weight tensor, by the tensor's name.

    Parameters
    ----------
    fractions
        The fraction that each tensor starts with.
    dtype, device
        Of the parameters.
    """

    def __init__(self, fractions: Mapping[str, int], dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self._parameter_of = {name: name.replace(".", "_") for name in fractions}
        for key in self._parameter_of.values():
            self.register_parameter(key, nn.Parameter(torch.zeros((), dtype=dtype, device=device)))
        self.set_fractions(fractions)

    def log2_scale(self, name: str) -> float:
        """Logarithm of a tensor's scale as it is learned, a real number."""
        return GAIN * self._parameter(name).item()

    def fraction(self, name: str) -> int:
        """Fraction of a tensor: the integer nearest to its learned one, always one that an image can have.

        Raises
        ------
        EgretError
            If training has made the scale NaN or infinite.
        """
        learned = -self.log2_scale(name)
        if not math.isfinite(learned):
            raise EgretError(f"the learned scale of {name} must be a finite number, not {learned}")
        return min(max(round(learned), FRAC_RANGE[0]), FRAC_RANGE[1])

    def set_fractions(self, fractions: Mapping[str, int]) -> None:
        """Put every scale in the middle of a fraction."""
        with torch.no_grad():
            for name, frac in fractions.items():
                self._parameter(name).fill_(-frac / GAIN)

    def clamp_(self) -> None:
        """Keep every scale within the fractions that exist: beyond them its gradient means nothing."""
        low, high = FRAC_RANGE
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.clamp_(-high / GAIN, -low / GAIN)

    def quantise(self, values: Tensor, fmt: IntFormat, name: str) -> Tensor:
        """Round real values to those of ``fmt``, whose fraction is the tensor's, as float64."""
        return quantise_scaled(values, self._parameter(name) * GAIN, fmt, name)

    def _parameter(self, name: str) -> Tensor:
        return self.get_parameter(self._parameter_of[name])


def quantise_scaled(values: Tensor, log2_scale: Tensor, fmt: IntFormat, name: str) -> Tensor:
    """Round real values to those of a format (float64), differentiable in the values and in the scale.

    Forward it is `egru.quant_layer.quantise`. ``log2_scale`` has no part in the forward pass: ``fmt`` has its
    rounding already. Its gradient is TQT's, over sqrt(values * largest integer), with which S. K. Esser et
    al., "Learned step size quantization", ICLR 2020, bring it to the size of a weight's.
    """
    return _QuantiseScaled.apply(values, log2_scale, fmt, name)


class _QuantiseScaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, log2_scale, fmt, name):
        integers = to_integers(values, fmt, name)
        ctx.save_for_backward(values)
        ctx.fmt, ctx.kinds = fmt, (values.dtype, log2_scale.dtype)
        return integers.mul_(2.0**-fmt.frac)

    @staticmethod
    @written_backward
    def backward(ctx, grad):
        (values,) = ctx.saved_tensors
        fmt = ctx.fmt
        dtype, scale_dtype = ctx.kinds
        step = 2.0**-fmt.frac
        slope = scale_slope(values, fmt)
        scaled = (grad.double() * slope).sum() / math.sqrt(values.numel() * fmt.hi)
        passed = passes(values, grad, fmt.lo * step, fmt.hi * step)
        return grad.to(dtype).masked_fill(~passed, 0.0), scaled.to(scale_dtype), None, None


def scale_slope(values: Tensor, fmt: IntFormat) -> Tensor:
    """Slope of every quantised value with respect to the logarithm of the scale (float64)."""
    scaled = values.detach().double() * 2.0**fmt.frac
    below = scaled.floor()
    rounded = below + ((scaled - below) >= 0.5)
    inside = (rounded >= fmt.lo) & (rounded <= fmt.hi)
    slope = torch.where(inside, rounded - scaled, rounded.clamp(fmt.lo, fmt.hi))
    return slope.mul_(math.log(2.0) * 2.0**-fmt.frac)

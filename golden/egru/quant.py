"""The quantised network: one code path for quantising a trained network and for training a quantised one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor, nn

from egru.ambient import full_precision, refuse_scripting, refuse_tracing, uncompiled
from egru.egru import State, check_lengths
from egru.errors import EgretError
from egru.formats import BIAS_BITS, FRAC_RANGE, STATE_FRAC, IntFormat
from egru.image import InputSpec, Layer, LayerSpec, NetworkImage, Readout, ReadoutSpec
from egru.network import Network, NetworkOutput
from egru.quant_layer import (
    LayerNumerics,
    QuantParameters,
    length_mask,
    quant_layer,
    quantise,
    to_integers,
)
from egru.scales import LearnedScales
from egru.tables import sigmoid_table, tanh_table
from egru.untrusted import brief
from egru.widths import Widths

#: Inputs of a calibration that are looked at in one go.
_CALIBRATION_VALUES = 1 << 20

#: Types that hold every number of a network exactly.
_DTYPES = (torch.float32, torch.float64)

_THRESHOLD = IntFormat(STATE_FRAC, STATE_FRAC, False)
_STATE = IntFormat(STATE_FRAC + 1, STATE_FRAC, True)


class QuantNetwork(nn.Module):
    """A network that computes, in training and evaluation alike, what the hardware will compute.

    It holds float parameters and fixed formats. Every forward pass turns the parameters into integers
    and runs the integer model of docs/numerics.md on them, so that its results equal those of
    ``IntegerNetwork(self.to_image(...))`` in every bit. The backward pass is straight-through; see
    `egru.quant_layer`. Quantisation after training is `from_float` and nothing else; quantisation-aware
    training is an optimiser on the same object.

    Make one with `from_float`.

    Attributes
    ----------
    egru, readout
        The float parameters, under the names that they have in `egru.Network`.
    readout_mode
        "mean", "last" or "every".
    input_spec, layer_specs, readout_spec
        The formats; `choose_fractions` and ``load_state_dict`` replace them, and with learned scales every
        step of training may.
    scales
        The learned scales of all weight matrices, or None; see `learn_scales_`.
    """

    scales: LearnedScales | None

    def __init__(
        self,
        network: Network,
        input_spec: InputSpec,
        layer_specs: Sequence[LayerSpec],
        readout_spec: ReadoutSpec,
    ) -> None:
        super().__init__()
        _check_readout(network.readout)
        if network.egru.options.zoneout:
            raise EgretError(
                f"zoneout must be 0 for a network that is quantised, not {network.egru.options.zoneout}: "
                "a layer of an image has one sigmoid table for both gates, z and r, and zoneout changes that "
                "of z alone; train the network on without zoneout first"
            )
        _check_parameters(network)
        self.egru = copy.deepcopy(network.egru)
        self.readout = copy.deepcopy(network.readout)
        self.readout_mode = network.readout_mode
        self._check_dtypes()
        self.register_module("scales", None)
        self._set_specs(input_spec, layer_specs, readout_spec)

    @classmethod
    @torch.inference_mode(False)  # tensors made in it could never be trained
    def from_float(
        cls,
        network: Network,
        *,
        input_format: IntFormat | None = None,
        calibration: Tensor | Iterable | None = None,
        input_bits: int = 8,
        weight_bits: int | Sequence[int] = 8,
        event_bits: int | Sequence[int] = 8,
        table_bits: int | Sequence[int] = 10,
        max_steps: int = 4096,
        learn_scales: bool = False,
    ) -> QuantNetwork:
        """Quantise a trained network: copy its parameters, and choose the formats that fit them.

        Parameters
        ----------
        network
            The network; any of its variants.
        input_format, calibration
            Either the format of the network input, or real inputs (a tensor or array whose last axis is the
            input, or an iterable of such) for which the best format of ``input_bits`` bits is chosen:
            unsigned if none is negative, and with the fraction of the least squared error over all of them.
        weight_bits
            Bits of all weights, 2..8; or of (input, recurrent, readout) weights; or of input and recurrent
            weights of each layer, layer by layer, and then of the readout's.
        event_bits
            Bits of an event's payload, 2..8, for all layers or one number for each.
        table_bits
            Index width of the sigmoid and tanh tables, 4..12, for all layers or one number for each.
        max_steps
            Longest sequence in readout mode "mean", without meaning in others.
        learn_scales
            Whether training moves the fractions of weights, too; see `learn_scales_`.

        Raises
        ------
        EgretError
            If an argument is out of range, or a parameter or calibration value is not finite.
        """
        if not isinstance(network, Network):
            raise TypeError(f"network must be an egru.Network, not {brief(network)}")
        if input_format is None and calibration is not None:
            fmt = choose_input_format(calibration, input_bits, network.egru.input_size)
        elif input_format is not None and calibration is None:
            fmt = input_format
        else:
            raise EgretError("give either input_format or calibration, and not both")
        for name, values in network.named_parameters():
            if not torch.isfinite(values.detach()).all():
                raise EgretError(f"{name} must hold finite numbers, and holds NaN or infinity")
        egru = network.egru
        widths = Widths.of(weight_bits, event_bits, table_bits).check_layers(egru.num_layers)
        layers = [
            LayerSpec(
                inputs=egru.input_size if k == 0 else egru.hidden_size,
                units=egru.hidden_size,
                reset=egru.options.reset,
                state_reset=egru.options.state_reset,
                **widths.layer(k),
            )
            for k in range(egru.num_layers)
        ]
        mode = network.readout_mode
        quantised = cls(
            network,
            InputSpec(egru.input_size, fmt.bits, fmt.frac, fmt.signed),
            layers,
            ReadoutSpec(
                network.num_classes, mode, widths.readout, max_steps=max_steps if mode == "mean" else 1
            ),
        )
        quantised.choose_fractions()
        return quantised.learn_scales_() if learn_scales else quantised

    @torch.inference_mode(False)
    def learn_scales_(self) -> QuantNetwork:
        """Make the scale of every weight matrix a parameter, from its present fraction on; return self.

        The forward pass stays the integer model: a fraction is the integer nearest to the learned one. The
        state dict then has a ``scales`` part, which only a network that learns its scales takes back.
        """
        if self.scales is None:
            weight = self.readout.weight
            self.scales = LearnedScales(self._fractions(), weight.dtype, weight.device)
        return self

    @property
    def layer_specs(self) -> tuple[LayerSpec, ...]:
        """Formats of the layers."""
        scales = self.scales
        if scales is None:
            return self._layer_specs
        return tuple(
            replace(
                spec,
                input_weight_frac=scales.fraction(f"weight_ih_l{k}"),
                recurrent_weight_frac=scales.fraction(f"weight_hh_l{k}"),
            )
            for k, spec in enumerate(self._layer_specs)
        )

    @property
    def readout_spec(self) -> ReadoutSpec:
        """Formats of the readout."""
        if self.scales is None:
            return self._readout_spec
        return replace(self._readout_spec, weight_frac=self.scales.fraction("readout.weight"))

    def _fractions(self) -> dict[str, int]:
        fractions = {"readout.weight": self._readout_spec.weight_frac}
        for k, spec in enumerate(self._layer_specs):
            fractions[f"weight_ih_l{k}"] = spec.input_weight_frac
            fractions[f"weight_hh_l{k}"] = spec.recurrent_weight_frac
        return fractions

    def choose_fractions(self) -> None:
        """Choose for every weight matrix the fraction of the least squared error, clipping included.

        Done by `from_float`; again after training has moved the weights, if at all: every change of a
        fraction changes what the network computes.
        """
        specs = []
        for k, spec in enumerate(self.layer_specs):
            p = self.egru.layer_parameters(k)
            specs.append(
                replace(
                    spec,
                    input_weight_frac=best_frac(p.weight_ih, spec.input_weight_bits, f"weight_ih_l{k}"),
                    recurrent_weight_frac=best_frac(
                        p.weight_hh, spec.recurrent_weight_bits, f"weight_hh_l{k}"
                    ),
                )
            )
        frac = best_frac(self.readout.weight, self.readout_spec.weight_bits, "readout.weight")
        self._set_specs(self.input_spec, specs, replace(self.readout_spec, weight_frac=frac))

    __prepare_scriptable__ = refuse_scripting

    @uncompiled
    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> NetworkOutput:
        """Run real inputs x (T x B x I) through the integer model.

        Arguments and results are those of `egru.Network`. All results are real numbers, exact multiples of
        the steps of their formats; only the logits of mode "mean" are divided by the length afterwards,
        which keeps their order. Logits are float64, so that distinct integers stay distinct.

        Raises
        ------
        EgretError
            If shapes do not fit, a value or parameter is not finite, or in mode "mean" a sequence is
            longer than ``max_steps``.
        """
        x = self.egru.check_input(x)
        refuse_tracing(self.parameters())
        _check_readout(self.readout)
        self._check_dtypes()
        with full_precision(x.device):
            return self._forward(x, lengths, state)

    def _forward(self, x: Tensor, lengths: Tensor | None, state: State | None) -> NetworkOutput:
        c, y = self.egru.check_state(state, x)
        steps, batch, _ = x.shape
        lengths = check_lengths(lengths, x)
        if lengths is None:
            lengths = torch.full((batch,), steps, device=x.device)
        else:
            x = x.masked_fill(~length_mask(lengths, steps).unsqueeze(2), 0.0)
        limit = self.readout_spec.max_steps
        if self.readout_mode == "mean" and int(lengths.max()) > limit:
            raise EgretError(f"a sequence must have at most max_steps = {limit} steps, not {lengths.max()}")
        self._clamp()

        values = quantise(x, self.input_spec.format, "x").to(x.dtype)
        events, spikes, c_last, y_last = [], [], [], []
        for k in range(self.egru.num_layers):
            numerics = self._numerics(k, x.device)
            out = quant_layer(
                values,
                quantise(c[k], _STATE, "state c", numerics.spec.state_range[0]).to(x.dtype),
                quantise(y[k], numerics.spec.event_format, "state y").to(x.dtype),
                self._quantised(k, quantise),
                numerics,
                lengths,
            )
            values = out.y
            events.append(out.y)
            spikes.append(out.o)
            c_last.append(out.c_last)
            y_last.append(out.y_last)
        logits = self._read_out(values.double(), lengths)
        return NetworkOutput(logits, events, spikes, (torch.stack(c_last), torch.stack(y_last)))

    def to_image(self, name: str, info: dict | None = None) -> NetworkImage:
        """Make the network image that computes what this module computes now.

        Raises
        ------
        EgretError
            If a parameter is not finite, or ``name`` or ``info`` do not suit an image.
        """
        self._check_dtypes()
        self._clamp()
        layers = []
        for k, spec in enumerate(self.layer_specs):
            integers = self._quantised(k, to_integers)
            layers.append(
                Layer(
                    spec=spec,
                    input_format=self._arriving(k),
                    input_weight=_array(integers.weight_ih),
                    recurrent_weight=_array(integers.weight_hh),
                    bias=_array(integers.bias),
                    threshold=_array(integers.theta),
                    sigmoid=sigmoid_table(spec.table_bits),
                    tanh=tanh_table(spec.table_bits),
                )
            )
        weight, bias = self._quantised_readout(to_integers)
        readout = Readout(spec=self.readout_spec, weight=_array(weight), bias=_array(bias))
        return NetworkImage(
            name=name, input=self.input_spec, layers=tuple(layers), readout=readout, info=info or {}
        )

    def get_extra_state(self) -> dict:
        """Formats, as part of the state dict: plain numbers and strings only."""
        return {
            "input": asdict(self.input_spec),
            "layers": [asdict(spec) for spec in self.layer_specs],
            "readout": asdict(self.readout_spec),
        }

    def set_extra_state(self, state: dict) -> None:
        """Take formats from a state dict."""
        self._set_specs(
            InputSpec(**state["input"]),
            [LayerSpec(**spec) for spec in state["layers"]],
            ReadoutSpec(**state["readout"]),
        )

    def _set_specs(self, source: InputSpec, layers: Sequence[LayerSpec], readout: ReadoutSpec) -> None:
        shapes = [(spec.inputs, spec.units) for spec in layers]
        egru = self.egru
        expected = [
            (egru.input_size if k == 0 else egru.hidden_size, egru.hidden_size)
            for k in range(egru.num_layers)
        ]
        if source.size != egru.input_size or shapes != expected:
            raise EgretError(
                f"formats are for layers of (inputs, units) {shapes}, and the network has {expected}"
            )
        variant = (egru.options.reset, egru.options.state_reset)
        for spec in layers:
            if (spec.reset, spec.state_reset) != variant:
                raise EgretError(
                    f"formats are for (reset, state_reset) {(spec.reset, spec.state_reset)}, "
                    f"and the network has {variant}"
                )
        if (readout.classes, readout.mode) != (self.readout.out_features, self.readout_mode):
            raise EgretError(
                f"formats are for {readout.classes} classes in mode {readout.mode!r}, and the network has "
                f"{self.readout.out_features} in mode {self.readout_mode!r}"
            )
        self.input_spec, self._layer_specs, self._readout_spec = source, tuple(layers), readout
        if self.scales is not None:
            self.scales.set_fractions(self._fractions())

    def _check_dtypes(self) -> None:
        for name, values in self.named_parameters():
            if values.dtype not in _DTYPES:
                raise EgretError(
                    f"{name} must be torch.float32 or torch.float64 in a quantised network, whose states "
                    f"have 16 bits, and not {values.dtype}: call float() on the network before quantising it"
                )
            if values.device.type == "meta":
                raise EgretError(
                    f"{name} must hold numbers, and is on the device meta, which keeps shapes only"
                )

    def _clamp(self) -> None:
        self.egru.clamp_thresholds_()
        if self.scales is not None:
            self.scales.clamp_()

    def _quantised_weight(self, values: Tensor, fmt: IntFormat, name: str, convert) -> Tensor:
        if self.scales is not None and convert is quantise:
            return self.scales.quantise(values, fmt, name)
        return convert(values, fmt, name)

    def _arriving(self, k: int) -> IntFormat:
        return self.input_spec.format if k == 0 else self.layer_specs[k - 1].event_format

    def _numerics(self, k: int, device: torch.device) -> LayerNumerics:
        spec = self.layer_specs[k]
        sigmoid, tanh = (
            torch.from_numpy(table(spec.table_bits).astype(np.float64)).to(device)
            for table in (sigmoid_table, tanh_table)
        )
        return LayerNumerics(spec, self._arriving(k), sigmoid, tanh, self.egru.options)

    def _quantised(self, k: int, convert) -> QuantParameters:
        """Parameters of layer k by ``convert``: `quantise` for real numbers, `to_integers` for integers."""
        spec, units = self.layer_specs[k], self.egru.hidden_size
        p = self.egru.layer_parameters(k)
        ih, hh = p.bias_ih.double(), p.bias_hh.double()
        both, inner = slice(0, 2 * units), slice(2 * units, None)
        bias = torch.cat((ih[both] + hh[both], ih[inner], hh[inner])).view(4, units)
        return QuantParameters(
            self._quantised_weight(p.weight_ih, spec.input_weight_format, f"weight_ih_l{k}", convert),
            self._quantised_weight(p.weight_hh, spec.recurrent_weight_format, f"weight_hh_l{k}", convert),
            convert(bias, IntFormat(BIAS_BITS, spec.acc_frac(self._arriving(k)), True), f"bias of layer {k}"),
            convert(p.theta, _THRESHOLD, f"theta_l{k}", spec.threshold_range[0]),
        )

    def _quantised_readout(self, convert) -> tuple[Tensor, Tensor]:
        spec = self.readout_spec
        frac = self.layer_specs[-1].event_bits + spec.weight_frac
        return (
            self._quantised_weight(self.readout.weight, spec.weight_format, "readout.weight", convert),
            convert(self._readout_bias(), IntFormat(BIAS_BITS, frac, True), "readout.bias"),
        )

    def _readout_bias(self) -> Tensor:
        """The readout's bias, zero where it has none."""
        weight, bias = self.readout.weight, self.readout.bias
        return weight.new_zeros(weight.shape[0]) if bias is None else bias

    def _read_out(self, events: Tensor, lengths: Tensor) -> Tensor:
        """Logits (float64) of the last layer's events, exact but for the division of mode "mean"."""
        weight, bias = self._quantised_readout(quantise)
        steps, batch, _ = events.shape
        if self.readout_mode == "every":
            logits = events @ weight.t() + bias
            return logits.masked_fill(~length_mask(lengths, steps).unsqueeze(2), 0.0)
        if self.readout_mode == "last":
            return events[lengths - 1, torch.arange(batch, device=events.device)] @ weight.t() + bias
        count = lengths.unsqueeze(1)
        frac = self.layer_specs[-1].event_bits + self.readout_spec.weight_frac
        largest = float((weight.detach().abs().sum(1) + bias.detach().abs()).max()) * 2.0**frac * steps
        if largest >= 2**53:
            raise EgretError(
                f"the readout's sum over {steps} steps must stay below 2^53, and could reach {largest:.3g}: "
                "smaller weights or shorter sequences are needed"
            )
        return (events.sum(0) @ weight.t() + count * bias) / count


def _check_readout(readout: nn.Module) -> None:
    if not isinstance(readout, nn.Linear):
        raise EgretError(
            f"the readout of a network that is quantised must be a torch.nn.Linear, not {readout}"
        )


def _check_parameters(network: Network) -> None:
    """Raise EgretError where weights are computed from others."""
    egru, readout = network.egru, network.readout
    values = {
        f"egru.{name}_l{k}": value
        for k in range(egru.num_layers)
        for name, value in egru.layer_parameters(k)._asdict().items()
    }
    for name, value in {**values, "readout.weight": readout.weight, "readout.bias": readout.bias}.items():
        if value is not None and not isinstance(value, nn.Parameter):
            raise EgretError(
                f"{name} must be a parameter to be quantised, and is computed from others: make "
                "it one with torch.nn.utils.prune.remove or parametrize.remove_parametrizations"
            )


def _array(integers: Tensor) -> np.ndarray:
    return integers.cpu().numpy().astype(np.int64)


def best_frac(values: Tensor | np.ndarray, bits: int, name: str, signed: bool = True) -> int:
    """Choose the fraction 0..12 with the least squared error of quantised ``values``, clipping included.

    Among equals the smallest wins, which leaves the values most room to grow; if all values are
    0, ``bits - 1``, where the format covers [-1, 1).
    """
    tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(values)
    return _best_frac([tensor.double()], bits, name, signed)


def _best_frac(parts: Sequence[Tensor], bits: int, name: str, signed: bool) -> int:
    if not any(part.any() for part in parts):
        return bits - signed
    errors = {}
    for frac in range(FRAC_RANGE[0], FRAC_RANGE[1] + 1):
        fmt = IntFormat(bits, frac, signed)
        off = (to_integers(part, fmt, name).mul_(2.0**-frac).sub_(part) for part in parts)
        errors[frac] = sum(float(part.square_().sum()) for part in off)
    return min(errors, key=lambda frac: (errors[frac], frac))


def choose_input_format(
    calibration: Tensor | np.ndarray | Iterable, bits: int = 8, size: int | None = None
) -> IntFormat:
    """Choose the format of ``bits`` bits that suits real inputs best: see `QuantNetwork.from_float`.

    Every input counts, whatever its place, in padding too. With ``size``, the last axis of whatever has more
    than one axis must be as long.

    Raises
    ------
    EgretError
        If there are no inputs, one is not a finite real number, or an argument is out of range.
    """
    parts = [part for whole in _listed(calibration) for part in _real(whole, size)]
    if not parts:
        raise EgretError("calibration must hold at least one input")
    signed = any(bool((part < 0).any()) for part in parts)
    low = 2 if signed else 1
    if type(bits) is not int or not low <= bits <= 8:
        kind = "signed" if signed else "unsigned"
        raise EgretError(f"input_bits must be an integer {low}..8 for {kind} inputs, not {brief(bits)}")
    return IntFormat(bits, _best_frac(parts, bits, "calibration", signed), signed)


def _listed(calibration: Tensor | np.ndarray | Iterable) -> Iterable:
    if isinstance(calibration, (Tensor, np.ndarray)):
        return [calibration]
    if isinstance(calibration, (str, bytes, Mapping)) or not isinstance(calibration, Iterable):
        raise EgretError(
            "calibration must be a tensor or an array of inputs, or several of them one after another, "
            f"not {type(calibration).__name__}"
        )
    return calibration


def _real(values: object, size: int | None) -> list[Tensor]:
    """Return calibration inputs as flat float64 tensors of a size that is quick to work on."""
    try:
        tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
        if tensor.is_complex() or tensor.layout != torch.strided or tensor.is_quantized:
            raise TypeError
        tensor = tensor.cpu().double()
    except (TypeError, ValueError, NotImplementedError):
        kind = getattr(values, "dtype", type(values).__name__)
        raise EgretError(f"calibration must hold tensors or arrays of real numbers, not {kind}") from None
    if size is not None and tensor.dim() > 1 and tensor.shape[-1] != size:
        raise EgretError(
            f"calibration must have the network's {size} inputs as its last axis, "
            f"and not shape {tuple(tensor.shape)}"
        )
    if not torch.isfinite(tensor).all():
        raise EgretError(
            "calibration must hold finite numbers, and holds NaN or infinity: leave such steps, padding for "
            "one, out of it"
        )
    return [part for part in tensor.flatten().split(_CALIBRATION_VALUES) if part.numel()]

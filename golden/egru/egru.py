"""The EGRU module: a stack of event-based GRU layers in the style of torch.nn.GRU."""

import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor, nn

from egru.ambient import refuse_scripting, refuse_tracing, uncompiled
from egru.errors import EgretError
from egru.functional import LayerParameters, egru_layer
from egru.kernels.border import check_lengths
from egru.kernels.sparse import Ordered
from egru.options import Options, check_kernel, number
from egru.untrusted import brief

THRESHOLD_MIN = 2.0**-8  #: one step of an 8-bit event payload: a fired event is never zero
THRESHOLD_MAX = 1.0

State = tuple[Tensor, Tensor]


class StackOutput(NamedTuple):
    """What every layer of a stack did; all tensors are differentiable."""

    events: list[Tensor]  #: per layer, T x B x H graded events
    spikes: list[Tensor]  #: per layer, T x B x H, 1 where a unit fired; the gradient is the surrogate's
    state: State  #: (c, y), each num_layers x B x H


class EGRU(nn.Module):
    r"""Event-based GRU (Subramoney et al., ICLR 2023), with an interface like torch.nn.GRU.

    A unit communicates only when its potential exceeds its threshold; per layer and step

        z = sigmoid(W_z x + b_z + R_z y[t-1] + b'_z)
        r = sigmoid(W_r x + b_r + R_r y[t-1] + b'_r)
        g = tanh(W_g x + b_g + r * (R_g y[t-1] + b'_g))
        c~ = z * c[t-1] + (1 - z) * g
        o = 1 if c~ > theta else 0             strict: equality does not fire
        y = o * c~
        c = c~ - o * theta

    Parameters
    ----------
    input_size, hidden_size, num_layers : integers, at least 1.
    reset : "after" as above, or "before" (paper, eq. 1): g = tanh(W_g x + b_g + R_g (r * y[t-1]) + b'_g).
    state_reset : "threshold" as above, or "output" (paper, eq. 2):
        c = c~ = z * c[t-1] + (1 - z) * g - y[t-1].
    gamma, eps : surrogate gradient gamma * max(0, 1 - eps * |c~ - theta|) for do/dc~.
    batch_first : x and y are B x T x features; the state stays num_layers x B x H.
    theta_mean : mean m of the initial thresholds, drawn from Beta(3m / (1-m), 3); within (0, 1).
    memory : steps, more than 1, that units remember at first: the biases of update gates start at
        uniform numbers from 0 to the logarithm of memory, so that z keeps the state for 1 to memory steps,
        every order of magnitude as often (after Tallec and Ollivier, "Can recurrent neural networks warp
        time?", ICLR 2018, who spread the steps evenly). 0: they start at zero, like all others.
    input_std : deviation of the first layer's input weights at first; 0 for Xavier's. With few inputs
        Xavier's are small, and what comes in hardly moves a unit.
    kernel : "dense" (PyTorch operations), "sparse" (event-driven, compiled for this CPU: time and gradients
        of silent units are saved) or "auto" (sparse for float32 and float64 on the CPU from 32 units and 8
        steps x sequences on, if there is a C++ compiler). Kernels sum in different orders: results differ by
        rounding, and where that moves a potential over its threshold, by an event. May be set later.
    zoneout : p within [0, 1): z becomes p + (1 - p) * z, in training and evaluation alike; see `Options`.
        Computed densely, and not to be quantised.

    Attributes
    ----------
    weight_ih_l{k} (3H x I or 3H x H), weight_hh_l{k} (3H x H), bias_ih_l{k}, bias_hh_l{k} (3H): row blocks
        z, r, g. Weights start Xavier-normal on the whole 3H-row matrix, biases at zero.
    theta_l{k} (H) : trainable thresholds within [2^-8, 1]. An optimiser step may leave that range: every
        forward pass first puts them back (`clamp_thresholds_`), so what is computed is always in range.

    Raises EgretError for a value or shape out of range, TypeError for a wrong type.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset: str = "after",
        state_reset: str = "threshold",
        gamma: float = 0.7,
        eps: float = 1.0,
        batch_first: bool = False,
        theta_mean: float = 0.3,
        memory: float = 0.0,
        input_std: float = 0.0,
        kernel: str = "auto",
        zoneout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = positive_integer("input_size", input_size)
        self.hidden_size = positive_integer("hidden_size", hidden_size)
        self.num_layers = positive_integer("num_layers", num_layers)
        self.options = Options(reset=reset, state_reset=state_reset, gamma=gamma, eps=eps, zoneout=zoneout)
        if not isinstance(batch_first, bool):
            raise TypeError(f"batch_first must be a bool, not {brief(batch_first)}")
        self.batch_first = batch_first
        theta_mean = number("theta_mean", theta_mean)
        if not 0 < theta_mean < 1:
            raise EgretError(f"theta_mean must be within (0, 1), both ends excluded, not {brief(theta_mean)}")
        self.theta_mean = theta_mean
        memory = number("memory", memory)
        if memory and not 1 < memory < float("inf"):
            raise EgretError(f"memory must be 0 or a finite number of steps above 1, not {brief(memory)}")
        self.memory = memory
        input_std = number("input_std", input_std)
        if not 0 <= input_std < float("inf"):
            raise EgretError(f"input_std must be a finite number of at least 0, not {brief(input_std)}")
        self.input_std = input_std
        self.kernel = check_kernel(kernel)
        self._freezing = _Freezing(self.num_layers)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"dtype must be a floating point type, not {brief(dtype)}")
        units = self.hidden_size
        for k in range(self.num_layers):
            shapes = {
                "weight_ih": (3 * units, self.input_size if k == 0 else units),
                "weight_hh": (3 * units, units),
                "bias_ih": (3 * units,),
                "bias_hh": (3 * units,),
                "theta": (units,),
            }
            for name, shape in shapes.items():
                value = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(f"{name}_l{k}", nn.Parameter(value))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh initial values from torch's global generator."""
        mean = self.theta_mean
        wide = torch.get_default_dtype().itemsize >= 4  # there is no such distribution of narrower numbers
        dtype = torch.get_default_dtype() if wide else torch.float32
        shape = (torch.tensor(v, dtype=dtype) for v in (3 * mean / (1 - mean), 3.0))
        thresholds = torch.distributions.Beta(next(shape), next(shape))
        for k in range(self.num_layers):
            layer = self.layer_parameters(k)
            if self.input_std and k == 0:
                nn.init.normal_(layer.weight_ih, std=self.input_std)
            else:
                nn.init.xavier_normal_(layer.weight_ih)
            nn.init.xavier_normal_(layer.weight_hh)
            layer.bias_ih.zero_()
            layer.bias_hh.zero_()
            if self.memory:
                layer.bias_ih[: self.hidden_size].uniform_(0.0, math.log(self.memory))
            layer.theta.copy_(thresholds.sample(layer.theta.shape))
        self.clamp_thresholds_()

    def layer_parameters(self, k: int) -> LayerParameters:
        """Parameters of layer k, 0 being the one that reads x."""
        return LayerParameters(*(getattr(self, f"{name}_l{k}") for name in LayerParameters._fields))

    def clamp_thresholds_(self) -> None:
        """Put every threshold back into [2^-8, 1], in place and unseen by autograd."""
        for k in range(self.num_layers):
            _clamp(self.layer_parameters(k).theta)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Promise that the weights stay as they are within a with block: for inference in many short calls.

        The event-driven kernels put weights in another order before the first step. In the block they do so
        once, not at every call, and kernel="auto" is sparse for single steps, too. Results are the same.
        Thresholds and biases may change. A weight that was changed makes the next call raise EgretError;
        a change through `.data` cannot be seen, and is not heeded. Calls of all threads are meant, while any
        thread is in such a block of the module.
        """
        with self._freezing:
            yield

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None, *, layers: bool = False
    ) -> tuple[Tensor, State] | StackOutput:
        """Run the stack over a window.

        Parameters
        ----------
        x : T x B x I (B x T x I with batch_first), T and B at least 1, in the dtype of the parameters.
        state : (c, y), each num_layers x B x H, as returned for the window before; zeros if None.
        lengths : B integers, 1..T. Steps beyond a sequence's length are padding: y is zero there, and the
            state returned is the one after the last real step.

        Returns (y, state): y is T x B x H (B x T x H), the graded events of the last layer. With `layers`
        the result is that of `forward_layers`.
        """
        if layers:
            return self._run(x, state, lengths, spikes=True)
        out = self._run(x, state, lengths, spikes=False)
        return out.events[-1], out.state

    def forward_layers(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> StackOutput:
        """Like `forward`, with the events and the spikes of every layer."""
        # A call, so that hooks run: those of torch.nn.utils.prune form the weights.
        return self(x, state, lengths, layers=True)

    @uncompiled
    def _run(self, x: Tensor, state: State | None, lengths: Tensor | None, *, spikes: bool) -> StackOutput:
        layers = [self.layer_parameters(k) for k in range(self.num_layers)]
        values = self.check_input(x, layers)
        c0, y0 = self.check_state(state, values)
        lengths = check_lengths(lengths, values)
        kernel = check_kernel(self.kernel)
        ordered = self._freezing.ordered  # once: another thread may leave its block meanwhile
        outputs = []
        for k, parameters in enumerate(layers):
            _clamp(parameters.theta)
            out = egru_layer(
                values, c0[k], y0[k], parameters, self.options, lengths=lengths, kernel=kernel, spikes=spikes,
                ordered=ordered[k] if ordered else None, number=f"_l{k}",
            )  # fmt: skip
            values = out.y
            outputs.append(out)
        state = (torch.stack([out.c_last for out in outputs]), torch.stack([out.y_last for out in outputs]))
        return StackOutput(
            [self._ordered(out.y) for out in outputs],
            [self._ordered(out.o) for out in outputs] if spikes else [],
            state,
        )

    def _ordered(self, values: Tensor) -> Tensor:
        return values.transpose(0, 1) if self.batch_first else values

    def check_input(self, x: Tensor, layers: Sequence[LayerParameters] | None = None) -> Tensor:
        """Return x as T x B x I, or raise; `layers` are the parameters, where they are at hand.

        Under autocast a narrower x takes the parameters' type.
        """
        refuse_tracing((x,))
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a torch.Tensor, not {type(x).__name__}")
        order = "B x T x I" if self.batch_first else "T x B x I"
        if x.dim() != 3 or x.shape[2] != self.input_size or 0 in x.shape:
            raise EgretError(
                f"x must be {order} with I = {self.input_size} and T, B at least 1, "
                f"not of shape {tuple(x.shape)}"
            )
        if layers is None:
            layers = [self.layer_parameters(k) for k in range(self.num_layers)]
        like = _typical(layers)
        if x.is_floating_point() and x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
            x = x.to(like.dtype)
        _check_kind("x", x, like)
        return x.transpose(0, 1) if self.batch_first else x

    def check_state(self, state: State | None, x: Tensor) -> State:
        """Return the state for x (T x B x I), zeros if None, or raise."""
        shape = (self.num_layers, x.shape[1], self.hidden_size)
        if state is None:
            return x.new_zeros(shape), x.new_zeros(shape)
        if not (isinstance(state, tuple) and len(state) == 2 and all(isinstance(s, Tensor) for s in state)):
            raise TypeError("state must be a pair (c, y) of torch.Tensor")
        for name, value in zip("cy", state, strict=True):
            if value.shape != shape:
                raise EgretError(f"state {name} must be of shape {shape}, not {tuple(value.shape)}")
            _check_kind(f"state {name}", value, x)
        return state

    __prepare_scriptable__ = refuse_scripting

    def extra_repr(self) -> str:
        """Sizes and options, for print(module)."""
        o = self.options
        zoneout = f", zoneout={o.zoneout}" if o.zoneout else ""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, reset={o.reset!r}, "
            f"state_reset={o.state_reset!r}, gamma={o.gamma}, eps={o.eps}, batch_first={self.batch_first}, "
            f"kernel={self.kernel!r}{zoneout}"
        )


def positive_integer(name: str, value: int) -> int:
    """Return value as an int, or raise an error that names it; the integers of numpy are integers, too."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, not {brief(value)}")
    if value < 1:
        raise EgretError(f"{name} must be at least 1, not {brief(value)}")
    return int(value)


class _Freezing:
    """The open blocks of `EGRU.frozen`, of all threads, and the packed weights of the layers meanwhile.

    A copy of a module, or one that was pickled, begins without.
    """

    def __init__(self, layers: int) -> None:
        self.ordered: list[Ordered] | None = None
        self._layers = layers
        self._open = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple:
        return _Freezing, (self._layers,)

    def __enter__(self) -> None:
        with self._lock:
            self._open += 1
            if self.ordered is None:
                self.ordered = [Ordered() for _ in range(self._layers)]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                self.ordered = None


def _clamp(theta: Tensor) -> None:
    # .data: the values saved for a backward pass still pending are in range, hence unchanged.
    if not theta.is_floating_point() or theta.layout is not torch.strided:
        return  # refused by the layer, which names it
    if 0 in theta.stride() and theta.numel() > 1:  # one number for several units cannot be changed in place
        theta.data = theta.data.clone(memory_format=torch.contiguous_format)
    theta.data.clamp_(THRESHOLD_MIN, THRESHOLD_MAX)


def _typical(layers: Sequence[LayerParameters]) -> Tensor:
    """Return a parameter of the dtype and device that most have: one of another is to be named itself."""
    kinds = Counter((p.dtype, p.device) for layer in layers for p in layer)
    most, _ = kinds.most_common(1)[0]
    return next(p for layer in layers for p in layer if (p.dtype, p.device) == most)


def _check_kind(name: str, value: Tensor, parameter: Tensor) -> None:
    if not parameter.dtype.is_floating_point:
        raise TypeError(f"parameters must hold floating point numbers, not {parameter.dtype}")
    if value.layout is not torch.strided:
        raise EgretError(f"{name} must be a dense tensor, not one of layout {value.layout}")
    if value.dtype != parameter.dtype:
        raise EgretError(f"{name} must be {parameter.dtype} like the parameters, not {value.dtype}")
    if value.device != parameter.device:
        raise EgretError(f"{name} must be on {parameter.device} like the parameters, not on {value.device}")

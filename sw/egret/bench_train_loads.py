"""What `egret bench-train` runs: layers of a wanted activity, and other ways to compute the like."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from egru import EGRU
from egru.functional import LayerParameters, egru_layer
from egru.image import NetworkImage
from egru.kernels.sparse import Ordered, sparse_layer

Layer = Callable[[Tensor], Tensor]  #: x (T x B x I) to y (T x B x H)

#: The candidates' bias: potentials then lie above the lowest threshold, and any activity can be reached.
_CANDIDATE_BIAS = 1.5
_SEARCH_STEPS, _SEARCH_SEQUENCES = 12, 16


def random_layer(inputs: int, units: int, x: Tensor, activity: float, *, eps: float = 1.0) -> EGRU:
    """Return a layer of random weights whose thresholds make each unit fire in that share of the steps.

    The thresholds are found by bisection, all units at once, on the first sequences of x.
    """
    torch.manual_seed(1)
    module = EGRU(inputs, units, eps=eps)
    layer = module.layer_parameters(0)
    seen = x[:, :_SEARCH_SEQUENCES]
    with torch.no_grad():
        layer.bias_ih[2 * units :] = _CANDIDATE_BIAS
        low, high = torch.full((units,), 2.0**-8), torch.ones(units)
        for _ in range(_SEARCH_STEPS):
            layer.theta.copy_((low + high) / 2)
            share = (module(seen)[0] != 0).float().mean((0, 1))
            low = torch.where(share > activity, layer.theta, low)
            high = torch.where(share > activity, high, layer.theta)
        layer.theta.copy_(low if activity > 0.5 else high)
    return module


def trained_layer(image: NetworkImage) -> EGRU:
    """Return the first layer of a network image with its integers as real numbers."""
    layer = image.layers[0]
    spec = layer.spec
    module = EGRU(spec.inputs, spec.units, reset=spec.reset, state_reset=spec.state_reset)
    parameters = module.layer_parameters(0)
    bias = torch.tensor(layer.bias) * 2.0**-layer.acc_frac
    values = (
        torch.tensor(layer.input_weight) * 2.0**-spec.input_weight_frac,
        torch.tensor(layer.recurrent_weight) * 2.0**-spec.recurrent_weight_frac,
        bias[:3].reshape(-1),
        torch.cat((torch.zeros(2 * spec.units), bias[3])),
        torch.tensor(layer.threshold) * 2.0**-15,
    )
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
    return module


def kernel(
    module: EGRU, skip: int, lengths: Tensor | None = None, *, ordered: Ordered | None = None
) -> Layer:
    """Return the event-driven kernel of a layer; `skip` and `ordered` as in `egru.kernels.sparse`."""

    def run(x: Tensor) -> Tensor:
        zero = x.new_zeros(x.shape[1], module.hidden_size)
        return sparse_layer(
            x,
            zero,
            zero,
            module.layer_parameters(0),
            module.options,
            lengths=lengths,
            spikes=False,
            skip=skip,
            ordered=ordered,
        )[0]

    return run


def dense_kernel(module: EGRU, lengths: Tensor | None = None) -> Layer:
    """Return kernel="dense" of a layer: PyTorch operations, the backward pass written by hand."""

    def run(x: Tensor) -> Tensor:
        zero = x.new_zeros(x.shape[1], module.hidden_size)
        return egru_layer(x, zero, zero, module.layer_parameters(0), module.options, lengths=lengths).y

    return run


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, potential, theta, gamma, eps):
        ctx.save_for_backward(potential, theta)
        ctx.shape = gamma, eps
        return (potential > theta).to(potential.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        potential, theta = ctx.saved_tensors
        gamma, eps = ctx.shape
        slope = gamma * (1 - eps * (potential - theta).abs()).clamp(min=0) * grad
        return slope, -slope.sum(0), None, None


def plain_loop(module: EGRU) -> Layer:
    """Return the layer as one would write it: a loop over steps, its gradients left to autograd."""
    p: LayerParameters = module.layer_parameters(0)
    options = module.options

    def run(x: Tensor) -> Tensor:
        c = y = x.new_zeros(x.shape[1], module.hidden_size)
        outputs = []
        for x_t in x:
            a_z, a_r, a_g = functional.linear(x_t, p.weight_ih, p.bias_ih).chunk(3, 1)
            q_z, q_r, q_g = functional.linear(y, p.weight_hh, p.bias_hh).chunk(3, 1)
            z, r = torch.sigmoid(a_z + q_z), torch.sigmoid(a_r + q_r)
            g = torch.tanh(a_g + r * q_g)
            potential = z * c + (1 - z) * g
            o = _Fire.apply(potential, p.theta, options.gamma, options.eps)
            y = o * potential
            c = potential - o * p.theta
            outputs.append(y)
        return torch.stack(outputs)

    return run


def gru(inputs: int, units: int) -> tuple[Layer, nn.GRU]:
    """Return torch.nn.GRU of the same size."""
    module = nn.GRU(inputs, units)
    return lambda x: module(x)[0], module


def inference(layer: Layer, x: Tensor) -> Callable[[], None]:
    """Return a call that computes the layer without gradients."""

    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def training(layer: Layer, x: Tensor, gradient: Tensor, module: nn.Module) -> Callable[[], None]:
    """Return a call that computes the layer, and the gradients on its parameters."""

    def run() -> None:
        for parameter in module.parameters():
            parameter.grad = None
        layer(x).backward(gradient)

    return run


def bytes_kept(layer: Layer, x: Tensor, but: nn.Module) -> int:
    """Bytes that a forward pass keeps for the backward pass, besides x and the parameters."""
    known = {x.untyped_storage().data_ptr(), *(p.untyped_storage().data_ptr() for p in but.parameters())}
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = layer(x)
    del y
    return sum(found.values())

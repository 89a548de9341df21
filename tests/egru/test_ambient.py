"""What PyTorch does around a call: it changes no bit of the quantised network, and a tracer is refused."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from egru import EGRU, EgretError, IntegerNetwork, Network, QuantNetwork
from egru.quant_layer import _product_dtype
from egru.testing import random_image, random_input

torch.set_num_threads(1)

HALVES = (torch.bfloat16, torch.float16)


@contextlib.contextmanager
def put(get, put_, value):
    before = get()
    put_(value)
    try:
        yield
    finally:
        put_(before)


@contextlib.contextmanager
def attribute(holder, name, value):
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, before)


def default_dtype(dtype):
    return put(torch.get_default_dtype, torch.set_default_dtype, dtype)


AMBIENT = {
    "autocast bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "default float64": lambda: default_dtype(torch.float64),
    "default bfloat16": lambda: default_dtype(torch.bfloat16),
    "default float16": lambda: default_dtype(torch.float16),
    "matmul medium": lambda: put(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "matmul bfloat16 by backend": lambda: attribute(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
    "deterministic": lambda: put(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "one thread": lambda: put(torch.get_num_threads, torch.set_num_threads, 1),
    "three threads": lambda: put(torch.get_num_threads, torch.set_num_threads, 3),
    "no grad": torch.no_grad,
    "inference": torch.inference_mode,
    "device meta by default": lambda: torch.device("meta"),
    "denormal numbers are zero": lambda: put(lambda: False, torch.set_flush_denormal, True),
}
ambient = pytest.mark.parametrize("state", AMBIENT)


def networks(units=40, mode="mean", layers=2, **options):
    torch.manual_seed(units)
    network = Network(5, units, 4, layers, readout=mode, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    network.egru.clamp_thresholds_()
    x = torch.randn(30, 6, 5)
    return network, QuantNetwork.from_float(network, calibration=x), x


def integers(values, frac):
    return np.ldexp(values.detach().double().numpy(), frac)


def assert_equal(quantised, out, trace):
    """Every event and logit of a quantised network's output is that of a trace of the integer model."""
    for y, expected, spec in zip(out.events, trace.events, quantised.layer_specs, strict=True):
        assert np.array_equal(integers(y, spec.event_bits), expected)
    assert np.any(trace.states[-1])
    frac = quantised.layer_specs[-1].event_bits + quantised.readout_spec.weight_frac
    divisor = len(trace.events[0]) if quantised.readout_mode == "mean" else 1
    assert np.array_equal(out.logits.detach().numpy(), np.ldexp(trace.logits / divisor, -frac))


@ambient
@pytest.mark.parametrize("mode", ["mean", "last", "every"])
@pytest.mark.parametrize(("units", "reset"), [(9, "before"), (40, "after")])
def test_nothing_around_a_call_changes_a_bit_of_the_quantised_network(state, mode, units, reset):
    network, quantised, x = networks(units, mode, reset=reset)
    image = quantised.to_image("plain")
    trace = IntegerNetwork(image).run(image.input.format.quantise(x.numpy()))
    with AMBIENT[state]():
        out = quantised(x)
        again = quantised.to_image("plain")
    assert_equal(quantised, out, trace)
    assert np.array_equal(again.layers[0].input_weight, image.layers[0].input_weight)
    assert np.array_equal(again.layers[1].bias, image.layers[1].bias)
    # And what is made under it is as good as any other.
    with AMBIENT[state]():
        made = QuantNetwork.from_float(network, calibration=x, learn_scales=True)
    assert_equal(made, made(x), trace)
    made(x).logits.sum().backward()


@pytest.mark.parametrize("state", ["matmul medium", "matmul bfloat16 by backend"])
def test_narrow_float32_products_are_never_asked_for(state):
    assert _product_dtype(torch.ones(1, 1), 1.0) == torch.float32
    with AMBIENT[state]():
        assert _product_dtype(torch.ones(1, 1), 1.0) == torch.float64


@pytest.mark.parametrize("state", [s for s in AMBIENT if s not in ("no grad", "inference")])
@pytest.mark.parametrize("kernel", ["dense", "auto"])
@pytest.mark.parametrize("quantised", [False, True])
def test_a_step_of_training_gives_finite_gradients_under_any_of_them(state, kernel, quantised):
    network, other, x = networks(kernel=kernel)
    module = other if quantised else network
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    given = []
    for manager in (contextlib.nullcontext, AMBIENT[state]):
        module.zero_grad()
        with manager():
            out = module(x)
            loss = nn.functional.cross_entropy(out.logits.float(), target)
            loss = loss + sum(spikes.mean() for spikes in out.spikes)
            loss.backward()
        given.append({name: p.grad.clone() for name, p in module.named_parameters()})
    plain, ambient_ = given
    for name, gradient in ambient_.items():
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all(), name
        # The layers' gradients are not those of a narrow type; the float readout's may be, as asked for.
        torch.testing.assert_close(gradient, plain[name], rtol=0.1, atol=0.02)
        assert gradient.any() == plain[name].any()


@pytest.mark.parametrize("kernel", ["dense", "auto"])
@pytest.mark.parametrize("narrow", HALVES)
def test_layers_behind_an_autocast_product_keep_their_precision(narrow, kernel):
    network, quantised, x = networks(kernel=kernel)
    for module in (network, quantised):
        with torch.autocast("cpu", narrow):
            behind = torch.nn.Linear(5, 5)(x)
            assert behind.dtype == narrow
            found = module(behind)
        expected = module(behind.float())
        assert all(torch.equal(a, b) for a, b in zip(found.events, expected.events, strict=True))
        assert found.state[0].dtype == torch.float32
    with pytest.raises(EgretError, match=f"x must be torch.float32 like the parameters, not {narrow}"):
        network(x.to(narrow))


@pytest.mark.parametrize("narrow", HALVES)
def test_a_type_that_cannot_hold_a_state_is_refused(narrow):
    _, quantised, x = networks()
    with pytest.raises(EgretError, match=rf"egru.weight_ih_l0 must be .*not {narrow}: call float\(\)"):
        QuantNetwork.from_float(networks()[0].to(narrow), calibration=x)
    with default_dtype(narrow):
        made_narrow = Network(5, 9, 4)
    with pytest.raises(EgretError, match=f"not {narrow}"):
        QuantNetwork.from_float(made_narrow, calibration=x)
    state = quantised(x).state
    with pytest.raises(EgretError, match=f"state c must be torch.float32 like the parameters, not {narrow}"):
        quantised(x, state=tuple(s.to(narrow) for s in state))
    quantised.to(narrow)
    with pytest.raises(EgretError, match=f"not {narrow}"):
        quantised(x.to(narrow))
    with pytest.raises(EgretError, match=f"not {narrow}"):
        quantised.to_image("narrow")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(6))
def test_the_widest_sums_are_exact_in_both_types(dtype, seed):
    """As many inputs as there may be, weights and values at the ends of their ranges, any fraction."""
    rng = np.random.default_rng(seed)
    inputs, units = ((65535, 2), (3, 700))[seed % 2]
    image = random_image(
        rng, inputs=inputs, units=[units], classes=3, any_frac=True, extreme=True, weight_bits=8,
        input_bits=8, event_bits=8, mode="mean", reset=("after", "before")[seed // 2 % 2],
    )  # fmt: skip
    words = random_input(rng, image, 3, density=1.0, batch=2)
    network = Network(inputs, units, 3, dtype=dtype, reset=image.layers[0].spec.reset)
    with torch.no_grad():
        p, layer = network.egru.layer_parameters(0), image.layers[0]
        p.weight_ih.copy_(torch.from_numpy(np.ldexp(layer.input_weight * 1.0, -layer.spec.input_weight_frac)))
        p.weight_hh.copy_(
            torch.from_numpy(np.ldexp(layer.recurrent_weight * 1.0, -layer.spec.recurrent_weight_frac))
        )
        p.bias_hh.normal_(0.0, 16.0)
    quantised = QuantNetwork(network, image.input, [layer.spec], image.readout.spec)
    trace = IntegerNetwork(quantised.to_image("wide")).run(words)
    out = quantised(torch.from_numpy(image.input.format.to_real(words)).to(dtype))
    assert_equal(quantised, out, trace)


def test_a_readout_that_an_image_cannot_hold_and_pruned_parameters_are_refused():
    network, quantised, x = networks()
    prune.l1_unstructured(network.egru, "weight_hh_l0", 0.5)
    with pytest.raises(EgretError, match=r"weight_hh_l0 must be a parameter .*prune\.remove"):
        QuantNetwork.from_float(network, calibration=x)
    prune.remove(network.egru, "weight_hh_l0")
    assert (QuantNetwork.from_float(network, calibration=x).egru.weight_hh_l0 == 0).sum() >= 2400
    network.readout = quantised.readout = nn.Sequential(nn.Linear(40, 4))
    for call in (lambda: QuantNetwork.from_float(network, calibration=x), lambda: quantised(x)):
        with pytest.raises(EgretError, match=r"readout .* must be a torch\.nn\.Linear, not"):
            call()
    network.readout = nn.Linear(40, 4)
    torch.nn.utils.parametrizations.weight_norm(network.egru, "weight_hh_l0")
    with pytest.raises(EgretError, match="remove_parametrizations"):
        QuantNetwork.from_float(network, calibration=x)


def _dual(module, x):
    with torch.autograd.forward_ad.dual_level():
        return module(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))


def _fake(module, x):
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return module(mode.from_tensor(x))


def _onnx(module, x):
    import io

    torch.onnx.export(module, (x,), io.BytesIO(), dynamo=False)


TRACERS = {
    "torch.jit.trace": lambda m, x: torch.jit.trace(m, x, check_trace=False),
    "torch.jit.script": lambda m, x: torch.jit.script(m),
    "torch.export": lambda m, x: torch.export.export(m, (x,), strict=False),
    "torch.fx": lambda m, x: torch.fx.symbolic_trace(m),
    "torch.func": lambda m, x: torch.func.vmap(m, in_dims=1)(x.unsqueeze(2)),
    "torch.func ": lambda m, x: torch.func.grad(lambda v: m(v).sum())(x),
    "torch.func  ": lambda m, x: torch.func.jvp(m, (x,), (x,)),
    "torch.func   ": lambda m, x: torch.func.functionalize(m)(x),
    "a tracer of PyTorch": lambda m, x: torch.fx.experimental.proxy_tensor.make_fx(m)(x),
    "a tracer of PyTorch ": _fake,
    "forward-mode differentiation": _dual,
    "torch.jit.trace ": _onnx,
}


class Logits(nn.Module):
    """A module that holds one of ours, as a user's own does."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]

    def get_extra_state(self):
        return torch.zeros(0)


@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("units", [9, 40])
@pytest.mark.filterwarnings("ignore")
def test_a_tracer_is_refused_with_what_to_use_instead(tracer, grad, units):
    network, quantised, x = networks(units)
    for module in (network, quantised, EGRU(5, units)):
        if tracer == "torch.jit.trace " and module is quantised:
            continue  # torch.onnx looks at a state dict first, where formats are no tensors
        expected = rf"{tracer.strip()} cannot look into an EGRU: .*egret export"
        with torch.set_grad_enabled(grad), pytest.raises(EgretError, match=expected):
            TRACERS[tracer](Logits(module), x)
    module = Logits(quantised)
    assert torch.equal(module(x), torch.func.functional_call(module, dict(module.named_parameters()), (x,)))


def test_a_quantised_network_on_the_device_meta_is_refused():
    _, quantised, x = networks()
    with pytest.raises(EgretError, match="must hold numbers, and is on the device meta"):
        quantised.to("meta")(x.to("meta"))


@pytest.mark.parametrize("kernel", ["dense", "auto"])
def test_second_and_batched_derivatives_are_refused_and_first_ones_are_not(kernel):
    network, quantised, x = networks(kernel=kernel)
    for module in (network, quantised):
        for call in (
            lambda m=module: torch.autograd.functional.hessian(lambda v: m(v).logits.sum(), x),
            lambda m=module: m(x).logits.sum().backward(create_graph=True),
        ):
            with warnings.catch_warnings(), pytest.raises(EgretError, match="create_graph must be False"):
                warnings.simplefilter("ignore")
                call()
        with pytest.raises(EgretError, match="one by one"):
            torch.autograd.functional.jacobian(lambda v, m=module: m(v).logits, x, vectorize=True)
        whole = torch.autograd.functional.jacobian(lambda v, m=module: m(v).logits.sum(0), x[:3])
        leaf = x[:3].clone().requires_grad_()
        (one,) = torch.autograd.grad(module(leaf).logits.sum(0)[2], leaf)
        assert torch.equal(whole[2], one)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_module_keeps_every_bit(backend):
    network, quantised, x = networks(9)
    for module in (network.egru, quantised):
        expected = module(x)[0]
        torch._dynamo.reset()
        compiled = torch.compile(Logits(module), backend=backend)
        assert torch.equal(compiled(x), expected)
        assert not torch.equal(compiled(x + 1), expected)
        torch._dynamo.reset()
        with pytest.raises(Exception, match="egret export"):
            torch.compile(Logits(module), backend=backend, fullgraph=True)(x)

"""The event-driven kernels against the dense layer: values and every gradient."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egru import EGRU, EgretError
from egru.functional import LayerOutput, LayerParameters, egru_layer
from egru.kernels import choice, library, pool, sparse
from egru.kernels.sparse import ADAPTIVE, ALWAYS, NEVER, sparse_layer
from egru.options import Options

NAMES = (
    "y",
    "o",
    "c_last",
    "y_last",
    "x",
    "c0",
    "y0",
    "weight_ih",
    "weight_hh",
    "bias_ih",
    "bias_hh",
    "theta",
)
TOLERANCE = {torch.float64: 1e-11, torch.float32: 3e-5}


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Two threads, whatever the machine has and however small the layer; as before afterwards."""
    monkeypatch.setattr(sparse, "THREAD_WORK", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def random_case(seed, steps, batch, inputs, units, *, dtype=torch.float64, density=1.0, theta=0.4):
    """Values of a layer (x, c0, y0 and parameters) and gradients on its four outputs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype)

    def share(*shape, of):
        return torch.rand(*shape, generator=generator) < of

    x = normal(steps, batch, inputs) * share(steps, batch, inputs, of=density)
    y0 = normal(batch, units).abs() * share(batch, units, of=0.3)
    low = 2.0**-8
    values = [
        x, normal(batch, units, scale=0.4), y0,
        normal(3 * units, inputs, scale=0.5), normal(3 * units, units, scale=units**-0.5),
        normal(3 * units, scale=0.3), normal(3 * units, scale=0.3),
        low + theta * torch.rand(units, generator=generator).to(dtype),
    ]  # fmt: skip
    gradients = [normal(steps, batch, units) for _ in range(2)] + [normal(batch, units) for _ in range(2)]
    return values, gradients


def results(layer, values, gradients):
    """Outputs of a layer, and the gradients on all of its arguments."""
    leaves = [value.clone().requires_grad_() for value in values]
    x, c0, y0, *parameters = leaves
    outputs = layer(x, c0, y0, LayerParameters(*parameters))
    torch.autograd.backward(list(outputs), gradients)
    return [value.detach() for value in outputs] + [leaf.grad for leaf in leaves]


def compare(values, gradients, options, *, lengths=None, skip=ADAPTIVE, threads=2):
    """Hold the kernels against the dense layer, with several threads and with one."""

    def dense(*arguments):
        return egru_layer(*arguments, options, lengths=lengths)

    def sparse(*arguments):
        return sparse_layer(*arguments, options, lengths=lengths, skip=skip)

    expected = results(dense, values, gradients)
    torch.set_num_threads(threads)
    found = results(sparse, values, gradients)
    torch.set_num_threads(1)
    alone = results(sparse, values, gradients)
    torch.set_num_threads(2)
    for name, wanted, got, same in zip(NAMES, expected, found, alone, strict=True):
        difference = float((wanted - got).abs().max() / (1 + wanted.abs().max()))
        assert difference <= TOLERANCE[wanted.dtype], f"{name} differs by {difference:.2e}"
        assert torch.equal(got, same), f"{name} depends on the number of threads"
    return expected


options = st.builds(
    Options,
    reset=st.sampled_from(["after", "before"]),
    state_reset=st.sampled_from(["threshold", "output"]),
    gamma=st.sampled_from([0.3, 0.7]),
    eps=st.sampled_from([0.5, 1.0, 5.0, 40.0]),
)


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**32),
    steps=st.sampled_from([1, 2, 5, 13]),
    batch=st.sampled_from([1, 2, 3, 4, 7, 20, 65]),
    inputs=st.sampled_from([1, 3, 8, 33]),
    units=st.sampled_from([1, 3, 15, 16, 17, 32, 33, 64, 97]),
    options=options,
    dtype=st.sampled_from([torch.float64, torch.float64, torch.float32]),
    density=st.sampled_from([1.0, 0.1, 0.0]),
    theta=st.sampled_from([0.0, 0.3, 0.9]),
    skip=st.sampled_from([ADAPTIVE, ADAPTIVE, ALWAYS, NEVER]),
    with_lengths=st.booleans(),
)
def test_values_and_every_gradient_equal_those_of_the_dense_layer(
    seed, steps, batch, inputs, units, options, dtype, density, theta, skip, with_lengths
):
    if options.reset == "before" and skip == NEVER:
        skip = ALWAYS
    values, gradients = random_case(
        seed, steps, batch, inputs, units, dtype=dtype, density=density, theta=theta
    )
    lengths = None
    if with_lengths:
        lengths = torch.randint(1, steps + 1, (batch,), generator=torch.Generator().manual_seed(seed))
    compare(values, gradients, options, lengths=lengths, skip=skip)


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_many_blocks_of_steps_and_a_large_layer_are_the_dense_layer_too(reset, state_reset):
    values, gradients = random_case(11, 40, 24, 20, 150)
    expected = compare(values, gradients, Options(reset=reset, state_reset=state_reset))
    assert 0.1 < float(expected[1].mean()) < 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [2, 3])
def test_sources_taken_range_by_range_give_the_sums_of_the_dense_layer(dtype, threads):
    """So many units that their rows of weights do not fit a core's nearest cache."""
    values, gradients = random_case(7, 5, 9, 20, 330, dtype=dtype)
    lengths = torch.tensor([5, 1, 5, 4, 5, 2, 3, 5, 5])
    expected = compare(values, gradients, Options(), lengths=lengths, skip=ALWAYS, threads=threads)
    assert 0.2 < float(expected[1].mean()) < 0.9


@pytest.mark.parametrize(("bias", "activity"), [(-9.0, 0.0), (9.0, 1.0)])
@pytest.mark.parametrize("skip", [ADAPTIVE, ALWAYS, NEVER])
def test_a_layer_that_never_or_always_fires_is_the_dense_one(bias, activity, skip):
    values, gradients = random_case(5, 9, 6, 4, 40, theta=0.01)
    values[1] = torch.full_like(values[1], 0.0 if activity == 0.0 else 0.9)
    values[2] = torch.full_like(values[2], activity)
    values[5] = torch.cat((torch.full((80,), 0.0), torch.full((40,), bias))).double()
    if activity:
        values[5][:40] = -9.0  # nothing is kept of a state that may lie below the threshold
    expected = compare(values, gradients, Options(), skip=skip)
    assert float(expected[1].mean()) == activity


@pytest.mark.parametrize("wide", [True, False])
def test_gradients_that_are_the_same_for_all_steps_or_not_contiguous_count_in_full(wide):
    values, _ = random_case(3, 6, 5, 4, 20)
    options = Options()

    def grads(layer):
        leaves = [value.clone().requires_grad_() for value in values]
        x, c0, y0, *parameters = leaves
        out = LayerOutput(*layer(x, c0, y0, LayerParameters(*parameters)))
        if wide:
            loss = out.y.sum() + 3 * out.o.mean()
        else:
            weight = torch.linspace(-1, 1, 600, dtype=torch.float64).view(20, 6, 5)
            loss = (out.y.permute(2, 0, 1) * weight).sum() + (out.y.sum(0) * weight[:, 0].t()).sum()
        return torch.autograd.grad(loss, leaves)

    for wanted, got in zip(
        grads(lambda *a: egru_layer(*a, options)),
        grads(lambda *a: sparse_layer(*a, options, lengths=None)),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)


def test_a_wrong_gradient_is_noticed():
    values, gradients = random_case(2, 4, 3, 4, 20)
    wrong = Options(eps=1.01)

    def planted(x, c0, y0, parameters):
        return sparse_layer(x, c0, y0, parameters, wrong, lengths=None)

    expected = results(lambda *a: egru_layer(*a, Options()), values, gradients)
    found = results(planted, values, gradients)
    assert torch.equal(found[1], expected[1])
    assert float((found[8] - expected[8]).abs().max()) > 1e3 * TOLERANCE[torch.float64]


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_too_small_to_be_normal_numbers_are_zero_in_the_kernels_alone(count):
    torch.set_num_threads(count)
    values, gradients = random_case(6, 5, 40, 4, 64, dtype=torch.float32)
    tiny = [gradient * 1e-40 for gradient in gradients]
    dense = results(lambda *a: egru_layer(*a, Options()), values, tiny)
    sparse = results(lambda *a: sparse_layer(*a, Options(), lengths=None), values, tiny)
    assert all(gradient.any() for gradient in dense[4:])
    assert not any(gradient.any() for gradient in sparse[4:])
    # What the caller's threads compute afterwards still has them.
    assert bool((torch.full((1 << 20,), 1e-40) * 0.5).all())


def test_padding_may_hold_anything_and_reaches_nothing():
    values, gradients = random_case(8, 7, 4, 5, 33)
    lengths = torch.tensor([7, 1, 4, 2])
    outside = (torch.arange(7).unsqueeze(1) >= lengths).unsqueeze(2)
    values[0] = values[0].masked_fill(outside, float("nan"))
    gradients[0] = gradients[0].masked_fill(outside, float("inf"))
    found = results(
        lambda *a: sparse_layer(*a, Options(), lengths=lengths), values, [*gradients[:2], *gradients[2:]]
    )
    assert all(torch.isfinite(value).all() for value in found)
    assert not found[0].masked_select(outside).any()
    assert not found[4].masked_select(outside).any()


def stack(kernel, **kwargs):
    torch.manual_seed(4)
    return EGRU(12, 70, 3, kernel=kernel, dtype=torch.float64, **kwargs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_state_made_of_a_nan_is_one_and_no_other_sequence_has_any(dtype, reset):
    values, _ = random_case(9, 4, 5, 4, 20, dtype=dtype)
    x, c0, y0, *parameters = values
    expected = sparse_layer(x, c0, y0, tuple(parameters), Options(reset=reset), lengths=None)
    x = x.clone()
    x[2, 3, 1] = float("nan")
    _, _, c_last, _ = sparse_layer(x, c0, y0, tuple(parameters), Options(reset=reset), lengths=None)
    others = [0, 1, 2, 4]
    assert c_last[3].isnan().all()
    assert torch.equal(c_last[others], expected[2][others])


def test_a_stack_runs_the_same_with_either_kernel_and_carries_its_state_over_windows():
    x = torch.randn(11, 6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    outputs = {}
    for kernel in ("dense", "sparse"):
        module = stack(kernel)
        y, state = module(x)
        z, state = module(x.flip(0), state, torch.tensor([11, 3, 7, 1, 11, 2]))
        (y.sum() + (z * z).sum() + state[0].sum() + state[1].sum()).backward()
        outputs[kernel] = [y, z, *state, *(p.grad for p in module.parameters())]
    for wanted, got in zip(outputs["dense"], outputs["sparse"], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_the_same_seed_and_kernel_give_the_same_bits():
    x = torch.randn(16, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def train():
        module = stack("auto", batch_first=True)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
        for _ in range(3):
            out = module.forward_layers(x.transpose(0, 1))
            loss = (out.events[-1].mean(1) ** 2).sum() + out.spikes[0].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [p.detach().clone() for p in module.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(train(), train(), strict=True))


def test_a_graph_can_be_walked_twice_and_its_memory_is_not_given_away():
    values, gradients = random_case(9, 40, 32, 16, 128, dtype=torch.float32)
    leaves = [value.clone().requires_grad_() for value in values]
    x, c0, y0, *parameters = leaves

    def walk(outputs, keep):
        for leaf in leaves:
            leaf.grad = None
        torch.autograd.backward(list(outputs), gradients, retain_graph=keep)
        return [leaf.grad.clone() for leaf in leaves]

    outputs = sparse_layer(x, c0, y0, tuple(parameters), Options(), lengths=None)
    before = [value.detach().clone() for value in outputs]
    first = walk(outputs, keep=True)
    sparse_layer(x * 2, c0, y0, tuple(parameters), Options(), lengths=None)
    second = walk(outputs, keep=False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b.detach()) for a, b in zip(before, outputs, strict=True))


def test_memory_is_used_again_only_when_nothing_refers_to_it():
    pool.release()
    one = pool.empty(1 << 19, dtype=torch.float32)
    view = one[:10]
    address = one.data_ptr()
    del one
    two = pool.empty(1 << 19, dtype=torch.float32)
    assert two.data_ptr() != address
    del view
    three = pool.empty(1 << 19, dtype=torch.float32)
    assert three.data_ptr() == address
    pool.release()


def test_without_gradients_nothing_is_kept():
    values, _ = random_case(9, 4, 3, 5, 20)
    x, c0, y0, *parameters = [value.requires_grad_() for value in values]
    with torch.no_grad():
        y = sparse_layer(x, c0, y0, tuple(parameters), Options(), lengths=None)[0]
    assert y.grad_fn is None
    with pytest.raises(RuntimeError, match="does not require grad"):
        y.sum().backward()


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(library, "_cache", lambda: tmp_path / "cache")
    library.library.cache_clear()
    choice._available.cache_clear()
    yield
    library.library.cache_clear()
    choice._available.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"reset": "before", "state_reset": "output"}])
def test_frozen_weights_give_the_same_bits_in_windows_of_any_length_and_the_same_gradients(dtype, options):
    torch.manual_seed(7)
    module = EGRU(5, 70, 2, kernel="sparse", dtype=dtype, **options)
    x = torch.randn(9, 3, 5, dtype=dtype)

    def run():
        state, events = None, []
        for window in (x[:4], x[4:5], x[5:]):
            y, state = module(window, state)
            events.append(y)
        loss = torch.cat(events).square().sum() + state[0].sum()
        return [*events, *state, *torch.autograd.grad(loss, list(module.parameters()))]

    expected = run()
    with module.frozen(), module.frozen():
        found, again = run(), run()
    assert all(
        torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(expected, found, again, strict=True)
    )
    assert expected[0].any()


def test_frozen_weights_are_put_in_order_once_and_are_those_of_their_own_block():
    module = stack("sparse", theta_mean=0.01)
    x = 4 * torch.randn(6, 2, 12, dtype=torch.float64)
    with torch.no_grad(), module.frozen():
        before = module(x)[0]
        assert before.any()
        # What PyTorch does not count is not seen: the weights were put in order before.
        module.weight_hh_l0.data.mul_(2.0)
        module.weight_ih_l0.data.mul_(2.0)
        assert torch.equal(module(x)[0], before)
    with torch.no_grad(), module.frozen():
        after = module(x)[0]
        assert torch.equal(after, module(x)[0])
    with torch.no_grad():
        assert torch.equal(after, module(x)[0]) and not torch.equal(after, before)


def test_frozen_weights_that_are_changed_are_refused_and_thresholds_may_change():
    module = stack("sparse", theta_mean=0.01)
    x = 4 * torch.randn(6, 2, 12, dtype=torch.float64)
    with torch.no_grad():
        with module.frozen():
            before = module(x)[0]
            module.theta_l1.fill_(1.0)
            module.bias_hh_l0.zero_()
            assert not torch.equal(module(x)[0], before)
            module.weight_hh_l1.mul_(2.0)
            with pytest.raises(EgretError, match="frozen, and have changed"):
                module(x)
        module(x)


def test_a_module_made_in_inference_mode_can_be_frozen():
    with torch.inference_mode():
        module = EGRU(4, 40, kernel="sparse")
        x = torch.randn(3, 2, 4)
        with module.frozen():
            assert torch.equal(module(x)[0], module(x)[0])


def test_without_a_compiler_auto_is_dense_with_one_notice(no_compiler):
    x = torch.zeros(choice.AUTO_ROWS, 2, 3)
    with pytest.warns(UserWarning, match="dense operations are used instead.*apt-get install"):
        assert not choice.is_sparse("auto", x, choice.AUTO_UNITS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not choice.is_sparse("auto", x, choice.AUTO_UNITS)
        module = EGRU(3, choice.AUTO_UNITS)
        module(x)[0].sum().backward()


def test_without_a_compiler_sparse_says_what_to_install(no_compiler):
    with pytest.raises(EgretError, match=r"C\+\+ compiler.*install one"):
        EGRU(3, 4, kernel="sparse")(torch.zeros(2, 1, 3))


def test_a_compiler_that_fails_is_named(no_compiler, monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(EgretError, match=r"broken must compile.*error: no such thing"):
        library.library()
    assert not list((tmp_path / "cache").iterdir())


def test_auto_is_sparse_for_large_layers_on_the_cpu_alone():
    large = torch.zeros(choice.AUTO_ROWS // 2, 2, 3)
    assert choice.is_sparse("auto", large, choice.AUTO_UNITS)
    assert not choice.is_sparse("auto", large, choice.AUTO_UNITS - 1)
    assert not choice.is_sparse("auto", large[1:], choice.AUTO_UNITS)
    assert not choice.is_sparse("auto", large.half(), choice.AUTO_UNITS)
    assert not choice.is_sparse("auto", large.to("meta"), choice.AUTO_UNITS)
    assert not choice.is_sparse("dense", large, choice.AUTO_UNITS)


def test_auto_is_sparse_for_single_steps_where_weights_are_frozen():
    x = torch.randn(1, 1, 4)
    assert not choice.is_sparse("auto", x, 64)
    assert choice.is_sparse("auto", x, 64, frozen=True) and not choice.is_sparse("auto", x, 31, frozen=True)


def test_sparse_refuses_what_it_cannot_run_and_says_so():
    with pytest.raises(EgretError, match="kernel 'sparse' needs float32 or float64 on the CPU"):
        choice.is_sparse("sparse", torch.zeros(1, 1, 1, dtype=torch.float16), 4)


def test_an_unknown_kernel_is_refused_at_once_and_later():
    with pytest.raises(EgretError, match=r"kernel must be one of .*'fast'"):
        EGRU(3, 4, kernel="fast")
    module = EGRU(3, 4)
    module.kernel = "fast"
    with pytest.raises(EgretError, match="kernel must be one of"):
        module(torch.zeros(1, 1, 3))

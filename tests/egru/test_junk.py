"""Junk of every kind to the public functions of egru: a documented error or a right result, and nothing else.

EGRET_JUNK=n in the environment takes n examples of each (`make junk N=n`).
"""

import os
import string
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from egru import EGRU, IntegerNetwork, Network, QuantNetwork, load_image, save_image
from egru.errors import EgretError
from egru.formats import IntFormat
from egru.image import ImageError, InputSpec, LayerSpec, NetworkImage, Readout, ReadoutSpec
from egru.integer import check_sequence
from egru.testing import random_image, random_input

EXAMPLES = int(os.environ.get("EGRET_JUNK", "60"))
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**30]),
    st.builds(lambda: 10**5000),  # by which nobody writes it down
    st.booleans(),
    st.floats(),
    st.complex_numbers(),
    st.builds(np.int64, st.integers(-9, 99)),
    st.builds(np.float32, st.floats(width=32)),
)
texts = st.one_of(
    st.text(max_size=70), st.sampled_from(["mean", "last", "\0", "\ud800", "[/x]", "../x", "x" * 9999])
)
plain = st.one_of(st.none(), numbers, texts, st.binary(max_size=9), st.builds(object))
nested = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(texts, st.integers()), inner, max_size=3),
        st.sets(st.integers(), max_size=2),
    ),
    max_leaves=8,
)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
dtypes = st.sampled_from(
    ["i1", "u1", "<i4", ">i4", "i8", "u8", "f2", "f4", "f8", "c8", "?", "U3", "S2", "M8[s]", "O"]
)
arrays = dtypes.flatmap(
    lambda dtype: (
        hnp.arrays(np.dtype(dtype), shapes) if dtype != "O" else hnp.arrays(object, shapes, elements=plain)
    )
)
junk = st.one_of(nested, arrays)
TORCH = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.complex64,
)


@st.composite
def tensors(draw):
    """Tensors of any type and shape: rising numbers, NaN, infinities, or another layout."""
    shape = draw(st.one_of(st.just((3, 2, 2)), st.just((1, 2, 3)), shapes))
    made = torch.arange(int(np.prod(shape))).reshape(shape).to(draw(st.sampled_from(TORCH)))
    if made.is_floating_point() and made.numel() and draw(st.booleans()):
        made.view(-1)[0] = draw(st.sampled_from([float("nan"), float("inf"), 1e30, -0.0]))
    forms = [made] if not made.dim() else [made, made.to_sparse(), made.transpose(0, -1)]
    return draw(st.sampled_from(forms))


def only_documented(call, *errors):
    """Call; return its result, or None for a documented error with one short line."""
    try:
        return call()
    except errors as error:
        assert "\n" not in str(error) and len(str(error)) < 1000, str(error)[:300]
        return None


@pytest.fixture(scope="module")
def known():
    """A network, an input and its logits, which must come out the same after anything."""
    rng = np.random.default_rng(5)
    image = random_image(rng, inputs=2, units=(3, 2), mode="mean", max_steps=5)
    x = random_input(rng, image, 4, batch=2)
    return image, x, IntegerNetwork(image).run(x).logits.copy()


@many
@given(junk, junk, junk)
def test_the_integer_model_takes_integers_that_fit_and_refuses_the_rest(known, x, lengths, state):
    image, good, logits = known
    network = IntegerNetwork(image)
    for call in (
        lambda: network.run(x),
        lambda: network.run(good, lengths),
        lambda: network.run(good, state=state),
        lambda: network.run(good, state=[(state, state)] * 2),
        lambda: network.run(x, lengths, state),
        lambda: check_sequence("x", x, image),
    ):
        only_documented(call, EgretError)
    assert np.array_equal(network.run(good).logits, logits)
    only_documented(lambda: IntegerNetwork(x), TypeError)


@many
@given(junk, junk, junk)
def test_formats_take_numbers_and_refuse_the_rest(bits, frac, signed):
    made = only_documented(lambda: IntFormat(bits, frac, signed), EgretError)
    assert made is None or (type(bits), type(frac), type(signed)) == (int, int, bool)
    fmt = IntFormat(8, 3, True)
    for value in (bits, frac):
        found = only_documented(lambda value=value: fmt.quantise(value), EgretError)
        assert found is None or ((found >= fmt.lo) & (found <= fmt.hi)).all()
        only_documented(lambda value=value: fmt.to_real(value), EgretError)


def with_one(whole, fields, value):
    """Calls that put a value in the place of each of some fields."""
    return [lambda name=name: replace(whole, **{name: value}) for name in fields]


@many
@given(junk)
def test_the_parts_of_an_image_are_right_or_refused(known, tmp_path, value):
    image = known[0]
    layer, readout = image.layers[0], image.readout
    specs = (
        (InputSpec, {"size": 2, "bits": 8, "frac": 3, "signed": True}),
        (LayerSpec, {"inputs": 2, "units": 3}),
        (ReadoutSpec, {"classes": 2}),
    )
    made = [
        *with_one(image, NetworkImage.__dataclass_fields__, value),
        *with_one(layer, ("spec", "input_format", *layer.TENSORS), value),
        *with_one(readout, Readout.__dataclass_fields__, value),
        *(make for kind, arguments in specs for make in with_one(kind(**arguments), arguments, value)),
        lambda: replace(image, layers=[value]),
        lambda: replace(image, info={"a": value}),
    ]
    path = tmp_path / "a.egret"
    for make in made:
        part = only_documented(make, ImageError)
        if isinstance(part, NetworkImage):
            save_image(part, path)
            assert load_image(path) == part
    only_documented(lambda: save_image(value, path), EgretError)


@many
@given(st.one_of(junk, st.text(string.printable)), junk)
def test_paths_that_are_none_are_refused(known, path, value):
    image = known[0]
    if isinstance(path, str) and os.path.exists(path):
        return
    only_documented(lambda: load_image(path), ImageError)
    assert isinstance(image.readout, Readout)


@many
@given(st.one_of(junk, tensors()), st.one_of(junk, tensors()), st.one_of(junk, tensors()))
def test_modules_take_tensors_that_fit_and_refuse_the_rest(x, lengths, state):
    torch.manual_seed(1)
    good = torch.ones(3, 2, 2)
    for module in (EGRU(2, 3, kernel="dense"), Network(2, 3, 2, kernel="dense")):
        before = module(good)[0].detach().clone()
        for call in (
            lambda module=module: module(x),
            lambda module=module: module(good, lengths=lengths),
            lambda module=module: module(good, state=state),
            lambda module=module: module(good, state=(state, state)),
        ):
            only_documented(call, EgretError, TypeError)
        assert torch.equal(module(good)[0], before)


@many
@given(st.one_of(junk, tensors()), st.one_of(junk, tensors()))
def test_the_quantised_network_takes_tensors_that_fit_and_refuses_the_rest(x, other):
    torch.manual_seed(1)
    network = Network(2, 3, 2, kernel="dense")
    good = torch.linspace(-1, 1, 12).reshape(3, 2, 2)
    quantised = QuantNetwork.from_float(network, calibration=good)
    before = quantised(good).logits.detach().clone()
    for call in (
        lambda: quantised(x),
        lambda: quantised(good, lengths=other),
        lambda: quantised(good, state=other),
        lambda: QuantNetwork.from_float(network, calibration=x),
        lambda: QuantNetwork.from_float(other, calibration=good),
        lambda: QuantNetwork.from_float(network, calibration=good, weight_bits=other),
    ):
        only_documented(call, EgretError, TypeError)
    assert torch.equal(quantised(good).logits, before)


SIZES = ("input_size", "hidden_size", "num_classes", "num_layers")
OTHERS = (
    "readout",
    "reset",
    "state_reset",
    "gamma",
    "eps",
    "theta_mean",
    "memory",
    "input_std",
    "kernel",
    "zoneout",
)


@many
@given(junk, st.sampled_from([*SIZES, *OTHERS, "dtype"]))
def test_a_networks_arguments_are_right_or_refused(value, name):
    if type(value) is int and name in SIZES and value > 300:
        return  # it is asked for, and takes what it takes
    arguments = {"input_size": 2, "hidden_size": 3, "num_classes": 2, name: value}
    only_documented(lambda: Network(**arguments), EgretError, TypeError)

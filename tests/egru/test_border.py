"""Whatever crosses into the compiled kernels is right, or refused in one line; threads and caches, too."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from egru import EGRU, EgretError, Network, QuantNetwork
from egru.formats import IntFormat
from egru.functional import LayerParameters, egru_layer
from egru.kernels import border, library, pool
from egru.kernels.sparse import sparse_layer
from egru.options import Options

UNITS = 40


def module(kernel="sparse", **options):
    torch.manual_seed(3)
    return EGRU(6, UNITS, 2, kernel=kernel, theta_mean=0.01, **options)


def inputs(steps=9, batch=4, dtype=torch.float32):
    return 2 * torch.randn(steps, batch, 6, dtype=dtype, generator=torch.Generator().manual_seed(5))


def replaced(name, change):
    def mend(m):
        new = change(m.get_parameter(name).data)
        setattr(m, name, nn.Parameter(new, requires_grad=new.is_floating_point()))

    return mend


REPLACED = {
    "another dtype": (
        replaced("weight_hh_l1", lambda w: torch.from_numpy(w.numpy().astype(np.float64))),
        "dtype",
    ),
    "half": (replaced("bias_hh_l0", lambda w: w.half()), "dtype"),
    "thresholds alone": (replaced("theta_l1", lambda w: w.double()), "dtype"),
    "integers": (replaced("theta_l0", lambda w: torch.ones(UNITS, dtype=torch.int64)), "dtype"),
    "too few rows": (replaced("weight_hh_l1", lambda w: w[:-1]), "shape"),
    "too few columns": (replaced("weight_ih_l0", lambda w: w[:, :-1]), "shape"),
    "too many": (replaced("weight_ih_l1", lambda w: torch.cat((w, w))), "shape"),
    "another order": (replaced("weight_ih_l0", lambda w: w.t().contiguous()), "shape"),
    "none": (replaced("bias_ih_l1", lambda w: w[:0]), "shape"),
    "one": (replaced("theta_l0", lambda w: w[:1]), "shape"),
    "no dimension": (replaced("theta_l1", lambda w: w.sum()), "shape"),
    "no memory": (replaced("bias_ih_l0", lambda w: w.to("meta")), "meta"),
}


@pytest.mark.parametrize("kernel", ["sparse", "dense", "auto"])
@pytest.mark.parametrize("case", REPLACED)
def test_a_parameter_of_another_kind_is_named_by_every_kernel(kernel, case):
    change, kind = REPLACED[case]
    m = module(kernel)
    change(m)
    before = [p.shape for p in m.parameters()]
    with pytest.raises(
        EgretError, match=rf"^[a-z_]+_l[01] must be .*{'' if kind == 'dtype' else kind}"
    ) as caught:
        m(inputs())
    assert "\n" not in str(caught.value)
    name = str(caught.value).split()[0]
    assert name in dict(m.named_parameters()) and [p.shape for p in m.parameters()] == before


SAME = {
    "transposed": lambda w: w.t().contiguous().t() if w.dim() == 2 else w,
    "every second": lambda w: torch.stack((w, -w), -1).flatten(w.dim() - 1)[..., ::2],
    "negated by a bit": lambda w: torch._neg_view(-w),
    "of numpy": lambda w: torch.from_numpy(w.detach().numpy().copy()),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_numbers_in_another_place_give_the_same_bits(case):
    x, c, y = inputs(), torch.rand(2, 4, UNITS), torch.rand(2, 4, UNITS)

    def run(change):
        m = module()
        for p in m.parameters():
            p.data = change(p.data)
        values = [change(v.clone()).requires_grad_() for v in (x, c, y)]
        out, state = m(values[0], (values[1], values[2]))
        loss = (out * out).sum() + state[0].sum()
        return [out, *state, *torch.autograd.grad(loss, [*values, *m.parameters()])]

    for wanted, found in zip(run(lambda w: w), run(SAME[case]), strict=True):
        assert torch.equal(wanted, found)


def test_one_number_for_all_units_is_taken_as_it_is():
    values = []
    for change in (lambda w: w[:1].expand(len(w)), lambda w: w[:1].repeat(len(w))):
        m = module()
        for name, p in m.named_parameters():
            if "weight" not in name:
                p.data = change(p.data)
        values.append(m(inputs())[0].detach())
    assert torch.equal(*values) and values[0].any()


def layer_values(dtype=torch.float32):
    p = module(dtype=dtype).layer_parameters(0)
    return [inputs(dtype=dtype), torch.zeros(4, UNITS, dtype=dtype), torch.zeros(4, UNITS, dtype=dtype), *p]


def test_every_value_of_a_layer_is_held_against_the_others():
    options = Options()
    for k, name in enumerate(border.INPUTS):
        for change in (lambda v: v.double(), lambda v: v[:-1], lambda v: v[..., :-1], lambda v: v.to("meta")):
            values = layer_values()
            values[k] = change(values[k].detach())
            for call in (
                lambda v: sparse_layer(*v[:3], tuple(v[3:]), options, lengths=None),
                lambda v: egru_layer(*v[:3], LayerParameters(*v[3:]), options),
            ):
                with pytest.raises(EgretError, match=r"^[a-z_0-9]+ must be|^x must be T x B x I"):
                    if name == "x" and values[k].shape[0] == 8:
                        raise EgretError("x must be")  # fewer steps are a layer, too
                    call(values)


@pytest.mark.parametrize(
    ("k", "value", "error"),
    [
        (0, torch.zeros(0, 4, 6), EgretError),
        (0, torch.zeros(9, 0, 6), EgretError),
        (0, torch.zeros(9, 4, 0), EgretError),
        (0, torch.zeros(9, 4), EgretError),
        (0, torch.zeros(9, 4, 6, dtype=torch.int64), TypeError),
        (0, torch.zeros(9, 4, 6, dtype=torch.complex64), TypeError),
        (0, torch.zeros(9, 4, 6).to_sparse(), EgretError),
        (0, np.zeros((9, 4, 6), dtype=np.float32), TypeError),
        (0, torch.zeros(1, 1, 1).expand(9, 2**31, 6), EgretError),
        (0, torch.zeros(1, 1, 1).expand(2**31, 4, 6), EgretError),
        (1, torch.zeros(4), EgretError),
        (2, None, TypeError),
        (4, torch.zeros(3 * UNITS, UNITS).to_sparse(), EgretError),
    ],
)
def test_sizes_and_types_that_no_layer_has_are_refused(k, value, error):
    values = layer_values()
    values[k] = value
    for kernel in ("sparse", "dense"):
        with pytest.raises(error):
            sparse_layer(*values[:3], tuple(values[3:]), Options(), lengths=None)
        with pytest.raises(error, match="must "):
            egru_layer(*values[:3], LayerParameters(*values[3:]), Options(), kernel=kernel)


@pytest.mark.parametrize(
    "lengths",
    [
        torch.tensor([9, 1, 10, 3]),
        torch.tensor([0, 1, 1, 1]),
        torch.tensor([9, 9]),
        torch.ones(4),
        [1, 2, 3, 4],
    ],
)
def test_lengths_that_reach_beyond_the_steps_are_refused_by_the_layer_itself(lengths):
    values = layer_values()
    for kernel in ("sparse", "dense"):
        with pytest.raises((EgretError, TypeError), match=r"^lengths must"):
            egru_layer(*values[:3], LayerParameters(*values[3:]), Options(), kernel=kernel, lengths=lengths)
    with pytest.raises((EgretError, TypeError), match=r"^lengths must"):
        sparse_layer(*values[:3], tuple(values[3:]), Options(), lengths=lengths)


@pytest.mark.parametrize(
    "lengths",
    [
        torch.tensor([5]).expand(4),
        torch.tensor([5, 99, 5, 99, 5, 99, 5, 99])[::2],
        torch.tensor([5] * 4).short(),
    ],
)
def test_lengths_may_lie_anywhere_and_may_change_after_the_call(lengths):
    m, wanted = module(), []
    for given in (torch.tensor([5] * 4), lengths):
        given = given.clone(memory_format=torch.preserve_format) if given is not lengths else lengths
        x = inputs().requires_grad_()
        y, _ = m(x, lengths=given)
        given.numpy()[:] = 2**15 - 1  # unseen by PyTorch
        wanted.append([y.detach(), *torch.autograd.grad(y.square().sum(), [x, *m.parameters()])])
    assert all(torch.equal(a, b) for a, b in zip(*wanted, strict=True))


@pytest.mark.parametrize("kernel", ["sparse", "dense"])
def test_data_replaced_between_forward_and_backward_are_those_of_the_forward_pass(kernel):
    def gradient(replace):
        m = module(kernel)
        y, _ = m(inputs())
        for name, p in m.named_parameters():
            if replace and name != "bias_hh_l0":
                p.data = torch.zeros(2, *p.shape[1:])
        return torch.autograd.grad(y.square().sum(), m.bias_hh_l0)[0]

    assert torch.equal(gradient(True), gradient(False)) and gradient(False).any()


def test_a_change_in_place_between_forward_and_backward_is_noticed():
    m = module()
    y, _ = m(inputs())
    with torch.no_grad():
        m.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("units", [1, UNITS])
def test_gradients_of_any_stride_count_in_full(units):
    torch.manual_seed(1)
    values = [inputs(), torch.rand(4, units), torch.rand(4, units), torch.randn(3 * units, 6)]
    values += [
        torch.randn(3 * units, units),
        torch.randn(3 * units),
        torch.randn(3 * units),
        torch.rand(units),
    ]
    whole = torch.randn(9, 4, units)
    strided = [
        whole,
        whole.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        torch.stack((whole, whole), -1)[..., 0],
        torch._neg_view(-whole),
    ]
    found = []
    for gradient in strided:
        leaves = [v.clone().requires_grad_() for v in values]
        y, o, *_ = sparse_layer(*leaves[:3], tuple(leaves[3:]), Options(), lengths=None)
        found.append(torch.autograd.grad((y, o), leaves, (gradient, gradient)))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_a_default_device_without_memory_changes_nothing():
    m, x = module(), inputs()
    expected = m(x)[0]
    with torch.device("meta"):
        assert torch.equal(m(x)[0], expected)


def test_no_pointer_crosses_that_is_not_what_the_kernel_expects():
    layer = library.Layer(steps=2, batch=3, inputs=4, units=5, after=True)
    right = torch.zeros(2, 3, 5)
    border.point(layer, torch.float32, {"y": right})
    assert layer.y == right.data_ptr()
    for wrong in (
        right.double(),
        right[:1],
        right.transpose(0, 1),
        right[..., :1].expand(2, 3, 5),
        right.to("meta"),
    ):
        with pytest.raises(EgretError, match=r"^y must be torch.float32 of shape \(2, 3, 5\)"):
            border.point(layer, torch.float32, {"y": wrong})


def test_a_library_that_reads_another_layer_is_refused(monkeypatch):
    class Longer(library.Layer):
        _fields_ = (("more", library.ctypes.c_int64),)

    library.library()
    monkeypatch.setattr(library, "Layer", Longer)
    library.library.cache_clear()
    try:
        with pytest.raises(EgretError, match=r"must read .* bytes of a layer"):
            library.library()
    finally:
        library.library.cache_clear()


# Threads


def alone(program, times=1):
    """Run a program in a process of its own: a crash is a failure, not the end of the tests."""
    for _ in range(times):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-2000:]}"


COLD = """
import threading, torch
from egru import EGRU
torch.manual_seed(0)
torch.set_num_threads(1)
m = EGRU(16, 300, 2, kernel="sparse", theta_mean=0.01)
x = torch.randn(3, 2, 16)
with torch.no_grad():
    expected = m(x)[0]
    for _ in range(12):
        barrier, wrong = threading.Barrier(6), []
        def work(k):
            barrier.wait()
            if k % 3 == 2:
                same = all(torch.equal(m(x)[0], expected) for _ in range(5))
            else:
                with m.frozen():
                    same = all(torch.equal(m(x)[0], expected) for _ in range(5))
            if not same:
                wrong.append(k)
        def quiet(k):
            with torch.no_grad():
                work(k)
        threads = [threading.Thread(target=quiet, args=(k,)) for k in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not wrong and m._freezing.ordered is None, wrong
"""

CHANGED = """
import threading, torch
from egru import EGRU, EgretError
torch.manual_seed(0)
torch.set_num_threads(1)
m = EGRU(16, 300, kernel="sparse")
x = torch.randn(5, 4, 16)
done = threading.Event()
def change():
    while not done.is_set():
        m.weight_hh_l0.data = torch.randn(900, 300)
        m.weight_ih_l0.data = torch.randn(900, 16)
        with torch.no_grad():
            m.bias_ih_l0.mul_(0.5)
other = threading.Thread(target=change)
other.start()
refused = 0
for _ in range(150):
    m(x)
    y = m(x)[0]
    try:
        with m.frozen():
            m(x), m(x)
        y.sum().backward()
    except EgretError as error:
        assert "frozen, and have changed" in str(error), error
        refused += 1
    except RuntimeError as error:
        assert "inplace" in str(error), error
done.set()
other.join()
"""


@pytest.mark.parametrize(
    "program", [COLD, CHANGED], ids=["frozen and not, cold", "weights replaced meanwhile"]
)
def test_threads_may_share_a_module(program):
    library.library()  # built before: what is tried is calls, not compilers
    alone(program, 3)


def test_threads_that_share_the_pool_never_share_memory():
    pool.release()

    def work(seed):
        held = []
        for k in range(60):
            tensor = pool.empty((1 << 18) + 4096 * ((seed + k) % 7), dtype=torch.float32)
            tensor.fill_(seed * 1000 + k)
            held.append((seed * 1000 + k, tensor))
            if k % 3 == 2:
                del held[0]
            assert all(bool((t[:: 1 << 12] == value).all()) for value, t in held)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    pool.release()
    assert pool.waiting() == 0


def test_a_block_of_frozen_ends_with_the_last_thread_that_is_in_it():
    m = module()
    first, second = m.frozen(), m.frozen()
    first.__enter__()
    second.__enter__()
    shared = m._freezing.ordered
    first.__exit__(None, None, None)
    assert m._freezing.ordered is shared is not None
    second.__exit__(None, None, None)
    assert m._freezing.ordered is None


def test_a_copy_of_a_frozen_module_is_not_frozen():
    m, x = module(), inputs()
    with torch.no_grad(), m.frozen():
        m(x)
        for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
            other.weight_hh_l0.mul_(2.0)
            other(x)


def test_weights_frozen_in_inference_mode_serve_calls_with_gradients():
    m, x = module(), inputs()
    with m.frozen():
        with torch.inference_mode():
            m(x)
        m(x)[0].sum().backward()
    assert m.weight_hh_l0.grad.any()


def test_weights_that_are_replaced_while_frozen_are_refused():
    m, x = module(), inputs()
    with torch.no_grad(), m.frozen():
        m(x)
        m.weight_ih_l1.data = m.weight_ih_l1.data * 2
        with pytest.raises(EgretError, match="frozen, and have changed"):
            m(x)


# Memory and the cache


def test_batches_of_changing_length_keep_no_more_memory_than_a_step_needs():
    pool.release()
    m = EGRU(8, 64, kernel="sparse")
    most = 0
    for length in [200 + 13 * (k % 11) for k in range(33)]:
        x = torch.randn(length, 32, 8, requires_grad=True)
        m(x)[0].sum().backward()
        x.grad = None
        del x
        most = max(most, pool._peaks[0])
    assert 0 < pool.waiting() <= most < 2**28
    pool.release()


def test_steps_of_one_size_need_no_fresh_memory_after_the_first(monkeypatch):
    pool.release()
    m = EGRU(8, 64, 2, kernel="sparse")
    x = torch.randn(200, 32, 8)

    def step():
        m.zero_grad()
        m(x)[0].square().sum().backward()

    step(), step()
    fresh = []
    monkeypatch.setattr(pool, "_fresh", lambda size: fresh.append(size) or np.empty(size, dtype=np.uint8))
    step(), step()
    assert not fresh
    pool.release()


def test_memory_of_a_large_step_is_let_go_when_none_was_as_large_for_long():
    pool.release()
    del_me = pool.empty(1 << 24, dtype=torch.float32)
    del del_me
    assert pool.waiting() >= 1 << 26
    for _ in range(2 * pool.LATELY + 1):
        pool.empty(1 << 19, dtype=torch.float32)
    assert pool.waiting() <= 1 << 22
    pool.release()


def test_memory_that_there_is_not_is_said_in_one_line():
    with pytest.raises(EgretError, match="this machine does not have them"):
        pool.empty(1 << 60, dtype=torch.float32)


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """A cache with the library in it, and no library loaded."""
    built = library.library()._name
    folder = tmp_path / "kernels"
    folder.mkdir()
    (path := folder / built.rsplit("/", 1)[1]).write_bytes(library.Path(built).read_bytes())
    monkeypatch.setattr(library, "_cache", lambda: folder)
    builds = []

    def build():
        builds.append(1)
        path.unlink()
        path.write_bytes(library.Path(built).read_bytes())
        return path

    monkeypatch.setattr(library, "_build", build)
    library.library.cache_clear()
    yield path, builds
    library.library.cache_clear()


@pytest.mark.parametrize("change", [None, lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1] + b"x"])
def test_a_library_in_the_cache_that_is_not_whole_is_built_again(own_cache, change):
    path, builds = own_cache
    if change:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(change(data))
    assert library.library().egru_layer_size() and len(builds) == (change is not None)


def test_a_truncated_library_does_not_end_the_process(tmp_path):
    """As it was: half a library in the place of a whole one, used by a process of its own."""
    program = f"""
import pathlib, sys, torch
from egru.kernels import library
good = pathlib.Path(library.library()._name)
folder = pathlib.Path({str(tmp_path)!r})
(folder / good.name).write_bytes(good.read_bytes()[:20000])
library._cache = lambda: folder
library.library.cache_clear()
library.compiler = lambda: (_ for _ in ()).throw(library.EgretError("built again"))
try:
    library.library()
except library.EgretError as error:
    sys.exit(str(error) != "built again")
sys.exit(3)
"""
    alone(program)


@pytest.mark.parametrize("folder", ["/proc/nothing", "/dev/null/kernels"])
def test_a_cache_that_cannot_be_written_is_named_with_what_to_do(monkeypatch, folder):
    monkeypatch.setattr(library, "_cache", lambda: library.Path(folder))
    library.library.cache_clear()
    try:
        with pytest.raises(EgretError, match=f"built in {folder}: .*XDG_CACHE_HOME.*kernel='dense'"):
            library.library()
    finally:
        library.library.cache_clear()


def test_a_compiler_that_makes_no_library_leaves_nothing_in_the_cache(monkeypatch, tmp_path):
    fake = tmp_path / "compiler"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho half > "$2"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    monkeypatch.setattr(library, "_cache", lambda: tmp_path / "cache")
    library.library.cache_clear()
    try:
        with pytest.raises(EgretError, match="must make a library that can be loaded"):
            library.library()
    finally:
        library.library.cache_clear()
    assert not list((tmp_path / "cache").iterdir())


# Numbers that are none


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
@pytest.mark.parametrize("mode", ["mean", "last", "every"])
@pytest.mark.parametrize("where", ["x", "c", "y"])
def test_a_nan_reaches_the_logits_of_its_own_sequence_and_no_others(reset, state_reset, mode, where):
    found = {}
    for kernel in ("dense", "sparse"):
        torch.manual_seed(2)
        m = Network(6, UNITS, 3, 2, readout=mode, kernel=kernel, reset=reset, state_reset=state_reset)
        x, lengths = inputs(), torch.tensor([9, 7, 9, 2])
        state = [0.1 * torch.rand(2, 4, UNITS) for _ in range(2)]
        expected = m(x, lengths, tuple(state))
        {"x": x[3:4, 1, 2], "c": state[0][0, 1, 5], "y": state[1][0, 1, 5]}[where].fill_(float("nan"))
        x.requires_grad_()
        out = m(x, lengths, tuple(state))
        sequence = out.logits.isnan().transpose(0, 1) if mode == "every" else out.logits.isnan()
        ends = sequence[:, -3] if mode == "every" else sequence
        assert ends[1].all() and not sequence[[0, 2, 3]].any()
        one = 0 if mode != "every" else 1
        others = torch.tensor([0, 2, 3])
        assert torch.equal(out.logits.index_select(one, others), expected.logits.index_select(one, others))
        out.logits.square().sum().backward()
        assert x.grad[:, 1].isnan().any() and not x.grad[:, [0, 2, 3]].isnan().any()
        found[kernel] = [value.isnan() for value in (out.logits, *out.events, *out.spikes, x.grad)]
        found[kernel] += [p.grad.isnan() for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(found["dense"], found["sparse"], strict=True))


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
@pytest.mark.parametrize(
    "name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "theta_l0", "weight_hh_l1"]
)
@pytest.mark.parametrize("row", [0, UNITS + 1, -1])
@pytest.mark.parametrize("kernel", ["dense", "sparse"])
def test_a_parameter_that_is_nan_reaches_all_logits_and_gradients_though_all_units_are_silent(
    reset, state_reset, name, row, kernel
):
    m = Network(6, UNITS, 3, 2, kernel=kernel, reset=reset, state_reset=state_reset)
    with torch.no_grad():
        for k in range(2):
            m.egru.layer_parameters(k).theta.fill_(1.0)
        value = m.egru.get_parameter(name)
        value.view(len(value), -1)[row % len(value), -1] = float("nan")
    for frozen in (False, True):
        x = torch.zeros(3, 2, 6)
        if frozen:
            with m.egru.frozen(), torch.no_grad():
                assert m(x).logits.isnan().all() and m(x).logits.isnan().all()
            continue
        logits = m(x).logits
        assert logits.isnan().all()
        logits.sum().backward()
        assert all(p.grad.isnan().any() for p in m.egru.parameters())


def test_a_gradient_that_is_nan_is_one_for_all_that_it_reaches():
    found = {}
    for kernel in ("dense", "sparse"):
        m = module(kernel)
        y, _ = m(inputs())
        gradient = torch.zeros_like(y)
        gradient[4, 2, 7] = float("nan")
        found[kernel] = torch.autograd.grad(y, list(m.parameters()), gradient)
    for wanted, got in zip(found["dense"], found["sparse"], strict=True):
        assert torch.equal(wanted.isnan(), got.isnan()) and got.isnan().any()


# Sizes, pruning, readouts


def test_numbers_of_numpy_are_numbers():
    m = EGRU(np.int64(6), np.int32(UNITS), np.uint8(2), theta_mean=np.float32(0.25), gamma=np.float64(0.5))
    assert [type(v) for v in (m.input_size, m.hidden_size, m.num_layers)] == [int] * 3
    assert type(m.options.gamma) is float and m.options.gamma == 0.5 and m.theta_mean == 0.25
    assert Network(6, 5, np.int64(3)).num_classes == 3
    for wrong in (np.bool_(True), np.float64(4.0), "4", None):
        with pytest.raises(TypeError, match="hidden_size must be an integer, not"):
            EGRU(6, wrong)
    with pytest.raises(TypeError, match="gamma must be a number"):
        EGRU(6, 5, gamma=np.bool_(True))


@pytest.mark.parametrize("kernel", ["dense", "sparse"])
def test_a_pruned_network_trains_with_its_weights_pruned_and_may_be_frozen(kernel):
    torch.manual_seed(1)
    network = Network(6, UNITS, 3, kernel=kernel, theta_mean=0.01)
    prune.random_unstructured(network.egru, "weight_hh_l0", 0.5)
    prune.random_unstructured(network.readout, "weight", 0.5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    seen = []
    for _ in range(3):
        optimizer.zero_grad()
        network(inputs()).logits.square().sum().backward()
        optimizer.step()
        seen.append(network.egru.weight_hh_l0.detach().clone())
    mask = network.egru.weight_hh_l0_mask == 0
    assert mask.any() and not any(w[mask].any() for w in seen) and not torch.equal(seen[0], seen[2])
    with torch.no_grad(), network.egru.frozen():
        assert torch.equal(network(inputs()).logits, network(inputs()).logits)
    with pytest.raises(EgretError, match=r"egru.weight_hh_l0 must be a parameter .*prune.remove"):
        QuantNetwork.from_float(network, input_format=IntFormat(8, 5, True))
    for part, name in ((network.egru, "weight_hh_l0"), (network.readout, "weight")):
        prune.remove(part, name)
    QuantNetwork.from_float(network, input_format=IntFormat(8, 5, True))


@pytest.mark.parametrize("mode", ["mean", "last", "every"])
def test_a_readout_without_bias_is_one_whose_bias_is_zero(mode):
    torch.manual_seed(1)
    with_zero = Network(6, UNITS, 3, readout=mode)
    nn.init.zeros_(with_zero.readout.bias)
    without = copy.deepcopy(with_zero)
    without.readout = nn.Linear(UNITS, 3, bias=False)
    without.readout.weight = with_zero.readout.weight
    quantised = [QuantNetwork.from_float(n, input_format=IntFormat(8, 5, True)) for n in (with_zero, without)]
    for one, other in ((with_zero, without), quantised):
        torch.testing.assert_close(one(inputs()).logits, other(inputs()).logits)
    images = [q.to_image("small") for q in quantised]
    assert np.array_equal(images[0].readout.bias, images[1].readout.bias)


@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 2, 5, 1])])
def test_a_readout_that_is_not_linear_is_averaged_after_it(lengths):
    torch.manual_seed(1)
    mean, every = (Network(6, UNITS, 3, readout=mode, theta_mean=0.01) for mode in ("mean", "every"))
    mean.readout = nn.Sequential(nn.Linear(UNITS, 8), nn.ReLU(), nn.Linear(8, 3))
    every.egru, every.readout = mean.egru, mean.readout
    each = every(inputs(), lengths).logits.sum(0)
    count = 9 if lengths is None else lengths.unsqueeze(1)
    torch.testing.assert_close(mean(inputs(), lengths).logits, each / count)
    with pytest.raises(EgretError, match=r"readout must be torch.nn.Linear to be quantised.*not Sequential"):
        QuantNetwork.from_float(mean, input_format=IntFormat(8, 5, True))


@pytest.mark.parametrize(
    ("readout", "error", "message"),
    [
        (nn.Linear(7, 3), EgretError, f"readout must take the {UNITS} events of a step, not 7"),
        (nn.Linear(UNITS, 3).double(), EgretError, "readout.weight must be torch.float32"),
        (None, TypeError, "readout must be a torch.nn.Module"),
    ],
)
def test_a_readout_that_does_not_fit_is_named(readout, error, message):
    network = Network(6, UNITS, 3)
    network.readout = readout
    with pytest.raises(error, match=message):
        network(inputs())

import dataclasses

import pytest
import torch

from egret.optimiser import clip, optimiser_of, set_rate
from egret.recipes import Recipe
from egru import Network
from egru.errors import EgretError


def _network() -> Network:
    torch.manual_seed(0)
    return Network(3, 5, 2, 2, kernel="dense")


def _with_gradients(network: Network, thresholds: float, others: float) -> None:
    for name, p in network.named_parameters():
        p.grad = torch.full_like(p, thresholds if "theta" in name else others)


def _norm(network: Network, thresholds: bool) -> float:
    of = [p.grad for name, p in network.named_parameters() if ("theta" in name) == thresholds]
    return float(torch.sqrt(sum((g**2).sum() for g in of)))


def test_every_parameter_is_in_one_group_and_only_matrices_decay():
    network, recipe = _network(), Recipe(threshold_rate=0.25, weight_decay=0.5)
    groups = optimiser_of(network, recipe, 1.0).param_groups
    where = {id(p): group for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters())) == len(where)
    for name, p in network.named_parameters():
        assert where[id(p)]["weight_decay"] == (0.5 if p.ndim == 2 else 0.0), name
        assert where[id(p)]["share"] == (0.25 if "theta" in name else 1.0), name


def test_thresholds_step_by_their_share_of_the_rate():
    """AdamW's first step is the rate itself, whatever the gradient."""
    network = _network()
    optimiser = optimiser_of(network, Recipe(threshold_rate=0.125, weight_decay=0.0), 1.0)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    _with_gradients(network, 3.0, 3.0)
    set_rate(optimiser, 0.008)
    optimiser.step()
    for name, p in network.named_parameters():
        step = 0.001 if "theta" in name else 0.008
        assert torch.allclose(before[name] - p, torch.full_like(p, step), atol=1e-6), name


def test_a_large_gradient_of_the_thresholds_shortens_only_itself_where_they_have_their_own_rate():
    apart, together = _network(), _network()
    for network, recipe in ((apart, Recipe(threshold_rate=0.1)), (together, Recipe())):
        _with_gradients(network, 1000.0, 0.01)
        clip(network, dataclasses.replace(recipe, clip_norm=1.0))
    free = _network()
    _with_gradients(free, 1000.0, 0.01)
    assert _norm(apart, True) == pytest.approx(1.0, rel=1e-4)
    assert _norm(apart, False) == _norm(free, False) < 1
    assert _norm(together, False) < 1e-3 * _norm(free, False)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_of_thresholds_must_be_a_finite_number_above_zero(rate):
    with pytest.raises(EgretError, match="threshold_rate"):
        Recipe(threshold_rate=rate)

"""The network: readouts, lengths, and gradients that train it and hold its activity down."""

import pytest
import torch

from egru import EgretError, Network

torch.set_num_threads(1)


def network(*args, seed=0, **kwargs):
    torch.manual_seed(seed)
    return Network(*args, dtype=torch.float64, **kwargs)


def inputs(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LENGTHS = torch.tensor([7, 1, 4])


def test_mean_readout_is_the_mean_of_the_readouts_over_the_own_length_of_each_sequence():
    net = network(3, 5, 2, readout="mean")
    out = net(inputs(7, 3, 3), LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        steps = [net.readout(out.events[-1][t, b]) for t in range(length)]
        torch.testing.assert_close(out.logits[b], sum(steps) / length)
    whole = net(inputs(7, 3, 3))
    torch.testing.assert_close(whole.logits, net.readout(whole.events[-1]).mean(0))


def test_last_readout_reads_the_last_step_of_each_sequence():
    net = network(3, 5, 2, readout="last")
    out = net(inputs(7, 3, 3), LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(out.logits[b], net.readout(out.events[-1][length - 1, b]))
    whole = net(inputs(7, 3, 3))
    torch.testing.assert_close(whole.logits, net.readout(whole.state[1][-1]))


def test_every_readout_reads_each_step_and_is_zero_beyond_a_sequence():
    net = network(3, 5, 2, readout="every")
    out = net(inputs(7, 3, 3), LENGTHS)
    assert out.logits.shape == (7, 3, 2)
    for b, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(out.logits[:length, b], net.readout(out.events[-1][:length, b]))
        assert not out.logits[length:, b].any()
    whole = net(inputs(7, 3, 3))
    torch.testing.assert_close(whole.logits, net.readout(whole.events[-1]))


@pytest.mark.parametrize("readout", ["mean", "last", "every"])
def test_gradients_of_a_padded_batch_are_the_sum_of_those_of_its_sequences(readout):
    net = network(3, 5, 2, 2, readout=readout)
    x = inputs(7, 3, 3)
    parameters = list(net.parameters())
    together = torch.autograd.grad(net(x, LENGTHS).logits.square().sum(), parameters)
    alone = [
        torch.autograd.grad(net(x[:length, b : b + 1]).logits.square().sum(), parameters)
        for b, length in enumerate(LENGTHS.tolist())
    ]
    for a, *parts in zip(together, *alone, strict=True):
        torch.testing.assert_close(a, sum(parts), rtol=1e-9, atol=1e-12)


def test_state_is_carried_between_windows():
    net = network(3, 5, 2, 2, readout="every")
    x = inputs(9, 2, 3)
    whole = net(x)
    first = net(x[:4])
    second = net(x[4:], state=first.state)
    torch.testing.assert_close(torch.cat((first.logits, second.logits)), whole.logits)
    torch.testing.assert_close(second.state, whole.state)


def test_output_lists_every_layer():
    out = network(3, 5, 2, 3)(inputs(7, 3, 3), LENGTHS)
    assert [e.shape for e in out.events] == [o.shape for o in out.spikes] == [(7, 3, 5)] * 3
    assert out.state[0].shape == out.state[1].shape == (3, 3, 5)
    for events, spikes in zip(out.events, out.spikes, strict=True):
        assert torch.equal(events != 0, spikes != 0)
        assert not spikes[1:, 1].any()


def test_activity_regularisation_alone_brings_the_activity_to_its_target():
    net = network(4, 32, 3, 2, theta_mean=0.1)
    x = inputs(30, 16, 4)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    target = 0.05

    def activities():
        return [spikes.mean() for spikes in net(x).spikes]

    before = [a.item() for a in activities()]
    assert all(a > 2 * target for a in before)
    for _ in range(120):
        optimiser.zero_grad()
        sum(torch.relu(a - target) for a in activities()).backward()
        optimiser.step()
    assert all(a.item() < 1.2 * target for a in activities())


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_a_network_learns_to_remember_its_first_input(reset, state_reset):
    net = network(2, 32, 2, readout="last", reset=reset, state_reset=state_reset, theta_mean=0.1)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(2)

    def batch(size):
        labels = torch.randint(2, (size,), generator=generator)
        x = 0.3 * torch.randn(6, size, 2, generator=generator, dtype=torch.float64)
        x[0] = 2 * torch.nn.functional.one_hot(labels, 2)
        return x, labels

    for _ in range(200):
        x, labels = batch(32)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x).logits, labels).backward()
        optimiser.step()
    x, labels = batch(500)
    assert (net(x).logits.argmax(1) == labels).double().mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((3, 5, 0), {}, EgretError, "num_classes must be at least 1, not 0"),
        ((3, 5, "2"), {}, TypeError, "num_classes must be an integer, not '2'"),
        ((0, 5, 2), {}, EgretError, "input_size must be at least 1, not 0"),
        ((3, 5, 2), {"readout": "sum"}, EgretError, "readout must be one of .*'mean'.*, not 'sum'"),
        ((3, 5, 2), {"reset": "no"}, EgretError, "reset must be one of .*, not 'no'"),
        ((3, 5, 2), {"batch_first": True}, TypeError, "Network takes T x B x I only"),
    ],
)
def test_bad_construction_names_parameter_value_and_rule(arguments, options, error, message):
    with pytest.raises(error, match=message):
        Network(*arguments, **options)


def test_bad_input_names_parameter_value_and_rule():
    net = Network(3, 5, 2)
    with pytest.raises(EgretError, match=r"x must be T x B x I with I = 3 .*, not of shape \(4, 1, 2\)"):
        net(torch.zeros(4, 1, 2))
    with pytest.raises(EgretError, match=r"lengths must be within 1..4, the steps of x, not 9"):
        net(torch.zeros(4, 1, 3), torch.tensor([9]))

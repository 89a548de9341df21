"""EGRU networks as the paper trains them: layers of different sizes, an embedding, and several dropouts.

For training and evaluation in floating point. The hardware takes `egru.Network`; `PaperNetwork.plain` gives
one where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from egru import EGRU, Network
from egru.egru import State, check_lengths
from egru.errors import EgretError
from egru.functional import LayerOutput, egru_layer
from egru.network import read_out


class PaperOutput(NamedTuple):
    """What a network computed; as `egru.NetworkOutput`, but for the state."""

    logits: Tensor  #: B x C, or T x B x C for readout="every"
    events: list[Tensor]  #: per layer, T x B x H, before any dropout
    spikes: list[Tensor]  #: per layer, T x B x H; the gradient is the surrogate's
    state: list[State]  #: per layer (c, y), each 1 x B x H


def locked_dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Zero features of x (T x B x F) with ``probability``, the same ones in every step, and scale the others.

    Also called variational dropout. Without ``training``, x itself.
    """
    if not training or not probability:
        return x
    kept = torch.empty_like(x[:1]).bernoulli_(1 - probability)
    return x * kept.div_(1 - probability)


class PaperNetwork(nn.Module):
    """EGRU layers, each of its own size, and a linear readout of the last layer's events.

    Parameters
    ----------
    input_size, num_classes
        As of `egru.Network`; with an embedding, the number of tokens that come in and out.
    sizes
        Units of every layer.
    readout
        "mean", "last" or "every".
    embedding
        Length of the vectors that stand for tokens; 0 for inputs T x B x I. With an embedding the input is
        tokens, integers T x B.
    tied
        Whether the readout's weights are the embedding's, which must be as long as the last layer.
    dropout_input, dropout_between, dropout_output
        Probabilities of locked dropout: of the first layer's inputs, between layers, of the readout's inputs.
    dropconnect
        Probability that a recurrent weight is zero during a forward pass in training; the others are scaled.
    zoneout
        Probability that a unit keeps its state in a step of training (c~ = c[t-1]); evaluation takes the
        mean of keeping and updating.
    options
        Keyword arguments of `egru.EGRU`. Zoneout needs the dense kernel.
    """

    def __init__(
        self,
        input_size: int,
        sizes: Sequence[int],
        num_classes: int,
        *,
        readout: str = "mean",
        embedding: int = 0,
        tied: bool = False,
        dropout_input: float = 0.0,
        dropout_between: float = 0.0,
        dropout_output: float = 0.0,
        dropconnect: float = 0.0,
        zoneout: float = 0.0,
        **options,
    ) -> None:
        super().__init__()
        if zoneout and options.get("kernel") == "sparse":
            raise EgretError("kernel must be dense or auto with zoneout, not sparse")
        if tied and embedding != sizes[-1]:
            raise EgretError(
                f"embedding must be {sizes[-1]}, as the last layer's units, for tied weights, not {embedding}"
            )
        self.dropout_input, self.dropout_between = dropout_input, dropout_between
        self.dropout_output, self.dropconnect, self.zoneout = dropout_output, dropconnect, zoneout
        self.readout_mode = readout
        self.takes_tokens = embedding > 0
        self.embedding = nn.Embedding(input_size, embedding) if embedding else None
        inputs = (embedding or input_size, *sizes[:-1])
        first = {"input_std": options.pop("input_std", 0.0)}
        self.layers = nn.ModuleList(
            EGRU(i, n, **options, **(first if k == 0 else {}))
            for k, (i, n) in enumerate(zip(inputs, sizes, strict=True))
        )
        self.readout = nn.Linear(sizes[-1], num_classes)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=embedding**-0.5)
            if tied:
                self.readout.weight = self.embedding.weight
                nn.init.zeros_(self.readout.bias)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: Sequence[State] | None = None
    ) -> PaperOutput:
        """Run x (T x B x I, or tokens T x B) from ``state`` (zeros if None)."""
        if self.embedding is None:
            values = x
        else:
            # Inputs of deviation 1, so that units fire from the start, though tied weights must be small.
            values = self.embedding(x) * self.embedding.embedding_dim**0.5
        lengths = check_lengths(lengths, values)
        outputs: list[LayerOutput] = []
        for k, layer in enumerate(self._stack()):
            probability = self.dropout_between if k else self.dropout_input
            values = locked_dropout(values, probability, self.training)
            outputs.append(self._run(layer, values, None if state is None else state[k], lengths))
            values = outputs[-1].y
        values = locked_dropout(values, self.dropout_output, self.training)
        return PaperOutput(
            read_out(self.readout, self.readout_mode, values, lengths),
            [out.y for out in outputs],
            [out.o for out in outputs],
            [(out.c_last.unsqueeze(0), out.y_last.unsqueeze(0)) for out in outputs],
        )

    def _stack(self) -> list[EGRU]:
        return list(self.layers)  # type: ignore[arg-type]

    def _run(self, layer: EGRU, x: Tensor, state: State | None, lengths: Tensor | None) -> LayerOutput:
        x = layer.check_input(x)
        c, y = layer.check_state(state, x)
        layer.clamp_thresholds_()
        parameters = layer.layer_parameters(0)
        if self.dropconnect:
            dropped = functional.dropout(parameters.weight_hh, self.dropconnect, self.training)
            parameters = parameters._replace(weight_hh=dropped)
        held: Tensor | float | None = None
        if self.zoneout:
            shape = (*x.shape[:2], layer.hidden_size)
            held = torch.rand(shape, device=x.device) < self.zoneout if self.training else self.zoneout
        return egru_layer(
            x, c[0], y[0], parameters, layer.options, lengths=lengths, kernel=layer.kernel, held=held
        )

    def plain(self) -> Network:
        """Return the `egru.Network` that computes the same in evaluation, with copied weights.

        Raises EgretError, saying why, where there is none: with an embedding, zoneout or layers of different
        sizes.
        """
        layers = self._stack()
        sizes = [layer.hidden_size for layer in layers]
        for wrong, why in (
            (
                self.takes_tokens,
                "an embedding: the hardware takes tokens one-hot, as a text by characters does",
            ),
            (self.zoneout > 0, "zoneout, whose mean in evaluation is another update gate"),
            (len(set(sizes)) > 1, f"layers of different sizes, {sizes}"),
        ):
            if wrong:
                raise EgretError(f"a network for the hardware must not have {why}")
        first, options = layers[0], layers[0].options
        network = Network(
            first.input_size,
            sizes[0],
            self.readout.out_features,
            len(sizes),
            readout=self.readout_mode,
            kernel=first.kernel,
            reset=options.reset,
            state_reset=options.state_reset,
            gamma=options.gamma,
            eps=options.eps,
        )
        weights = {f"readout.{n}": v for n, v in self.readout.state_dict().items()}
        for k, layer in enumerate(layers):
            for name, value in layer.state_dict().items():
                weights[f"egru.{name.removesuffix('_l0')}_l{k}"] = value
        network.load_state_dict(weights)
        return network.train(self.training)

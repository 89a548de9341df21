"""Evaluate torch networks: the float one, the quantised one and the dense baseline."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .evaluation import Evaluation, evaluate_in_batches
from .tasks import Sequences


def evaluate_module(network: nn.Module, sequences: Sequences) -> Evaluation:
    """Evaluate in evaluation mode and without gradients; a network without events has no activity."""
    training = network.training
    device = next(network.parameters()).device
    network.eval()

    def run(x: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, list[float], int]:
        with torch.no_grad():
            output = network(torch.from_numpy(x).to(device), torch.from_numpy(lengths).to(device))
        events = getattr(output, "events", ())
        layers = [float((y != 0).sum()) / y.shape[-1] for y in events]
        return output.logits.argmax(1).cpu().numpy(), layers, int(np.count_nonzero(x))

    result = evaluate_in_batches(sequences, run)
    network.train(training)
    return result

"""A penalty on changes of the norm of a hidden state."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_number
from torchrnn.layers import attach_loss
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent import AbstractRecurrent


class NormStabilizer(AbstractRecurrent):
    """Pass the input on, and punish changes of its norm from step to step while training.

    The loss is ``beta * mean over the batch of (norm(h_t) - norm(h_{t-1}))^2``, added up over the steps; it comes in
    by itself when gradients go back through the output.

    Arguments:
        beta: the weight of the loss.
        rho: how many steps are kept for backpropagation through time.

    Shapes: input, output and state (N, H).

    Differs from the original: its ``updateLoss`` adds the two norms where its gradient, and the paper, subtract them.
    Source: Krueger and Memisevic, "Regularizing RNNs by stabilizing activations", 2016.

    >>> import torch, torchrnn
    >>> net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.GRU(4, 6), torchrnn.NormStabilizer(0.5)))
    >>> net(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, beta: float = 1.0, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        if not require_number(self, beta, "beta") >= 0:
            raise ValueError(f"NormStabilizer: beta must not be negative; got {beta}.")
        self.beta = beta

    def initial_state(self, input: Tensor) -> Tensor:
        return torch.zeros_like(input)

    def step(self, h: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return h, h
        began = (last == 0).all(dim=-1)  # a first step, or one after a masked one, has nothing to be compared with
        change = torch.where(began, 0, h.norm(dim=-1) - last.norm(dim=-1))
        return attach_loss(h, self.beta * change.square().mean()), h

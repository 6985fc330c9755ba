"""The simple recurrent cell in the layout of the sequence modules."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchrnn.checks import require_counts
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent import AbstractRecurrent


class RecVanilla(AbstractRecurrent):
    """The simple recurrent cell whose parameters lie in one matrix: the cell of `VanillaRNN`.

    ``h' = tanh([x, h] W + b)``, which is the output.

    Arguments:
        input_size: D.
        hidden_size: H.
        rho: how many steps are kept for backpropagation through time.

    Shapes: input (N, D) or (D,), output and state (N, H) or (H,).

    Parameters: ``weight`` (D + H, H), rows of ``x`` first, initially normal with standard deviation 1/sqrt(D + H);
    ``bias`` (H,), initially 0.

    >>> import torch, torchrnn
    >>> torchrnn.RecVanilla(4, 6)(torch.randn(3, 4)).shape
    torch.Size([3, 6])
    """

    def __init__(self, input_size: int, hidden_size: int, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight = nn.Parameter(torch.empty(input_size + hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(len(self.weight)))
        nn.init.zeros_(self.bias)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(*input.shape[:-1], self.hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w_x, w_h = self.weight.split_with_sizes([self.input_size, len(self.weight) - self.input_size])
        h = torch.tanh(x @ w_x + h @ w_h + self.bias)
        return h, h

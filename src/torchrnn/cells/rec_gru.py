"""The gated recurrent unit in the layout of the sequence modules."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchrnn.checks import require_counts
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent import AbstractRecurrent


class RecGRU(AbstractRecurrent):
    """The gated recurrent unit whose parameters lie in one matrix: the cell of `SeqGRU`.

    | ``r, u`` = the halves of ``sigmoid([x, h] W + b)``, with the first 2H columns
    | ``g = tanh([x, r * h] W + b)``, with the last H columns
    | ``h' = (1 - u) * g + u * h``, which is the output.

    Arguments:
        input_size: D.
        hidden_size: H.
        rho: how many steps are kept for backpropagation through time.

    Shapes: input (N, D) or (D,), output and state (N, H) or (H,).

    Parameters: ``weight`` (D + H, 3H), rows of ``x`` first, columns r, u, g, initially normal with standard deviation
    1/sqrt(D + H); ``bias`` (3H,), initially 1 for the update gate ``u`` and 0 elsewhere.

    Differs from ``torch.nn.GRU``, which resets after the product; the layout.

    >>> import torch, torchrnn
    >>> torchrnn.RecGRU(4, 6)(torch.randn(3, 4)).shape
    torch.Size([3, 6])
    """

    def __init__(self, input_size: int, hidden_size: int, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight = nn.Parameter(torch.empty(input_size + hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(len(self.weight)))
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.bias[self.hidden_size : 2 * self.hidden_size])

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(*input.shape[:-1], self.hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w_x, w_h = self.weight.split_with_sizes([self.input_size, len(self.weight) - self.input_size])
        gates, candidate = (x @ w_x + self.bias).tensor_split([2 * self.hidden_size], dim=-1)
        w_gates, w_candidate = w_h.tensor_split([2 * self.hidden_size], dim=-1)
        r, u = torch.sigmoid(gates + h @ w_gates).chunk(2, dim=-1)
        g = torch.tanh(candidate + (r * h) @ w_candidate)
        h = (1 - u) * g + u * h
        return h, h

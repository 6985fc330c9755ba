"""Long short-term memory in the layout of the sequence modules, with an optional projection."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchrnn.cells.lstm_state import LSTMCell, LSTMState
from torchrnn.checks import require_counts
from torchrnn.protocol import DEFAULT_RHO


class RecLSTM(LSTMCell):
    """Long short-term memory whose parameters lie in one matrix: the cell of `SeqLSTM`.

    | ``i, f, o, g`` = the quarters of ``[x, h] W + b``
    | ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)``
    | ``h' = sigmoid(o) * tanh(c')``, which is the output; with a projection ``h' = (sigmoid(o) * tanh(c')) W_o``.

    Arguments:
        input_size: D.
        hidden_size: H.
        proj_size: P, the size of the projected ``h``; no projection if it is not given.
        rho: how many steps are kept for backpropagation through time.

    Shapes: input (N, D) or (D,), output (N, P or H), state `LSTMState` of ``h`` (N, P or H) and ``c`` (N, H).

    Parameters: ``weight`` (D + P or H, 4H), rows of ``x`` first, columns i, f, o, g, initially normal with standard
    deviation 1/sqrt(number of rows); ``bias`` (4H,), initially 1 for the forget gate and 0 elsewhere; ``weight_o``
    (H, P), normal with standard deviation 1/sqrt(P + H).

    Differs from ``torch.nn.LSTM``: the layout, one bias instead of two. Differs from the original: with a projection
    its forget bias lands in another gate. Source: Sak, Senior and Beaufays, "Long short-term memory based recurrent
    neural network architectures for large vocabulary speech recognition", 2014.

    >>> import torch, torchrnn
    >>> torchrnn.RecLSTM(4, 6, proj_size=2)(torch.randn(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(self, input_size: int, hidden_size: int, proj_size: int | None = None, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        self.input_size, self.hidden_size, self.proj_size = input_size, hidden_size, proj_size
        self.output_size = hidden_size if proj_size is None else proj_size
        require_counts(self, input_size=input_size, hidden_size=hidden_size, proj_size=self.output_size)
        self.weight = nn.Parameter(torch.empty(input_size + self.output_size, 4 * hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.weight_o = None if proj_size is None else nn.Parameter(torch.empty(hidden_size, proj_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(len(self.weight)))
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.bias[self.hidden_size : 2 * self.hidden_size])
        if self.weight_o is not None:
            nn.init.normal_(self.weight_o, std=1 / math.sqrt(sum(self.weight_o.shape)))

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        w_x, w_h = self.weight.split_with_sizes([self.input_size, len(self.weight) - self.input_size])
        i, f, o, g = (x @ w_x + h @ w_h + self.bias).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        h = h if self.weight_o is None else h @ self.weight_o
        return h, LSTMState(h, c)

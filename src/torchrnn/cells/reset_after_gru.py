"""The gated recurrent unit as PyTorch has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.checks import require_counts
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent import AbstractRecurrent


class ResetAfterGRU(AbstractRecurrent):
    """The gated recurrent unit of ``torch.nn.GRU``, which resets after the product.

    | ``r, z`` = the halves of ``sigmoid(W x + b + U h + b')``
    | ``g = tanh(W_g x + b_g + r * (U_g h + b'_g))``
    | ``h' = (1 - z) * g + z * h``, which is the output.

    Arguments:
        input_size: D.
        hidden_size: H; D if it is not given.
        rho: how many steps are kept for backpropagation through time.

    Shapes: input (N, D) or (D,), output and state (N, H) or (H,).

    Parameters: ``i2g.weight`` (3H, D), ``i2g.bias`` (3H,), ``o2g.weight`` (3H, H), ``o2g.bias`` (3H,), row blocks
    r, z, g: those of ``torch.nn.GRUCell``. Initially U(-1/sqrt(n), 1/sqrt(n)), n the inputs.

    Differs from `GRU`, which resets before the product (``U_g (r * h)``) and has one bias.

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.ResetAfterGRU(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, input_size: int, hidden_size: int | None = None, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        hidden_size = input_size if hidden_size is None else hidden_size
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.i2g = nn.Linear(input_size, 3 * hidden_size)
        self.o2g = nn.Linear(hidden_size, 3 * hidden_size)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(*input.shape[:-1], self.hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        x_gates, x_candidate = self.i2g(x).tensor_split([2 * self.hidden_size], dim=-1)
        h_gates, h_candidate = self.o2g(h).tensor_split([2 * self.hidden_size], dim=-1)
        r, z = torch.sigmoid(x_gates + h_gates).chunk(2, dim=-1)
        g = torch.tanh(x_candidate + r * h_candidate)
        h = (1 - z) * g + z * h
        return h, h

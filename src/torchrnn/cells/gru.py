"""The gated recurrent unit."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.cells.linears import linears
from torchrnn.checks import require_counts
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent import AbstractRecurrent


class GRU(AbstractRecurrent):
    """The gated recurrent unit, which resets before the product.

    | ``r, z`` = the halves of ``sigmoid(W x + b + U h)``
    | ``g = tanh(W_g x + b_g + U_g (r * h))``
    | ``h' = (1 - z) * g + z * h``, which is the output.

    Arguments:
        input_size: D.
        hidden_size: H; D if it is not given.
        rho: how many steps are kept for backpropagation through time.
        dropout: the chance that an element of ``x`` or ``h`` is dropped on its way into a gate; each gate draws a mask
            of its own, which stays for the whole sequence.
        mono: one mask for all rows of the batch.

    Shapes: input (N, D) or (D,), output and state (N, H) or (H,).

    Parameters, in order: ``i2g.weight`` (2H, D), ``i2g.bias`` (2H,), ``o2g.weight`` (2H, H), row blocks r, z, then
    ``i2c.weight`` (H, D), ``i2c.bias`` (H,), ``o2c.weight`` (H, H); with dropout two linear maps for r and z on each
    side. Initially U(-1/sqrt(n), 1/sqrt(n)), n the inputs.

    Differs from ``torch.nn.GRU``, which resets after the product (``r * (U_g h + b)``); one step a call.
    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", 2014; dropout: Gal and Ghahramani, 2016.

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.GRU(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | None = None,
        rho: int = DEFAULT_RHO,
        dropout: float = 0.0,
        mono: bool = False,
    ) -> None:
        super().__init__(rho)
        hidden_size = input_size if hidden_size is None else hidden_size
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.i2g = linears(input_size, hidden_size, 2, True, dropout, mono)
        self.o2g = linears(hidden_size, hidden_size, 2, False, dropout, mono)
        self.i2c = linears(input_size, hidden_size, 1, True, dropout, mono)
        self.o2c = linears(hidden_size, hidden_size, 1, False, dropout, mono)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(*input.shape[:-1], self.hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        r, z = torch.sigmoid(self.i2g(x) + self.o2g(h)).chunk(2, dim=-1)
        g = torch.tanh(self.i2c(x) + self.o2c(r * h))
        h = (1 - z) * g + z * h
        return h, h

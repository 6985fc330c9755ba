"""The gated recurrent unit with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.checks import require_counts, require_positive
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent import AbstractRecurrent


class LayerNormGRU(AbstractRecurrent):
    """The gated recurrent unit whose gates and candidate are normalised over their features.

    | ``r, z`` = the halves of ``sigmoid(LN(W x) + LN(U h))``
    | ``g = tanh(LN(W_g x) + r * LN(U_g h))``
    | ``h' = (1 - z) * g + z * h``, which is the output.

    ``LN(a) = w * (a - mean(a)) / sqrt(var(a) + eps) + b``, over all features of one row, each LN with its own w and b;
    that of ``U h`` has no b.

    Arguments:
        input_size: D.
        hidden_size: H; D if it is not given.
        rho: how many steps are kept for backpropagation through time.
        eps: of the normalisation.

    Shapes: input (N, D) or (D,), output and state (N, H) or (H,).

    Parameters: ``i2g.weight`` (2H, D), ``o2g.weight`` (2H, H), row blocks r, z, ``i2c.weight`` (H, D), ``o2c.weight``
    (H, H), initially U(-1/sqrt(n), 1/sqrt(n)), n the inputs; ``input_norm`` and ``output_norm`` (2H,),
    ``input_candidate_norm`` and ``output_candidate_norm`` (H,), w initially 1, b 0.

    Differs from `GRU`: it resets after the product, as the paper and ``torch.nn.GRU`` do. Differs from the paper: its
    z is ``1 - z`` here, and two of its biases are one. Source: Ba, Kiros and Hinton, "Layer normalization", 2016.

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.LayerNormGRU(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self, input_size: int, hidden_size: int | None = None, rho: int = DEFAULT_RHO, eps: float = 1e-5
    ) -> None:
        super().__init__(rho)
        hidden_size = input_size if hidden_size is None else hidden_size
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        require_positive(self, eps, "eps")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.i2g = nn.Linear(input_size, 2 * hidden_size, bias=False)
        self.o2g = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.i2c = nn.Linear(input_size, hidden_size, bias=False)
        self.o2c = nn.Linear(hidden_size, hidden_size, bias=False)
        self.input_norm = nn.LayerNorm(2 * hidden_size, eps)
        self.output_norm = nn.LayerNorm(2 * hidden_size, eps, bias=False)
        self.input_candidate_norm = nn.LayerNorm(hidden_size, eps)
        self.output_candidate_norm = nn.LayerNorm(hidden_size, eps)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(*input.shape[:-1], self.hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        r, z = torch.sigmoid(self.input_norm(self.i2g(x)) + self.output_norm(self.o2g(h))).chunk(2, dim=-1)
        g = torch.tanh(self.input_candidate_norm(self.i2c(x)) + r * self.output_candidate_norm(self.o2c(h)))
        h = (1 - z) * g + z * h
        return h, h

"""Long short-term memory with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.cells.lstm_state import LSTMCell, LSTMState
from torchrnn.checks import require_counts, require_positive
from torchrnn.protocol import DEFAULT_RHO


class LayerNormLSTM(LSTMCell):
    """Long short-term memory whose gates and cell are normalised over their features.

    | ``i, g, f, o`` = the quarters of ``LN(W x) + LN(U h)``
    | ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)``
    | ``h' = sigmoid(o) * tanh(LN(c'))``, which is the output.

    ``LN(a) = w * (a - mean(a)) / sqrt(var(a) + eps) + b``, over all features of one row, each LN with its own w and b;
    that of ``U h`` has no b.

    Arguments:
        input_size: D.
        hidden_size: H; D if it is not given.
        rho: how many steps are kept for backpropagation through time.
        eps: of the normalisation.

    Shapes: input (N, D) or (D,), output (N, H) or (H,), state `LSTMState` of ``h`` and ``c`` (N, H).

    Parameters: ``i2g.weight`` (4H, D), ``o2g.weight`` (4H, H), row blocks i, g, f, o, initially U(-1/sqrt(n),
    1/sqrt(n)), n the inputs; ``input_norm`` and ``output_norm`` (4H,), ``cell_norm`` (H,), w initially 1, b 0.

    Differs from ``torch.nn.LSTM``, which normalises nothing. Differs from the paper: one bias, where it adds three.
    Source: Ba, Kiros and Hinton, "Layer normalization", 2016.

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.LayerNormLSTM(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self, input_size: int, hidden_size: int | None = None, rho: int = DEFAULT_RHO, eps: float = 1e-5
    ) -> None:
        super().__init__(rho)
        hidden_size = input_size if hidden_size is None else hidden_size
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        require_positive(self, eps, "eps")
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        self.i2g = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.o2g = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.input_norm = nn.LayerNorm(4 * hidden_size, eps)
        self.output_norm = nn.LayerNorm(4 * hidden_size, eps, bias=False)
        self.cell_norm = nn.LayerNorm(hidden_size, eps)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        i, g, f, o = (self.input_norm(self.i2g(x)) + self.output_norm(self.o2g(h))).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(self.cell_norm(c))
        return h, LSTMState(h, c)

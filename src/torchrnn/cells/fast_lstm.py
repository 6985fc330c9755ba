"""Long short-term memory without peepholes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.cells.linears import linears
from torchrnn.cells.lstm_state import LSTMCell, LSTMState
from torchrnn.checks import require_counts
from torchrnn.layers import Add, BatchNormalization
from torchrnn.protocol import DEFAULT_RHO


class FastLSTM(LSTMCell):
    """Long short-term memory without peepholes: all gates in one product.

    | ``i, g, f, o`` = the quarters of ``W x + b + U h``
    | ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)``
    | ``h' = sigmoid(o) * tanh(c')``, which is the output.

    With ``batch_norm``: ``BN(W x + b) + BN(U h) + b'`` and ``tanh(BN(c'))``, with gains that begin at 0.1.

    Arguments:
        input_size: D.
        hidden_size: H; D if it is not given.
        rho: how many steps are kept for backpropagation through time.
        batch_norm: normalise over the batch; the running statistics are shared by all steps.
        eps, momentum, affine: of the batch normalisation.
        dropout: the chance that an element of ``x`` or ``h`` is dropped on its way into a gate; each gate draws a mask
            of its own, which stays for the whole sequence.
        mono: one mask for all rows of the batch.

    Shapes: input (N, D) or (D,), output (N, H) or (H,), state `LSTMState` of ``h`` and ``c`` (N, H).

    Parameters, in order: ``i2g.weight`` (4H, D), ``i2g.bias`` (4H,), ``o2g.weight`` (4H, H), row blocks i, g, f, o;
    with dropout four linear maps a side. Initially U(-1/sqrt(n), 1/sqrt(n)), n the inputs.

    Differs from ``torch.nn.LSTM``: the order of the gates (there i, f, g, o), one bias instead of two, one step a
    call. Differs from the original: ``batch_norm`` is an argument, not a switch of the class.
    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; Cooijmans et al., "Recurrent batch
    normalization", 2016.

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.FastLSTM(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | None = None,
        rho: int = DEFAULT_RHO,
        batch_norm: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        dropout: float = 0.0,
        mono: bool = False,
    ) -> None:
        super().__init__(rho)
        hidden_size = input_size if hidden_size is None else hidden_size
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        if batch_norm and dropout:
            raise ValueError("FastLSTM: batch_norm and dropout cannot be had together; set one of them to zero.")
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        self.i2g: nn.Module
        self.o2g: nn.Module
        if batch_norm:
            norms = [BatchNormalization(n * hidden_size, eps, momentum, affine) for n in (4, 4, 1)]
            for norm in norms:
                if norm.weight is not None:
                    nn.init.constant_(norm.weight, 0.1)
            self.i2g = nn.Sequential(nn.Linear(input_size, 4 * hidden_size), norms[0])
            hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
            self.o2g = nn.Sequential(hidden, norms[1], Add(4 * hidden_size))
            self.cell_norm: nn.Module = norms[2]
        else:
            self.i2g = linears(input_size, hidden_size, 4, True, dropout, mono)
            self.o2g = linears(hidden_size, hidden_size, 4, False, dropout, mono)
            self.cell_norm = nn.Identity()

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        i, g, f, o = (self.i2g(x) + self.o2g(h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(self.cell_norm(c))
        return h, LSTMState(h, c)

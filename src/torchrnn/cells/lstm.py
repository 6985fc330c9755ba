"""Long short-term memory with peepholes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.cells.lstm_state import LSTMCell, LSTMState
from torchrnn.checks import require_counts
from torchrnn.layers import CMul, Dropout
from torchrnn.protocol import DEFAULT_RHO


class Gate(nn.Module):
    """``W x + b + U h``, and ``+ w * c`` with a peephole: what goes into one gate of an `LSTM`."""

    def __init__(self, input_size: int, hidden_size: int, peephole: bool, dropout: float, mono: bool) -> None:
        super().__init__()
        self.i2g = nn.Linear(input_size, hidden_size)
        self.o2g = nn.Linear(hidden_size, hidden_size, bias=False)
        self.c2g = CMul(hidden_size) if peephole else None
        self.drop_input = Dropout(dropout, lazy=True, mono=mono)
        self.drop_output = Dropout(dropout, lazy=True, mono=mono)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        gate: Tensor = self.i2g(self.drop_input(x)) + self.o2g(self.drop_output(h))
        if self.c2g is not None:
            gate = gate + self.c2g(c)
        return gate


class LSTM(LSTMCell):
    """Long short-term memory with peepholes: the gates see the cell.

    | ``i = sigmoid(W_i x + b_i + U_i h + w_i * c)``
    | ``f = sigmoid(W_f x + b_f + U_f h + w_f * c)``
    | ``g = tanh(W_g x + b_g + U_g h)``
    | ``c' = f * c + i * g``
    | ``o = sigmoid(W_o x + b_o + U_o h + w_o * c')``
    | ``h' = o * tanh(c')``, which is the output.

    Arguments:
        input_size: D.
        hidden_size: H; D if it is not given.
        rho: how many steps are kept for backpropagation through time.
        cell2gate: ``False`` leaves the peepholes ``w`` away.
        dropout: the chance that an element of ``x`` or ``h`` is dropped on its way into a gate; each gate draws a mask
            of its own, which stays for the whole sequence.
        mono: one mask for all rows of the batch.

    Shapes: input (N, D) or (D,), output (N, H) or (H,), state `LSTMState` of ``h`` and ``c`` (N, H).

    Parameters, in order: the forget gate, the input gate, ``g`` and the output gate, each with ``i2g.weight`` (H, D),
    ``i2g.bias`` (H,), ``o2g.weight`` (H, H), ``c2g.weight`` (H,). Initially U(-1/sqrt(n), 1/sqrt(n)), n the inputs.

    Differs from ``torch.nn.LSTM``: peepholes, one bias instead of two, one step a call (a `Sequencer` runs it over
    sequences). Source: Graves, Mohamed and Hinton, "Speech recognition with deep recurrent neural networks", 2013;
    dropout: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016.

    >>> import torch, torchrnn
    >>> lstm = torchrnn.LSTM(4, 6)
    >>> lstm(torch.randn(3, 4)).shape, lstm.cells[0].shape
    (torch.Size([3, 6]), torch.Size([3, 6]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | None = None,
        rho: int = DEFAULT_RHO,
        cell2gate: bool = True,
        dropout: float = 0.0,
        mono: bool = False,
    ) -> None:
        super().__init__(rho)
        hidden_size = input_size if hidden_size is None else hidden_size
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        self.forget_gate = Gate(input_size, hidden_size, cell2gate, dropout, mono)
        self.input_gate = Gate(input_size, hidden_size, cell2gate, dropout, mono)
        self.hidden = Gate(input_size, hidden_size, False, dropout, mono)
        self.output_gate = Gate(input_size, hidden_size, cell2gate, dropout, mono)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        h, c = state
        f = torch.sigmoid(self.forget_gate(x, h, c))
        i = torch.sigmoid(self.input_gate(x, h, c))
        g = torch.tanh(self.hidden(x, h, c))
        c = f * c + i * g
        o = torch.sigmoid(self.output_gate(x, h, c))
        h = o * torch.tanh(c)
        return h, LSTMState(h, c)

"""Sequence modules around one cell that take their initial states with the input."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchrnn.cells import GRU, FastLSTM, LSTMState, RecGRU, RecLSTM, RecVanilla
from torchrnn.checks import require_count, require_flag
from torchrnn.sequence.abstract_sequencer import CellSequencer
from torchrnn.tree import Tree, describe


class WholeSequence(CellSequencer):
    """A cell over a sequence ``x``, or ``(h0, x)`` with its initial state; the base of `SeqLSTM` and its like."""

    cell: RecLSTM | RecGRU | RecVanilla
    call_forms = "x or (h0, x)"

    def __init__(self, cell: RecLSTM | RecGRU | RecVanilla, batch_first: bool) -> None:
        super().__init__()
        self.cell = cell
        self.batch_first = require_flag(self, batch_first, "batch_first")

    @property
    def weight(self) -> nn.Parameter:
        """The matrix of the cell, rows of ``x`` first."""
        return self.cell.weight

    @property
    def bias(self) -> nn.Parameter:
        """The bias of the cell."""
        return self.cell.bias

    @property
    def remember_states(self) -> bool:
        """Whether states are carried over from call to call; to set it is to call `remember`."""
        return self.remembers

    @remember_states.setter
    def remember_states(self, value: bool) -> None:
        self.remember("both" if value else "neither")

    def reset_states(self) -> None:
        """The same as `forget`."""
        self.forget()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        self.cell.reset_parameters()

    def forward(self, input: Tensor | Sequence[Tensor], lengths: Tensor | list[int] | None = None) -> Tensor:
        *given, x = input if isinstance(input, list | tuple) and input else (input,)
        layout = "(N, T, D)" if self.batch_first else "(T, N, D)"
        if not isinstance(x, Tensor) or x.dim() != 3 or x.shape[2] != self.cell.input_size:
            raise ValueError(
                f"{type(self).__name__}: x must be a tensor {layout} with D = {self.cell.input_size}; "
                f"got {describe(x)}."
            )
        x = x.transpose(0, 1) if self.batch_first else x
        self._begin()
        state = self._given_state(given, x) if given else None
        output: Tensor = self.cell.remembered_sequence(x, state, lengths)
        return output.transpose(0, 1) if self.batch_first else output

    def _given_state(self, given: Sequence[Tensor], x: Tensor) -> Tree:
        if len(given) != 1:
            raise ValueError(
                f"{type(self).__name__}: the input must be {self.call_forms}; got {len(given) + 1} tensors."
            )
        return given[0]


class SeqLSTM(WholeSequence):
    """Long short-term memory over a sequence; with ``batch_first`` the LSTM of torch-rnn.

    ``i, f, o, g`` = the quarters of ``[x_t, h_{t-1}] W + b``, ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``,
    ``h_t = sigmoid(o) tanh(c_t)``, and with a projection ``h_t = (sigmoid(o) tanh(c_t)) W_o``.

    Arguments:
        input_size: D.
        hidden_size: H.
        proj_size: P, the size of a projected ``h``; no projection if it is not given.
        batch_first: sequences are (N, T, ...) instead of (T, N, ...).

    Shapes: input ``x`` (T, N, D), ``(h0, x)`` or ``(c0, h0, x)`` with ``h0`` (N, P or H) and ``c0`` (N, H); output
    (T, N, P or H). The gradient of the input has the form of the input. The final state: `get_hidden_state`.

    Parameters: ``weight``, ``bias`` and ``weight_o`` of `RecLSTM`, its cell.

    Differs from ``torch.nn.LSTM``: gates in the order i, f, o, g in one matrix, one bias, the state is not returned
    but can be remembered. Differs from the original: any ``scale`` in backward, `set_hidden_state` works, sequences
    of changing length and batch size need nothing.

    >>> import torch, torchrnn
    >>> lstm = torchrnn.SeqLSTM(4, 6)
    >>> x, h0, c0 = torch.randn(5, 3, 4), torch.zeros(3, 6), torch.zeros(3, 6)
    >>> lstm(x).shape, lstm((h0, x)).shape, lstm((c0, h0, x)).shape
    (torch.Size([5, 3, 6]), torch.Size([5, 3, 6]), torch.Size([5, 3, 6]))
    >>> stream = torchrnn.SeqLSTM(4, 6, batch_first=True).remember()
    >>> [stream(chunk).shape[1] for chunk in torch.randn(3, 10, 4).split(4, dim=1)]
    [4, 4, 2]
    """

    cell: RecLSTM
    call_forms = "x, (h0, x) or (c0, h0, x)"

    def __init__(
        self, input_size: int, hidden_size: int, proj_size: int | None = None, batch_first: bool = False
    ) -> None:
        super().__init__(RecLSTM(input_size, hidden_size, proj_size), batch_first)

    @property
    def weight_o(self) -> nn.Parameter | None:
        """The projection (H, P), if there is one."""
        return self.cell.weight_o

    @property
    def cells(self) -> list[Tensor]:
        """The cell ``c`` after each step of the last sequence."""
        return self.cell.cells

    def to_fast_lstm(self) -> FastLSTM:
        """A `FastLSTM` with copies of these parameters; not for a projected LSTM."""
        if self.cell.proj_size is not None:
            raise ValueError("SeqLSTM.to_fast_lstm: a FastLSTM has no projection; this LSTM has one.")
        lstm = FastLSTM(self.cell.input_size, self.cell.hidden_size).to(self.weight)
        w_x, w_h, bias = _by_gate(self.cell, order=[0, 3, 1, 2])
        lstm.load_state_dict({"i2g.weight": w_x, "i2g.bias": bias, "o2g.weight": w_h})
        return lstm

    def to_rec_lstm(self) -> RecLSTM:
        """A `RecLSTM`, for one step a call, with copies of these parameters, gradients and mask settings."""
        return copy.deepcopy(self.cell)

    def _given_state(self, given: Sequence[Tensor], x: Tensor) -> LSTMState:
        if len(given) == 2:
            c0, h0 = given
            return LSTMState(h0, c0)
        before = self.cell._begin_rows_anew(x, self.cell._source(x))
        return LSTMState(super()._given_state(given, x), before.c.detach())


class SeqLSTMP(SeqLSTM):
    """A `SeqLSTM` with a projection, under the name that the original gives it.

    Arguments:
        input_size, hidden_size, proj_size: D, H and P.
        batch_first: sequences are (N, T, ...) instead of (T, N, ...).

    Shapes: input (T, N, D), output (T, N, P).

    Differs from the original: the forget bias begins at 1; there the 1 lands in another gate.

    >>> import torch, torchrnn
    >>> torchrnn.SeqLSTMP(4, 6, 2)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(self, input_size: int, hidden_size: int, proj_size: int, batch_first: bool = False) -> None:
        super().__init__(input_size, hidden_size, require_count(self, proj_size, "proj_size"), batch_first)


class SeqGRU(WholeSequence):
    """The gated recurrent unit over a sequence, which resets before the product.

    ``r, u`` = the halves of ``sigmoid([x_t, h_{t-1}] W + b)``, ``g = tanh([x_t, r h_{t-1}] W + b)`` with the last H
    columns, ``h_t = (1 - u) g + u h_{t-1}``.

    Arguments:
        input_size: D.
        hidden_size: H.
        batch_first: sequences are (N, T, ...) instead of (T, N, ...).

    Shapes: input ``x`` (T, N, D) or ``(h0, x)`` with ``h0`` (N, H); output (T, N, H).

    Parameters: ``weight`` and ``bias`` of `RecGRU`, its cell. Differs from ``torch.nn.GRU``: reset before the product.

    >>> import torch, torchrnn
    >>> torchrnn.SeqGRU(4, 6)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    cell: RecGRU

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__(RecGRU(input_size, hidden_size), batch_first)

    def to_rec_gru(self) -> RecGRU:
        """A `RecGRU`, for one step a call, with copies of these parameters, gradients and mask settings."""
        return copy.deepcopy(self.cell)

    def to_gru(self) -> GRU:
        """A `GRU` with copies of these parameters."""
        gru = GRU(self.cell.input_size, self.cell.hidden_size).to(self.weight)
        parts = {"g": _by_gate(self.cell, order=[0, 1]), "c": _by_gate(self.cell, order=[2])}
        gru.load_state_dict(
            {
                name: values
                for kind, (w_x, w_h, bias) in parts.items()
                for name, values in (
                    (f"i2{kind}.weight", w_x),
                    (f"i2{kind}.bias", bias),
                    (f"o2{kind}.weight", w_h),
                )
            }
        )
        return gru


class VanillaRNN(WholeSequence):
    """The simple recurrent network of torch-rnn: ``h_t = tanh([x_t, h_{t-1}] W + b)``.

    Arguments:
        input_size: D.
        hidden_size: H.
        batch_first: sequences are (N, T, ...), as in torch-rnn; ``False`` makes them (T, N, ...).

    Shapes: input ``x`` (N, T, D) or ``(h0, x)`` with ``h0`` (N, H); output (N, T, H).

    Parameters: ``weight`` and ``bias`` of `RecVanilla`, its cell.

    >>> import torch, torchrnn
    >>> torchrnn.VanillaRNN(4, 6)(torch.randn(3, 5, 4)).shape
    torch.Size([3, 5, 6])
    """

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = True) -> None:
        super().__init__(RecVanilla(input_size, hidden_size), batch_first)


def _by_gate(cell: RecLSTM | RecGRU, order: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The gates in another order, as the rows of two matrices, for ``x`` and ``h``, and a bias."""
    n_gates = len(cell.bias) // cell.hidden_size
    blocks = cell.weight.detach().chunk(n_gates, dim=1), cell.bias.detach().chunk(n_gates)
    weight, bias = (torch.cat([block[gate] for gate in order], dim=-1) for block in blocks)
    w_x, w_h = weight.t().tensor_split([cell.input_size], dim=1)
    return w_x, w_h, bias

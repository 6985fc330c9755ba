"""Cells as modules without memory: the state comes in and goes out with the input."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from torchrnn.cells.lstm_state import LSTMState
from torchrnn.cells.rec_gru import RecGRU
from torchrnn.cells.rec_lstm import RecLSTM
from torchrnn.checks import require_tensors
from torchrnn.module import Module


class StepLSTM(Module):
    """One step of long short-term memory, the state given and returned: ``[x, h, c] -> [h', c']``.

    Arguments:
        input_size: D.
        hidden_size: H.
        proj_size: P, the size of a projected ``h``; no projection if it is not given.

    Shapes: ``x`` (N, D), ``h`` (N, P or H), ``c`` (N, H). The mathematics and parameters are those of `RecLSTM`.

    >>> import torch, torchrnn
    >>> h, c = torchrnn.StepLSTM(4, 6)([torch.randn(3, 4), torch.zeros(3, 6), torch.zeros(3, 6)])
    >>> h.shape, c.shape
    (torch.Size([3, 6]), torch.Size([3, 6]))
    """

    def __init__(self, input_size: int, hidden_size: int, proj_size: int | None = None) -> None:
        super().__init__()
        self.cell = RecLSTM(input_size, hidden_size, proj_size)

    def forward(self, input: Sequence[Tensor]) -> list[Tensor]:
        x, h, c = require_tensors(self, input, 3)
        cell, steps = self.cell._masked([x])
        _, state = cell.step(steps[0], LSTMState(h, c))
        return list(state)


class StepGRU(Module):
    """One step of the gated recurrent unit, the state given: ``[x, h] -> h'``.

    Arguments:
        input_size: D.
        hidden_size: H.

    Shapes: ``x`` (N, D), ``h`` and the output (N, H). The mathematics and parameters are those of `RecGRU`.

    >>> import torch, torchrnn
    >>> torchrnn.StepGRU(4, 6)([torch.randn(3, 4), torch.zeros(3, 6)]).shape
    torch.Size([3, 6])
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = RecGRU(input_size, hidden_size)

    def forward(self, input: Sequence[Tensor]) -> Tensor:
        x, h = require_tensors(self, input, 2)
        cell, steps = self.cell._masked([x])
        output: Tensor = cell.step(steps[0], h)[0]
        return output

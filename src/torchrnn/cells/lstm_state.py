"""What all long short-term memory cells have in common: their state."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from torchrnn.recurrent import AbstractRecurrent


class LSTMState(NamedTuple):
    """The state of an LSTM: the hidden state ``h`` (N, H), which is also the output, and the cell ``c`` (N, H).

    >>> import torch, torchrnn
    >>> torchrnn.LSTMState(h=torch.zeros(3, 6), c=torch.ones(3, 6)).c.shape
    torch.Size([3, 6])
    """

    h: Tensor
    c: Tensor


class LSTMCell(AbstractRecurrent):
    """A cell whose state is an `LSTMState`; subclasses set `hidden_size` and write `step`."""

    hidden_size: int
    output_size: int
    """The size of ``h``: `hidden_size`, unless it is projected."""

    def initial_state(self, input: Tensor) -> LSTMState:
        batch = input.shape[:-1]
        return LSTMState(input.new_zeros(*batch, self.output_size), input.new_zeros(*batch, self.hidden_size))

    @property
    def cells(self) -> list[Tensor]:
        """The cell ``c`` after each step."""
        return [state.c for state in self.states]

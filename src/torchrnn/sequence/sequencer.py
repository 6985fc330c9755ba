"""Any module over a sequence."""

from __future__ import annotations

from torch import Tensor, nn

from torchrnn.checks import require_module
from torchrnn.recurrent import AbstractRecurrent, Recursor
from torchrnn.sequence.abstract_sequencer import CellSequencer
from torchrnn.tree import Tree


class Sequencer(CellSequencer):
    """Apply a module to every step of a sequence, in order.

    ``output_t = module(input_t)``; recurrent modules, alone or inside a container, go on from step to step.

    Arguments:
        module: any module: recurrent, stateless, or a container of both.

    Shapes: a tensor (T, N, ...) in, a tensor (T, N, ...) out; a list of T steps in, a list of T outputs out.

    Ragged batches: ``forward(input, lengths)`` with the number of steps of each row (N,); see
    `AbstractRecurrent.sequence`. Every call begins from a fresh state unless it remembers (`Module.remember`). The
    state of a cell, or the tuple of the states in a container: `get_hidden_state` and `set_hidden_state`.

    >>> import torch, torchrnn
    >>> net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.LSTM(4, 6), torch.nn.Linear(6, 2)))
    >>> net(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 2])
    >>> len(net([torch.randn(3, 4) for _ in range(7)]))
    7
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        require_module(self, module)
        self.cell = module if isinstance(module, AbstractRecurrent) else Recursor(module)
        self._is_lifted = self.cell is not module

    def get(self, index: int = 0) -> nn.Module:
        """The module that is applied to every step; ``index`` can only be 0."""
        if index not in (0, -1):
            raise IndexError(f"Sequencer: it holds one module, at position 0; got {index}.")
        return self.cell.module if isinstance(self.cell, Recursor) and self._is_lifted else self.cell

    def forward(self, input: Tree, lengths: Tensor | list[int] | None = None) -> Tree:
        if isinstance(input, tuple):
            input = list(input)
        if not isinstance(input, list) and not (isinstance(input, Tensor) and input.dim() > 0):
            raise TypeError(
                "Sequencer: the input must be a tensor (T, N, ...) or a list of T steps; got "
                + (
                    f"a tensor of shape {tuple(input.shape)}."
                    if isinstance(input, Tensor)
                    else f"{type(input).__name__}."
                )
            )
        self._begin()
        return self.cell.remembered_sequence(input, lengths=lengths)

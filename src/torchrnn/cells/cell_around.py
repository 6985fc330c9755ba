"""Cells that change another cell."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from torchrnn.checks import require_module
from torchrnn.recurrent import AbstractRecurrent
from torchrnn.tree import Tree


class CellAround(AbstractRecurrent):
    """A cell around another one, whose states it has: the base of `Zoneout`, `WeightDropout` and `LearnedStart`."""

    cell: AbstractRecurrent

    def __init__(self, cell: nn.Module) -> None:
        require_module(self, cell, "cell")
        if not isinstance(cell, AbstractRecurrent):
            raise TypeError(
                f"{type(self).__name__}: cell must be a recurrent module of one step, such as torchrnn.LSTM; got "
                f"{type(cell).__name__}. A module made of several belongs into torchrnn.Recursor."
            )
        super().__init__(cell.rho)
        self.cell = cell

    @property
    def input_size(self) -> int:
        """That of the cell, where it has one."""
        return cast(int, self.cell.input_size)

    def initial_state(self, input: Tree) -> Tree:
        return self.cell.initial_state(input)

    def zero_rows_of_state(self, rows: Tensor, state: Tree) -> Tree:
        return self.cell.zero_rows_of_state(rows, state)

    def hold_rows_of_state(self, rows: Tensor, before: Tree, after: Tree) -> Tree:
        return self.cell.hold_rows_of_state(rows, before, after)

    def _fresh_rows(self, rows: Tensor, start: Tree, state: Tree) -> Tree:
        return self.cell._fresh_rows(rows, start, state)

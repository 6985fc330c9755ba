"""Initial states that are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from torchrnn.cells.cell_around import CellAround
from torchrnn.masks import where_masked
from torchrnn.tree import Tree, describe


class LearnedStart(CellAround):
    """A cell whose sequences begin from a learned state instead of zeros.

    ``s_0`` is a parameter, the same for every row of the batch; ``output, s' = cell(x, s)`` is that of the cell. Rows
    that begin anew, after `forget` with ``rows`` or after a masked step, begin from it, too.

    Arguments:
        cell: any recurrent module of one step whose state is made of tensors.
        input: one step of input for one row, such as a tensor (D,), which tells the sizes of the state; not needed for
            cells that have an ``input_size``.

    Shapes: those of the cell. Parameters: those of the cell, then ``start``, a list of one tensor for each tensor of
    the state, without a batch: (H,) for a GRU, (H,) for h and (H,) for c of an LSTM. They begin as the cell does, with
    zeros. Raises ``ValueError`` for cells whose states begin inside of them, such as a `Recursor`.

    A state that is set with `set_start_state` goes before the learned one.

    >>> import torch, torchrnn
    >>> net = torchrnn.Sequencer(torchrnn.LearnedStart(torchrnn.GRU(4, 6)))
    >>> net(torch.randn(5, 3, 4)).sum().backward()
    >>> net.cell.start[0].grad.shape
    torch.Size([6])
    """

    def __init__(self, cell: nn.Module, input: Tree = None) -> None:
        super().__init__(cell)
        if input is None:
            if not isinstance(size := getattr(cell, "input_size", None), int):
                raise ValueError(
                    f"LearnedStart: {type(cell).__name__} has no input_size, so input must be given: one step of one "
                    "row, such as torch.zeros(D), which tells the sizes of the state."
                )
            input = torch.zeros(size)
        state = self.cell.initial_state(input)
        parts = tree_leaves(state)
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            raise ValueError(
                f"LearnedStart: the cell must have a state of tensors; that of {type(cell).__name__} begins as "
                f"{describe(state)}. Put LearnedStart around each of the cells inside."
            )
        self.start = nn.ParameterList(nn.Parameter(part.clone()) for part in parts)

    def initial_state(self, input: Tree) -> Tree:
        return self._start_like(self.cell.initial_state(input))

    def step(self, x: Tree, state: Tree) -> tuple[Tree, Tree]:
        return self.cell.step(x, state)

    def zero_rows_of_state(self, rows: Tensor, state: Tree) -> Tree:
        return where_masked(rows, self._start_like(state), state)

    def _start_like(self, state: Tree) -> Tree:
        parts, structure = tree_flatten(state)
        return tree_unflatten([s.expand_as(p) for s, p in zip(self.start, parts, strict=True)], structure)

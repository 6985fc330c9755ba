"""Zoneout: states that now and then stay as they were."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from torchrnn.cells.cell_around import CellAround
from torchrnn.cells.lstm_state import LSTMState
from torchrnn.checks import require_probability
from torchrnn.tree import Tree, describe


class Zoneout(CellAround):
    """A cell whose state elements keep their old values at random while training.

    ``s' = m * s + (1 - m) * n``, where n is the state that the cell goes into from s. The elements of m are 1 with
    probability p and else 0, drawn at every step; in evaluation m is p, the expectation. An output that is part of the
    state, as the ``h`` of an LSTM or GRU is, is zoned out with it; the cell itself computes h from its own c.

    Arguments:
        cell: any recurrent module of one step whose state is made of tensors.
        p_hidden: the chance that an element of ``h`` stays, or of any state other than an `LSTMState`.
        p_cell: the chance that an element of ``c`` of an `LSTMState` stays; ``p_hidden`` if it is not given.

    Shapes: those of the cell. Raises ``ValueError`` for ``p_cell`` with a cell that has no ``c``, and for cells whose
    states begin inside of them, such as a `Recursor`: put it around each of the cells there.

    A subclass that draws other masks overrides `noise`.
    Source: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", 2017.

    >>> import torch, torchrnn
    >>> net = torchrnn.Sequencer(torchrnn.Zoneout(torchrnn.LSTM(4, 6), p_hidden=0.05, p_cell=0.5))
    >>> net(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, cell: nn.Module, p_hidden: float = 0.1, p_cell: float | None = None) -> None:
        super().__init__(cell)
        self.p_hidden = require_probability(self, p_hidden, "p_hidden")
        self.p_cell = None if p_cell is None else require_probability(self, p_cell, "p_cell")

    def noise(self, state: Tensor, p: float) -> Tensor:
        """A new mask for a part of the state: 1, with chance p, where the old value stays, and else 0."""
        return torch.empty_like(state, requires_grad=False).bernoulli_(p)

    def initial_state(self, input: Tree) -> Tree:
        state = super().initial_state(input)
        parts = tree_leaves(state)
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            raise ValueError(
                f"Zoneout: the cell must have a state of tensors; that of {type(self.cell).__name__} begins as "
                f"{describe(state)}. Put Zoneout around each of the cells inside."
            )
        if self.p_cell is not None and not isinstance(state, LSTMState):
            raise ValueError(
                f"Zoneout: p_cell is for cells with an LSTMState; that of {type(self.cell).__name__} is "
                f"{describe(state)}. Give p_hidden only."
            )
        return state

    def step(self, x: Tree, state: Tree) -> tuple[Tree, Tree]:
        output, new = self.cell.step(x, state)
        parts, structure = tree_flatten(new)
        chances = [self.p_hidden] * len(parts)
        if self.p_cell is not None:
            chances[1] = self.p_cell
        zoned = [self._zoned(*part) for part in zip(tree_leaves(state), parts, chances, strict=True)]
        output = next((after for before, after in zip(parts, zoned, strict=True) if before is output), output)
        return output, tree_unflatten(zoned, structure)

    def _zoned(self, old: Tensor, new: Tensor, p: float) -> Tensor:
        if not p or not new.is_floating_point():
            return new
        return torch.lerp(new, old, self.noise(new, p) if self.training else p)

    def extra_repr(self) -> str:
        return f"p_hidden={self.p_hidden}, p_cell={self.p_cell}"

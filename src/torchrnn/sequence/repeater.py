"""One input, presented several times."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchrnn.checks import require_count, require_module
from torchrnn.recurrent import AbstractRecurrent, Recursor
from torchrnn.sequence.abstract_sequencer import CellSequencer
from torchrnn.tree import Tree


class Repeater(CellSequencer):
    """Present the same input to a recurrent module ``n_steps`` times.

    Arguments:
        module: any module; recurrent modules inside go on from step to step.
        n_steps: how often the input is presented.

    Shapes: one step in, (N, D); a list of ``n_steps`` outputs out.

    >>> import torch, torchrnn
    >>> outputs = torchrnn.Repeater(torchrnn.LSTM(4, 6), 3)(torch.randn(2, 4))
    >>> len(outputs), outputs[0].shape
    (3, torch.Size([2, 6]))
    """

    def __init__(self, module: nn.Module, n_steps: int) -> None:
        super().__init__()
        require_module(self, module)
        self.cell = module if isinstance(module, AbstractRecurrent) else Recursor(module)
        self.n_steps = require_count(self, n_steps, "n_steps")

    def forward(self, input: Tree) -> list[Tree]:
        self._begin()
        # A view for each step, so that each has a gradient of its own to be looked at.
        steps = [tree_map(lambda x: x.view_as(x) if isinstance(x, Tensor) else x, input) for _ in range(self.n_steps)]
        outputs: list[Tree] = self.cell.remembered_sequence(steps)
        return outputs

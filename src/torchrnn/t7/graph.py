"""Modules wired as a graph."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from torchrnn.checks import require_table
from torchrnn.layers import Container
from torchrnn.tree import Tree


class Graph(Container):
    """Modules of which each takes the outputs of earlier ones: what nngraph's ``nn.gModule`` becomes.

    Arguments:
        modules: in an order in which each comes after those it takes something from.
        sources: for each module, where its input comes from: the position of another module, or ``-1 - i`` for the
            ``i``-th input of the graph. One source is given as it is, several as a table.
        outputs: the positions of the modules whose outputs the graph gives: one as it is, several as a list.
        n_inputs: how many inputs the graph takes: one as it is, several as a table.

    Shapes: those of the modules.

    >>> import torch
    >>> from torchrnn import CMulTable, t7
    >>> gated = t7.Graph([torch.nn.Sigmoid(), torch.nn.Tanh(), CMulTable()], [[-1], [-2], [0, 1]], [2], 2)
    >>> gated([torch.zeros(3), torch.zeros(3)])
    tensor([0., 0., 0.])
    """

    def __init__(
        self, modules: Sequence[nn.Module], sources: Sequence[Sequence[int]], outputs: Sequence[int], n_inputs: int
    ) -> None:
        super().__init__(*modules)
        for position, taken in enumerate(sources):
            if not taken or not all(-n_inputs <= source < position for source in taken):
                raise ValueError(
                    f"Graph: module {position} must take what stands before it, or one of {n_inputs} inputs; "
                    f"got the sources {list(taken)}."
                )
        if len(sources) != len(modules) or not all(0 <= output < len(modules) for output in outputs):
            raise ValueError(f"Graph: {len(modules)} modules, {len(sources)} sources and outputs {outputs} do not fit.")
        self.sources = [list(taken) for taken in sources]
        self.outputs = list(outputs)
        self.n_inputs = n_inputs

    def forward(self, input: Tree) -> Tree:
        inputs = [input] if self.n_inputs == 1 else require_table(self, input, self.n_inputs)
        values: list[Tree] = []
        for module, sources in zip(self, self.sources, strict=True):
            values.append(module(_one_or_all([values[s] if s >= 0 else inputs[-1 - s] for s in sources])))
        return _one_or_all([values[position] for position in self.outputs])


def _one_or_all(values: list[Tree]) -> Tree:
    return values[0] if len(values) == 1 else values

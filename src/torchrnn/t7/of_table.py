"""Modules of several arguments in networks that hand on tables."""

from __future__ import annotations

from typing import Any

from torch import nn

from torchrnn.checks import require_module, require_table
from torchrnn.module import Module


class OfTable(Module):
    """A module of several arguments as one that takes them in a table: ``y = module(x_0, ..., x_n)``.

    Arguments: ``module``, such as ``torch.nn.Bilinear``, or a loss of two inputs, which takes its target beside the
    table.
    Shapes: a table of what ``module`` takes, to what it gives.

    >>> import torch
    >>> from torchrnn import t7
    >>> distance = t7.OfTable(torch.nn.PairwiseDistance(p=1, eps=0))
    >>> distance([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]])])
    tensor([4.])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = require_module(self, module)

    def forward(self, input: Any, *others: Any) -> Any:
        return self.module(*require_table(self, input), *others)

"""Sequences backwards."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_int, resolve_dim
from torchrnn.module import Module
from torchrnn.tree import Tree


class SeqReverseSequence(Module):
    """Reverse a tensor along one dimension.

    Arguments:
        dim: the dimension, 0-based; negative ones count from the end.

    Shapes: any in, the same out.

    >>> import torch, torchrnn
    >>> torchrnn.SeqReverseSequence(0)(torch.tensor([1.0, 2.0, 3.0]))
    tensor([3., 2., 1.])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")

    def forward(self, input: Tensor) -> Tensor:
        return input.flip(resolve_dim(self, self.dim, input.dim()))


def reversed_in_time(sequence: Tree) -> Tree:
    """A tensor (T, ...) or a list of T steps, last step first."""
    return torch.flip(sequence, (0,)) if isinstance(sequence, Tensor) else sequence[::-1]

"""Sequences backwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchrnn.checks import require_int, require_module, resolve_dim
from torchrnn.masks import as_mask
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


class ReverseSequence(Module):
    """Reverse a sequence in time.

    Shapes: a tensor (T, ...) or a list of T steps in, the same out. ``forward(input, lengths)`` reverses each row of a
    ragged batch (T, N, ...) up to its own end and leaves the padding where it is.

    >>> import torch, torchrnn
    >>> torchrnn.ReverseSequence()(torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 0.0]]), [3, 2]).T
    tensor([[3., 2., 1.],
            [5., 4., 0.]])
    """

    def forward(self, input: Tree, lengths: Tensor | list[int] | None = None) -> Tree:
        return reversed_in_time(input, lengths)


class ReverseUnreverse(Module):
    """Read a sequence backwards: reverse it, apply a sequence module, and reverse the result.

    Arguments:
        sequencer: a module that takes whole sequences.

    Shapes: a sequence in, (T, N, ...) or a list, and a sequence out; ``forward(input, lengths)`` for ragged batches.
    Masks that are set are reversed, too.

    >>> import torch, torchrnn
    >>> torchrnn.ReverseUnreverse(torchrnn.SeqGRU(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    takes_sequences = True

    def __init__(self, sequencer: nn.Module) -> None:
        super().__init__()
        self.sequencer = require_module(self, sequencer, "sequencer")

    def forward(self, input: Tree, lengths: Tensor | list[int] | None = None) -> Tree:
        backwards = reversed_in_time(input, lengths)
        output = self.sequencer(backwards) if lengths is None else self.sequencer(backwards, lengths)
        return reversed_in_time(output, lengths)

    def set_zero_mask(self, mask: Tensor | Sequence[Tensor] | None) -> None:
        given = as_mask(mask)
        super().set_zero_mask(given.flip(0) if given is not None and given.dim() > 1 else given)


def reversed_in_time(sequence: Tree, lengths: Tensor | list[int] | None = None) -> Tree:
    """A tensor (T, ...) or a list of T steps, last step first; rows of ``lengths`` each up to their own end."""
    if lengths is None:
        return torch.flip(sequence, (0,)) if isinstance(sequence, Tensor) else sequence[::-1]
    if not isinstance(sequence, Tensor):
        return list(reversed_in_time(torch.stack(list(sequence)), lengths)) if sequence else sequence
    lengths = torch.as_tensor(lengths, device=sequence.device)
    step = torch.arange(len(sequence), device=sequence.device)[:, None]
    source = torch.where(step < lengths, lengths - 1 - step, step)
    return sequence[source, torch.arange(sequence.shape[1], device=sequence.device)]

"""Vectors of indices, with an index for padding."""

from __future__ import annotations

from torch import Tensor

from torchrnn.checks import require_count
from torchrnn.layers.lookup import LookupTable


class LookupTableMaskZero(LookupTable):
    """A `LookupTable` whose index 0 is padding and gives a zero vector; the others are 1 to ``n_index``.

    Arguments:
        n_index: how many indices there are without the padding.
        n_output: the size of a vector.

    Shapes: indices (...), output (..., n_output); ``weight`` (n_index + 1, n_output).

    As in the original, row 0 of the weight is set to zero at each forward.

    >>> import torch, torchrnn
    >>> torchrnn.LookupTableMaskZero(7, 2)(torch.tensor([0, 7]))[0]
    tensor([0., 0.], grad_fn=<SelectBackward0>)
    """

    def __init__(self, n_index: int, n_output: int) -> None:
        super().__init__(require_count(self, n_index, "n_index") + 1, n_output)

    def forward(self, input: Tensor) -> Tensor:
        self.weight.data[0] = 0
        return super().forward(input)

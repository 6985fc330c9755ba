"""Rows of a table, looked up by index."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchrnn.checks import require_count, require_positive, require_tensor, resolve_index
from torchrnn.module import Module


class LookupTable(Module):
    """Learned vectors, looked up by 0-based ids: ``y = weight[x]``.

    Arguments: ``n_index`` vectors of size ``n_output``; ``padding_index``, whose vector gets no gradient;
    ``max_norm``: vectors that are looked up and have a greater ``norm_type``-norm are first scaled down to
    it, in place.
    Parameter: ``weight`` (n_index, n_output), at first standard normal.
    Shapes: ids ``(...)`` of an integer type to ``(..., n_output)``.
    Raises ``ValueError`` for ids outside 0 to n_index - 1.

    Differs from ``torch.nn.Embedding``: the vector at ``padding_index`` is drawn like the others and not
    zeroed.
    Differs from the original: ids start at 0, and None stands for no padding.

    >>> import torch
    >>> from torchrnn.layers import LookupTable
    >>> LookupTable(7, 4)(torch.tensor([[0, 6, 2]])).shape
    torch.Size([1, 3, 4])
    """

    def __init__(
        self,
        n_index: int,
        n_output: int,
        padding_index: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> None:
        super().__init__()
        self.n_index = require_count(self, n_index, "n_index")
        self.n_output = require_count(self, n_output, "n_output")
        self.padding_index = padding_index
        if padding_index is not None:
            self.padding_index = resolve_index(self, padding_index, n_index, "a table")
        self.max_norm = None if max_norm is None else require_positive(self, max_norm, "max_norm")
        self.norm_type = require_positive(self, norm_type, "norm_type")
        self.weight = nn.Parameter(torch.empty(n_index, n_output))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors anew."""
        nn.init.normal_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        ids = require_tensor(self, input)
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise TypeError(f"LookupTable: input must hold integer ids; got {ids.dtype}. Convert it with .long().")
        try:
            return F.embedding(ids.long(), self.weight, self.padding_index, self.max_norm, self.norm_type)
        except IndexError:
            raise ValueError(
                f"LookupTable: ids must be 0 to {self.n_index - 1}; got {int(ids.min())} to "
                f"{int(ids.max())}. Ids are 0-based."
            ) from None

    def extra_repr(self) -> str:
        return f"{self.n_index}, {self.n_output}, padding_index={self.padding_index}, max_norm={self.max_norm}"

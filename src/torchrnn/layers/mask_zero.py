"""Modules whose masked rows give zeros."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchrnn.checks import require_module, require_row_dims
from torchrnn.masks import MaskTaker, ZeroMask, without_masked
from torchrnn.module import Module
from torchrnn.tree import Tree


class MaskZero(MaskTaker, Module):
    """Apply a module to the rows of a batch that are not masked; masked rows give zeros, and get no gradient.

    Arguments:
        module: a module that treats each row on its own. For recurrent modules there is `Module.mask_zero`.
        n_input_dims: how many dimensions one row has (1 for vectors, 0 for indices); those rows are masked whose first
            input tensor is all zeros. Without it, `set_zero_mask` says which.

    Shapes: those of ``module``, whose outputs begin with the dimensions of the mask, (N, ...) or (T, N, ...).

    What stands in masked rows, even NaN, reaches neither output nor gradients.

    >>> import torch, torchrnn
    >>> layer = torchrnn.MaskZero(torch.nn.Linear(4, 6), 1)
    >>> layer(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]]))[1]
    tensor([0., 0., 0., 0., 0., 0.], grad_fn=<SelectBackward0>)
    """

    def __init__(self, module: nn.Module, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.module = require_module(self, module)
        self._zero_mask = ZeroMask(require_row_dims(self, n_input_dims))

    def forward(self, input: Tree) -> Tree:
        mask = self.mask_of(input)
        return self.module(input) if mask is None else self.masked(input, mask)

    def mask_of(self, input: Tree) -> Tensor | None:
        """The mask for this input; ``None`` masks nothing."""
        return self._zero_mask.of(self, input)

    def masked(self, input: Tree, mask: Tensor) -> Tree:
        """The output where rows are masked."""
        return without_masked(mask, self.module(without_masked(mask, input)))


class TrimZero(MaskZero):
    """The same as `MaskZero`, computed on a smaller batch: the module sees only the rows that are not masked.

    Arguments and shapes: those of `MaskZero`.

    Differs from the original, whose backward fails for modules with parameters.

    >>> import torch, torchrnn
    >>> torchrnn.TrimZero(torch.nn.Tanh(), 1)(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    tensor([[0.0000, 0.0000],
            [0.0000, 0.7616]])
    """

    def masked(self, input: Tree, mask: Tensor) -> Tree:
        if mask.dim() == 0:
            return super().masked(input, mask)
        rows = ~mask
        output = self.module(tree_map(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) else leaf, input))

        def spread(leaf: Tensor) -> Tensor:
            return leaf.new_zeros(*mask.shape, *leaf.shape[1:]).masked_scatter(
                rows.reshape(mask.shape + (1,) * (leaf.dim() - 1)), leaf
            )

        return tree_map(spread, output)

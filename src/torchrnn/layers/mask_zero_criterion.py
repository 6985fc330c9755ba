"""A loss over the rows that are not masked."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchrnn.checks import require_module, require_row_dims
from torchrnn.layers.criterion import Criterion
from torchrnn.masks import MaskTaker, ZeroMask
from torchrnn.tree import Tree, first_tensor


class MaskZeroCriterion(MaskTaker, Criterion):
    """A loss over the rows that are not masked; it averages over those only, and is 0 where all are masked.

    Arguments:
        criterion: a loss over a batch of rows.
        n_input_dims: how many dimensions a row of the input has; those rows are masked whose first input tensor is all
            zeros. Without it, `set_zero_mask` says which.

    Shapes: input (N, ...) and target (N, ...), or tables of them, with a mask (N,). With a mask (T, N) the input is a
    whole sequence (T, N, ...), and an averaging criterion averages over all the steps of all rows that are real.

    Differs from the original: whole sequences; rows that hold NaN where they are masked.

    >>> import torch, torchrnn
    >>> loss = torchrnn.MaskZeroCriterion(torchrnn.MSECriterion())
    >>> loss.set_zero_mask(torchrnn.padding_mask([1, 2], 2))
    >>> loss(torch.tensor([[[1.0], [2.0]], [[float("nan")], [3.0]]]), torch.zeros(2, 2, 1))
    tensor(4.6667)
    """

    def __init__(self, criterion: nn.Module, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.criterion = require_module(self, criterion, "criterion")
        self._zero_mask = ZeroMask(require_row_dims(self, n_input_dims))

    def forward(self, input: Tree, target: Tree) -> Tensor:
        mask = self._zero_mask.of(self, input)
        if mask is None:
            return self._loss(input, target)
        like = first_tensor(input)
        if like is None or like.shape[: mask.dim()] != mask.shape or mask.dim() == 0:
            raise ValueError(
                f"MaskZeroCriterion: a mask {tuple(mask.shape)} needs an input that begins with these dimensions; got "
                f"{None if like is None else tuple(like.shape)}."
            )
        rows = ~mask
        if not rows.any():
            return like[rows].sum()

        def real(leaf: Any) -> Any:
            return leaf[rows] if isinstance(leaf, Tensor) else leaf

        return self._loss(*tree_map(real, (input, target)))

    def _loss(self, input: Tree, target: Tree) -> Tensor:
        loss: Tensor = self.criterion(input, target)
        return loss

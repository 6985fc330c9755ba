"""The base class of losses, with the explicit protocol beside autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.tree import Tree, as_leaves, describe


class Criterion(nn.Module):
    """A loss: ``forward(input, target)`` gives a 0-dim tensor, which autograd can differentiate.

    A subclass writes ``forward`` and nothing more. The explicit protocol comes with it::

        loss = criterion.update_output(y, target)
        grad_y = criterion.backward(y, target)

    Both run ``forward``, so `backward` may be called alone. Shapes: the gradient has that of the input.

    Differs from ``torch.nn``: the explicit protocol. Differs from the original: the loss is a 0-dim tensor
    and not a number; ids are 0-based.

    >>> import torch
    >>> from torchrnn.layers import Criterion
    >>> class Hinge(Criterion):
    ...     def forward(self, input, target):
    ...         return (1 - input * target).relu().mean()
    >>> Hinge().backward(torch.tensor([0.5, 2.0]), torch.tensor([1.0, 1.0]))
    tensor([-0.5000, -0.0000])
    """

    def update_output(self, input: Tree, target: Tree) -> Tensor:
        """The loss, detached."""
        with torch.no_grad():
            loss: Tensor = self(input, target)
        return loss

    def update_grad_input(self, input: Tree, target: Tree) -> Tree:
        """The gradient of the loss for ``input``, in the structure of it; integer tensors get zeros."""
        with torch.enable_grad():
            leaves = as_leaves(input)
            loss: Tensor = self(leaves, target)
        wanted = [leaf for leaf in tree_leaves(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        grads = iter(
            torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
            if loss.requires_grad and wanted
            else [torch.zeros_like(leaf) for leaf in wanted]
        )

        def gradient(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return None
            return next(grads) if leaf.requires_grad else torch.zeros_like(leaf)

        return tree_map(gradient, leaves)

    def backward(self, input: Tree, target: Tree) -> Tree:
        """The same as `update_grad_input`: a loss has no parameters to accumulate gradients for."""
        return self.update_grad_input(input, target)

    def set_zero_mask(self, mask: Tensor | Sequence[Tensor] | None) -> None:
        """Set which rows are masked in the criterions inside that mask (`MaskZeroCriterion`).

        ``mask`` is a bool tensor (N,) or (T, N), or a list of T masks (N,), true where a row is masked; ``None`` masks
        none. Raises ``ValueError`` where nothing inside takes a mask.
        """
        self._require_taker(mask)
        for criterion in self._takers():
            criterion.set_zero_mask(mask)

    @property
    def takes_zero_mask(self) -> bool:
        """Whether `set_zero_mask` has an effect: there is a criterion inside that masks what it is told to."""
        return bool(self._takers())

    def _takers(self) -> list[Criterion]:
        return [child for child in self.children() if isinstance(child, Criterion) and child.takes_zero_mask]

    def _require_taker(self, mask: Any) -> None:
        if mask is not None and not self.takes_zero_mask:
            raise ValueError(
                f"{type(self).__name__}: set_zero_mask(mask) needs a criterion that takes a mask, and there is none. "
                "Put it into a MaskZeroCriterion, without n_input_dims, which would mask rows of zeros instead."
            )

    def _require_same_shape(self, input: Any, target: Any) -> None:
        name, got = type(self).__name__, f"got {describe(input)} and {describe(target)}"
        if not (isinstance(input, Tensor) and isinstance(target, Tensor)):
            raise TypeError(f"{name}: input and target must be tensors; {got}.")
        if input.shape != target.shape:
            raise ValueError(f"{name}: input and target must have one shape; {got}.")

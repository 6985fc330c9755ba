"""Layers that compute one tensor from a table of them."""

from __future__ import annotations

from functools import reduce
from operator import add, mul
from typing import Any

import torch
from torch import Tensor

from torchrnn.checks import (
    require_int,
    require_one_shape,
    require_table,
    require_tensor,
    require_tensors,
    resolve_dim,
)
from torchrnn.module import Module


class CAddTable(Module):
    """Sum of the tensors in a table, ``y = x_0 + x_1 + ...``; all have one shape.

    >>> import torch
    >>> from torchrnn.layers import CAddTable
    >>> CAddTable()([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([5.0, 6.0])])
    tensor([ 9., 12.])
    """

    def forward(self, input: Any) -> Tensor:
        return reduce(add, require_one_shape(self, require_tensors(self, input)))


class CSubTable(Module):
    """Difference of two tensors of one shape, ``y = x_0 - x_1``.

    >>> import torch
    >>> from torchrnn.layers import CSubTable
    >>> CSubTable()([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])])
    tensor([-2., -3.])
    """

    def forward(self, input: Any) -> Tensor:
        left, right = require_one_shape(self, require_tensors(self, input, 2))
        return left - right


class CMulTable(Module):
    """Elementwise product of the tensors in a table, ``y = x_0 * x_1 * ...``; all have one shape.

    >>> import torch
    >>> from torchrnn.layers import CMulTable
    >>> CMulTable()([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([5.0, 6.0])])
    tensor([15., 48.])
    """

    def forward(self, input: Any) -> Tensor:
        return reduce(mul, require_one_shape(self, require_tensors(self, input)))


class CDivTable(Module):
    """Elementwise quotient of two tensors of one shape, ``y = x_0 / x_1``.

    >>> import torch
    >>> from torchrnn.layers import CDivTable
    >>> CDivTable()([torch.tensor([1.0, 2.0]), torch.tensor([2.0, 8.0])])
    tensor([0.5000, 0.2500])
    """

    def forward(self, input: Any) -> Tensor:
        left, right = require_one_shape(self, require_tensors(self, input, 2))
        return left / right


class CMaxTable(Module):
    """Elementwise maximum of tensors of one shape; among equals the first gets the gradient.

    >>> import torch
    >>> from torchrnn.layers import CMaxTable
    >>> CMaxTable()([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])])
    tensor([3., 2.])
    """

    def forward(self, input: Any) -> Tensor:
        tensors = require_one_shape(self, require_tensors(self, input))
        return reduce(lambda a, b: torch.where(b > a, b, a), tensors)


class CMinTable(Module):
    """Elementwise minimum of tensors of one shape; among equals the first gets the gradient.

    >>> import torch
    >>> from torchrnn.layers import CMinTable
    >>> CMinTable()([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])])
    tensor([1., 0.])
    """

    def forward(self, input: Any) -> Tensor:
        tensors = require_one_shape(self, require_tensors(self, input))
        return reduce(lambda a, b: torch.where(b < a, b, a), tensors)


class DotProduct(Module):
    """Inner product of two tensors over their last dimension.

    Shapes: ``[(N, D), (N, D)]`` to ``(N,)``; ``[(D,), (D,)]`` to a 0-dim tensor (the original: one element).

    >>> import torch
    >>> from torchrnn.layers import DotProduct
    >>> DotProduct()([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])])
    tensor([11.])
    """

    def forward(self, input: Any) -> Tensor:
        left, right = require_one_shape(self, require_tensors(self, input, 2))
        return (left * right).sum(-1)


class MixtureTable(Module):
    """A mixture of experts, ``y = sum_e g_e * x_e``.

    Arguments: ``dim``, in which a tensor of experts holds them (default: 1 with a batch of weights, else 0).
    Shapes: ``[g, experts]`` with the weights g ``(N, E)``, or ``(E,)`` without batch, and as experts a table
    of E tensors ``(N, ...)``, or one tensor with E of them along ``dim``; to ``(N, ...)``.

    >>> import torch
    >>> from torchrnn.layers import MixtureTable
    >>> weights = torch.tensor([[0.25, 0.75]])
    >>> MixtureTable()([weights, [torch.tensor([[4.0, 8.0]]), torch.tensor([[0.0, 4.0]])]])
    tensor([[1., 5.]])
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = None if dim is None else require_int(self, dim, "dim")

    def forward(self, input: Any) -> Tensor:
        gater, experts = require_table(self, input, 2)
        gates = require_tensor(self, gater, "input[0]")
        if gates.dim() not in (1, 2):
            raise ValueError(f"MixtureTable: input[0] must be (N, E) or (E,); got {tuple(gates.shape)}.")
        axis = gates.dim() - 1
        if isinstance(experts, Tensor):
            dim = axis if self.dim is None else resolve_dim(self, self.dim, experts.dim())
            stacked = experts.movedim(dim, axis)
        else:
            stacked = torch.stack(list(require_one_shape(self, require_tensors(self, experts))), axis)
        if stacked.shape[: gates.dim()] != gates.shape:
            raise ValueError(
                f"MixtureTable: there must be one weight for each expert and row; got weights "
                f"{tuple(gates.shape)} for experts {tuple(stacked.shape)}."
            )
        return (gates.reshape(*gates.shape, *[1] * (stacked.dim() - gates.dim())) * stacked).sum(axis)

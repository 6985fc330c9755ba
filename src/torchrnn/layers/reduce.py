"""Layers that reduce one dimension of a tensor."""

from __future__ import annotations

from torch import Tensor

from torchrnn.checks import require_int, require_n_input_dims, require_tensor, resolve_dim
from torchrnn.module import Module


class Reduction(Module):
    """What `Sum`, `Mean`, `Max`, `Min` and `ArgMax` have in common: the dimension that they do away with."""

    def __init__(self, dim: int = 0, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def dim_of(self, input: Tensor) -> int:
        """The dimension of this ``input`` that goes, after the batch shift."""
        return resolve_dim(self, self.dim, require_tensor(self, input).dim(), self.n_input_dims)

    def extra_repr(self) -> str:
        return f"{self.dim}, n_input_dims={self.n_input_dims}"


class Sum(Reduction):
    """Sum along ``dim``.

    Arguments: ``dim``; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``Sum(1)`` takes ``(N, D)`` to ``(N,)``.

    >>> import torch
    >>> from torchrnn.layers import Sum
    >>> Sum(0, n_input_dims=1)(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 7.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.sum(self.dim_of(input))


class Mean(Reduction):
    """Mean along ``dim``.

    Arguments: ``dim``; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``Mean(1)`` takes ``(N, D)`` to ``(N,)``.

    >>> import torch
    >>> from torchrnn.layers import Mean
    >>> Mean(0, n_input_dims=1)(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1.5000, 3.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.mean(self.dim_of(input))


class Max(Reduction):
    """Maximum along ``dim``; the gradient goes to one element only, even where several are equal.

    Arguments: ``dim``; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``Max(1)`` takes ``(N, D)`` to ``(N,)``.

    >>> import torch
    >>> from torchrnn.layers import Max
    >>> Max(1)(torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
    tensor([2., 4.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.max(self.dim_of(input)).values


class Min(Reduction):
    """Minimum along ``dim``; the gradient goes to one element only, even where several are equal.

    Arguments: ``dim``; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``Min(1)`` takes ``(N, D)`` to ``(N,)``.

    >>> import torch
    >>> from torchrnn.layers import Min
    >>> Min(1)(torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
    tensor([1., 3.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.min(self.dim_of(input)).values


class ArgMax(Reduction):
    """Index of the largest element along ``dim``, 0-based; no gradient flows back.

    Arguments: ``dim``; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``ArgMax(1)`` takes ``(N, V)`` to int64 ``(N,)``.

    >>> import torch
    >>> from torchrnn.layers import ArgMax
    >>> ArgMax(0, n_input_dims=1)(torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
    tensor([1, 0])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.argmax(self.dim_of(input))

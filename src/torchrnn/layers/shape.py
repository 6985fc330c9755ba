"""Layers that pick from a tensor or give it another shape, and leave its values as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from torchrnn.checks import (
    require_count,
    require_flag,
    require_int,
    require_n_input_dims,
    require_sizes,
    require_tensor,
    resolve_dim,
    resolve_index,
    unpack_sizes,
)
from torchrnn.module import Module


class Select(Module):
    """One slice of a tensor, at ``index`` along ``dim``, which is gone; negative ones count from the end.

    Shapes: ``Select(0, -1)`` takes ``(T, N, D)`` to its last step ``(N, D)``.

    >>> import torch
    >>> from torchrnn.layers import Select
    >>> Select(0, -1)(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 4.])
    """

    def __init__(self, dim: int, index: int) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")
        self.index = require_int(self, index, "index")

    def forward(self, input: Tensor) -> Tensor:
        tensor = require_tensor(self, input)
        dim = resolve_dim(self, self.dim, tensor.dim())
        return tensor.select(dim, resolve_index(self, self.index, tensor.shape[dim], f"dimension {dim}"))

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.index}"


class Narrow(Module):
    """``length`` slices of a tensor from ``offset`` on along ``dim``.

    Negative ``dim`` and ``offset`` count from the end; a negative ``length`` says where to stop: -1 takes the
    last one too, -2 leaves it out.
    Shapes: ``Narrow(0, 1, 2)`` takes ``(T, N, D)`` to ``(2, N, D)``.

    >>> import torch
    >>> from torchrnn.layers import Narrow
    >>> Narrow(0, 1, -1)(torch.tensor([1.0, 2.0, 3.0]))
    tensor([2., 3.])
    """

    def __init__(self, dim: int, offset: int, length: int = 1) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")
        self.offset = require_int(self, offset, "offset")
        self.length = require_int(self, length, "length")

    def forward(self, input: Tensor) -> Tensor:
        tensor = require_tensor(self, input)
        dim = resolve_dim(self, self.dim, tensor.dim())
        size = tensor.shape[dim]
        start = resolve_index(self, self.offset, size, f"dimension {dim}")
        length = self.length if self.length >= 0 else size - start + self.length + 1
        if not 0 <= length <= size - start:
            raise ValueError(
                f"Narrow: {self.length} slices from {self.offset} on are not in dimension {dim} of {size}."
            )
        return tensor.narrow(dim, start, length)

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.offset}, {self.length}"


class Transpose(Module):
    """Pairs of dimensions exchanged, one pair after the other.

    Shapes: ``Transpose((0, 1))`` takes ``(N, T, D)`` to ``(T, N, D)``.

    >>> import torch
    >>> from torchrnn.layers import Transpose
    >>> Transpose((0, 1), (1, 2))(torch.zeros(2, 3, 4)).shape
    torch.Size([3, 4, 2])
    """

    def __init__(self, *pairs: Sequence[int]) -> None:
        super().__init__()
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"Transpose: expected pairs of dimensions such as (0, 1); got {pair!r}.")
        self.pairs = [(require_int(self, a, "dim"), require_int(self, b, "dim")) for a, b in pairs]

    def forward(self, input: Tensor) -> Tensor:
        output = require_tensor(self, input)
        for first, second in self.pairs:
            output = output.transpose(resolve_dim(self, first, output.dim()), resolve_dim(self, second, output.dim()))
        return output

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.pairs))


class View(Module):
    """The same elements in another shape.

    Arguments: ``size``, in which one -1 stands for what is left; ``n_input_dims``, the dimensions of one row,
    so that all dimensions before these are the batch.
    Shapes: an input of k times as many elements as ``size`` has is a batch and gives ``(k, *size)``; one of
    as many gives ``size``.

    Differs from the original: the input need not be contiguous.

    >>> import torch
    >>> from torchrnn.layers import View
    >>> View(12)(torch.zeros(3, 2, 6)).shape, View(-1, 4)(torch.zeros(3, 2, 6)).shape
    (torch.Size([3, 12]), torch.Size([9, 4]))
    >>> View(-1, n_input_dims=2)(torch.zeros(3, 2, 6)).shape
    torch.Size([3, 12])
    """

    def __init__(self, *size: int | Sequence[int], n_input_dims: int | None = None) -> None:
        super().__init__()
        sizes = unpack_sizes(size)
        if not sizes:
            raise ValueError("View: at least one size is needed; got none.")
        if sizes.count(-1) > 1:
            raise ValueError(f"View: at most one size can be -1; got {sizes}.")
        known = [value for value in sizes if value != -1]
        self.size = sizes
        self.row_elements = math.prod(require_sizes(self, known)) if known else 1
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def forward(self, input: Tensor) -> Tensor:
        tensor = require_tensor(self, input)
        n_row = tensor.dim() if self.n_input_dims is None else min(self.n_input_dims, tensor.dim())
        n_batch = tensor.dim() - n_row
        elements = math.prod(tensor.shape[n_batch:])
        if elements % self.row_elements:
            raise ValueError(f"View: input of shape {tuple(tensor.shape)} does not divide into rows of {self.size}.")
        rows = math.prod(tensor.shape[:n_batch]) * (1 if -1 in self.size else elements // self.row_elements)
        is_batch = n_batch > 0 or rows != 1
        return tensor.reshape((rows, *self.size) if is_batch else self.size)

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.size))}, n_input_dims={self.n_input_dims}"


class Reshape(Module):
    """The same elements in another shape, after the batch if there is one.

    Arguments: ``size``; ``batch_mode``: True if the first dimension is always the batch, False if never. By
    default it is unless the input has just as many elements as ``size``; a first dimension of 1 is taken for
    a batch.
    Shapes: ``(N, ...)`` to ``(N, *size)``, or ``(...)`` to ``size``.

    >>> import torch
    >>> from torchrnn.layers import Reshape
    >>> Reshape(2, 6)(torch.zeros(3, 12)).shape, Reshape(2, 6)(torch.zeros(12)).shape
    (torch.Size([3, 2, 6]), torch.Size([2, 6]))
    """

    def __init__(self, *size: int | Sequence[int], batch_mode: bool | None = None) -> None:
        super().__init__()
        self.size = require_sizes(self, size)
        self.batch_mode = None if batch_mode is None else require_flag(self, batch_mode, "batch_mode")

    def forward(self, input: Tensor) -> Tensor:
        tensor = require_tensor(self, input)
        elements = math.prod(self.size)
        is_batch = self.batch_mode
        if is_batch is None:
            is_batch = tensor.numel() != elements or (tensor.dim() > 1 and tensor.shape[0] == 1)
        rows = tensor.shape[0] if is_batch and tensor.dim() else 1
        if tensor.numel() != rows * elements:
            of_batch = f" for each of {rows} rows" if is_batch else ""
            raise ValueError(
                f"Reshape: {self.size} has {elements} elements{of_batch}; got an input of shape {tuple(tensor.shape)}."
            )
        return tensor.reshape((rows, *self.size) if is_batch else self.size)

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.size))}, batch_mode={self.batch_mode}"


class Squeeze(Module):
    """A tensor without its dimensions of size 1, or without ``dim`` if that has size 1.

    Arguments: ``dim``, or None for all; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``Squeeze(1)`` takes ``(N, 1, D)`` to ``(N, D)``.

    >>> import torch
    >>> from torchrnn.layers import Squeeze
    >>> Squeeze(0, n_input_dims=2)(torch.zeros(1, 1, 4)).shape
    torch.Size([1, 4])
    """

    def __init__(self, dim: int | None = None, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.dim = None if dim is None else require_int(self, dim, "dim")
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def forward(self, input: Tensor) -> Tensor:
        tensor = require_tensor(self, input)
        if self.dim is None:
            return tensor.squeeze()
        return tensor.squeeze(resolve_dim(self, self.dim, tensor.dim(), self.n_input_dims))

    def extra_repr(self) -> str:
        return f"{self.dim}, n_input_dims={self.n_input_dims}"


class Unsqueeze(Module):
    """A tensor with a new dimension of size 1, which will be ``dim``.

    Arguments: ``dim``; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``Unsqueeze(1)`` takes ``(N, D)`` to ``(N, 1, D)``.

    >>> import torch
    >>> from torchrnn.layers import Unsqueeze
    >>> Unsqueeze(0, n_input_dims=1)(torch.zeros(3, 4)).shape
    torch.Size([3, 1, 4])
    """

    def __init__(self, dim: int, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def forward(self, input: Tensor) -> Tensor:
        return input.unsqueeze(_new_dim(self, self.dim, require_tensor(self, input), self.n_input_dims))

    def extra_repr(self) -> str:
        return f"{self.dim}, n_input_dims={self.n_input_dims}"


class Replicate(Module):
    """``n`` times the same tensor along a new dimension ``dim``, without copies in memory.

    Arguments: ``n``; ``dim``; ``n_input_dims``, as in `SplitTable`.
    Shapes: ``Replicate(5)`` takes ``(N, D)`` to ``(5, N, D)``.

    >>> import torch
    >>> from torchrnn.layers import Replicate
    >>> Replicate(5, 0, n_input_dims=1)(torch.zeros(3, 4)).shape
    torch.Size([3, 5, 4])
    """

    def __init__(self, n: int, dim: int = 0, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.n = require_count(self, n, "n")
        self.dim = require_int(self, dim, "dim")
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def forward(self, input: Tensor) -> Tensor:
        dim = _new_dim(self, self.dim, require_tensor(self, input), self.n_input_dims)
        return input.unsqueeze(dim).expand(*input.shape[:dim], self.n, *input.shape[dim:])

    def extra_repr(self) -> str:
        return f"{self.n}, dim={self.dim}, n_input_dims={self.n_input_dims}"


def _new_dim(layer: Module, dim: int, tensor: Tensor, n_input_dims: int | None) -> int:
    """Where among the dimensions of the output, one more than those of ``tensor``, the new one stands."""
    n_output_dims = None if n_input_dims is None else n_input_dims + 1
    return resolve_dim(layer, dim, tensor.dim() + 1, n_output_dims)

"""Layers that take tables (lists or tuples) apart and put them together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchrnn.checks import (
    require_count,
    require_int,
    require_n_input_dims,
    require_table,
    require_tensor,
    require_tensors,
    resolve_dim,
    resolve_index,
)
from torchrnn.module import Module


class JoinTable(Module):
    """Concatenation of a table of tensors along ``dim``.

    Arguments: ``dim``; ``n_input_dims``, so that tensors of ``n_input_dims + 1`` dimensions are batches, in
    which a non-negative ``dim`` means the one after. A negative ``dim`` counts from the end and never shifts.
    Shapes: ``[(..., D_0, ...), (..., D_1, ...)]`` to ``(..., D_0 + D_1, ...)``.

    >>> import torch
    >>> from torchrnn.layers import JoinTable
    >>> JoinTable(0, n_input_dims=1)([torch.zeros(3, 4), torch.zeros(3, 6)]).shape
    torch.Size([3, 10])
    """

    def __init__(self, dim: int, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def forward(self, input: Any) -> Tensor:
        tensors = require_tensors(self, input)
        dim = resolve_dim(self, self.dim, tensors[0].dim(), self.n_input_dims)
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if len({(shape[:dim], len(shape), shape[dim + 1 :]) for shape in shapes}) > 1:
            raise ValueError(f"JoinTable: all sizes but that of dimension {dim} must agree; got {shapes}.")
        return torch.cat(list(tensors), dim)

    def extra_repr(self) -> str:
        return f"{self.dim}, n_input_dims={self.n_input_dims}"


class SplitTable(Module):
    """The slices of a tensor along ``dim``, which is gone in them.

    Arguments: ``dim``; ``n_input_dims``, so that a tensor of ``n_input_dims + 1`` dimensions is a batch, in
    which a non-negative ``dim`` means the one after. A negative ``dim`` counts from the end and never shifts.
    Shapes: ``(T, N, D)`` with ``dim=0`` to a list of T tensors ``(N, D)``.

    >>> import torch
    >>> from torchrnn.layers import SplitTable
    >>> [x.shape for x in SplitTable(0, n_input_dims=2)(torch.zeros(3, 2, 4))]
    [torch.Size([3, 4]), torch.Size([3, 4])]
    """

    def __init__(self, dim: int, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def forward(self, input: Tensor) -> list[Tensor]:
        tensor = require_tensor(self, input)
        return list(tensor.unbind(resolve_dim(self, self.dim, tensor.dim(), self.n_input_dims)))

    def extra_repr(self) -> str:
        return f"{self.dim}, n_input_dims={self.n_input_dims}"


class SelectTable(Module):
    """One element of a table, ``y = x[index]``; a negative index counts from the end.

    Shapes: a table of any elements in, one of them out.
    In the explicit protocol the gradients of the other elements are zeros.

    >>> from torchrnn.layers import SelectTable
    >>> SelectTable(-1)(["first", "last"])
    'last'
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = require_int(self, index, "index")

    def forward(self, input: Any) -> Any:
        table = require_table(self, input)
        return table[resolve_index(self, self.index, len(table), "a table")]

    def extra_repr(self) -> str:
        return str(self.index)


class NarrowTable(Module):
    """A piece of a table, ``y = x[offset : offset + length]``; a negative offset counts from the end.

    Shapes: a table of any elements in, a list of ``length`` of them out.

    >>> from torchrnn.layers import NarrowTable
    >>> NarrowTable(1, 2)(["a", "b", "c", "d"])
    ['b', 'c']
    """

    def __init__(self, offset: int, length: int = 1) -> None:
        super().__init__()
        self.offset = require_int(self, offset, "offset")
        self.length = require_count(self, length, "length")

    def forward(self, input: Any) -> list[Any]:
        table = require_table(self, input)
        start = resolve_index(self, self.offset, len(table), "a table")
        if start + self.length > len(table):
            raise ValueError(
                f"NarrowTable: {self.length} elements from {self.offset} on exceed a table of {len(table)}."
            )
        return list(table[start : start + self.length])

    def extra_repr(self) -> str:
        return f"{self.offset}, {self.length}"


class FlattenTable(Module):
    """All elements of nested tables in one list, depth first.

    Shapes: any; elements that are no tables stay as they are.

    >>> from torchrnn.layers import FlattenTable
    >>> FlattenTable()(["a", ["b", ["c", "d"]]])
    ['a', 'b', 'c', 'd']
    """

    def forward(self, input: Any) -> list[Any]:
        flat: list[Any] = []
        for element in require_table(self, input):
            flat += self.forward(element) if isinstance(element, list | tuple) else [element]
        return flat


class ZipTable(Module):
    """A table of tables, turned: ``[[a_0, a_1], [b_0, b_1]]`` to ``[[a_0, b_0], [a_1, b_1]]``.

    Shapes: m tables of n elements each in, n lists of m elements out; the elements may be anything.
    Raises ``ValueError`` where the inner tables differ in length.

    >>> from torchrnn.layers import ZipTable
    >>> ZipTable()([["a0", "a1", "a2"], ["b0", "b1", "b2"]])
    [['a0', 'b0'], ['a1', 'b1'], ['a2', 'b2']]
    """

    def forward(self, input: Any) -> list[list[Any]]:
        rows = [
            require_table(self, row, name=f"input[{position}]")
            for position, row in enumerate(require_table(self, input))
        ]
        lengths = [len(row) for row in rows]
        if len(set(lengths)) > 1:
            raise ValueError(f"ZipTable: the inner tables must have one length; got {lengths}.")
        return [list(column) for column in zip(*rows, strict=True)]


class ZipTableOneToMany(Module):
    """One element, paired with each of a table: ``[x, [y_0, y_1]]`` to ``[[x, y_0], [x, y_1]]``.

    Shapes: an element and a table of n in, n lists of 2 out; the elements may be anything.

    >>> from torchrnn.layers import ZipTableOneToMany
    >>> ZipTableOneToMany()(["x", ["y0", "y1"]])
    [['x', 'y0'], ['x', 'y1']]
    """

    def forward(self, input: Any) -> list[list[Any]]:
        one, many = require_table(self, input, 2)
        return [[one, element] for element in require_table(self, many, name="input[1]")]


class ReverseTable(Module):
    """A table from its end to its beginning.

    Shapes: a table of any elements in, a list of as many out.

    >>> from torchrnn.layers import ReverseTable
    >>> ReverseTable()(["a", "b", "c"])
    ['c', 'b', 'a']
    """

    def forward(self, input: Any) -> list[Any]:
        return list(reversed(require_table(self, input)))

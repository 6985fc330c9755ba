"""Views: where a matrix lies in the memory of a call, known before that memory is there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from torch import Tensor

KEPT, TEMPORARY, FIRST_TENSOR = range(3)
"""The sources of every call: what backward needs, what it does not, then parameters and buffers, and what is given."""


class View(NamedTuple):
    """A part of one of the sources of a call; the offset counts floats from where that source begins."""

    source: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def t(self) -> View:
        """Of a matrix, its transpose."""
        return View(self.source, self.size[::-1], self.stride[::-1], self.offset)

    def block(self, row: int, column: int, rows: int, columns: int) -> View:
        """A part of a matrix; a vector is one column."""
        down, right = (*self.stride, 1)[:2]
        return View(self.source, (rows, columns), (down, right), self.offset + row * down + column * right)

    def side_by_side(self, widths: Sequence[int]) -> list[View]:
        """A matrix in parts of so many columns."""
        starts = accumulate(widths, initial=0)
        return [self.block(0, start, self.size[0], width) for start, width in zip(starts, widths, strict=False)]


def matrix(source: int, rows: int, columns: int) -> View:
    """All of a source, row after row."""
    return View(source, (rows, columns), (columns, 1), 0)


class Memory:
    """The memory of one call: the tensors that views are views of."""

    __slots__ = ("sources",)

    def __init__(self, sources: list[Tensor]) -> None:
        self.sources = sources

    def view(self, view: View) -> Tensor:
        source, size, stride, offset = view
        whole = self.sources[source]
        return whole.as_strided(size, stride, whole.storage_offset() + offset)

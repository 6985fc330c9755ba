"""Rows: what a step computes for each element of the batch, as a graph over flat rows of features.

A value of shape (N, F) or (N, F, G, ...) is one row of ``width`` numbers for each of the N elements. Views, slices and
concatenations only rearrange a row, so here every one of them is a slice or a concatenation of flat rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torchrnn.scan.operations import Unsupported

Shape = Sequence[int]
MOST_PARTS = 256
"""A rearrangement into more parts than this would make the program too long."""


class Row:
    """A node of the graph.

    =============  =========================  ======================================================
    op             args                       detail
    =============  =========================  ======================================================
    ``input``      --                         (group, index): which input, state or gradient it is
    ``number``     --                         the number, the same in every column
    ``constant``   --                         (value, shape): a parameter, or something made of them
    ``pointwise``  rows of this width or 1    the name of the operation
    ``linear``     the row to be multiplied   the value of the weight, (width of the row, width)
    ``reduce``     the row                    ``sum`` or ``max``; the width is 1
    ``cat``        the rows                   --
    ``slice``      the row                    the first column
    =============  =========================  ======================================================
    """

    __slots__ = ("args", "cuts", "detail", "op", "width")

    def __init__(self, op: str, args: tuple[Row, ...], width: int, detail: Any = None) -> None:
        self.op, self.args, self.width, self.detail = op, args, width, detail
        self.cuts = {0, width}
        """Columns where the row has to be cut into pieces."""


class Transposed:
    """The transpose of a row, on its way into a product that sums over the batch."""

    def __init__(self, row: Row) -> None:
        self.row = row


class Accumulator:
    """A sum over the batch, and so over all steps: ``sum`` of rows, or of their ``outer`` products."""

    def __init__(self, kind: str, left: Row, right: Row | None, shape: Shape) -> None:
        self.kind, self.left, self.right, self.shape = kind, left, right, shape


class RowGraph:
    """Makes rows, and remembers them in an order in which each comes after its arguments."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, op: str, args: tuple[Row, ...], width: int, detail: Any = None) -> Row:
        row = Row(op, args, width, detail)
        self.rows.append(row)
        return row

    def number(self, number: float, width: int = 1) -> Row:
        return self.add("number", (), width, float(number))

    def pointwise(self, name: str, *args: Row, width: int | None = None) -> Row:
        width = max(arg.width for arg in args) if width is None else width
        if any(arg.width not in (1, width) for arg in args):
            raise Unsupported(f"{name} of rows of {[arg.width for arg in args]} columns")
        return self.add("pointwise", args, width, name)

    def slice(self, row: Row, start: int, width: int) -> Row:
        return row if width == row.width else self.add("slice", (row,), width, start)

    def cat(self, parts: Sequence[Row]) -> Row:
        if len(parts) > MOST_PARTS:
            raise Unsupported(f"a rearrangement into {len(parts)} parts")
        return parts[0] if len(parts) == 1 else self.add("cat", tuple(parts), sum(part.width for part in parts))

    # ------------------------------------------------------------------ along one of several dimensions

    def narrow(self, row: Row, shape: Shape, axis: int, start: int, length: int) -> Row:
        """Elements ``start`` to ``start + length`` along a dimension of the features ``shape``."""
        outer, n, inner = _around(shape, axis)
        return self.cat([self.slice(row, (o * n + start) * inner, length * inner) for o in range(outer)])

    def join(self, parts: Sequence[tuple[Row, Shape]], axis: int) -> Row:
        """Concatenation along a dimension of the features."""
        outer = prod(parts[0][1][:axis])
        widths = [prod(shape[axis:]) for _, shape in parts]
        return self.cat(
            [self.slice(row, o * w, w) for o in range(outer) for (row, _), w in zip(parts, widths, strict=True)]
        )

    def expand(self, row: Row, shape: Shape, to: Shape) -> Row:
        """Repeat along the dimensions where ``shape`` is 1 and ``to`` is not."""
        now = list(shape)
        for axis in reversed(range(len(to))):
            outer, n, inner = _around(now, axis)
            if n == to[axis]:
                continue
            chunks = [self.slice(row, o * inner, inner) for o in range(outer)]
            if inner == 1:
                row = self.cat([self.pointwise("copy", chunk, width=to[axis]) for chunk in chunks])
            else:
                row = self.cat([chunk for chunk in chunks for _ in range(to[axis])])
            now[axis] = to[axis]
        return row

    def reduce(self, kind: str, row: Row, shape: Shape, axis: int) -> Row:
        """``sum`` or ``max`` along one dimension of the features, which becomes 1."""
        outer, n, inner = _around(shape, axis)
        results = []
        for o in range(outer):
            if inner == 1:
                part = self.slice(row, o * n, n)
                results.append(part if n == 1 else self.add("reduce", (part,), 1, kind))
                continue
            result = self.slice(row, o * n * inner, inner)
            for i in range(1, n):
                part = self.slice(row, (o * n + i) * inner, inner)
                result = self.pointwise("add" if kind == "sum" else "maximum", result, part)
            results.append(result)
        return self.cat(results)


def _around(shape: Shape, axis: int) -> tuple[int, int, int]:
    """How many elements lie outside a dimension, along it, and inside it."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])

"""Products that PyTorch computes for all steps at once, planned: as few matrix multiplications as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torchrnn.scan.layout import Ref, padded
from torchrnn.scan.pieces import Piece
from torchrnn.scan.record import Value

Refs = dict[Piece, Ref]
Bias = tuple[Value, tuple[int, ...], int]


class Block(NamedTuple):
    """A part of a weight."""

    weight: Value
    row: int
    column: int
    rows: int
    columns: int

    def continues(self, row: int, column: int) -> tuple[Value, int, int]:
        return self.weight, self.row + row, self.column + column


@dataclass
class Multiplication:
    """Some columns of the factors times blocks of weights, added to some columns of the result."""

    factor: Ref | Piece
    depth: int
    blocks: list[list[Block]]
    """Above and beside one another."""
    width: int
    to: int
    biases: list[tuple[list[Bias], int]] | None
    """For the first product of its columns: the biases of each range of them, and its width."""


def runs(pieces: Sequence[Piece], refs: Refs) -> list[tuple[int, int]]:
    """Neighbours in a list that are neighbours in memory, too, as ranges."""
    result: list[tuple[int, int]] = []
    for i, piece in enumerate(pieces):
        if result and i:
            ref, last = refs.get(piece), refs.get(pieces[i - 1])
            if ref is not None and last is not None and ref == _right_of(last, pieces[i - 1].width):
                result[-1] = (result[-1][0], i + 1)
                continue
        result.append((i, i + 1))
    return result


def _right_of(ref: Ref, width: int) -> Ref:
    return Ref(ref.array, ref.column + width, ref.shift)


def plan_multiplications(products: list[Piece], refs: Refs) -> list[Multiplication]:
    """As few multiplications as can be that compute ``products``, which have the same factors, side by side.

    Their detail is (weights, biases), as of ``before``.
    """
    factors = products[0].args
    steps = []
    column, first = 0, 0
    while first < len(products):
        last = first + 1
        while last < len(products) and products[last - 1].width == padded(products[last - 1].width):
            last += 1
        side_by_side = products[first:last]
        width = sum(product.width for product in side_by_side)
        for start, stop in runs(factors, refs):
            steps.append(
                Multiplication(
                    factor=refs.get(factors[start], factors[start]),
                    depth=sum(factor.width for factor in factors[start:stop]),
                    blocks=[_beside(side_by_side, i, factors[i].width) for i in range(start, stop)],
                    width=width,
                    to=column,
                    biases=_biases(side_by_side) if start == 0 else None,
                )
            )
            steps[-1].blocks = _above(steps[-1].blocks)
        column += sum(padded(product.width) for product in side_by_side)
        first = last
    return steps


def _beside(products: list[Piece], factor: int, depth: int) -> list[Block]:
    """What a factor is multiplied by, for all products, as few blocks as can be."""
    blocks: list[Block] = []
    for product in products:
        value, row, column = product.detail[0][factor]
        if blocks and blocks[-1].continues(0, blocks[-1].columns) == (value, row, column):
            blocks[-1] = blocks[-1]._replace(columns=blocks[-1].columns + product.width)
        else:
            blocks.append(Block(value, row, column, depth, product.width))
    return blocks


def _above(rows: list[list[Block]]) -> list[list[Block]]:
    """Rows of blocks, those joined that continue one another in every block."""
    joined = rows[:1]
    for row in rows[1:]:
        last = joined[-1]
        if len(row) == len(last) and all(
            (below.weight, below.row, below.column) == above.continues(above.rows, 0) and below.columns == above.columns
            for above, below in zip(last, row, strict=True)
        ):
            joined[-1] = [a._replace(rows=a.rows + b.rows) for a, b in zip(last, row, strict=True)]
        else:
            joined.append(row)
    return joined


def _biases(products: list[Piece]) -> list[tuple[list[Bias], int]]:
    """The biases of each range of columns: of all, if those of the first go on in the others."""
    first, offset = list(products[0].detail[1]), 0
    for product in products:
        if list(product.detail[1]) != [(value, shape, start + offset) for value, shape, start in first]:
            return [(list(p.detail[1]), p.width) for p in products]
        offset += product.width
    return [(first, offset)]

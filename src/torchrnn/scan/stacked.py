"""What is computed for all steps at once, before and after the loop: by PyTorch, on (T * N, width) matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchrnn.scan.constants import flat_constant
from torchrnn.scan.layout import Array, Ref, padded
from torchrnn.scan.operations import OPERATIONS
from torchrnn.scan.pieces import Piece
from torchrnn.scan.record import Value

Refs = dict[Piece, Ref]
Bias = tuple[Value, tuple[int, ...], int]


@dataclass
class Memory:
    """Where an array lies: ``row`` floats from row to row, N times as many from step to step."""

    tensor: Tensor
    offset: int
    row: int


@dataclass
class Multiplication:
    """Some columns of the factors times a block of a weight, added to some columns of the result."""

    factor: Ref | Piece
    depth: int
    weight: Value
    first_row: int
    first_column: int
    width: int
    to: int
    biases: list[list[Bias]] | None
    """For the first product of its columns: the biases of each piece of them."""
    widths: list[int]


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
        while last < len(products) and _continues(products[last - 1], products[last]):
            last += 1
        block, widths = products[first:last], [p.width for p in products[first:last]]
        for start, stop in _factor_runs(factors, block[0], refs):
            value, row, left = block[0].detail[0][start]
            steps.append(
                Multiplication(
                    factor=refs.get(factors[start], factors[start]),
                    depth=sum(factor.width for factor in factors[start:stop]),
                    weight=value,
                    first_row=row,
                    first_column=left,
                    width=sum(widths),
                    to=column,
                    biases=[list(p.detail[1]) for p in block] if start == 0 else None,
                    widths=widths,
                )
            )
        column += sum(padded(width) for width in widths)
        first = last
    return steps


def _continues(left: Piece, right: Piece) -> bool:
    """Whether a product stands to the right of another, in memory and in every weight."""
    return left.width % padded(1) == 0 and all(
        value is other and row == other_row and column + left.width == other_column
        for (value, row, column), (other, other_row, other_column) in zip(left.detail[0], right.detail[0], strict=True)
    )


def _factor_runs(factors: Sequence[Piece], product: Piece, refs: Refs) -> list[tuple[int, int]]:
    """Neighbouring factors that meet neighbouring rows of one weight."""
    result = []
    for start, stop in runs(factors, refs):
        begin = start
        for i in range(start + 1, stop):
            value, row, column = product.detail[0][i - 1]
            if product.detail[0][i] != (value, row + factors[i - 1].width, column):
                result.append((begin, i))
                begin = i
        result.append((begin, stop))
    return result


class Stacked:
    """The values of pieces for all steps, computed when they are asked for."""

    def __init__(
        self,
        T: int,
        N: int,
        memory: dict[Array, Memory],
        values: dict[Value, Tensor],
        refs: Refs,
        plans: dict[Piece, list[Multiplication]],
    ) -> None:
        self.T, self.N, self.memory, self.values, self.refs, self._plans = T, N, memory, values, refs, plans
        self._made: dict[Piece, Tensor] = {}

    def view(self, ref: Ref, width: int) -> Tensor:
        memory = self.memory[ref.array]
        offset = memory.offset + ref.shift * self.N * memory.row + ref.column
        return memory.tensor.as_strided((self.T * self.N, width), (memory.row, 1), offset)

    def of(self, piece: Piece) -> Tensor:
        """(T * N, width), or fewer of both where it broadcasts."""
        if piece in self.refs:
            return self.view(self.refs[piece], piece.width)
        if piece not in self._made:
            for each in _in_order(piece, self.refs, self._made):
                self._made[each] = self._compute(each)
        return self._made[piece]

    def _compute(self, piece: Piece) -> Tensor:
        if piece.op == "number":
            return torch.tensor(piece.detail)
        if piece.op == "constant":
            value, shape, start = piece.detail
            return flat_constant(self.values, value, shape, start, piece.width)
        if piece.op == "linear":
            if piece not in self._plans:
                as_before = Piece("before", piece.args, piece.width, (piece.detail, ()), -1)
                self._plans[piece] = plan_multiplications([as_before], self.refs)
            out = torch.empty(self.T * self.N, piece.width)
            self.multiply(self._plans[piece], out)
            return out
        args = [self.of(arg) for arg in piece.args]
        if piece.op == "pointwise":
            return OPERATIONS[piece.detail].compute(*args)
        assert piece.op == "reduce"
        wide = self._joined([self._whole(arg) for arg in piece.args])
        return wide.amax(1, keepdim=True) if piece.detail == "max" else wide.sum(1, keepdim=True)

    def _whole(self, piece: Piece) -> Tensor:
        return self.of(piece).expand(self.T * self.N, piece.width)

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)

    def blocks(self, pieces: Sequence[Piece]) -> list[Tensor]:
        """Pieces as matrices side by side, neighbours in memory as one."""
        result = []
        for start, stop in runs(pieces, self.refs):
            width = sum(piece.width for piece in pieces[start:stop])
            ref = self.refs.get(pieces[start])
            result.append(self._whole(pieces[start]) if ref is None else self.view(ref, width))
        return result

    def row(self, pieces: Sequence[Piece]) -> Tensor:
        """A whole row of pieces, (T, N, width)."""
        joined = self._joined(self.blocks(pieces))
        return joined.view(self.T, self.N, joined.shape[1])

    def sum(self, piece: Piece) -> Tensor:
        """The sum over all steps and rows, (width,)."""
        return self._whole(piece).sum(0)

    def outer(self, left: Sequence[Piece], right: Sequence[Piece]) -> Tensor:
        """The sum over all steps and rows of the outer products of two rows."""
        out = torch.empty(sum(p.width for p in left), sum(p.width for p in right))
        rights, i = self.blocks(right), 0
        for a in self.blocks(left):
            j = 0
            for b in rights:
                torch.mm(a.t(), b, out=out[i : i + a.shape[1], j : j + b.shape[1]])
                j += b.shape[1]
            i += a.shape[1]
        return out

    def multiply(self, steps: list[Multiplication], out: Tensor) -> None:
        for step in steps:
            factor = step.factor
            a = self.view(factor, step.depth) if isinstance(factor, Ref) else self._whole(factor)
            weight = self.values[step.weight]
            weight = weight.unsqueeze(1) if weight.dim() == 1 else weight
            if weight.shape != (step.depth, step.width):
                rows = slice(step.first_row, step.first_row + step.depth)
                weight = weight[rows, step.first_column : step.first_column + step.width]
            to = out[:, step.to : step.to + step.width]
            if step.biases is None:
                to.addmm_(a, weight)
            elif any(step.biases):
                torch.addmm(self._bias(step), a, weight, out=to)
            else:
                torch.mm(a, weight, out=to)

    def _bias(self, step: Multiplication) -> Tensor:
        """The sums of the biases of each piece, side by side; whole ones if they lie like that already."""
        assert step.biases is not None
        first = step.biases[0]
        starts = [sum(step.widths[:i]) for i in range(len(step.widths))]
        if all(
            biases == [(value, shape, start + offset) for value, shape, start in first]
            for biases, offset in zip(step.biases, starts, strict=True)
        ):
            parts = [(first, step.width)]
        else:
            parts = list(zip(step.biases, step.widths, strict=True))
        summed = []
        for biases, width in parts:
            terms = [flat_constant(self.values, value, shape, start, width) for value, shape, start in biases] or [
                torch.zeros(width)
            ]
            summed.append(sum(terms[1:], terms[0]))
        return summed[0] if len(summed) == 1 else torch.cat(summed)


def _in_order(root: Piece, refs: Refs, made: dict[Piece, Tensor]) -> list[Piece]:
    """What has to be computed for a piece, each after its arguments."""
    order: dict[Piece, None] = {}
    waiting = [root]
    while waiting:
        piece = waiting[-1]
        missing = [a for a in piece.args if a not in order and a not in refs and a not in made]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        if piece not in made:
            order[piece] = None
    return list(order)

"""What PyTorch computes for all steps at once, before and after the loop, on (T * N, width) matrices.

It can do all of it; what is but products, sums and copies is the machine's, as far as that can: see `tasks`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchrnn.scan.arena import arena
from torchrnn.scan.constants import Values, flat_constant
from torchrnn.scan.multiplications import Bias
from torchrnn.scan.operations import OPERATIONS
from torchrnn.scan.order import in_order
from torchrnn.scan.pieces import Piece
from torchrnn.scan.places import Places, Step
from torchrnn.scan.views import Memory, View


class Stacked:
    """The values of pieces for all steps, computed when they are asked for."""

    def __init__(self, places: Places, memory: Memory, values: Values) -> None:
        self._places, self.memory, self.values = places, memory, values
        self._made: dict[Piece, Tensor] = {}

    def of(self, piece: Piece) -> Tensor:
        """(T * N, width), or fewer of both where it broadcasts."""
        if piece in self._places.views:
            return self.memory.view(self._places.views[piece])
        if piece not in self._made:
            for each in in_order([piece], self._to_compute):
                self._made[each] = self._compute(each)
        return self._made[piece]

    def _to_compute(self, piece: Piece) -> list[Piece]:
        return [each for each in self._places.needs(piece) if each not in self._made]

    def _compute(self, piece: Piece) -> Tensor:
        if piece.op == "number":
            return torch.tensor(piece.detail, dtype=torch.float32)
        if piece.op == "constant":
            value, shape, start = piece.detail
            return flat_constant(self.values, value, shape, start, piece.width)
        products = self._places.products(piece)
        if products:
            out = arena.empty(self._places.rows, piece.width)
            self.multiply(products, out)
            return out
        args = [self.of(arg) for arg in piece.args]
        if piece.op == "pointwise":
            return OPERATIONS[piece.detail].compute(*args)
        assert piece.op == "reduce"
        wide = _joined([self._whole(arg) for arg in piece.args])
        return wide.amax(1, keepdim=True) if piece.detail == "max" else wide.sum(1, keepdim=True)

    def _whole(self, piece: Piece) -> Tensor:
        made = self.of(piece)
        whole = self._places.rows, piece.width
        return made if made.shape == whole else made.expand(whole)

    def row(self, pieces: tuple[Piece, ...]) -> Tensor:
        """A whole row of pieces, (T * N, width)."""
        return _joined([self._matrix(block) for block in self._places.blocks(pieces)])

    def new_row(self, pieces: tuple[Piece, ...], size: tuple[int, ...]) -> Tensor:
        """The same in memory of its own, of another shape."""
        if len(pieces) == 1 and pieces[0] not in self._places.views and self._places.products(pieces[0]):
            out = arena.empty(*size)
            self.multiply(self._places.products(pieces[0]), out.view(-1, pieces[0].width))
            return out
        return arena.copy(self.row(pieces)).view(size)

    def _matrix(self, block: View | Piece) -> Tensor:
        return self._whole(block) if isinstance(block, Piece) else self.memory.view(block)

    def total(self, pieces: tuple[Piece, ...]) -> Tensor:
        """The sums of pieces over all steps and rows, side by side, (width,)."""
        parts = [
            (self.memory.view(self._places.sums[piece]) if piece in self._places.sums else self._whole(piece)).sum(0)
            for piece in pieces
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def outer(self, left: tuple[Piece, ...], right: tuple[Piece, ...]) -> Tensor:
        """The sum over all steps and rows of the outer products of two rows."""
        lefts = [
            self._whole(block).t() if isinstance(block, Piece) else self.memory.view(block.t())
            for block in self._places.blocks(left)
        ]
        rights = [self._matrix(block) for block in self._places.blocks(right)]
        if len(lefts) == len(rights) == 1:
            return self.product(lefts[0], rights[0])
        out = torch.empty(sum(p.width for p in left), sum(p.width for p in right), dtype=torch.float32)
        i = 0
        for a in lefts:
            j = 0
            for b in rights:
                self.product(a, b, out=out[i : i + a.shape[0], j : j + b.shape[1]])
                j += b.shape[1]
            i += a.shape[0]
        return out

    def multiply(self, steps: list[Step], out: Tensor) -> None:
        for factor, weights, biases, to, width in steps:
            a, weight = self._matrix(factor), self._weight(weights)
            part = out if width == out.shape[1] else out.narrow(1, to, width)
            if biases is None:
                self.product(a, weight, part, out=part)
            elif any(terms for terms, _ in biases):
                self.product(a, weight, self._bias(biases), out=part)
            else:
                self.product(a, weight, out=part)

    def product(self, a: Tensor, b: Tensor, initial: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """``initial + a b``, written to ``out`` if there is one."""
        return torch.mm(a, b, out=out) if initial is None else torch.addmm(initial, a, b, out=out)

    def _weight(self, blocks: list[list[View]]) -> Tensor:
        if len(blocks) == len(blocks[0]) == 1:
            return self.memory.view(blocks[0][0])
        rows = [_joined_columns([self.memory.view(block) for block in row]) for row in blocks]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _bias(self, ranges: list[tuple[list[View | Bias], int]]) -> Tensor:
        """The sums of the biases of each range of columns, side by side."""
        summed = []
        for biases, width in ranges:
            terms = [
                self.memory.view(bias) if isinstance(bias, View) else flat_constant(self.values, *bias, width)
                for bias in biases
            ]
            summed.append(sum(terms[1:], terms[0]) if terms else torch.zeros(width, dtype=torch.float32))
        return summed[0] if len(summed) == 1 else torch.cat(summed)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


def _joined_columns(blocks: list[Tensor]) -> Tensor:
    """Matrices side by side; transposed ones, as weights of linear layers are, are joined as they lie."""
    if len(blocks) == 1:
        return blocks[0]
    if all(block.stride(0) == 1 for block in blocks):
        return torch.cat([block.t() for block in blocks]).t()
    return torch.cat(blocks, 1)

"""What is computed for all steps at once, before and after the loop: by PyTorch, on (T * N, width) matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchrnn.scan.constants import flat_constant
from torchrnn.scan.layout import Array, Ref
from torchrnn.scan.multiplications import Bias, Block, Multiplication, Refs, plan_multiplications, runs
from torchrnn.scan.operations import OPERATIONS
from torchrnn.scan.order import in_order
from torchrnn.scan.pieces import Piece
from torchrnn.scan.record import Value


class Memory(NamedTuple):
    """Where an array lies: ``row`` floats from row to row, N times as many from step to step."""

    tensor: Tensor
    offset: int
    row: int


class Places:
    """Where values lie, and what follows from that."""

    def __init__(self, refs: Refs) -> None:
        self.refs = refs
        self._blocks: dict[tuple[Piece, ...], list[tuple[Ref | Piece, int]]] = {}
        self._multiplications: dict[Piece, list[Multiplication]] = {}

    def blocks(self, pieces: tuple[Piece, ...]) -> list[tuple[Ref | Piece, int]]:
        """Pieces side by side, neighbours in memory as one, with their widths; what lies nowhere is alone."""
        if pieces not in self._blocks:
            self._blocks[pieces] = [
                (self.refs.get(pieces[start], pieces[start]), sum(piece.width for piece in pieces[start:stop]))
                for start, stop in runs(pieces, self.refs)
            ]
        return self._blocks[pieces]

    def multiplications(self, linear: Piece) -> list[Multiplication]:
        if linear not in self._multiplications:
            as_before = Piece("before", linear.args, linear.width, (linear.detail, ()), -1)
            self._multiplications[linear] = plan_multiplications([as_before], self.refs)
        return self._multiplications[linear]


class Stacked:
    """The values of pieces for all steps, computed when they are asked for."""

    def __init__(
        self,
        T: int,
        N: int,
        memory: dict[Array, Memory],
        values: dict[Value, Tensor],
        places: Places,
    ) -> None:
        self.T, self.N, self.memory, self.values = T, N, memory, values
        self._places, self.refs = places, places.refs
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
            for each in in_order([piece], self._to_compute):
                self._made[each] = self._compute(each)
        return self._made[piece]

    def _to_compute(self, piece: Piece) -> list[Piece]:
        return [arg for arg in piece.args if arg not in self.refs and arg not in self._made]

    def _compute(self, piece: Piece) -> Tensor:
        if piece.op == "number":
            return torch.tensor(piece.detail, dtype=torch.float32)
        if piece.op == "constant":
            value, shape, start = piece.detail
            return flat_constant(self.values, value, shape, start, piece.width)
        if piece.op == "linear":
            out = torch.empty(self.T * self.N, piece.width, dtype=torch.float32)
            self.multiply(self._places.multiplications(piece), out)
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
        return [
            self._whole(place) if isinstance(place, Piece) else self.view(place, width)
            for place, width in self._places.blocks(tuple(pieces))
        ]

    def row(self, pieces: Sequence[Piece]) -> Tensor:
        """A whole row of pieces, (T, N, width)."""
        joined = self._joined(self.blocks(pieces))
        return joined.view(self.T, self.N, joined.shape[1])

    def sum(self, piece: Piece) -> Tensor:
        """The sum over all steps and rows, (width,)."""
        return self._whole(piece).sum(0)

    def outer(self, left: Sequence[Piece], right: Sequence[Piece]) -> Tensor:
        """The sum over all steps and rows of the outer products of two rows."""
        lefts, rights = self.blocks(left), self.blocks(right)
        if len(lefts) == len(rights) == 1:
            return self.product(lefts[0].t(), rights[0])
        out = torch.empty(sum(p.width for p in left), sum(p.width for p in right), dtype=torch.float32)
        i = 0
        for a in lefts:
            j = 0
            for b in rights:
                self.product(a.t(), b, out=out[i : i + a.shape[1], j : j + b.shape[1]])
                j += b.shape[1]
            i += a.shape[1]
        return out

    def multiply(self, steps: list[Multiplication], out: Tensor) -> None:
        for step in steps:
            factor = step.factor
            a = self.view(factor, step.depth) if isinstance(factor, Ref) else self._whole(factor)
            weight = self._weight(step)
            to = out[:, step.to : step.to + step.width]
            if step.biases is None:
                self.product(a, weight, to, out=to)
            elif any(biases for biases, _ in step.biases):
                self.product(a, weight, self._bias(step.biases), out=to)
            else:
                self.product(a, weight, out=to)

    def product(self, a: Tensor, b: Tensor, initial: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """``initial + a b``, written to ``out`` if there is one."""
        return torch.mm(a, b, out=out) if initial is None else torch.addmm(initial, a, b, out=out)

    def _weight(self, step: Multiplication) -> Tensor:
        rows = [_joined_columns([self._block(block) for block in row]) for row in step.blocks]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _block(self, block: Block) -> Tensor:
        weight, row, column, rows, columns = block
        whole = self.values[weight]
        whole = whole.unsqueeze(1) if whole.dim() == 1 else whole
        if whole.shape == (rows, columns):
            return whole
        return whole[row : row + rows, column : column + columns]

    def _bias(self, ranges: list[tuple[list[Bias], int]]) -> Tensor:
        """The sums of the biases of each range of columns, side by side."""
        summed = []
        for biases, width in ranges:
            terms = [flat_constant(self.values, value, shape, start, width) for value, shape, start in biases]
            summed.append(sum(terms[1:], terms[0]) if terms else torch.zeros(width, dtype=torch.float32))
        return summed[0] if len(summed) == 1 else torch.cat(summed)


def _joined_columns(blocks: list[Tensor]) -> Tensor:
    """Matrices side by side; transposed ones, as weights of linear layers are, are joined as they lie."""
    if len(blocks) == 1:
        return blocks[0]
    if all(block.stride(0) == 1 for block in blocks):
        return torch.cat([block.t() for block in blocks]).t()
    return torch.cat(blocks, 1)

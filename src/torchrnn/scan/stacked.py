"""What is computed for all steps at once, before and after the loop: by PyTorch, on (T * N, width) matrices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from torchrnn.scan.arena import arena
from torchrnn.scan.constants import Values, flat_constant
from torchrnn.scan.execute import Layout
from torchrnn.scan.multiplications import Bias, Block, Multiplication, Refs, plan_multiplications, runs
from torchrnn.scan.operations import OPERATIONS
from torchrnn.scan.order import in_order
from torchrnn.scan.pieces import Piece
from torchrnn.scan.views import Memory, View


class Step(NamedTuple):
    """A `Multiplication` in a layout."""

    factor: View | Piece
    weight: list[list[View]]
    """Above and beside one another."""
    biases: list[tuple[list[View | Bias], int]] | None
    to: int
    width: int


class Places:
    """Where values lie in a layout, and what follows from that."""

    def __init__(self, layout: Layout, refs: Refs) -> None:
        self._layout, self._refs = layout, refs
        self.rows = layout.T * layout.N
        self.views = {piece: layout.view(ref, piece.width) for piece, ref in refs.items()}
        self._blocks: dict[tuple[Piece, ...], list[View | Piece]] = {}
        self._shaped: dict[tuple[tuple[Piece, ...], tuple[int, ...]], View | None] = {}
        self._products: dict[Piece, list[Step]] = {}

    def blocks(self, pieces: tuple[Piece, ...]) -> list[View | Piece]:
        """Pieces side by side, neighbours in memory as one; what lies nowhere is alone."""
        if pieces not in self._blocks:
            self._blocks[pieces] = [
                self._layout.view(self._refs[pieces[start]], sum(piece.width for piece in pieces[start:stop]))
                if pieces[start] in self._refs
                else pieces[start]
                for start, stop in runs(pieces, self._refs)
            ]
        return self._blocks[pieces]

    def shaped(self, pieces: tuple[Piece, ...], shape: tuple[int, ...]) -> View | None:
        """A row (T, N, ...), where it lies in one place."""
        key = pieces, shape
        if key not in self._shaped:
            first, *others = self.blocks(pieces)
            if others or isinstance(first, Piece):
                self._shaped[key] = None
            else:
                inner = [prod(shape[i + 1 :]) for i in range(2, len(shape))]
                stride = (shape[1] * first.stride[0], first.stride[0], *inner)
                self._shaped[key] = View(first.source, shape, stride, first.offset)
        return self._shaped[key]

    def products(self, piece: Piece) -> list[Step]:
        """How a product, or a sum of products, is multiplied out; nothing for other pieces."""
        if piece not in self._products:
            terms = self._terms(piece)
            factors = [each for term in terms for each in zip(term.args, term.detail, strict=True)]
            factors.sort(key=lambda factor: self.views.get(factor[0], (0,))[::3])  # neighbours in memory are one
            args, weights = tuple(arg for arg, _ in factors), tuple(weight for _, weight in factors)
            as_before = Piece("before", args, piece.width, (weights, ()), -1)
            self._products[piece] = self.steps(plan_multiplications([as_before], self._refs)) if terms else []
        return self._products[piece]

    def _terms(self, piece: Piece) -> list[Piece]:
        """The products that a piece is the sum of, each once, if it is one."""
        terms, waiting = [], [piece]
        seen: set[Piece] = set()
        while waiting:
            term = waiting.pop()
            if term in self.views or term in seen:
                return []
            seen.add(term)
            if term.op == "linear":
                terms.append(term)
            elif term.is_pointwise("add") and term.width == piece.width:
                waiting += term.args[::-1]
            else:
                return []
        return terms

    def needs(self, piece: Piece) -> list[Piece]:
        """What has to be computed before a piece."""
        factors = [step.factor for step in self.products(piece)]
        return [arg for arg in factors or piece.args if isinstance(arg, Piece) and arg not in self.views]

    def steps(self, multiplications: Sequence[Multiplication]) -> list[Step]:
        return [
            Step(
                each.factor if isinstance(each.factor, Piece) else self._layout.view(each.factor, each.depth),
                [[self._block(block) for block in row] for row in each.blocks],
                None if each.biases is None else [self._biases(*biases) for biases in each.biases],
                each.to,
                each.width,
            )
            for each in multiplications
        ]

    def _block(self, block: Block) -> View:
        return self._layout.constants.views[block.weight].block(block.row, block.column, block.rows, block.columns)

    def _biases(self, biases: list[Bias], width: int) -> tuple[list[View | Bias], int]:
        return [self._layout.constants.row(*bias, width) or bias for bias in biases], width


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

    def copy(self, pieces: tuple[Piece, ...], shape: tuple[int, ...]) -> Tensor:
        """The same as a tensor of its own, of another shape."""
        if len(pieces) == 1 and pieces[0] not in self._places.views and self._places.products(pieces[0]):
            out = arena.empty(*shape)
            self.multiply(self._places.products(pieces[0]), out.view(-1, pieces[0].width))
            return out
        view = self._places.shaped(pieces, shape)
        return arena.copy(self.row(pieces).view(*shape) if view is None else self.memory.view(view))

    def _matrix(self, block: View | Piece) -> Tensor:
        return self._whole(block) if isinstance(block, Piece) else self.memory.view(block)

    def sum(self, piece: Piece) -> Tensor:
        """The sum over all steps and rows, (width,)."""
        return self._whole(piece).sum(0)

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

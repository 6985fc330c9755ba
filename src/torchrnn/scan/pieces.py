"""Pieces: rows cut where slices and concatenations fall, so that neither is left.

Once every row is cut at every column where something begins or ends, a slice or a concatenation is only a choice of
pieces, and a product with a concatenation is a sum of products: ``[x, h] W`` is ``x W[:D] + h W[D:]``. The first term
does not depend on the state and can be taken out of the loop. Equal pieces are one object.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torchrnn.scan.operations import Unsupported
from torchrnn.scan.rows import Row

MOST_PIECES = 128


class Piece:
    """A value of one step, (N, width), without structure inside.

    As a `Row`, but ``constant`` and ``input`` have the first column in their detail, and that of ``linear`` has, for
    each of its several arguments, the weight with the first of its rows and columns that are used.
    """

    __slots__ = ("args", "detail", "id", "op", "width")

    def __init__(self, op: str, args: tuple[Piece, ...], width: int, detail: Any, number: int) -> None:
        self.op, self.args, self.width, self.detail, self.id = op, args, width, detail, number

    def is_number(self, number: float) -> bool:
        return self.op == "number" and self.detail == number

    def is_pointwise(self, name: str) -> bool:
        return self.op == "pointwise" and self.detail == name

    def __repr__(self) -> str:
        return f"%{self.id} = {self.op} {self.detail} ({', '.join(f'%{a.id}' for a in self.args)}) [{self.width}]"


class PieceGraph:
    """Makes pieces, each only once."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[Any, ...], Piece] = {}

    def add(self, op: str, args: Sequence[Piece], width: int, detail: Any = None) -> Piece:
        key = (op, tuple(arg.id for arg in args), width, detail)
        if key not in self._pieces:
            self._pieces[key] = Piece(op, tuple(args), width, detail, len(self._pieces))
        return self._pieces[key]

    def all_pieces(self) -> list[Piece]:
        return list(self._pieces.values())

    def number(self, number: float) -> Piece:
        return self.add("number", (), 1, number)

    def pointwise(self, name: str, *args: Piece, width: int | None = None) -> Piece:
        width = max(arg.width for arg in args) if width is None else width
        left, right = args if len(args) == 2 else (args[0], args[0])
        if name in ("add", "sub") and right.is_number(0) and left.width == width:
            return left
        if name == "add" and left.is_number(0) and right.width == width:
            return right
        if name == "mul":
            if left.is_number(0) or right.is_number(0):
                return self.number(0.0)
            for a, b in ((left, right), (right, left)):
                if b.is_number(1) and a.width == width:
                    return a
        if name in ("add", "mul") and left.id > right.id:
            args = (right, left)
        return self.add("pointwise", args, width, name)


def propagate_cuts(rows: list[Row], ties: list[tuple[Row, Row]]) -> None:
    """Cut rows until whoever is computed column by column from another is cut like it; so are those that are tied."""
    changed = True
    while changed:
        changed = any(_share(*tie) for tie in ties)
        for row in [*rows, *reversed(rows)]:
            changed |= _cut_like_neighbours(row)
        if any(len(row.cuts) > MOST_PIECES for row in rows):
            raise Unsupported(f"a row falls into more than {MOST_PIECES} pieces")


def _share(*rows: Row) -> bool:
    union = set().union(*(row.cuts for row in rows))
    changed = any(len(row.cuts) < len(union) for row in rows)
    for row in rows:
        row.cuts |= union
    return changed


def _cut_like_neighbours(row: Row) -> bool:
    if row.op == "pointwise":
        return _share(row, *[arg for arg in row.args if arg.width == row.width > 1])
    if row.op == "slice":
        return _align(row, row.args[0], row.detail)
    if row.op == "cat":
        changed, start = False, 0
        for part in row.args:
            changed |= _align(part, row, start)
            start += part.width
        return changed
    return False


def _align(part: Row, whole: Row, start: int) -> bool:
    """``part`` is the columns of ``whole`` from ``start`` on: the cuts of each are cuts of the other."""
    before = len(part.cuts) + len(whole.cuts)
    whole.cuts |= {cut + start for cut in part.cuts}
    part.cuts |= {cut - start for cut in whole.cuts if start <= cut <= start + part.width}
    return len(part.cuts) + len(whole.cuts) > before


class Cutter:
    """The pieces of rows whose cuts are settled."""

    def __init__(self) -> None:
        self.graph = PieceGraph()
        self._pieces: dict[Row, list[Piece]] = {}
        self._sources: dict[Piece, set[str]] = {}

    def pieces(self, row: Row) -> list[Piece]:
        """The pieces of a row; a number has width 1 and serves every column."""
        if row not in self._pieces:
            self._pieces[row] = self._cut(row)
        return self._pieces[row]

    def wide(self, row: Row) -> list[Piece]:
        """The pieces of a row, each as wide as its columns."""
        return [
            piece if piece.width == stop - start else self.graph.add("pointwise", (piece,), stop - start, "copy")
            for piece, (start, stop) in zip(self.pieces(row), intervals(row), strict=True)
        ]

    def _cut(self, row: Row) -> list[Piece]:
        add, spans = self.graph.add, intervals(row)
        if row.op == "input":
            return [add("input", (), stop - start, (*row.detail, start)) for start, stop in spans]
        if row.op == "number":
            return [self.graph.number(row.detail)] * len(spans)
        if row.op == "constant":
            return [add("constant", (), stop - start, (*row.detail, start)) for start, stop in spans]
        if row.op == "pointwise":
            args = [self.pieces(a) if a.width == row.width else self.pieces(a) * len(spans) for a in row.args]
            return [
                self.graph.pointwise(row.detail, *[arg[i] for arg in args], width=stop - start)
                for i, (start, stop) in enumerate(spans)
            ]
        if row.op == "cat":
            return [piece for arg in row.args for piece in self.pieces(arg)]
        if row.op == "slice":
            inside = range(row.detail, row.detail + row.width)
            spans_of_whole = intervals(row.args[0])
            return [
                p for p, (start, _) in zip(self.pieces(row.args[0]), spans_of_whole, strict=True) if start in inside
            ]
        if row.op == "reduce":
            return [add("reduce", self.wide(row.args[0]), 1, row.detail)]
        return [self._linear(row, start, stop) for start, stop in spans]

    def _linear(self, row: Row, start: int, stop: int) -> Piece:
        """Columns of a product: one product for what moves with the state (or its gradient), one for the rest."""
        factor = row.args[0]
        terms = [
            (piece, first_row)
            for narrow, piece, (first_row, _) in zip(
                self.pieces(factor), self.wide(factor), intervals(factor), strict=True
            )
            if not narrow.is_number(0)
        ]
        in_backward = any(self.sources(piece) & {"gy", "gs"} for piece, _ in terms)
        moving = "gs" if in_backward else "s"
        products = []
        for moves in (False, True):
            own = [(piece, k) for piece, k in terms if (moving in self.sources(piece)) == moves]
            if own:
                weights = tuple((row.detail, k, start) for _, k in own)
                products.append(self.graph.add("linear", [piece for piece, _ in own], stop - start, weights))
        if not products:
            return self.graph.number(0.0)
        return products[0] if len(products) == 1 else self.graph.pointwise("add", *products)

    def sources(self, piece: Piece) -> set[str]:
        """The groups of inputs that a piece is computed from: x, s, gy, gs."""
        if piece not in self._sources:
            own = {piece.detail[0]} if piece.op == "input" else set()
            self._sources[piece] = own.union(*(self.sources(arg) for arg in piece.args))
        return self._sources[piece]


def intervals(row: Row) -> list[tuple[int, int]]:
    cuts = sorted(row.cuts)
    return list(itertools.pairwise(cuts))

"""Fusion: the pieces of the loop, rewritten into what the machine does best.

* A sum with products in it becomes one ``product`` that begins from the rest of the sum; products that were taken out
  of the loop, with their biases, become one ``before``.
* Pairs and triples of pointwise operations become one operation, where the inner result is not wanted by others.
* Reductions become ``row_sum`` and ``row_max``, one after the other for each part of a row, and ``row_sum_product``
  where the sum is one of products.
* A column that is combined with wider pieces is spread by ``broadcast``.
* Sums over rows become ``accumulate``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from torchrnn.scan.order import in_order
from torchrnn.scan.pieces import Piece, PieceGraph
from torchrnn.scan.stages import BEFORE, CORE, Stages

FUSED = {
    "multiply_add": "a * b + c",
    "subtract_product": "c - a * b",
    "multiply_subtract": "a * b - c",
    "multiply_multiply": "a * b * c",
    "add_add": "a + b + c",
    "multiply_complement": "a * (1 - b)",
    "sigmoid_slope": "a * (b * (1 - b))",
    "tanh_slope": "a * (1 - b * b)",
}
"""Operations of the machine that only fusion makes."""

ON_ROWS = frozenset({"broadcast", "row_sum", "row_sum_product", "row_max"})
"""Operations of the machine on whole rows, which make a column of them or one of a column."""

Rewrite = Callable[[Piece], Piece]


class Fusion:
    """Rewrites the roots of the loop; ``fusion.result[piece]`` is what became of one."""

    def __init__(self, graph: PieceGraph, stages: Stages, roots: Iterable[Piece], sums: Iterable[Piece]) -> None:
        self.graph, self.stages = graph, stages
        roots, sums = list(roots), list(sums)
        self.result = {root: root for root in [*roots, *sums]}
        for rewrite in (self._gather_products, self._fuse_pointwise, self._broadcast):
            self._uses = self._count_uses()
            self._protected = set(self.result.values())
            self._done: dict[Piece, Piece] = {}
            self._rewrite = rewrite
            self.result = {root: self._visit(piece) for root, piece in self.result.items()}
        self._uses = self._count_uses()
        wanted = {self.result[root] for root in roots}
        self.accumulators = {piece: self._accumulator(self.result[piece], wanted) for piece in sums}

    # ------------------------------------------------------------------ walking

    def is_leaf(self, piece: Piece) -> bool:
        return piece.op == "before" or self.stages.is_leaf(piece)

    def _visit(self, root: Piece) -> Piece:
        """Rewrite a piece after all that it is computed from."""
        for piece in in_order([] if root in self._done else [root], self._to_rewrite):
            self._done[piece] = piece if self.is_leaf(piece) else self._rewrite(piece)
        return self._done[root]

    def _to_rewrite(self, piece: Piece) -> list[Piece]:
        return [] if self.is_leaf(piece) else [arg for arg in self._parts(piece) if arg not in self._done]

    def _parts(self, piece: Piece) -> tuple[Piece, ...]:
        """What has to be rewritten before a piece is."""
        return () if piece.op == "linear" and self.stages.of(piece) == BEFORE else piece.args

    def _count_uses(self) -> Counter[Piece]:
        uses: Counter[Piece] = Counter(self.result.values())
        seen: set[Piece] = set()
        waiting = list(self.result.values())
        while waiting:
            piece = waiting.pop()
            if piece in seen or self.is_leaf(piece):
                continue
            seen.add(piece)
            uses.update(self._parts(piece))
            waiting += self._parts(piece)
        return uses

    def _again(self, piece: Piece) -> Piece:
        """The same operation on rewritten arguments."""
        args = [self._done[arg] for arg in piece.args]
        if piece.op == "pointwise" and piece.detail not in FUSED and piece.detail not in ON_ROWS:
            return self.graph.pointwise(piece.detail, *args, width=piece.width)
        return self.graph.add(piece.op, args, piece.width, piece.detail)

    # ------------------------------------------------------------------ products

    def _gather_products(self, piece: Piece) -> Piece:
        if piece.op == "linear":
            return self._before([piece]) if self.stages.of(piece) == BEFORE else self._product([piece], None)
        if not piece.is_pointwise("add"):
            return self._again(piece)
        terms = self._terms(piece)
        hoisted = [term for term in terms if self._is_own_product(term, BEFORE)]
        moving = [term for term in terms if self._is_own_product(term, CORE)]
        if not hoisted and not moving:
            return self._again(piece)
        biases = [term for term in terms if hoisted and term.op == "constant" and term.width == piece.width]
        rest = [self._done[t] for t in terms if t not in hoisted and t not in moving and t not in biases]
        start = self._before(hoisted, biases) if hoisted else None
        if moving:
            if start is None and rest:
                start, rest = self._start_of_sum(rest, piece.width)
            start = self._product(moving, start)
        assert start is not None
        for term in rest:
            start = self.graph.pointwise("add", start, term, width=piece.width)
        return start

    def _terms(self, piece: Piece) -> list[Piece]:
        """The terms of a sum, through the sums in it that nobody else uses."""
        terms: list[Piece] = []
        waiting = list(piece.args[::-1])
        while waiting:
            term = waiting.pop()
            inner = term.is_pointwise("add") and term.width == piece.width and self._is_own(term)
            if inner:
                waiting += term.args[::-1]
            else:
                terms.append(term)
        return terms

    def _is_own(self, piece: Piece) -> bool:
        """Whether a piece is computed in the loop for one other piece only."""
        return self._uses[piece] == 1 and piece not in self._protected and not self.is_leaf(piece)

    def _is_own_product(self, piece: Piece, stage: str) -> bool:
        return piece.op == "linear" and self._is_own(piece) and self.stages.of(piece) == stage

    def _start_of_sum(self, terms: list[Piece], width: int) -> tuple[Piece | None, list[Piece]]:
        """What a product begins from: a bias, or else the sum of the other terms."""
        terms = sorted(terms, key=lambda term: (term.op != "constant", term.width != width))
        if terms[0].width != width:
            return None, terms
        start, *rest = terms
        while rest and start.op != "constant":
            start = self.graph.pointwise("add", start, rest.pop(0), width=width)
        return start, rest

    def _before(self, products: list[Piece], biases: Iterable[Piece] = ()) -> Piece:
        args = [arg for product in products for arg in product.args]
        weights = tuple(weight for product in products for weight in product.detail)
        return self.graph.add("before", args, products[0].width, (weights, tuple(bias.detail for bias in biases)))

    def _product(self, products: list[Piece], start: Piece | None) -> Piece:
        args = [self._done[arg] for product in products for arg in product.args]
        weights = tuple(weight for product in products for weight in product.detail)
        begins = [] if start is None else [start]
        return self.graph.add("product", [*args, *begins], products[0].width, (weights, start is not None))

    # ------------------------------------------------------------------ pointwise operations

    def _fuse_pointwise(self, piece: Piece) -> Piece:
        if piece.op == "reduce":
            return self._reduction(piece)
        fused = self._fused(piece) if piece.op == "pointwise" else None
        if fused is None:
            return self._again(piece)
        name, args = fused
        return self.graph.add("pointwise", [self._done[arg] for arg in args], piece.width, name)

    def _reduction(self, piece: Piece) -> Piece:
        so_far = self.graph.number(0.0 if piece.detail == "sum" else float("-inf"))
        for part in piece.args:
            parts: tuple[Piece, ...] = (part,)
            name = f"row_{piece.detail}"
            if piece.detail == "sum" and self._is_inner(part, "mul") and all(_is_row(a, part.width) for a in part.args):
                parts, name = part.args, "row_sum_product"
            so_far = self.graph.add("pointwise", [*(self._done[each] for each in parts), so_far], 1, name)
        return so_far

    def _fused(self, piece: Piece) -> tuple[str, tuple[Piece, ...]] | None:
        if piece.detail not in ("add", "mul", "sub"):
            return None
        left, right = piece.args
        if piece.detail == "sub":
            if self._is_inner(right, "mul"):
                return "subtract_product", (*right.args, left)
            return ("multiply_subtract", (*left.args, right)) if self._is_inner(left, "mul") else None
        pairs = ((left, right), (right, left))
        if piece.detail == "add":
            for a, b in pairs:
                if self._is_inner(b, "mul"):
                    return "multiply_add", (*b.args, a)
            for a, b in pairs:
                if self._is_inner(b, "add"):
                    return "add_add", (*b.args, a)
            return None
        for a, b in pairs:
            if (slope := self._slope(b)) is not None:
                return slope[0], (a, slope[1])
        for a, b in pairs:
            if self._is_inner(b, "mul"):
                return "multiply_multiply", (*b.args, a)
        return None

    def _slope(self, piece: Piece) -> tuple[str, Piece] | None:
        """``y (1 - y)``, ``1 - y y`` or ``1 - y``, as the name of what multiplies by it, and ``y``."""
        if self._is_own(piece) and piece.is_pointwise("mul"):
            for y, complement in (piece.args, piece.args[::-1]):
                if complement.is_pointwise("sub") and complement.args[0].is_number(1) and complement.args[1] is y:
                    return "sigmoid_slope", y
        if not self.is_leaf(piece) and piece.is_pointwise("sub") and piece.args[0].is_number(1):
            square = piece.args[1]
            if square.is_pointwise("mul") and square.args[0] is square.args[1] and not self.is_leaf(square):
                return "tanh_slope", square.args[0]
            return "multiply_complement", square
        return None

    def _is_inner(self, piece: Piece, name: str) -> bool:
        return piece.is_pointwise(name) and self._is_own(piece)

    def _broadcast(self, piece: Piece) -> Piece:
        if piece.op != "pointwise" or piece.width == 1:
            return self._again(piece)
        args = [self._done[arg] for arg in piece.args]
        spread = [
            arg if _is_row(arg, piece.width) else self.graph.add("pointwise", (arg,), piece.width, "broadcast")
            for arg in args
        ]
        return self.graph.add("pointwise", spread, piece.width, piece.detail)

    # ------------------------------------------------------------------ sums over rows

    def _accumulator(self, piece: Piece, wanted: set[Piece]) -> Piece:
        is_own = self._uses[piece] == 1 and piece not in wanted and not self.is_leaf(piece)
        if is_own and piece.is_pointwise("mul"):
            return self.graph.add("pointwise", piece.args, piece.width, "accumulate_product")
        return self.graph.add("pointwise", (piece,), piece.width, "accumulate")


def _is_row(piece: Piece, width: int) -> bool:
    """Whether a piece is there in all columns; numbers are."""
    return piece.width == width or piece.op in ("number", "constant")

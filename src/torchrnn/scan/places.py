"""Where values lie in a layout, and what the machine does with them for all steps at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torchrnn.scan import tasks
from torchrnn.scan.execute import Layout
from torchrnn.scan.layout import Ref
from torchrnn.scan.multiplications import Bias, Block, Multiplication, Refs, plan_multiplications, runs
from torchrnn.scan.pieces import Piece
from torchrnn.scan.tasks import Tasks, every
from torchrnn.scan.views import View

Pieces = tuple[Piece, ...]


class Step(NamedTuple):
    """A `Multiplication` in a layout."""

    factor: View | Piece
    weight: list[list[View]]
    """Above and beside one another."""
    biases: list[tuple[list[View | Bias], int]] | None
    to: int
    width: int


class Places:
    """Where values lie in a layout, and what follows from that.

    Arguments:
        layout: the layout.
        refs: the values that there are for all steps.
        sums: those that the loop sums, each thread by itself.
        multiplies: whether the machine may multiply.
    """

    def __init__(self, layout: Layout, refs: Refs, sums: dict[Piece, Ref], multiplies: bool) -> None:
        self._layout, self._refs, self._multiplies = layout, refs, multiplies
        self.rows = layout.T * layout.N
        self.views = {piece: layout.view(ref, piece.width) for piece, ref in refs.items()}
        self.sums = {piece: layout.sum_view(ref, piece.width) for piece, ref in sums.items()}
        self._blocks: dict[Pieces, list[View | Piece]] = {}
        self._products: dict[Piece, list[Step]] = {}

    def blocks(self, pieces: Pieces) -> list[View | Piece]:
        """Pieces side by side, neighbours in memory as one; what lies nowhere is alone."""
        if pieces not in self._blocks:
            self._blocks[pieces] = [
                self._layout.view(self._refs[pieces[start]], sum(piece.width for piece in pieces[start:stop]))
                if pieces[start] in self._refs
                else pieces[start]
                for start, stop in runs(pieces, self._refs)
            ]
        return self._blocks[pieces]

    def products(self, piece: Piece) -> list[Step]:
        """How a product, or a sum of products, is multiplied out; nothing for other pieces."""
        if piece not in self._products:
            terms = self._terms(piece)
            factors = [each for term in terms for each in zip(term.args, term.detail, strict=True)]
            factors.sort(key=lambda factor: self._lies_at(factor[0]))  # neighbours in memory are one
            args, weights = tuple(arg for arg, _ in factors), tuple(weight for _, weight in factors)
            as_before = Piece("before", args, piece.width, (weights, ()), -1)  # as if it was taken out of the loop
            self._products[piece] = self.steps(plan_multiplications([as_before], self._refs)) if terms else []
        return self._products[piece]

    def _lies_at(self, piece: Piece) -> tuple[int, int]:
        view = self.views.get(piece)
        return (0, 0) if view is None else (view.source, view.offset)

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

    # ------------------------------------------------------------------ tasks: what `Stacked` does, if it is no more

    def row_tasks(self, pieces: Pieces, to: View) -> Tasks:
        """Pieces for all steps, side by side."""
        blocks = self.blocks(pieces)
        widths = [block.width if isinstance(block, Piece) else block.size[1] for block in blocks]
        return every(
            self._product_tasks(block, part) if isinstance(block, Piece) else [tasks.copy(part, block)]
            for block, part in zip(blocks, to.side_by_side(widths), strict=True)
        )

    def _product_tasks(self, piece: Piece, to: View) -> Tasks:
        steps = self.products(piece)
        return self.step_tasks(steps, to) if steps else None

    def step_tasks(self, steps: list[Step], to: View) -> Tasks:
        """Multiplications whose results stand side by side in ``to``."""
        return every(self._one_step(step, to.block(0, step.to, self.rows, step.width)) for step in steps)

    def _one_step(self, step: Step, to: View) -> Tasks:
        if isinstance(step.factor, Piece) or not self._multiplies:
            return None
        is_begun = step.biases is None
        parts: list[Tasks] = []
        if step.biases and any(terms for terms, _ in step.biases):
            parts.append(self._bias_tasks(step.biases, to))
            is_begun = True
        factors = step.factor.side_by_side([row[0].size[0] for row in step.weight])
        for factor, row in zip(factors, step.weight, strict=True):
            columns = to.side_by_side([block.size[1] for block in row])
            parts += [
                tasks.multiply(part, factor, block, adds=is_begun) for part, block in zip(columns, row, strict=True)
            ]
            is_begun = True
        return every(parts)

    def _bias_tasks(self, ranges: list[tuple[list[View | Bias], int]], to: View) -> Tasks:
        parts: list[Tasks] = []
        for (biases, _), part in zip(ranges, to.side_by_side([width for _, width in ranges]), strict=True):
            rows = [bias for bias in biases if isinstance(bias, View)]
            if len(rows) < len(biases):
                return None
            parts.append(tasks.add_rows(part, rows) if rows else [tasks.clear(part)])
        return every(parts)

    def total_tasks(self, pieces: Pieces, to: View) -> Tasks:
        """The sums of pieces over all steps and rows, side by side in one row."""
        summed = [self.sums.get(piece, self.views.get(piece)) for piece in pieces]
        parts = to.side_by_side([piece.width for piece in pieces])
        return every(None if a is None else tasks.total(part, a) for a, part in zip(summed, parts, strict=True))

    def outer_tasks(self, left: Pieces, right: Pieces, to: View) -> Tasks:
        """The sum over all steps and rows of the outer products of two rows."""
        lefts, rights = self.blocks(left), self.blocks(right)
        views = [block for block in [*lefts, *rights] if isinstance(block, View)]
        if len(views) < len(lefts) + len(rights) or not self._multiplies:
            return None
        rows, columns = views[: len(lefts)], views[len(lefts) :]
        below = to.t().side_by_side([a.size[1] for a in rows])
        return every(
            tasks.multiply(part, a.t(), b)
            for a, row in zip(rows, below, strict=True)
            for b, part in zip(columns, row.t().side_by_side([b.size[1] for b in columns]), strict=True)
        )

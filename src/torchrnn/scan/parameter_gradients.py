"""Gradients of parameters: sums over all steps and rows, and what autograd makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchrnn.scan.constants import Replay, run_calls
from torchrnn.scan.pieces import Piece
from torchrnn.scan.record import Call, Value
from torchrnn.scan.stacked import Stacked

Sums = dict[Piece, Tensor]


@dataclass
class Sum:
    """An accumulator: the sum of a row, or of the outer products of two."""

    left: list[Piece]
    right: list[Piece] | None
    shape: tuple[int, ...]


@dataclass
class Wanted:
    """What is computed for some of the parameters."""

    sums: list[Value]
    outers: list[list[Value]]
    """Outer products with the same right side, whose left sides are done in one."""
    calls: list[Call]


class ParameterGradients:
    """The gradients of the parameters of a step.

    Arguments:
        goals: the gradient of each parameter; ``None`` where there is none.
        sums: those of the values before them that are sums over the batch.
        tails: what autograd did after that.
    """

    def __init__(self, goals: list[Value | None], sums: dict[Value, Sum], tails: Replay) -> None:
        self.goals, self._sums, self._tails = goals, sums, tails
        self._order = list(dict.fromkeys(value for goal in goals if goal is not None for value in self._sums_for(goal)))
        self._plans: dict[tuple[bool, ...], Wanted] = {}

    def together(self) -> list[list[Piece]]:
        """Left sides that should lie side by side in memory, to be one matrix."""
        outers = [value for value in self._order if self._sums[value].right is not None]
        rows = [[piece for value in group for piece in self._sums[value].left] for group in self._grouped(outers)]
        return [row for row in rows if len(row) > 1]

    def compute(self, wanted: Sequence[bool], stacked: Stacked, sums: Sums) -> list[Tensor | None]:
        """The gradients of the parameters that are ``wanted``, of what a run left behind and summed."""
        plan, values = self._plan(tuple(wanted)), stacked.values
        for value in plan.sums:
            each = self._sums[value]
            parts = [sums[piece] if piece in sums else stacked.sum(piece) for piece in each.left]
            values[value] = (parts[0] if len(parts) == 1 else torch.cat(parts)).view(each.shape)
        for group in plan.outers:
            right = self._sums[group[0]].right
            assert right is not None
            lefts = [self._sums[value].left for value in group]
            whole = stacked.outer([piece for left in lefts for piece in left], right)
            sizes = [sum(piece.width for piece in left) for left in lefts]
            for value, part in zip(group, [whole] if len(group) == 1 else whole.split_with_sizes(sizes), strict=True):
                values[value] = part.view(self._sums[value].shape)
        run_calls(plan.calls, values)
        return [
            values[goal] if goal is not None and is_wanted else None
            for goal, is_wanted in zip(self.goals, wanted, strict=True)
        ]

    def _plan(self, wanted: tuple[bool, ...]) -> Wanted:
        if wanted not in self._plans:
            goals = [goal for goal, is_wanted in zip(self.goals, wanted, strict=True) if goal is not None and is_wanted]
            calls = self._tails.needed(goals)
            found = {value for goal in goals for value in self._sums_for(goal)}
            needed = [value for value in self._order if value in found]
            self._plans[wanted] = Wanted(
                sums=[value for value in needed if self._sums[value].right is None],
                outers=self._grouped([value for value in needed if self._sums[value].right is not None]),
                calls=calls,
            )
        return self._plans[wanted]

    def _sums_for(self, goal: Value) -> list[Value]:
        """The sums that the gradient of a parameter is made of."""
        values = [goal, *(value for call in self._tails.needed([goal]) for value in call.operands())]
        return [value for value in values if value in self._sums]

    def _grouped(self, outers: list[Value]) -> list[list[Value]]:
        groups: dict[tuple[Piece, ...], list[Value]] = {}
        for value in outers:
            groups.setdefault(tuple(self._sums[value].right or ()), []).append(value)
        return list(groups.values())

"""Gradients of parameters: sums over all steps and rows, and what autograd makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torchrnn.scan.constants import VIEW, Replay, run_calls
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
class Outer:
    """Outer products with the same right side, whose left sides are done in one."""

    left: tuple[Piece, ...]
    right: tuple[Piece, ...]
    parts: list[tuple[Value, tuple[int, ...]]]
    """What they are, and of which shapes."""
    sizes: list[int]
    """The rows of each."""


@dataclass
class Wanted:
    """What is computed for some of the parameters."""

    sums: list[tuple[Value, Sum]]
    outers: list[Outer]
    calls: list[Call]
    goals: list[Value | None]


class ParameterGradients:
    """The gradients of the parameters of a step.

    Arguments:
        goals: the gradient of each parameter; ``None`` where there is none.
        sums: those of the values before them that are sums over the batch.
        tails: what autograd did after that.
    """

    def __init__(self, goals: list[Value | None], sums: dict[Value, Sum], tails: Replay) -> None:
        self.goals, self._tails = goals, tails
        views = {call.results: call for call in tails.calls() if call.op is VIEW and call.args[0] in sums}
        self._sums = sums | {
            value: replace(sums[call.args[0]], shape=value.shape)
            for value, call in views.items()
            if sums[call.args[0]].right is None
        }
        """A sum that is only given another shape is a sum."""
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
        for value, each in plan.sums:
            parts = [sums[piece] if piece in sums else stacked.sum(piece) for piece in each.left]
            values[value] = _shaped(parts[0] if len(parts) == 1 else torch.cat(parts), each.shape)
        for outer in plan.outers:
            whole = stacked.outer(outer.left, outer.right)
            rows = [whole] if len(outer.sizes) == 1 else whole.split_with_sizes(outer.sizes)
            for (value, shape), part in zip(outer.parts, rows, strict=True):
                values[value] = _shaped(part, shape)
        run_calls(plan.calls, values)
        return [None if goal is None else values[goal] for goal in plan.goals]

    def _plan(self, wanted: tuple[bool, ...]) -> Wanted:
        if wanted not in self._plans:
            goals = [goal if is_wanted else None for goal, is_wanted in zip(self.goals, wanted, strict=True)]
            there = [goal for goal in goals if goal is not None]
            calls = self._tails.needed(goal for goal in there if goal not in self._sums)
            found = {value for goal in there for value in self._sums_for(goal)}
            needed = [value for value in self._order if value in found]
            self._plans[wanted] = Wanted(
                sums=[(value, self._sums[value]) for value in needed if self._sums[value].right is None],
                outers=[
                    self._outer(group)
                    for group in self._grouped([value for value in needed if self._sums[value].right is not None])
                ],
                calls=calls,
                goals=goals,
            )
        return self._plans[wanted]

    def _sums_for(self, goal: Value) -> list[Value]:
        """The sums that the gradient of a parameter is made of."""
        if goal in self._sums:
            return [goal]
        return [value for call in self._tails.needed([goal]) for value in call.operands() if value in self._sums]

    def _outer(self, group: list[Value]) -> Outer:
        sums = [self._sums[value] for value in group]
        return Outer(
            left=tuple(piece for each in sums for piece in each.left),
            right=tuple(sums[0].right or ()),
            parts=[(value, each.shape) for value, each in zip(group, sums, strict=True)],
            sizes=[sum(piece.width for piece in each.left) for each in sums],
        )

    def _grouped(self, outers: list[Value]) -> list[list[Value]]:
        groups: dict[tuple[Piece, ...], list[Value]] = {}
        for value in outers:
            groups.setdefault(tuple(self._sums[value].right or ()), []).append(value)
        return list(groups.values())


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor if tensor.shape == shape else tensor.view(shape)

"""Gradients of parameters: sums over all steps and rows, and what autograd makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from torchrnn.scan.constants import VIEW, Replay, Values, run_calls
from torchrnn.scan.goals import Goal, Outer, Total
from torchrnn.scan.pieces import Piece
from torchrnn.scan.record import Call, Value


@dataclass
class Sum:
    """An accumulator: the sum of a row, or of the outer products of two."""

    left: list[Piece]
    right: list[Piece] | None
    shape: tuple[int, ...]


class SomeParameters:
    """The gradients of some of the parameters: the sums that they are made of, and what is made of these.

    Arguments:
        sums: sums over steps and rows.
        outers: sums of outer products; those of a group have the same right side, and their left sides are done in one.
        calls: what autograd did after that.
        gradients: of every parameter; ``None`` where none is wanted.
    """

    def __init__(
        self,
        sums: dict[Value, Sum],
        outers: list[dict[Value, Sum]],
        calls: list[Call],
        gradients: list[Value | None],
    ) -> None:
        self._sums, self._outers, self._calls, self._gradients = sums, outers, calls, gradients
        self.goals: list[Goal] = [Total(tuple(each.left), each.shape) for each in sums.values()]
        for group in outers:
            left = tuple(piece for each in group.values() for piece in each.left)
            self.goals.append(Outer(left, tuple(next(iter(group.values())).right or ())))
        self._rows = [[sum(piece.width for piece in each.left) for each in group.values()] for group in outers]

    def finish(self, made: Sequence[Tensor], values: Values) -> list[Tensor | None]:
        """The gradients, of ``goals`` as they were ``made``."""
        values.update(zip(self._sums, made, strict=False))
        for group, rows, whole in zip(self._outers, self._rows, made[len(self._sums) :], strict=True):
            parts = [whole] if len(rows) == 1 else whole.split_with_sizes(rows)
            for (value, each), part in zip(group.items(), parts, strict=True):
                values[value] = part if part.shape == each.shape else part.view(each.shape)
        run_calls(self._calls, values)
        return [None if gradient is None else values[gradient] for gradient in self._gradients]


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

    def together(self) -> list[list[Piece]]:
        """Left sides that should lie side by side in memory, to be one matrix."""
        outers = [value for value in self._order if self._sums[value].right is not None]
        rows = [[piece for value in group for piece in self._sums[value].left] for group in self._grouped(outers)]
        return [row for row in rows if len(row) > 1]

    def wanted(self, wanted: Sequence[bool]) -> SomeParameters:
        """The gradients of those parameters."""
        gradients = [goal if is_wanted else None for goal, is_wanted in zip(self.goals, wanted, strict=True)]
        there = [gradient for gradient in gradients if gradient is not None]
        found = {value for gradient in there for value in self._sums_for(gradient)}
        needed = [value for value in self._order if value in found]
        groups = self._grouped([value for value in needed if self._sums[value].right is not None])
        return SomeParameters(
            sums={value: self._sums[value] for value in needed if self._sums[value].right is None},
            outers=[{value: self._sums[value] for value in group} for group in groups],
            calls=self._tails.needed(gradient for gradient in there if gradient not in self._sums),
            gradients=gradients,
        )

    def _sums_for(self, goal: Value) -> list[Value]:
        """The sums that the gradient of a parameter is made of."""
        if goal in self._sums:
            return [goal]
        return [value for call in self._tails.needed([goal]) for value in call.operands() if value in self._sums]

    def _grouped(self, outers: list[Value]) -> list[list[Value]]:
        groups: dict[tuple[Piece, ...], list[Value]] = {}
        for value in outers:
            groups.setdefault(tuple(self._sums[value].right or ()), []).append(value)
        return list(groups.values())

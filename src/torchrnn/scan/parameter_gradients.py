"""Gradients of parameters: sums over all steps and rows, and what autograd makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from torchrnn.scan.constants import VIEW, Replay, Values, run_calls
from torchrnn.scan.goals import Goal, Outer, Tiled, Total
from torchrnn.scan.pieces import Piece
from torchrnn.scan.record import Call, Value
from torchrnn.scan.tiles import tiles


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
        tiled: gradients that are sums of outer products side by side.
        calls: what autograd did after that.
        gradients: of every parameter; ``None`` where none is wanted.
    """

    def __init__(
        self,
        sums: dict[Value, Sum],
        outers: list[dict[Value, Sum]],
        tiled: dict[Value, Tiled],
        calls: list[Call],
        gradients: list[Value | None],
    ) -> None:
        self._alone, self._outers, self._calls, self._gradients = [*sums, *tiled], outers, calls, gradients
        self.goals: list[Goal] = [Total(tuple(each.left), each.shape) for each in sums.values()]
        self.goals += tiled.values()
        self.goals += [_outer(group.values()) for group in outers]
        self._rows = [[sum(piece.width for piece in each.left) for each in group.values()] for group in outers]

    def finish(self, made: Sequence[Tensor], values: Values) -> list[Tensor | None]:
        """The gradients, of ``goals`` as they were ``made``."""
        values.update(zip(self._alone, made, strict=False))
        for group, rows, whole in zip(self._outers, self._rows, made[len(self._alone) :], strict=True):
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
        there = dict.fromkeys(gradient for gradient in gradients if gradient is not None)
        tiled = {gradient: whole for gradient in there if (whole := self._tiled(gradient, there))}
        others = [gradient for gradient in there if gradient not in tiled]
        found = {value for gradient in others for value in self._sums_for(gradient)}
        needed = [value for value in self._order if value in found]
        groups = self._grouped([value for value in needed if self._sums[value].right is not None])
        return SomeParameters(
            sums={value: self._sums[value] for value in needed if self._sums[value].right is None},
            outers=[{value: self._sums[value] for value in group} for group in groups],
            tiled=tiled,
            calls=self._tails.needed(gradient for gradient in others if gradient not in self._sums),
            gradients=gradients,
        )

    def _tiled(self, gradient: Value, all_of_them: Iterable[Value]) -> Tiled | None:
        """A gradient as sums of outer products side by side, if it is that, and these are for nothing else."""
        if gradient in self._sums:
            return None
        elsewhere = {value for other in all_of_them if other is not gradient for value in self._sums_for(other)}
        found = tiles(gradient, self._is_matrix, self._tails.maker)
        if found is None or any(tile.value in elsewhere for tile in found):
            return None
        return Tiled([(_outer([self._sums[tile.value]]), tile.row, tile.column) for tile in found], gradient.shape)

    def _is_matrix(self, value: Value) -> bool:
        """Whether a value is a sum of outer products as it is."""
        each = self._sums.get(value)
        return each is not None and each.right is not None and _outer([each]).size(0, 0) == each.shape

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


def _outer(sums: Iterable[Sum]) -> Outer:
    """Sums of outer products with the same right side, one below the other."""
    first, *others = sums
    return Outer(tuple(piece for each in (first, *others) for piece in each.left), tuple(first.right or ()))

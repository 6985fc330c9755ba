"""Tiles: what autograd lays side by side in the gradient of a parameter, so that it can be written there at once.

A step that uses a weight in parts, or two parts of a row with one weight, has such gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

from torchrnn.scan.operations import aten
from torchrnn.scan.record import Call, Value


class Tile(NamedTuple):
    """A matrix at a place in another one."""

    value: Value
    row: int = 0
    column: int = 0

    def moved(self, dim: int, by: int) -> Tile:
        return self._replace(row=self.row + by) if dim == 0 else self._replace(column=self.column + by)

    def lies_in(self, whole: Value) -> bool:
        (rows, columns), (all_rows, all_columns) = self.value.shape, whole.shape
        return 0 <= self.row <= all_rows - rows and 0 <= self.column <= all_columns - columns

    def meets(self, other: Tile) -> bool:
        (rows, columns), (other_rows, other_columns) = self.value.shape, other.value.shape
        return (
            self.row < other.row + other_rows
            and other.row < self.row + rows
            and self.column < other.column + other_columns
            and other.column < self.column + columns
        )


def tiles(whole: Value, is_tile: Callable[[Value], bool], maker: Callable[[Value], Call | None]) -> list[Tile] | None:
    """The tiles that a matrix consists of, or ``None`` where it is anything else.

    Arguments:
        whole: the matrix.
        is_tile: whether a value may be a tile.
        maker: the call that made a value, if there is one.
    """

    def laid(value: Value) -> list[Tile] | None:
        if len(value.shape) != 2:
            return None
        if is_tile(value):
            return [Tile(value)]
        call = maker(value)
        if call is None:
            return None
        if call.op is aten.new_zeros.default:
            return []
        if call.op is aten.cat.default:
            return _beside(call.args[0], call.args[1] if len(call.args) > 1 else 0)
        if call.op is aten.slice_scatter.default:
            base, part, dim, start = (*call.args, 0, None)[:4]
            inside = laid(part)
            if laid(base) != [] or inside is None or len(call.args) > 5 or call.kwargs:
                return None
            start = start or 0
            return [tile.moved(dim % 2, start if start >= 0 else start + base.shape[dim]) for tile in inside]
        if call.op is aten.add.Tensor and not call.kwargs and [a.shape for a in call.operands()] == 2 * [value.shape]:
            left, right = map(laid, call.args)
            return None if left is None or right is None else left + right
        return None

    def _beside(parts: list[Value], dim: int) -> list[Tile] | None:
        found: list[Tile] = []
        at = 0
        for part in parts:
            inside = laid(part)
            if inside is None:
                return None
            found += [tile.moved(dim % 2, at) for tile in inside]
            at += part.shape[dim]
        return found

    found = laid(whole)
    if not found or not all(tile.lies_in(whole) for tile in found):
        return None
    if any(a.meets(b) for a, b in combinations(found, 2)):
        return None
    area = sum(tile.value.shape[0] * tile.value.shape[1] for tile in found)
    return found if area == whole.shape[0] * whole.shape[1] else None

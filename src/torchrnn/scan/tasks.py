"""Tasks: what the machine does for all steps at once, before its loop and after it; csrc/tasks.h.

``None`` in place of tasks says that the machine cannot do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torchrnn.scan.views import View

MULTIPLY, ADD, TOTAL = range(3)
MOST = 2**31 - 1
"""What a BLAS counts to."""


class Task(NamedTuple):
    """``Task`` in csrc/tasks.h."""

    kind: int
    rows: int
    columns: int
    depth: int
    adds: bool
    to: View
    a: View | None
    b: View | None

    def lies(self, view: View) -> tuple[int, bool]:
        """How one of its matrices lies: see `leading`."""
        if self.kind != MULTIPLY:
            return view.stride[0], False
        lying = leading(view)
        assert lying is not None, "as `multiply` found"
        return lying


Tasks = list[Task] | None


def every(parts: Iterable[Tasks]) -> Tasks:
    """All of them, if the machine can do each."""
    found: list[Task] = []
    for part in parts:
        if part is None:
            return None
        found += part
    return found


def clear(to: View) -> Task:
    return _sum(to, None, None)


def copy(to: View, a: View) -> Task:
    """A matrix whose rows lie in one piece each."""
    return _sum(to, a, None)


def add_rows(to: View, rows: Sequence[View]) -> Tasks:
    """The sum of one or more ``rows``, (width,), in every row."""
    if any(row.stride[0] != 1 and row.size[0] > 1 for row in rows):
        return None
    first, *others = [View(row.source, (1, *row.size), (0, 1), row.offset) for row in rows]
    second = others.pop(0) if others else None
    pairs = [(first, second), *((to, other) for other in others)]
    return [_sum(to, a, b) for a, b in pairs]


def _sum(to: View, a: View | None, b: View | None) -> Task:
    rows, columns = to.size
    return Task(ADD, rows, columns, 0, False, to, a, b)


def total(to: View, a: View) -> list[Task]:
    """The sum of all rows, in one."""
    rows, columns = a.size
    return [Task(TOTAL, rows, columns, 0, False, to, a, None)]


def multiply(to: View, a: View, b: View, adds: bool = False) -> Tasks:
    """A product of matrices, added to what is there if it ``adds``."""
    (rows, depth), (_, columns) = a.size, b.size
    numbers = *a.size, *b.size, *a.stride, *b.stride, *to.stride
    if leading(a) is None or leading(b) is None or to.stride[1] != 1 or max(numbers) > MOST:
        return None
    return [Task(MULTIPLY, rows, columns, depth, adds, to, a, b)]


def leading(view: View) -> tuple[int, bool] | None:
    """How a matrix lies for a BLAS: floats from row to row, or, if it is transposed, from column to column."""
    (rows, columns), (down, right) = view.size, view.stride
    if (right == 1 or columns <= 1) and (down >= columns or rows <= 1):
        return max(down, columns, 1), False
    if (down == 1 or rows <= 1) and (right >= rows or columns <= 1):
        return max(right, rows, 1), True
    return None

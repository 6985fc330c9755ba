"""What is wanted of a pass when its loop is done: each may be a task of the machine, or be computed by PyTorch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from torchrnn.scan.arena import arena
from torchrnn.scan.pieces import Piece
from torchrnn.scan.places import Places
from torchrnn.scan.stacked import Stacked
from torchrnn.scan.tasks import Tasks, every
from torchrnn.scan.views import matrix


class Row(NamedTuple):
    """Pieces for all steps, side by side, (T, N, ...)."""

    pieces: tuple[Piece, ...]
    shape: tuple[int, ...]
    """Of one row."""

    def size(self, T: int, N: int) -> tuple[int, ...]:
        return T, N, *self.shape

    def tasks(self, places: Places, source: int) -> Tasks:
        return places.row_tasks(self.pieces, matrix(source, places.rows, _width(self.pieces)))

    def compute(self, stacked: Stacked, size: tuple[int, ...]) -> Tensor:
        return stacked.new_row(self.pieces, size)


class Total(NamedTuple):
    """The sums of pieces over all steps and rows, side by side, of a shape."""

    pieces: tuple[Piece, ...]
    shape: tuple[int, ...]

    def size(self, T: int, N: int) -> tuple[int, ...]:
        return self.shape

    def tasks(self, places: Places, source: int) -> Tasks:
        return places.total_tasks(self.pieces, matrix(source, 1, _width(self.pieces)))

    def compute(self, stacked: Stacked, size: tuple[int, ...]) -> Tensor:
        return stacked.total(self.pieces).view(size)


class Outer(NamedTuple):
    """The sum over all steps and rows of the outer products of two rows of pieces."""

    left: tuple[Piece, ...]
    right: tuple[Piece, ...]

    def size(self, T: int, N: int) -> tuple[int, ...]:
        return _width(self.left), _width(self.right)

    def tasks(self, places: Places, source: int) -> Tasks:
        return places.outer_tasks(self.left, self.right, matrix(source, *self.size(0, 0)))

    def compute(self, stacked: Stacked, size: tuple[int, ...]) -> Tensor:
        return stacked.outer(self.left, self.right)


class Tiled(NamedTuple):
    """Sums of outer products that fill a matrix, each from a row and a column on."""

    parts: list[tuple[Outer, int, int]]
    shape: tuple[int, ...]

    def size(self, T: int, N: int) -> tuple[int, ...]:
        return self.shape

    def tasks(self, places: Places, source: int) -> Tasks:
        whole = matrix(source, *self.shape)
        return every(
            places.outer_tasks(part.left, part.right, whole.block(row, column, *part.size(0, 0)))
            for part, row, column in self.parts
        )

    def compute(self, stacked: Stacked, size: tuple[int, ...]) -> Tensor:
        whole = arena.empty(*size)
        for part, row, column in self.parts:
            rows, columns = part.size(0, 0)
            whole[row : row + rows, column : column + columns] = stacked.outer(part.left, part.right)
        return whole


Goal = Row | Total | Outer | Tiled


def _width(pieces: tuple[Piece, ...]) -> int:
    return sum(piece.width for piece in pieces)

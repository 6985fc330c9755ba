"""States, or their gradients, on their way into and out of the memory of a run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from torchrnn.scan.execute import Layout
from torchrnn.scan.layout import Array
from torchrnn.scan.pieces import Piece
from torchrnn.scan.views import View


class Carried:
    """What goes from step to step.

    Arguments:
        rows: the pieces of each state.
        arrays: where each piece lies.
        shapes: of one row of each state.
    """

    def __init__(self, rows: list[list[Piece]], arrays: list[list[Array]], shapes: list[tuple[int, ...]]) -> None:
        self._parts = [
            [(array, piece.width) for piece, array in zip(row, own, strict=True)]
            for row, own in zip(rows, arrays, strict=True)
        ]
        self.shapes = shapes

    def slots(self, layout: Layout, step: int) -> list[list[View]]:
        """Where the states after ``step`` steps lie, each in parts (N, width)."""
        return [[layout.slot(array, step, width) for array, width in parts] for parts in self._parts]

    def after_each_step(self, kept: Tensor, kept_at: Mapping[Array, int], T: int, N: int) -> list[Tensor]:
        """The states after each step, (T, N, ...), in what a run kept: views where a state is of one piece."""
        result = []
        for parts, shape in zip(self._parts, self.shapes, strict=True):
            whole = [
                kept.as_strided(
                    (T, N, width),
                    (N * array.columns, array.columns, 1),
                    kept.storage_offset() + kept_at[array] + N * array.columns,
                )
                for array, width in parts
            ]
            joined = whole[0] if len(whole) == 1 else torch.cat(whole, 2)
            result.append(joined if len(shape) == 1 else joined.view(T, N, *shape))
        return result

"""States, or their gradients, on their way into and out of the memory of a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchrnn.scan.layout import Array
from torchrnn.scan.pieces import Piece
from torchrnn.scan.stacked import Memory


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
        self._shapes = shapes

    def put(self, memory: dict[Array, Memory], states: Sequence[Tensor | None], step: int, N: int) -> None:
        """Write the states after ``step`` steps; ``None`` is zero."""
        for parts, state in zip(self._parts, states, strict=True):
            flat = None if state is None else state if state.dim() == 2 else state.reshape(N, -1)
            column = 0
            for array, width in parts:
                to = _slot(memory[array], array, step, N, width)
                if flat is None:
                    to.zero_()
                else:
                    to.copy_(flat if len(parts) == 1 else flat[:, column : column + width])
                column += width

    def get(self, memory: dict[Array, Memory], step: int, N: int) -> list[Tensor]:
        """Copies of the states after ``step`` steps."""
        result = []
        for parts, shape in zip(self._parts, self._shapes, strict=True):
            slots = [_slot(memory[array], array, step, N, width) for array, width in parts]
            joined = slots[0].clone(memory_format=torch.contiguous_format) if len(slots) == 1 else torch.cat(slots, 1)
            result.append(joined if len(shape) == 1 else joined.view(N, *shape))
        return result

    def after_each_step(self, memory: dict[Array, Memory], T: int, N: int) -> list[Tensor]:
        """The states after each step, (T, N, ...): views where a state is of one piece."""
        result = []
        for parts, shape in zip(self._parts, self._shapes, strict=True):
            whole = [
                memory[array].tensor.as_strided(
                    (T, N, width),
                    (N * array.columns, array.columns, 1),
                    memory[array].offset + N * array.columns,
                )
                for array, width in parts
            ]
            joined = whole[0] if len(whole) == 1 else torch.cat(whole, 2)
            result.append(joined if len(shape) == 1 else joined.view(T, N, *shape))
        return result


def _slot(memory: Memory, array: Array, step: int, N: int, width: int) -> Tensor:
    """A piece of a state as it lies after ``step`` steps."""
    row = step & 1 if array.kind == "ring" else step
    return memory.tensor.as_strided((N, width), (memory.row, 1), memory.offset + row * N * memory.row)

"""A pass: one of the programs of a plan, forward or backward, ready to run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torchrnn.scan.execute import Executor
from torchrnn.scan.layout import Array, Program, Ref
from torchrnn.scan.multiplications import Multiplication
from torchrnn.scan.pieces import Piece
from torchrnn.scan.record import Value
from torchrnn.scan.stacked import Memory, Places, Stacked


@dataclass
class Pass:
    """One of the programs, and what PyTorch computes around it."""

    program: Program
    executor: Executor
    places: Places
    """Where values lie after the loop."""
    leaves: Places
    """Where values lie before it."""
    before: list[tuple[Array, list[Multiplication]]]
    stacked_type: type[Stacked] = Stacked

    def run_before(self, T: int, N: int, memory: dict[Array, Memory], values: dict[Value, Tensor]) -> None:
        """The products that are taken out of the loop."""
        if self.before:
            stacked = self.stacked_type(T, N, memory, values, self.leaves)
            for array, steps in self.before:
                stacked.multiply(steps, stacked.view(Ref(array), array.columns))

    def stacked(self, T: int, N: int, memory: dict[Array, Memory], values: dict[Value, Tensor]) -> Stacked:
        return self.stacked_type(T, N, memory, values, self.places)

    def kept_memory(self, kept: Tensor, T: int, N: int) -> dict[Array, Memory]:
        """Where the arrays lie that a run kept."""
        offsets = self.executor.layout(T, N).offsets
        return {array: Memory(kept, offset, array.columns) for array, (is_kept, offset) in offsets.items() if is_kept}

    def sums(self, memory: dict[Array, Memory], row_groups: int) -> dict[Piece, Tensor]:
        """What the loop summed, over the groups of rows."""
        if not self.program.sums:
            return {}
        array = next(iter(self.program.sums.values())).array
        own = memory[array]
        total = own.tensor.as_strided((row_groups, array.columns), (array.columns, 1), own.offset).sum(0)
        return {piece: total[ref.column : ref.column + piece.width] for piece, ref in self.program.sums.items()}

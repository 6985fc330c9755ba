"""Execution: memory for a program, the grid of threads, and the native call."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchrnn.scan.arena import arena
from torchrnn.scan.constants import flat_constant
from torchrnn.scan.layout import PADDING, Array, Program, padded
from torchrnn.scan.native import NativeProgram, Run
from torchrnn.scan.record import Value
from torchrnn.scan.stacked import Memory

CACHE_FOR_WEIGHTS = 1.3 * 2**20
"""Bytes of packed weights that every core may hold for itself."""
SMALL = 20_000
"""Multiplications a step below which one thread is faster than waiting for others."""
MOST_LAYOUTS = 64

Grid = tuple[int, int]
"""How many groups of rows, and how many of columns, the threads form."""


def choose_grid(N: int, n_weights: int) -> Grid:
    """Groups of rows need no barriers, if each core can hold all weights; otherwise the cores share the columns."""
    threads = torch.get_num_threads()
    if threads == 1 or n_weights * N < SMALL:
        return 1, 1
    if 4 * threads <= N and n_weights * 4 <= CACHE_FOR_WEIGHTS:
        return threads, 1
    return 1, threads


def allocate(n: int) -> Tensor:
    """Memory for ``n`` floats, of no particular values."""
    return arena.floats(n)


@dataclass
class Layout:
    """Where everything lies for one T, N and grid."""

    grid: Grid
    offsets: dict[Array, tuple[bool, int]]
    """For each own array, whether it is kept, and where it begins."""
    kept_size: int
    temporary_size: int
    sums_at: int
    workspace_at: int
    buffers: np.ndarray
    """The machine's table of buffers, with offsets in bytes in place of addresses."""


class Executor:
    """Runs one program.

    Arguments:
        program: what to run.
        own: the arrays that the program brings memory for; the others are given.
        kept: those of them that are needed after the call.
    """

    def __init__(self, program: Program, own: list[Array], kept: set[Array], backwards: bool) -> None:
        self.program, self.backwards = program, backwards
        self.own, self.kept = list(dict.fromkeys([*own, *program.arrays])), kept
        self.own = [array for array in self.own if array.kind in ("stack", "ring", "sum")]
        self.native = NativeProgram(program.code, len(program.buffers), len(program.weights))
        for number, ref in enumerate(program.buffers):
            if (
                ref.array.kind in ("stack", "ring", "sum")
                and self.native.width(number) + ref.column > ref.array.columns
            ):
                raise RuntimeError(f"the program reaches beyond an array: {ref}, {self.native.width(number)} columns")
        used = dict.fromkeys(ref.array for ref in program.buffers)
        self.constants = [array for array in used if array.kind == "constant"]
        self.numbers = [array for array in used if array.kind == "number"]
        self.given = [array for array in used if array not in set(self.own) and array.kind == "stack"]
        self.widest = padded(max([self.native.width(i) for i in range(len(program.buffers))], default=1))
        self.number_rows = {
            array: torch.full((self.widest,), array.detail[0], dtype=torch.float32) for array in self.numbers
        }
        sources = [None, None, *self.given, *self.constants, *self.numbers]
        self.source_of_buffer = np.asarray(
            [
                (0 if ref.array in kept else 1) if ref.array in set(self.own) else sources.index(ref.array)
                for ref in program.buffers
            ],
            dtype=np.int64,
        )
        self._layouts: dict[tuple[int, int, int], Layout] = {}

    def layout(self, T: int, N: int) -> Layout:
        key = (T, N, torch.get_num_threads())
        if key not in self._layouts:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            self._layouts[key] = self._lay_out(T, N)
        return self._layouts[key]

    def kept_size(self, T: int, N: int) -> int:
        """How many floats are kept after a run."""
        kept = [array for array in self.own if array in self.kept]
        return sum((T + array.more) * N * array.columns + PADDING for array in kept)

    def _lay_out(self, T: int, N: int) -> Layout:
        grid = choose_grid(N, self.native.workspace(1))
        sizes = {True: 0, False: 0}
        offsets: dict[Array, tuple[bool, int]] = {}
        for array in sorted(self.own, key=lambda array: array.kind == "sum"):
            is_kept = array in self.kept
            offsets[array] = (is_kept, sizes[is_kept])
            sizes[is_kept] += _rows(array, T, N, grid) * array.columns + PADDING
        workspace_at = sizes[False]
        sums_at = min((at for array, (_, at) in offsets.items() if array.kind == "sum"), default=workspace_at)
        sizes[False] += padded(self.native.workspace(grid[1])) + PADDING
        buffers = np.zeros((len(self.program.buffers), 6), dtype=np.int64)
        for row, ref in zip(buffers, self.program.buffers, strict=True):
            array = ref.array
            start = offsets[array][1] if array in offsets else 0
            row[0] = 4 * (start + ref.column)
            if array.kind in ("stack", "ring"):
                row[1:] = N * array.columns, array.columns, 0, ref.shift, array.kind == "ring"
            elif array.kind == "sum":
                row[3] = array.columns
        return Layout(grid, offsets, sizes[True], sizes[False], sums_at, workspace_at, buffers)

    def memory(
        self, layout: Layout, given: dict[Array, Memory], is_cleared: bool = False
    ) -> tuple[dict[Array, Memory], Tensor, Tensor]:
        """Memory for a call: every array's, the kept part, and the temporary part."""
        kept, temporary = allocate(layout.kept_size), allocate(layout.temporary_size)
        if layout.sums_at < layout.workspace_at:
            temporary[layout.sums_at : layout.workspace_at].zero_()
        if is_cleared:
            kept.zero_()
            temporary.zero_()
        memory = dict(given)
        for array, (is_kept, offset) in layout.offsets.items():
            memory[array] = Memory(kept if is_kept else temporary, offset, array.columns)
        return memory, kept, temporary

    def run(
        self,
        T: int,
        N: int,
        layout: Layout,
        memory: dict[Array, Memory],
        kept: Tensor,
        temporary: Tensor,
        values: dict[Value, Tensor],
    ) -> None:
        held = [self._constant(values, *array.detail) for array in self.constants]
        addresses = [kept.data_ptr(), temporary.data_ptr()]
        addresses += [self._address(memory[array], array) for array in self.given]
        addresses += [row.data_ptr() for row in held]
        addresses += [self.number_rows[array].data_ptr() for array in self.numbers]
        buffers = layout.buffers.copy()
        buffers[:, 0] += np.asarray(addresses, dtype=np.int64)[self.source_of_buffer]
        weights = np.asarray([_weight(values[value], k, c) for value, k, c in self.program.weights], dtype=np.int64)
        self.native.run(
            Run(
                buffers=ctypes.c_void_p(buffers.ctypes.data),
                weights=ctypes.c_void_p(weights.ctypes.data),
                steps=T,
                rows=N,
                backwards=self.backwards,
                row_groups=layout.grid[0],
                column_groups=layout.grid[1],
                is_packed=False,
                workspace=temporary.data_ptr() + 4 * layout.workspace_at,
            )
        )

    def _address(self, memory: Memory, array: Array) -> int:
        assert memory.row == array.columns, "a given array is not laid out as the program expects"
        return memory.tensor.untyped_storage().data_ptr() + 4 * memory.offset

    def _constant(self, values: dict[Value, Tensor], detail: tuple[Value, tuple[int, ...], int], width: int) -> Tensor:
        """A row of a constant, as long as the machine may read."""
        row = flat_constant(values, *detail, width)
        if width == 1:
            return row.expand(self.widest).contiguous()
        if width % PADDING or row.stride(0) != 1:
            return torch.nn.functional.pad(row, (0, -width % PADDING)).contiguous()
        return row


def _rows(array: Array, T: int, N: int, grid: Grid) -> int:
    if array.kind == "sum":
        return grid[0] * grid[1]
    return 2 * N if array.kind == "ring" else (T + array.more) * N


def _weight(weight: Tensor, row: int, column: int) -> tuple[int, int, int]:
    rows, columns = (*weight.stride(), 1)[:2]
    return weight.data_ptr() + 4 * (row * rows + column * columns), rows, columns

"""Execution: a program laid out in memory for one T and N."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from torchrnn.scan.arena import arena
from torchrnn.scan.constants import Constants
from torchrnn.scan.layout import PADDING, Array, Program, Ref, padded
from torchrnn.scan.native import NativeProgram
from torchrnn.scan.views import KEPT, TEMPORARY, View, matrix

CACHE_OF_A_CORE, CACHE_OF_ALL = 1.3 * 2**20, 20 * 2**20
"""Bytes of packed weights that every core holds for itself, or reads anew at each step."""
SMALL = 20_000
"""Multiplications a step below which one thread is faster than waiting for others."""

Grid = tuple[int, int]
"""How many groups of rows, and how many of columns, the threads form."""


def choose_grid(N: int, n_weights: int) -> Grid:
    """Groups of rows need no barriers, but each reads all weights, and must have work to do for it."""
    threads = torch.get_num_threads()
    if threads == 1 or n_weights * N < SMALL:
        return 1, 1
    if any(4 * n_weights <= cache and rows * threads <= N for cache, rows in ((CACHE_OF_A_CORE, 4), (CACHE_OF_ALL, 8))):
        return threads, 1
    return 1, threads


def allocate(n: int) -> Tensor:
    """Memory for ``n`` floats, of no particular values."""
    return arena.empty(n)


class Executor:
    """A program that the machine has read.

    Arguments:
        program: what to run.
        own: the arrays that it brings memory for, beside its own.
        kept: those of them that are needed after the call.
        given: the arrays that tensors (T, N, ...) are given for, and the widths of these.
    """

    def __init__(
        self, program: Program, own: list[Array], kept: set[Array], given: dict[Array, int], backwards: bool
    ) -> None:
        self.program, self.backwards = program, backwards
        all_own = [a for a in dict.fromkeys([*own, *program.arrays]) if a.kind in ("stack", "ring", "sum")]
        self.kept = [array for array in all_own if array in kept]
        temporary = [array for array in all_own if array not in kept]
        self.cleared = [array for array in temporary if array.kind == "sum" or (array.kind == "ring" and array in own)]
        """What begins from zero, as sums and gradients of states mostly do."""
        self.temporary = list(dict.fromkeys([*self.cleared, *temporary]))
        self.native = NativeProgram(program.code, len(program.buffers), len(program.weights))
        for number, ref in enumerate(program.buffers):
            if (
                ref.array.kind in ("stack", "ring", "sum")
                and self.native.width(number) + ref.column > ref.array.columns
            ):
                raise RuntimeError(f"the program reaches beyond an array: {ref}, {self.native.width(number)} columns")
        used = {ref.array for ref in program.buffers}
        self.given = [(array, array.columns if array in used else width) for array, width in given.items()]
        """With the floats from row to row: the machine reads whole vectors, PyTorch what is there."""
        self.widest = padded(max([self.native.width(i) for i in range(len(program.buffers))], default=1))
        self.numbers = {
            array: torch.full((self.widest,), array.detail[0], dtype=torch.float32)
            for array in used
            if array.kind == "number"
        }

    def kept_at(self, T: int, N: int) -> dict[Array, int]:
        """Where the arrays begin in what a run keeps."""
        starts, end = {}, 0
        for array in self.kept:
            starts[array] = end
            end += _size(array, T, N)
        return starts

    def kept_size(self, T: int, N: int) -> int:
        """How many floats a run keeps; T and N may be symbols."""
        return sum(_size(array, T, N) for array in self.kept)


class Layout:
    """A program for one T and N, one grid of threads, and parameters that lie in a certain way: all but the addresses.

    Arguments:
        executor: the program.
        constants: the parameters, and what is made of them.
        kept_at: where arrays lie in the kept memory.
    """

    def __init__(self, executor: Executor, T: int, N: int, constants: Constants, kept_at: Mapping[Array, int]) -> None:
        self.executor, self.T, self.N, self.constants = executor, T, N, constants
        self.grid = choose_grid(N, executor.native.workspace(1))
        self.threads = self.grid[0] * self.grid[1]
        self._places = {array: (KEPT, at, array.columns) for array, at in kept_at.items()}
        for i, (array, row) in enumerate(executor.given):
            self._places[array] = constants.n_sources + i, 0, row
        self.given_rows = [row for _, row in executor.given]
        self.n_sources = constants.n_sources + len(executor.given)
        """Of views in this layout; a call may have more."""
        end = cleared = 0
        for array in executor.temporary:
            self._places[array] = TEMPORARY, end, array.columns
            end += _size(array, T, N, self.threads)
            if array in executor.cleared:
                cleared = end
        self.cleared = matrix(TEMPORARY, 1, cleared) if cleared else None
        """What a call begins with zeros in."""
        self.kept_size, self.workspace_at = executor.kept_size(T, N), end
        self.temporary_size = end + padded(executor.native.workspace(self.grid[1])) + PADDING

    # ------------------------------------------------------------------ where things lie

    def place(self, ref: Ref) -> tuple[int, int, int]:
        """The source of a value, its offset there at step 0, and the floats from row to row."""
        source, offset, row = self._places[ref.array]
        return source, offset + ref.column, row

    def _matrix(self, ref: Ref, rows: int, width: int, first_row: int = 0) -> View:
        source, offset, row = self.place(ref)
        return View(source, (rows, width), (row, 1), offset + first_row * row)

    def view(self, ref: Ref, width: int) -> View:
        """A value at all steps, (T * N, width)."""
        return self._matrix(ref, self.T * self.N, width, ref.shift * self.N)

    def slot(self, array: Array, step: int, width: int) -> View:
        """A part of a state as it lies after ``step`` steps, (N, width)."""
        return self._matrix(Ref(array), self.N, width, (step & 1 if array.kind == "ring" else step) * self.N)

    def sum_view(self, ref: Ref, width: int) -> View:
        """What the loop sums, each thread by itself, (threads, width)."""
        return self._matrix(ref, self.threads, width)

    def is_cleared(self, view: View) -> bool:
        """Whether a call begins with zeros there."""
        return self.cleared is not None and view.source == TEMPORARY and view.offset < self.cleared.size[1]


def _size(array: Array, T: int, N: int, threads: int = 1) -> int:
    rows = threads if array.kind == "sum" else 2 * N if array.kind == "ring" else (T + array.more) * N
    return rows * array.columns + PADDING


def given_memory(x: Tensor, row: int) -> Tensor:
    """A tensor (T, N, ...) as the machine reads it: floats, ``row`` of them for each row."""
    T, N, *shape = x.shape
    if prod(shape) != row:
        x = torch.nn.functional.pad(x.reshape(T, N, -1), (0, row - prod(shape)))
    return x.to(torch.float32).contiguous() if x.dtype != torch.float32 else x.contiguous()

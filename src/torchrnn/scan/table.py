"""The native call: a program, its memory and its weights as one row of numbers."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from torchrnn.scan.constants import Values, flat_constant
from torchrnn.scan.layout import PADDING, Array
from torchrnn.scan.multiplications import Bias
from torchrnn.scan.native import Run, library
from torchrnn.scan.record import Value
from torchrnn.scan.tasks import Task
from torchrnn.scan.views import TEMPORARY, Memory

if TYPE_CHECKING:
    from torchrnn.scan.execute import Layout


ABSOLUTE, ITSELF = -1, -2
"""In place of a source: no address, and that of the table."""


class _Numbers:
    """A row of numbers, some of which are addresses: so many bytes behind where a source begins."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._sources: list[int] = []

    def write(self, *numbers: int) -> int:
        """Add plain numbers; returns where they begin."""
        start = len(self._numbers)
        self._numbers += numbers
        self._sources += [ABSOLUTE] * len(numbers)
        return start

    def point(self, source: int, floats: int) -> None:
        """Add an address."""
        self.point_at(self.write(0), source, 4 * floats)

    def point_at(self, place: int, source: int, bytes_behind: int) -> None:
        self._numbers[place], self._sources[place] = bytes_behind, source

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self._numbers, dtype=np.int64), np.asarray(self._sources, dtype=np.int64)


class Table:
    """What the machine is given: its buffers, its weights, its tasks and a `Run`, as one row of numbers.

    A call adds the addresses of its memory.

    Arguments:
        layout: where things lie.
        n_sources: of how many tensors, in ``layout`` and in the tasks.
        before: what to do before the loop.
        after: and after it.
    """

    def __init__(self, layout: Layout, n_sources: int, before: Sequence[Task], after: Sequence[Task]) -> None:
        executor = layout.executor
        self._run, self._widest = library().engine_run, executor.widest
        self._program = executor.native  # which has to live as long
        self._rows: list[tuple[Bias, int]] = []
        """Constants that have to be written out for the machine: sources after all others."""
        self._fixed: dict[Array, Tensor] = {}
        """Rows that are always the same."""
        self._table = _Numbers()
        starts = {
            "buffers": self._write_buffers(layout, n_sources),
            "weights": self._write_weights(layout),
            "before": self._write_tasks(before),
            "after": self._write_tasks(after),
        }
        run = Run(
            program=executor.native.handle,
            steps=layout.T,
            rows=layout.N,
            backwards=executor.backwards,
            row_groups=layout.grid[0],
            column_groups=layout.grid[1],
            threads=torch.get_num_threads(),
            n_before=len(before),
            n_after=len(after),
        )
        run_at = self._table.write(*np.frombuffer(bytes(run), dtype=np.int64).tolist())
        fields = {name: run_at + i for i, (name, *_) in enumerate(Run._fields_)}
        self._table.point_at(fields["workspace"], TEMPORARY, 4 * layout.workspace_at)
        for name, start in starts.items():
            self._table.point_at(fields[name], ITSELF, 8 * start)
        numbers, sources = self._table.arrays()
        self._held = numbers, sources  # which `_arguments` are the addresses of
        self._arguments = numbers.ctypes.data, sources.ctypes.data, len(numbers), run_at
        self._n_sources = n_sources + len(self._rows)
        self._addresses = ctypes.c_int64 * self._n_sources

    def _write_buffers(self, layout: Layout, n_sources: int) -> int:
        executor, constants, table = layout.executor, layout.constants, self._table
        program, start = executor.program, table.write()
        rows: dict[Array, tuple[int, int]] = {}
        for array in dict.fromkeys(ref.array for ref in program.buffers):
            if array.kind == "number":
                self._fixed[array] = executor.numbers[array]
            if array.kind != "constant":
                continue
            (value, shape, first), width = array.detail
            view = constants.row(value, shape, first, width)
            if value in constants.fixed:
                self._fixed[array] = self._row(constants.fixed, *array.detail)
            elif view is not None and view.stride == (1,) and width > 1 and width % PADDING == 0:
                rows[array] = view.source, view.offset
            else:
                rows[array] = n_sources + len(self._rows), 0
                self._rows.append(array.detail)
        for ref in program.buffers:
            if ref.array in self._fixed:
                table.write(self._fixed[ref.array].data_ptr(), 0, 0, 0, 0, 0)
            elif ref.array in rows:
                table.point(*rows[ref.array])
                table.write(0, 0, 0, 0, 0)
            else:
                source, offset, row = layout.place(ref)
                table.point(source, offset)
                if ref.array.kind == "sum":
                    table.write(0, 0, row, 0, 0)
                else:
                    table.write(layout.N * row, row, 0, ref.shift, int(ref.array.kind == "ring"))
        return start

    def _write_weights(self, layout: Layout) -> int:
        start = self._table.write()
        for value, first, column in layout.executor.program.weights:
            view = layout.constants.views[value]
            down, right = (*view.stride, 1)[:2]
            self._table.point(view.source, view.offset + first * down + column * right)
            self._table.write(down, right)
        return start

    def _write_tasks(self, tasks: Sequence[Task]) -> int:
        start = self._table.write()
        for task in tasks:
            self._table.write(task.kind, task.rows, task.columns, task.depth, task.adds)
            for view in (task.to, task.a, task.b):
                if view is None:
                    self._table.write(0, 0, 0)
                else:
                    self._table.point(view.source, view.offset)
                    self._table.write(*task.lies(view))
        return start

    def run(self, memory: Memory, values: Values) -> None:
        rows = [self._row(values, *row) for row in self._rows]
        assert len(memory.sources) + len(rows) == self._n_sources, "memory for every source"
        self._run(*self._arguments, self._addresses(*map(Tensor.data_ptr, memory.sources), *map(Tensor.data_ptr, rows)))

    def _row(self, values: Mapping[Value, Tensor], detail: Bias, width: int) -> Tensor:
        """A row of a constant, as long as the machine may read."""
        row = flat_constant(values, *detail, width)
        if width == 1:
            return row.expand(self._widest).contiguous()
        return torch.nn.functional.pad(row, (0, -width % PADDING)).contiguous()

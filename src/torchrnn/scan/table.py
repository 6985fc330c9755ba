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
from torchrnn.scan.native import Run
from torchrnn.scan.record import Value
from torchrnn.scan.tasks import Task
from torchrnn.scan.views import TEMPORARY, Memory

if TYPE_CHECKING:
    from torchrnn.scan.execute import Layout


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
        self._native, self._widest = executor.native, executor.widest
        program, constants = executor.program, layout.constants
        self._rows: list[tuple[Bias, int]] = []
        """Constants that have to be written out for the machine: sources after all others."""
        rows: dict[Array, tuple[int, int]] = {}
        self._fixed: dict[Array, Tensor] = {
            ref.array: executor.numbers[ref.array] for ref in program.buffers if ref.array.kind == "number"
        }
        for array in dict.fromkeys(ref.array for ref in program.buffers if ref.array.kind == "constant"):
            (value, shape, start), width = array.detail
            view = constants.row(value, shape, start, width)
            if value in constants.fixed:
                self._fixed[array] = self._row(constants.fixed, *array.detail)
            elif view is not None and view.stride == (1,) and width > 1 and width % PADDING == 0:
                rows[array] = view.source, view.offset
            else:
                rows[array] = n_sources + len(self._rows), 0
                self._rows.append(array.detail)

        nowhere = n_sources + len(self._rows)  # an address that is zero
        numbers: list[int] = []
        sources: list[int] = []

        def point(source: int, floats: int) -> None:
            numbers.append(4 * floats)
            sources.append(source)

        def plain(*others: int) -> None:
            numbers.extend(others)
            sources.extend([nowhere] * len(others))

        for ref in program.buffers:
            if ref.array in self._fixed:
                plain(self._fixed[ref.array].data_ptr(), 0, 0, 0, 0, 0)
            elif ref.array.kind == "constant":
                point(*rows[ref.array])
                plain(0, 0, 0, 0, 0)
            else:
                source, offset, row = layout.place(ref)
                point(source, offset)
                if ref.array.kind == "sum":
                    plain(0, 0, row, 0, 0)
                else:
                    plain(layout.N * row, row, 0, ref.shift, int(ref.array.kind == "ring"))
        weights_at = len(numbers)
        for value, first, column in program.weights:
            view = constants.views[value]
            down, right = (*view.stride, 1)[:2]
            point(view.source, view.offset + first * down + column * right)
            plain(down, right)
        starts = {"buffers": 0, "weights": weights_at}
        for name, tasks in {"before": before, "after": after}.items():
            starts[name] = len(numbers)
            for task in tasks:
                plain(task.kind, task.rows, task.columns, task.depth, task.adds)
                for view in (task.to, task.a, task.b):
                    if view is None:
                        plain(0, 0, 0)
                    else:
                        point(view.source, view.offset)
                        plain(*task.lies(view))
        self._run_at = len(numbers)
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
        plain(*np.frombuffer(bytes(run), dtype=np.int64).tolist())
        fields = {name: self._run_at + i for i, (name, *_) in enumerate(Run._fields_)}
        numbers[fields["workspace"]], sources[fields["workspace"]] = 4 * layout.workspace_at, TEMPORARY
        for name, start in starts.items():  # in the row of numbers itself: the first of a call's addresses
            numbers[fields[name]], sources[fields[name]] = 8 * start, nowhere + 1
        self._numbers, self._sources = np.asarray(numbers, dtype=np.int64), np.asarray(sources)

    def run(self, memory: Memory, values: Values) -> None:
        rows = [self._row(values, *row) for row in self._rows]
        numbers = np.empty_like(self._numbers)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(numbers.data))
        addresses = np.array([*memory.addresses(), *map(Tensor.data_ptr, rows), 0, begin], dtype=np.int64)
        np.add(self._numbers, addresses.take(self._sources), out=numbers)
        self._native.run(begin + 8 * self._run_at)

    def _row(self, values: Mapping[Value, Tensor], detail: Bias, width: int) -> Tensor:
        """A row of a constant, as long as the machine may read."""
        row = flat_constant(values, *detail, width)
        if width == 1:
            return row.expand(self._widest).contiguous()
        return torch.nn.functional.pad(row, (0, -width % PADDING)).contiguous()

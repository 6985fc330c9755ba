"""The native call: a program, its memory and its weights as one row of numbers."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from torchrnn.scan.constants import Values, flat_constant
from torchrnn.scan.layout import PADDING, Array
from torchrnn.scan.multiplications import Bias
from torchrnn.scan.native import Run
from torchrnn.scan.record import Value
from torchrnn.scan.views import TEMPORARY, Memory

if TYPE_CHECKING:
    from torchrnn.scan.execute import Executor, Layout


class Table:
    """What the machine is given for a layout, as one row of numbers: its buffers, its weights and a `Run`.

    A call adds the addresses of its memory.
    """

    def __init__(self, executor: Executor, layout: Layout, workspace_at: int) -> None:
        self._native, self._widest = executor.native, executor.widest
        program, constants = executor.program, layout.constants
        first_row = constants.n_sources + len(executor.given)
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
                rows[array] = first_row + len(self._rows), 0
                self._rows.append(array.detail)

        nowhere = first_row + len(self._rows)  # the last of the addresses, which is zero
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
        self._weights_at = len(numbers)
        for value, first, column in program.weights:
            view = constants.views[value]
            down, right = (*view.stride, 1)[:2]
            point(view.source, view.offset + first * down + column * right)
            plain(down, right)
        self._run_at = len(numbers)
        run = Run(
            program=executor.native.handle,
            steps=layout.T,
            rows=layout.N,
            backwards=executor.backwards,
            row_groups=layout.grid[0],
            column_groups=layout.grid[1],
        )
        plain(*np.frombuffer(bytes(run), dtype=np.int64).tolist())
        fields = [name for name, *_ in Run._fields_]
        workspace = self._run_at + fields.index("workspace")
        numbers[workspace], sources[workspace] = 4 * workspace_at, TEMPORARY
        self._buffers_field, self._weights_field = (self._run_at + fields.index(n) for n in ("buffers", "weights"))
        self._numbers, self._sources = np.asarray(numbers, dtype=np.int64), np.asarray(sources)

    def run(self, memory: Memory, values: Values) -> None:
        rows = [self._row(values, *row) for row in self._rows]
        addresses = np.array([*memory.addresses(), *map(Tensor.data_ptr, rows), 0], dtype=np.int64)
        numbers = self._numbers + addresses.take(self._sources)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(numbers.data))
        numbers[self._buffers_field] = begin
        numbers[self._weights_field] = begin + 8 * self._weights_at
        self._native.run(begin + 8 * self._run_at)

    def _row(self, values: Mapping[Value, Tensor], detail: Bias, width: int) -> Tensor:
        """A row of a constant, as long as the machine may read."""
        row = flat_constant(values, *detail, width)
        if width == 1:
            return row.expand(self._widest).contiguous()
        return torch.nn.functional.pad(row, (0, -width % PADDING)).contiguous()

"""Steps that come one by one: a plan with memory of its own, in which the weights are packed once."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from torchrnn.scan.constants import flat_constant
from torchrnn.scan.execute import SMALL
from torchrnn.scan.layout import PADDING, Array, Ref, padded
from torchrnn.scan.native import Run, library
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.pieces import Piece
from torchrnn.scan.plan import Plan
from torchrnn.scan.record import Value


@cache
def engine() -> ctypes.CDLL:
    """The machine, with what csrc/stepper.h adds to it."""
    machine, pointer, number = library(), ctypes.c_void_p, ctypes.c_int64
    for name, result, arguments in (
        ("engine_stepper", pointer, [pointer]),
        ("engine_stepper_free", None, [pointer]),
        ("engine_step", None, [pointer, number]),
        ("engine_sample", number, [pointer, pointer, number, number, number, pointer, pointer]),
    ):
        function = getattr(machine, name)
        function.restype, function.argtypes = result, arguments
    return machine


def allocate(n: int) -> Tensor:
    """Memory for ``n`` floats: cleared, since what lies in the padding takes part and must not be slow numbers."""
    return torch.zeros(n, dtype=torch.float32)


class Stepping:
    """A stream of steps over N rows.

    States lie in rings of two slots, all other values of a step at the same place at every step.

    Arguments:
        plan: how a step is run, planned ``by_step``.
        N: the number of rows.
        tensors: the parameters and buffers; what is done to them later is not seen.
        states: what the first step begins from.
    """

    def __init__(self, plan: Plan, N: int, tensors: list[Tensor], states: Sequence[Tensor]) -> None:
        if plan.trace.draws or plan.trace.gathers:
            raise Unsupported("the step draws random numbers, or looks rows of a table up")
        self.plan, self.N, self.t = plan, N, 0
        """``t`` counts the steps: its lowest bit says in which slots the states lie."""
        program, native = plan.forward_pass.program, plan.forward_pass.executor.native
        self._rings = {array for row in plan.s_arrays for array in row}
        with torch.no_grad():
            self._values = plan.values(tensors)
            widest = padded(max(native.width(i) for i in range(len(program.buffers))))
            arrays = dict.fromkeys([*self._rings, *plan.x_arrays, *(ref.array for ref in program.buffers)])
            self._memory = {array: self._new_memory(array, widest) for array in arrays}
            self._inputs = [
                self._view(Ref(array), sum(piece.width for piece in row), 0)
                for array, row in zip(plan.x_arrays, plan.x_rows, strict=True)
            ]
            self._outputs = [[[self._value(p, t) for p in row] for row in plan.outputs] for t in (0, 1)]
        self.put_states(states)

        threads = torch.get_num_threads()
        is_shared = 4 * threads <= N and native.workspace(1) * N >= SMALL
        self._buffers = np.asarray([self._buffer(ref) for ref in program.buffers], dtype=np.int64)
        self._weights = np.asarray([self._weight(*weight) for weight in program.weights], dtype=np.int64)
        self._workspace = torch.empty(native.workspace(1) + PADDING, dtype=torch.float32)
        run = Run(
            program=native.handle,
            buffers=self._buffers.ctypes.data,
            weights=self._weights.ctypes.data,
            steps=1,
            rows=N,
            row_groups=threads if is_shared else 1,
            column_groups=1,
            workspace=self._workspace.data_ptr(),
        )
        self.engine = engine()
        self.handle = self.engine.engine_stepper(ctypes.byref(run))
        if not self.handle:
            raise MemoryError("there is no memory to step in")

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.engine.engine_stepper_free(self.handle)

    # ------------------------------------------------------------------ memory

    def _new_memory(self, array: Array, widest: int) -> Tensor:
        if array.kind == "number":
            return torch.full((widest,), array.detail[0], dtype=torch.float32)
        if array.kind == "constant":
            (value, shape, start), width = array.detail
            row = torch.zeros(widest, dtype=torch.float32)
            row[: widest if width == 1 else width] = flat_constant(self._values, value, shape, start, width)
            return row
        slots = 2 if array in self._rings else 1
        return allocate(slots * self.N * array.columns + PADDING)

    def _slot(self, ref: Ref, t: int) -> int:
        return (t + ref.shift) & 1 if ref.array in self._rings else 0

    def _view(self, ref: Ref, width: int, t: int) -> Tensor:
        """Where a value of the step ``t`` lies, (N, width)."""
        columns = ref.array.columns
        offset = self._slot(ref, t) * self.N * columns + ref.column
        return self._memory[ref.array].as_strided((self.N, width), (columns, 1), offset)

    def _value(self, piece: Piece, t: int) -> Tensor:
        refs = self.plan.forward_pass.refs
        if piece in refs:
            return self._view(refs[piece], piece.width, t)
        if piece.op == "number":
            return torch.full((self.N, piece.width), piece.detail, dtype=torch.float32)
        assert piece.op == "constant", "an output of a step is computed in it"
        value, shape, start = piece.detail
        return flat_constant(self._values, value, shape, start, piece.width).expand(self.N, piece.width)

    def _buffer(self, ref: Ref) -> tuple[int, ...]:
        """A row of the machine's table: address, strides of time, rows and groups, shift, and whether it is a ring."""
        address = self._memory[ref.array].data_ptr() + 4 * ref.column
        if ref.array.kind in ("number", "constant"):
            return address, 0, 0, 0, 0, 0
        columns, is_ring = ref.array.columns, ref.array in self._rings
        return address, self.N * columns if is_ring else 0, columns, 0, ref.shift, is_ring

    def _weight(self, value: Value, row: int, column: int) -> tuple[int, int, int]:
        weight = self._values[value]
        rows, columns = (*weight.stride(), 1)[:2]
        return weight.data_ptr() + 4 * (row * rows + column * columns), rows, columns

    # ------------------------------------------------------------------ states, inputs and outputs

    def _state_views(self) -> list[list[Tensor]]:
        rows, arrays = self.plan.s_rows, self.plan.s_arrays
        return [
            [self._view(Ref(array), piece.width, self.t) for piece, array in zip(row, own, strict=True)]
            for row, own in zip(rows, arrays, strict=True)
        ]

    @torch.no_grad()
    def put_states(self, states: Sequence[Tensor]) -> None:
        for views, state in zip(self._state_views(), states, strict=True):
            widths = [view.shape[1] for view in views]
            for view, part in zip(views, torch.split(state.reshape(self.N, -1), widths, 1), strict=True):
                view.copy_(part)

    def states(self) -> list[Tensor]:
        """The states after the last step, as copies."""
        shapes = self.plan.trace.state_shapes
        views = self._state_views()
        return [torch.cat(row, 1).view(self.N, *shape) for row, shape in zip(views, shapes, strict=True)]

    @torch.no_grad()
    def step(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """One step; its outputs are new tensors."""
        for to, x in zip(self._inputs, xs, strict=True):
            to.copy_(x.reshape(self.N, -1))
        self.engine.engine_step(self.handle, self.t)
        outputs, shapes = self._outputs[self.t & 1], self.plan.trace.output_shapes
        self.t += 1
        return [torch.cat(row, 1).view(self.N, *shape) for row, shape in zip(outputs, shapes, strict=True)]

    def only_input(self) -> Tensor:
        """Where the one input of a step lies, (N, width)."""
        if len(self._inputs) != 1:
            raise Unsupported("the step has several inputs")
        return self._inputs[0]

    def only_output(self) -> Tensor:
        """Where the one output of every step lies, (N, width)."""
        even, odd = self._outputs
        if len(even) != 1 or len(even[0]) != 1 or even[0][0].data_ptr() != odd[0][0].data_ptr():
            raise Unsupported("the output of the step does not lie in one place")
        return even[0][0]

"""Translation: the recorded operators of a step, sorted into rows, sums over the batch, and what parameters make.

What an operator is follows from where its operands come from, not from its shape. From inputs, states and their
gradients come rows. From parameters alone come *constants*, the same at every step: they are left to PyTorch, once per
sequence. A sum over the batch is an accumulator; what autograd does with it after that, *tails*, is linear in it, so
that PyTorch does it once, with the sum over all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch

from torchrnn.scan.gathers import Gather
from torchrnn.scan.operations import Unsupported, aten
from torchrnn.scan.record import Call, Value
from torchrnn.scan.rows import Accumulator, Row, RowGraph, Shape, Transposed
from torchrnn.scan.translate_pointwise import POINTWISE
from torchrnn.scan.translate_products import PRODUCTS
from torchrnn.scan.translate_views import VIEWS

ALLOWED_DTYPES = (torch.float32, torch.bool)


class Translation:
    """The rows of one step, and the calls that stay with PyTorch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        """The number of rows while recording, which is no other dimension."""
        self.graph = RowGraph()
        self.rows: dict[Value, Row | Transposed] = {}
        self.accumulators: dict[Value, Accumulator] = {}
        self.constants: list[Call] = []
        self.tails: list[Call] = []
        self._tail_values: set[Value] = set()
        self.gathers: list[Gather] = []
        self.elsewhere: set[Value] = set()
        """Gradients of tables, which PyTorch adds to when it goes back through the look-ups."""
        self.n_inputs = 0

    def input(self, value: Value, group: str, index: int) -> None:
        self.rows[value] = self.graph.add("input", (), prod(value.shape[1:]), (group, index))
        self.n_inputs += group == "x"

    def translate(self, calls: list[Call], is_forward: bool) -> None:
        for call in calls:
            operands = list(call.operands())
            has_rows = any(value in self.rows for value in operands)
            if any(value in self.accumulators or value in self._tail_values for value in operands):
                if has_rows:
                    raise Unsupported(f"{call.op} mixes rows with sums over the batch")
                self.tails.append(call)
                self._tail_values.update(call.made())
            elif call.operator in CREATION and call.results.shape[:1] == (self.batch,):
                self._create(call)
            elif has_rows:
                self._rows(call)
                if is_forward and any(value in self.accumulators for value in call.made()):
                    raise Unsupported("the step sums over the batch")
            else:
                self.constants.append(call)

    def row_of(self, value: Value, what: str) -> Row:
        row = self.rows.get(value)
        if not isinstance(row, Row):
            raise Unsupported(f"{what} does not depend on the batch")
        return row

    # ------------------------------------------------------------------ one operator

    def _create(self, call: Call) -> None:
        number = CREATION[call.operator](call)
        self.rows[call.results] = self.graph.number(number, prod(call.results.shape[1:]))

    def _rows(self, call: Call) -> None:
        handler = HANDLERS.get(call.operator)
        if handler is None:
            raise Unsupported(f"{call.op} is not in the instruction set")
        handler(self, call)

    def set(self, call: Call, row: Row) -> None:
        value = call.results
        if value.dtype not in ALLOWED_DTYPES:
            raise Unsupported(f"{call.op} gives {value.dtype}")
        if value.shape[:1] != (self.batch,) or row.width not in (1, prod(value.shape[1:])):
            raise Unsupported(f"{call.op} gives a shape in which the batch does not come first")
        if row.width != prod(value.shape[1:]):
            row = self.graph.pointwise("copy", row, width=prod(value.shape[1:]))
        self.rows[value] = row

    def argument(self, argument: Any, shape: Shape) -> Row:
        """An operand of a pointwise operator with a result of ``shape``: as wide as the result, or 1 wide."""
        if isinstance(argument, bool | int | float):
            return self.graph.number(argument)
        row = self.rows.get(argument)
        if isinstance(row, Row):
            own = argument.shape
            if len(own) != len(shape):
                raise Unsupported("rows of unlike dimensions")
            return row if row.width == 1 else self.graph.expand(row, own[1:], shape[1:])
        if row is not None or argument in self.accumulators:
            raise Unsupported("an operation on a transposed row")
        own = (1,) * (len(shape) - len(argument.shape)) + argument.shape
        if own[0] != 1:
            raise Unsupported("a parameter with one row for each element of the batch")
        if prod(own) == 1:
            return self.graph.add("constant", (), 1, (argument, (1,)))
        return self.graph.add("constant", (), prod(shape[1:]), (argument, shape[1:]))

    def features(self, value: Value) -> Shape:
        return value.shape[1:]


Handler = Callable[[Translation, Call], None]

HANDLERS: dict[Any, Handler] = {**POINTWISE, **VIEWS, **PRODUCTS}

CREATION: dict[Any, Callable[[Call], float]] = {
    aten.empty: lambda call: 0.0,
    aten.empty_like: lambda call: 0.0,
    aten.new_empty: lambda call: 0.0,
    aten.zeros: lambda call: 0.0,
    aten.ones: lambda call: 1.0,
    aten.zeros_like: lambda call: 0.0,
    aten.ones_like: lambda call: 1.0,
    aten.new_zeros: lambda call: 0.0,
    aten.new_ones: lambda call: 1.0,
    aten.full: lambda call: float(call.args[1]),
    aten.full_like: lambda call: float(call.args[1]),
    aten.fill: lambda call: float(call.args[1]),
    aten.new_full: lambda call: float(call.args[2]),
}
"""Operators that make rows of one number."""

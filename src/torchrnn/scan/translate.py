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

from torchrnn.scan.gathers import Gather, gather_of
from torchrnn.scan.operations import BINARY, LOGIC, UNARY, UNCHANGED, Unsupported, aten
from torchrnn.scan.record import Call, Value
from torchrnn.scan.rows import Accumulator, Row, RowGraph, Shape, Transposed

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
                self._tail_values.update(_values(call.results))
            elif call.operator in CREATION and call.results.shape[:1] == (self.batch,):
                self._create(call)
            elif has_rows:
                self._rows(call)
                if is_forward and any(value in self.accumulators for value in _values(call.results)):
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


def _values(results: Any) -> list[Value]:
    return [results] if isinstance(results, Value) else [r for r in results or () if isinstance(r, Value)]


def _axis(value: Value, dim: int) -> int:
    """A dimension, counted among the features; -1 is the batch."""
    return dim % len(value.shape) - 1


# ---------------------------------------------------------------------- pointwise operators

Handler = Callable[[Translation, Call], None]


def _pointwise(name: str) -> Handler:
    def handle(t: Translation, call: Call) -> None:
        if (call.kwargs and call.operator is not aten.clone) or len(call.args) > 3:
            raise Unsupported(f"{call.op} with the options {sorted(call.kwargs)}")
        shape = call.results.shape
        t.set(call, t.graph.pointwise(name, *[t.argument(arg, shape) for arg in call.args]))

    return handle


def _sum_of_two(name: str) -> Handler:
    def handle(t: Translation, call: Call) -> None:
        a, b = (t.argument(arg, call.results.shape) for arg in call.args)
        if call.results.dtype == torch.bool:  # of masks, "or"
            t.set(call, t.graph.pointwise("maximum", a, b))
            return
        alpha = call.kwargs.get("alpha", 1)
        t.set(call, t.graph.pointwise(name, a, b if alpha == 1 else t.graph.pointwise("mul", b, t.graph.number(alpha))))

    return handle


def _logic(name: str) -> Handler:
    def handle(t: Translation, call: Call) -> None:
        masks = [_mask(t, t.argument(arg, call.results.shape), arg.dtype) for arg in call.args]
        t.set(call, t.graph.pointwise(name, *masks))

    return handle


def _mask(t: Translation, row: Row, dtype: torch.dtype) -> Row:
    """A row of ``dtype`` as a mask of ones and zeros."""
    return row if dtype == torch.bool else t.graph.pointwise("ne", row, t.graph.number(0))


def _not(t: Translation, call: Call) -> None:
    t.set(call, t.graph.pointwise("eq", t.row_of(call.args[0], "an operand"), t.graph.number(0)))


def _unchanged(t: Translation, call: Call) -> None:
    row = t.rows[call.args[0]]
    if isinstance(row, Transposed):
        t.rows[call.results] = row
    else:
        t.set(call, _mask(t, row, call.args[0].dtype) if call.results.dtype == torch.bool else row)


def _pow(t: Translation, call: Call) -> None:
    g, shape = t.graph, call.results.shape
    base, exponent = (t.argument(arg, shape) for arg in call.args)
    known = {2: lambda: g.pointwise("mul", base, base), 1: lambda: base, 0.5: lambda: g.pointwise("sqrt", base)}
    known[-1] = lambda: g.pointwise("reciprocal", base)
    known[3] = lambda: g.pointwise("mul", g.pointwise("mul", base, base), base)
    simple = known.get(call.args[1]) if isinstance(call.args[1], int | float) else None
    t.set(call, simple() if simple else g.pointwise("pow", base, exponent))


def _clamp(t: Translation, call: Call) -> None:
    bounds = dict(zip(("min", "max"), call.args[1:], strict=False)) | call.kwargs
    if call.operator is aten.clamp_max:
        bounds = {"max": call.args[1]}
    row = t.row_of(call.args[0], "an operand")
    for name, operation in (("min", "maximum"), ("max", "minimum")):
        if bounds.get(name) is not None:
            row = t.graph.pointwise(operation, row, t.argument(bounds[name], call.results.shape))
    t.set(call, row)


def _masked_fill(t: Translation, call: Call) -> None:
    x, mask, number = (t.argument(arg, call.results.shape) for arg in call.args)
    t.set(call, t.graph.pointwise("where", mask, number, x))


# ---------------------------------------------------------------------- views


def _view(t: Translation, call: Call) -> None:
    t.set(call, t.row_of(call.args[0], "an operand"))


def _expand(t: Translation, call: Call) -> None:
    value = call.args[0]
    shape = (value.shape[0], *(1,) * (len(call.results.shape) - len(value.shape)), *value.shape[1:])
    if len(shape) != len(value.shape) or call.results.shape[0] != t.batch:
        raise Unsupported("expand in front of the batch")
    t.set(call, t.graph.expand(t.row_of(value, "an operand"), shape[1:], call.results.shape[1:]))


def _transpose(t: Translation, call: Call) -> None:
    value = call.args[0]
    row = t.rows[value]
    if isinstance(row, Transposed):
        t.rows[call.results] = row.row
        return
    order = list(range(len(value.shape)))
    if call.operator is aten.permute:
        order = [dim % len(order) for dim in call.args[1]]
    elif call.operator is aten.transpose:
        i, j = (dim % len(order) for dim in call.args[1:])
        order[i], order[j] = order[j], order[i]
    elif len(order) == 2:
        order = [1, 0]
    if order == list(range(len(order))):
        t.rows[call.results] = row
    elif order == [1, 0]:
        t.rows[call.results] = Transposed(row)
    else:
        raise Unsupported("a permutation of features")


def _slice(t: Translation, call: Call) -> None:
    defaults: tuple[Any, ...] = (0, None, None, 1)
    value, dim, start, stop, step = [*call.args, *defaults[len(call.args) - 1 :]]
    axis = _axis(value, dim)
    if step != 1 or (axis < 0 and call.results.shape != value.shape):
        raise Unsupported("a slice with steps, or of the batch")
    row = t.row_of(value, "an operand")
    if axis >= 0:
        start = slice(start, stop).indices(value.shape[dim])[0]
        row = t.graph.narrow(row, value.shape[1:], axis, start, call.results.shape[dim])
    t.set(call, row)


def _select(t: Translation, call: Call) -> None:
    value, dim, index = call.args
    axis = _axis(value, dim)
    if axis < 0:
        raise Unsupported("one element of the batch is selected")
    t.set(call, t.graph.narrow(t.row_of(value, "an operand"), value.shape[1:], axis, index % value.shape[dim], 1))


def _split(t: Translation, call: Call) -> None:
    value = call.args[0]
    dim = call.args[-1] if call.operator is aten.unbind and len(call.args) > 1 else 0
    if call.operator is not aten.unbind and len(call.args) > 2:
        dim = call.args[2]
    axis = _axis(value, dim)
    if axis < 0:
        raise Unsupported("a split of the batch")
    start = 0
    for result in call.results:
        length = 1 if call.operator is aten.unbind else result.shape[dim]
        row = t.graph.narrow(t.row_of(value, "an operand"), value.shape[1:], axis, start, length)
        t.set(Call(call.op, (), {}, result), row)
        start += length


def _cat(t: Translation, call: Call) -> None:
    parts, dim = call.args[0], call.args[1] if len(call.args) > 1 else 0
    axis = _axis(call.results, dim)
    if axis < 0:
        raise Unsupported("a concatenation along the batch")
    rows = [(t.row_of(part, "a part of a concatenation"), part.shape[1:]) for part in parts]
    t.set(call, t.graph.join([(row, shape) for row, shape in rows if row.width], axis))


def _slice_scatter(t: Translation, call: Call) -> None:
    defaults: tuple[Any, ...] = (0, None, None, 1)
    into, part, dim, start, _, step = [*call.args, *defaults[len(call.args) - 2 :]]
    axis = _axis(into, dim)
    if axis < 0 and into.shape == part.shape:
        t.set(call, t.row_of(part, "an operand"))
        return
    if step != 1 or axis < 0:
        raise Unsupported("a slice with steps, or of the batch")
    _scatter(t, call, axis, slice(start, None).indices(into.shape[dim])[0], part.shape[1:])


def _select_scatter(t: Translation, call: Call) -> None:
    into, part, dim, index = call.args
    axis = _axis(into, dim)
    if axis < 0:
        raise Unsupported("one element of the batch is selected")
    shape = list(part.shape[1:])
    shape.insert(axis, 1)
    _scatter(t, call, axis, index % into.shape[dim], shape)


def _scatter(t: Translation, call: Call, axis: int, start: int, part_shape: Shape) -> None:
    """``into`` with a part of it replaced."""
    into, shape = call.args[0], call.args[0].shape[1:]
    row, g, n = t.row_of(into, "an operand"), t.graph, shape[axis]
    stop = start + part_shape[axis]
    parts = [(t.row_of(call.args[1], "an operand"), part_shape)]
    if start > 0:
        parts.insert(0, (g.narrow(row, shape, axis, 0, start), (*shape[:axis], start, *shape[axis + 1 :])))
    if stop < n:
        parts.append((g.narrow(row, shape, axis, stop, n - stop), (*shape[:axis], n - stop, *shape[axis + 1 :])))
    t.set(call, g.join(parts, axis))


# ---------------------------------------------------------------------- products and reductions


def _product(t: Translation, call: Call) -> None:
    *bias, left, right = call.args
    if call.kwargs:
        raise Unsupported(f"{call.op} with the options {sorted(call.kwargs)}")
    a, b = t.rows.get(left), t.rows.get(right)
    if isinstance(a, Transposed) and isinstance(b, Row) and not bias:
        t.accumulators[call.results] = Accumulator("outer", a.row, b, call.results.shape)
        return
    if not isinstance(a, Row) or b is not None:
        raise Unsupported("a product of rows with rows")
    row = t.graph.add("linear", (a,), call.results.shape[1], right)
    for term in bias:
        row = t.graph.pointwise("add", row, t.argument(term, call.results.shape))
    t.set(call, row)


def _embedding(t: Translation, call: Call) -> None:
    t.gathers.append(gather_of(call, t.rows))
    t.input(call.results, "x", t.n_inputs)


def _embedding_backward(t: Translation, call: Call) -> None:
    grad, ids = call.args[:2]
    found = [g for g in t.gathers if g.call.args[1] is ids and g.table.shape == call.results.shape and g.grad is None]
    if len(found) != 1:
        raise Unsupported("several embeddings of one size and the same ids")
    found[0].grad = t.row_of(grad, "the gradient of an embedding")
    t.constants.append(Call(aten.zeros.default, (list(call.results.shape),), {}, call.results))
    t.elsewhere.add(call.results)


def _reduction(kind: str) -> Handler:
    def handle(t: Translation, call: Call) -> None:
        value = call.args[0]
        row, shape = t.row_of(value, "the operand of a reduction"), list(value.shape[1:])
        dims = call.args[1] if len(call.args) > 1 else None
        dims = [dims] if isinstance(dims, int) else dims or list(range(len(value.shape)))
        axes = sorted(_axis(value, dim) for dim in dims)
        count = prod(value.shape[axis + 1] for axis in axes)
        for axis in axes:
            if axis >= 0:
                row = t.graph.reduce("max" if kind == "max" else "sum", row, shape, axis)
                shape[axis] = 1
        if axes[0] < 0:
            if kind != "sum":
                raise Unsupported(f"the step takes a {kind} over the batch")
            t.accumulators[call.results] = Accumulator("sum", row, None, call.results.shape)
            return
        t.set(call, t.graph.pointwise("mul", row, t.graph.number(1 / count)) if kind == "mean" else row)

    return handle


HANDLERS: dict[Any, Handler] = {
    **{op: _pointwise(name) for op, name in UNARY.items()},
    **{op: _pointwise(name) for op, name in BINARY.items()},
    **dict.fromkeys(UNCHANGED, _unchanged),
    **{op: _logic(name) for op, name in LOGIC.items()},
    aten.embedding: _embedding,
    aten.embedding_dense_backward: _embedding_backward,
    aten.add: _sum_of_two("add"),
    aten.sub: _sum_of_two("sub"),
    aten.where: _pointwise("where"),
    aten.logical_not: _not,
    aten.bitwise_not: _not,
    aten.pow: _pow,
    aten.clamp: _clamp,
    aten.clamp_min: _clamp,
    aten.clamp_max: _clamp,
    aten.masked_fill: _masked_fill,
    **dict.fromkeys([aten.view, aten._unsafe_view, aten.reshape, aten.unsqueeze, aten.squeeze], _view),
    aten.expand: _expand,
    **dict.fromkeys([aten.t, aten.transpose, aten.permute], _transpose),
    aten.slice: _slice,
    aten.select: _select,
    **dict.fromkeys([aten.split, aten.split_with_sizes, aten.unbind], _split),
    aten.cat: _cat,
    aten.slice_scatter: _slice_scatter,
    aten.select_scatter: _select_scatter,
    aten.mm: _product,
    aten.addmm: _product,
    aten.sum: _reduction("sum"),
    aten.mean: _reduction("mean"),
    aten.amax: _reduction("max"),
}

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

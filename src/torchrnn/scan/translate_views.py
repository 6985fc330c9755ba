"""Translation of views: slices, concatenations and other ways to lay the same numbers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchrnn.scan.operations import Unsupported, aten
from torchrnn.scan.record import Call, Value
from torchrnn.scan.rows import Shape, Transposed

if TYPE_CHECKING:
    from torchrnn.scan.translate import Handler, Translation


def axis_of(value: Value, dim: int) -> int:
    """A dimension, counted among the features; -1 is the batch."""
    return dim % len(value.shape) - 1


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
    axis = axis_of(value, dim)
    if step != 1 or (axis < 0 and call.results.shape != value.shape):
        raise Unsupported("a slice with steps, or of the batch")
    row = t.row_of(value, "an operand")
    if axis >= 0:
        start = slice(start, stop).indices(value.shape[dim])[0]
        row = t.graph.narrow(row, value.shape[1:], axis, start, call.results.shape[dim])
    t.set(call, row)


def _select(t: Translation, call: Call) -> None:
    value, dim, index = call.args
    axis = axis_of(value, dim)
    if axis < 0:
        raise Unsupported("one element of the batch is selected")
    t.set(call, t.graph.narrow(t.row_of(value, "an operand"), value.shape[1:], axis, index % value.shape[dim], 1))


def _split(t: Translation, call: Call) -> None:
    value = call.args[0]
    dim = call.args[-1] if call.operator is aten.unbind and len(call.args) > 1 else 0
    if call.operator is not aten.unbind and len(call.args) > 2:
        dim = call.args[2]
    axis = axis_of(value, dim)
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
    axis = axis_of(call.results, dim)
    if axis < 0:
        raise Unsupported("a concatenation along the batch")
    rows = [(t.row_of(part, "a part of a concatenation"), part.shape[1:]) for part in parts]
    t.set(call, t.graph.join([(row, shape) for row, shape in rows if row.width], axis))


def _slice_scatter(t: Translation, call: Call) -> None:
    defaults: tuple[Any, ...] = (0, None, None, 1)
    into, part, dim, start, _, step = [*call.args, *defaults[len(call.args) - 2 :]]
    axis = axis_of(into, dim)
    if axis < 0 and into.shape == part.shape:
        t.set(call, t.row_of(part, "an operand"))
        return
    if step != 1 or axis < 0:
        raise Unsupported("a slice with steps, or of the batch")
    _scatter(t, call, axis, slice(start, None).indices(into.shape[dim])[0], part.shape[1:])


def _select_scatter(t: Translation, call: Call) -> None:
    into, part, dim, index = call.args
    axis = axis_of(into, dim)
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


VIEWS: dict[Any, Handler] = {
    **dict.fromkeys([aten.view, aten._unsafe_view, aten.reshape, aten.unsqueeze, aten.squeeze], _view),
    aten.expand: _expand,
    **dict.fromkeys([aten.t, aten.transpose, aten.permute], _transpose),
    aten.slice: _slice,
    aten.select: _select,
    **dict.fromkeys([aten.split, aten.split_with_sizes, aten.unbind], _split),
    aten.cat: _cat,
    aten.slice_scatter: _slice_scatter,
    aten.select_scatter: _select_scatter,
}

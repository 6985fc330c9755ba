"""Translation of products, look-ups and reductions: what mixes features, or sums over the batch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from torchrnn.scan.gathers import gather_of
from torchrnn.scan.operations import Unsupported, aten
from torchrnn.scan.record import Call
from torchrnn.scan.rows import Accumulator, Row, Transposed
from torchrnn.scan.translate_views import axis_of

if TYPE_CHECKING:
    from torchrnn.scan.translate import Handler, Translation


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
        axes = sorted(axis_of(value, dim) for dim in dims)
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


PRODUCTS: dict[Any, Handler] = {
    aten.mm: _product,
    aten.addmm: _product,
    aten.embedding: _embedding,
    aten.embedding_dense_backward: _embedding_backward,
    aten.sum: _reduction("sum"),
    aten.mean: _reduction("mean"),
    aten.amax: _reduction("max"),
}

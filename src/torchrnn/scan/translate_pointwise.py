"""Translation of pointwise operators, logic included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from torchrnn.scan.operations import BINARY, LOGIC, UNARY, UNCHANGED, Unsupported, aten
from torchrnn.scan.record import Call
from torchrnn.scan.rows import Row, Transposed

if TYPE_CHECKING:
    from torchrnn.scan.translate import Handler, Translation


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


POINTWISE: dict[Any, Handler] = {
    **{op: _pointwise(name) for op, name in UNARY.items()},
    **{op: _pointwise(name) for op, name in BINARY.items()},
    **dict.fromkeys(UNCHANGED, _unchanged),
    **{op: _logic(name) for op, name in LOGIC.items()},
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
}

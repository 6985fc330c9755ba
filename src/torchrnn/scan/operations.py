"""The instruction set: the pointwise operations of the machine, and the PyTorch operators that mean them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

aten = torch.ops.aten


class Unsupported(Exception):
    """What the engine cannot run, and why; the reference does."""


@dataclass(frozen=True)
class Operation:
    """A pointwise operation, as PyTorch computes it on whole sequences."""

    compute: Callable[..., Tensor]
    costly: bool = False
    """Whether keeping the result for backward is better than computing it again."""


def _comparison(compare: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return Operation(lambda a, b: compare(a, b).float())


OPERATIONS: dict[str, Operation] = {
    "copy": Operation(lambda a: a),
    "add": Operation(torch.add),
    "sub": Operation(torch.sub),
    "mul": Operation(torch.mul),
    "div": Operation(torch.div, costly=True),
    "neg": Operation(torch.neg),
    "abs": Operation(torch.abs),
    "sign": Operation(torch.sign),
    "minimum": Operation(torch.minimum),
    "maximum": Operation(torch.maximum),
    "gt": _comparison(torch.gt),
    "ge": _comparison(torch.ge),
    "lt": _comparison(torch.lt),
    "le": _comparison(torch.le),
    "eq": _comparison(torch.eq),
    "ne": _comparison(torch.ne),
    "where": Operation(lambda condition, a, b: torch.where(condition != 0, a, b)),
    "sigmoid": Operation(torch.sigmoid, costly=True),
    "tanh": Operation(torch.tanh, costly=True),
    "relu": Operation(torch.relu),
    "exp": Operation(torch.exp, costly=True),
    "sqrt": Operation(torch.sqrt, costly=True),
    "rsqrt": Operation(torch.rsqrt, costly=True),
    "reciprocal": Operation(torch.reciprocal, costly=True),
    "log": Operation(torch.log, costly=True),
    "log1p": Operation(torch.log1p, costly=True),
    "expm1": Operation(torch.expm1, costly=True),
    "sin": Operation(torch.sin, costly=True),
    "cos": Operation(torch.cos, costly=True),
    "erf": Operation(torch.erf, costly=True),
    "pow": Operation(torch.pow, costly=True),
}
"""What a step may be made of. Fused operations, which only the planner writes, are in `fuse`."""

UNARY = {
    aten.neg: "neg",
    aten.abs: "abs",
    aten.sign: "sign",
    aten.sgn: "sign",
    aten.sigmoid: "sigmoid",
    aten.tanh: "tanh",
    aten.relu: "relu",
    aten.exp: "exp",
    aten.sqrt: "sqrt",
    aten.rsqrt: "rsqrt",
    aten.reciprocal: "reciprocal",
    aten.log: "log",
    aten.log1p: "log1p",
    aten.expm1: "expm1",
    aten.sin: "sin",
    aten.cos: "cos",
    aten.erf: "erf",
}

BINARY = {
    aten.mul: "mul",
    aten.div: "div",
    aten.maximum: "maximum",
    aten.minimum: "minimum",
    aten.gt: "gt",
    aten.ge: "ge",
    aten.lt: "lt",
    aten.le: "le",
    aten.eq: "eq",
    aten.ne: "ne",
    aten.bitwise_and: "mul",
    aten.bitwise_or: "maximum",
}
"""Logic on masks, which are 1 and 0 here, is arithmetic."""

LOGIC = {aten.logical_and: "mul", aten.logical_or: "maximum"}
"""The same, of what may be no mask yet."""

UNCHANGED = {aten.clone, aten.detach, aten.alias, aten._to_copy, aten.lift_fresh, aten.lift_fresh_copy, aten.contiguous}
"""Operators whose result has the values of their argument."""

"""Random numbers of a step, such as dropout masks: drawn before the loop, for each step as the step would draw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.lasting import Lasting, LastingDraw
from torchrnn.scan.operations import Unsupported, aten

FILLING: dict[Any, Callable[..., Any]] = {
    aten.bernoulli_.float: torch.Tensor.bernoulli_,
    aten.uniform_.default: torch.Tensor.uniform_,
    aten.normal_.default: torch.Tensor.normal_,
    aten.exponential_.default: torch.Tensor.exponential_,
    aten.rand_like.default: torch.Tensor.uniform_,
    aten.randn_like.default: torch.Tensor.normal_,
    aten.rand.default: torch.Tensor.uniform_,
    aten.randn.default: torch.Tensor.normal_,
}
"""Random operators whose numbers depend on no other values, and how they fill a tensor."""


class Draw:
    """One random operator of a step, ``result`` in the trace."""

    def __init__(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> None:
        if operator not in FILLING or kwargs.get("generator") is not None or kwargs.get("dtype") is not None:
            raise Unsupported(f"{operator} draws random numbers in a way that cannot be done before the loop")
        if result.dim() < 2 or result.dtype != torch.float32 or not result.is_contiguous():
            raise Unsupported("random numbers are drawn that are no float32 rows of the batch")
        self._fill, self._args = FILLING[operator], args[1:]
        self.shape = tuple(result.shape)

    def __call__(self, rows: Tensor) -> None:
        self._fill(rows, *self._args)


def check_order(tensors: Sequence[Tensor]) -> None:
    """Refuse rows (N, ...) that lie in memory in another order: random numbers like them are drawn in that order."""
    for tensor in tensors:
        strides = [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]
        if strides != sorted(strides, reverse=True):
            raise Unsupported("random numbers are drawn beside inputs or states that are transposed")


@torch.no_grad()
def draw(
    draws: Sequence[Draw | LastingDraw], parts: list[Any], T: int, N: int
) -> tuple[list[Tensor], list[tuple[Lasting, Tensor]]]:
    """The random numbers of T steps, (T, N, ...): the same, after the same seed, as the reference draws.

    Returns them, and the modules in ``parts`` of the cell whose numbers stay for a sequence, with these.
    """
    numbers: list[Tensor] = []
    lasting: list[tuple[Lasting, Tensor]] = []
    for each in draws:  # the first step, in its order
        if isinstance(each, LastingDraw):
            lasting.append(each.of(parts, N))
            numbers.append(lasting[-1][1].expand(T, N, *each.shape[1:]))
        else:
            numbers.append(torch.empty(T, N, *each.shape[1:], dtype=torch.float32))
            each(numbers[-1][0])
    for_each_step = [(each, rows) for each, rows in zip(draws, numbers, strict=True) if isinstance(each, Draw)]
    for t in range(1, T):
        for each, rows in for_each_step:
            each(rows[t])
    return numbers, lasting

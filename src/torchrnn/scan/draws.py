"""Random numbers of a step, such as dropout masks: drawn before the loop, for each step as the step would draw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

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


def draw(draws: Sequence[Draw], T: int, N: int) -> list[Tensor]:
    """The random numbers of T steps, (T, N, ...): the same, after the same seed, as the reference draws."""
    numbers = [torch.empty(T, N, *each.shape[1:], dtype=torch.float32) for each in draws]
    for t in range(T if draws else 0):
        for each, rows in zip(draws, numbers, strict=True):
            each(rows[t])
    return numbers

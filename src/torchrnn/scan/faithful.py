"""What operators alone do not show: where one step, run on a few rows of zeros, would not stand for all others."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torchrnn.scan.operations import Unsupported, aten
from torchrnn.scan.record import Call, Value

READING = {Tensor.numpy, Tensor.tolist, Tensor.__array__}
"""Methods that give the values of a tensor without an operator of PyTorch."""
WITH_BOUNDS = {aten.slice, aten.slice_backward, aten.slice_scatter}
"""Operators with numbers that may be the end of the batch; where they are others, there is no row."""


class _NoReading(TorchFunctionMode):
    """Refuses to give values to Python."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in READING:
            raise Unsupported("the step looks at the values of a tensor (data-dependent control flow)")
        return func(*args, **(kwargs or {}))


class Watch:
    """Around each run of a step that is traced: refuses what looks at values, notices random numbers of others."""

    def __init__(self) -> None:
        self._before = _states()
        self._drawn: list[bool] = []

    @contextmanager
    def run(self) -> Iterator[None]:
        before = _states()
        with _NoReading():
            yield
        self._drawn.append(not _same_state(before, _states()))

    def check(self) -> None:
        """Refuse random numbers that are not PyTorch's: every run drew some, so that it was no other thread."""
        if all(self._drawn):
            random.setstate(self._before[0])
            if self._before[1] is not None:
                np.random.set_state(self._before[1])  # noqa: NPY002 - as programs that seed it use it
            raise Unsupported("the step draws random numbers of Python or NumPy")


def _states() -> tuple[Any, dict[str, Any] | None]:
    """Of both generators; that of NumPy is loaded when it is first used."""
    legacy: Any = np.random.get_state(legacy=False) if "numpy.random" in sys.modules else None  # noqa: NPY002
    return random.getstate(), legacy


def _same_state(a: tuple[Any, Any], b: tuple[Any, Any]) -> bool:
    if a[0] != b[0] or (a[1] is None) != (b[1] is None):
        return False
    return a[1] is None or all(np.array_equal(a[1]["state"][name], b[1]["state"][name]) for name in a[1]["state"])


def check_leaves(results: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Refuse parameters that a step reaches past the copy that is traced: their gradients would be lost."""
    known = {id(source) for source in sources}
    waiting = [result.grad_fn for result in results if result.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if id(getattr(node, "variable", node)) not in known and hasattr(node, "variable"):
            raise Unsupported(
                "the step uses parameters through a function that holds the cell, or a part of it; write a method"
            )
        for inside, _ in node.next_functions:
            if inside is not None and inside not in seen:
                seen.add(inside)
                waiting.append(inside)


def check_same(calls: Sequence[Call], others: Sequence[Call], batch: int, other_batch: int) -> None:
    """Refuse a step that does something else with another number of rows, or with other values."""
    sizes = {(batch, other_batch)}
    same = len(calls) == len(others) and all(
        a.op is b.op and _same((a.args, a.kwargs), (b.args, b.kwargs), sizes, a.operator in WITH_BOUNDS)
        for a, b in zip(calls, others, strict=True)
    )
    if not same:
        raise Unsupported("what the step does depends on the number of rows, or on values")


def _same(a: Any, b: Any, sizes: set[tuple[int, int]], is_size: bool) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name], sizes, is_size) for name in a)
    if isinstance(a, list | tuple):
        inside = is_size or isinstance(a, list)
        return (
            isinstance(b, list | tuple)
            and len(a) == len(b)
            and all(_same(*both, sizes, inside) for both in zip(a, b, strict=True))
        )
    if isinstance(a, Value):
        return isinstance(b, Value)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (is_size and (a, b) in sizes) or (a != a and b != b)
    return type(a) is type(b)

"""An order of work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def in_order(roots: Iterable[T], needs: Callable[[T], Iterable[T]]) -> list[T]:
    """``roots`` and all that they need, each after what it needs itself; without recursion, since steps can be long."""
    order: dict[T, None] = {}
    for root in roots:
        waiting = [root]
        while waiting:
            missing = [each for each in needs(waiting[-1]) if each not in order]
            if missing:
                waiting += missing
            else:
                order[waiting.pop()] = None
    return list(order)

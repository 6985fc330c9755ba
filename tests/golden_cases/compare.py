"""How a result of ours is held against a recorded one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 1e-9
"""Largest `error` that passes, in double precision."""


def error(ours: Tensor, theirs: Tensor) -> float:
    """The relative difference: max |ours - theirs| / max(1, max |theirs|)."""
    if theirs.numel() == 0:
        return 0.0
    scale = max(1.0, theirs.abs().max().item())
    difference = (ours - theirs).abs().max().item() / scale
    return difference if difference == difference else float("inf")


class Comparison:
    """Collects what was compared and what differed in one case."""

    def __init__(self) -> None:
        self.compared = 0
        self.differences: list[tuple[float, str]] = []

    def __call__(self, what: str, ours: Any, theirs: Any) -> None:
        """Compare trees of tensors, numbers and strings; lists and tuples are the same thing."""
        if isinstance(theirs, list | tuple):
            if not isinstance(ours, list | tuple) or len(ours) != len(theirs):
                self.differs(what, f"expected {describe(theirs)}, got {describe(ours)}")
                return
            for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
                self(f"{what}[{index}]", mine, other)
            return
        self.compared += 1
        if isinstance(theirs, str):
            if ours != theirs:
                self.differs(what, f"expected {theirs!r}, got {ours!r}")
            return
        if not isinstance(ours, Tensor | float | int):
            self.differs(what, f"expected {describe(theirs)}, got {describe(ours)}")
            return
        mine, other = _tensor(ours), _tensor(theirs)
        if mine.shape != other.shape or (isinstance(ours, Tensor) and mine.dtype == torch.float32):
            self.differs(what, f"expected {describe(other)}, got {describe(mine)}")
            return
        found = error(mine.double(), other.double())
        if not found <= TOLERANCE:
            self.differs(what, f"differs by {found:.3g}", found)

    def within(self, place: str) -> Callable[[str, Any, Any], None]:
        """The same comparison, with `place` before what it names."""
        return lambda what, ours, theirs: self(f"{place}: {what}", ours, theirs)

    def reasons(self) -> list[str]:
        """What differed, the largest difference first."""
        return [how for _, how in sorted(self.differences, key=lambda found: -found[0])]

    def differs(self, what: str, how: str, by: float = float("inf")) -> None:
        self.differences.append((by, f"{what}: {how}"))


def _tensor(value: Tensor | float) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def describe(tree: Any) -> str:
    if isinstance(tree, Tensor):
        return f"{str(tree.dtype).removeprefix('torch.')}{tuple(tree.shape)}"
    if isinstance(tree, list | tuple):
        return "[" + ", ".join(describe(part) for part in tree) + "]"
    return type(tree).__name__

"""Sizes that layers of nn have for each axis, in fields such as ``kW`` and ``kH``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchrnn.t7.node import REQUIRED, Node

Axes = tuple[str, ...]
IMAGE: Axes = ("H", "W")
VOLUME: Axes = ("T", "H", "W")


def per_axis(node: Node, prefix: str, axes: Axes, default: Any = REQUIRED) -> tuple[int, ...]:
    """The fields of one prefix, in the order of PyTorch: that of the dimensions."""
    return tuple(node.integer(prefix + axis, default) for axis in axes)


def spread(axes: Axes, **sizes: int | Sequence[int]) -> dict[str, int]:
    """The fields for sizes: one for all axes, or one for each."""
    fields: dict[str, int] = {}
    for prefix, size in sizes.items():
        each = (size,) * len(axes) if isinstance(size, int) else size
        fields.update((prefix + axis, n) for axis, n in zip(axes, each, strict=True))
    return fields

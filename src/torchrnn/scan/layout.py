"""Layout: where values lie in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torchrnn.scan.pieces import Piece

PADDING = 16
"""Every value begins at, and takes up, a multiple of this many floats, so that the machine works on whole vectors."""


def padded(width: int) -> int:
    return (width + PADDING - 1) // PADDING * PADDING


@dataclass(eq=False)
class Array:
    """One piece of memory.

    ``kind`` says how it changes with time: ``stack`` (T + ``more``, N, columns); ``ring`` (2, N, columns), for steps in
    turns; ``sum`` (threads, columns); ``number`` and ``constant``, the same row at every step.
    """

    kind: str
    columns: int
    more: int = 0
    detail: Any = None


@dataclass(frozen=True)
class Ref:
    """Where a piece lies: at step t in row t + ``shift`` of an array, from ``column`` on."""

    array: Array
    column: int = 0
    shift: int = 0


@dataclass
class Before:
    """Products that are done for all steps before the loop: of the same factors, side by side in one array."""

    array: Array
    products: list[Piece]


@dataclass
class Program:
    """What the machine is given, and where its results are."""

    code: list[int]
    buffers: list[Ref]
    weights: list[tuple[Any, int, int]]
    """For each product of one input and one output: the constant, its first row and its first column."""
    before: list[Before]
    refs: dict[Piece, Ref]
    """What the loop leaves behind for all steps."""
    sums: dict[Piece, Ref]
    arrays: list[Array] = field(default_factory=list)
    """The arrays that the program owns."""
    barriers: int = 0
    """How often column groups wait for one another in a step."""

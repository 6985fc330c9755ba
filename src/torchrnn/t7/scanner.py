"""What reading and writing have to know of an encoding."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Scanner(Protocol):
    """The primitives of a file, read one after the other; each raises a `T7Error` where it is not there."""

    @property
    def offset(self) -> int:
        """The byte that is read next."""

    def at_end(self) -> bool: ...
    def integer(self) -> int: ...
    def longs(self, count: int) -> list[int]: ...
    def number(self) -> float: ...
    def raw(self, count: int) -> bytes: ...
    def values(self, dtype: torch.dtype, count: int) -> Tensor:
        """The ``count`` numbers of a storage."""


class Printer(Protocol):
    """The primitives of a file, written one after the other."""

    def integer(self, value: int) -> None: ...
    def longs(self, values: list[int]) -> None: ...
    def number(self, value: float) -> None: ...
    def raw(self, value: bytes) -> None: ...
    def values(self, data: Tensor) -> None:
        """The numbers of a storage: one-dimensional, contiguous, on the CPU."""

"""Tensors as views of their storage."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchrnn.t7.errors import T7FormatError, T7LimitError
from torchrnn.t7.limits import Limits
from torchrnn.t7.objects import Storage
from torchrnn.t7.scanner import Scanner

MOST_DIMENSIONS = 64


class View:
    """What a file says of a tensor before its storage: sizes (n,), strides (n,) and the offset, 0-based."""

    def __init__(self, scanner: Scanner) -> None:
        self.file_offset = scanner.offset
        dimensions = scanner.integer()
        if not 0 <= dimensions <= MOST_DIMENSIONS:
            raise T7FormatError(f"expected 0 to {MOST_DIMENSIONS} dimensions, got {dimensions}", self.file_offset)
        self.size = scanner.longs(dimensions)
        self.stride = scanner.longs(dimensions)
        self.start = scanner.longs(1)[0] - 1

    def of(self, storage: Storage | None, dtype: torch.dtype, limits: Limits) -> Tensor:
        """The tensor, once its storage is known: a view that lies inside of it.

        It may take elements twice, as what was expanded or unfolded does.
        """
        if any(n < 0 for n in self.size):
            raise self._wrong(f"sizes cannot be negative, got {self.size}")
        extent = math.prod(n for n in self.size if n) * dtype.itemsize
        if extent > limits.bytes:
            raise T7LimitError(f"a tensor of size {self.size} is over the budget in bytes", self.file_offset)
        if storage is None or not len(storage):
            if self.size and 0 not in self.size:
                raise self._wrong(f"a tensor of size {self.size} has no elements in its storage")
            return torch.empty(self.size or 0, dtype=dtype)
        if storage.data.dtype != dtype:
            raise self._wrong(f"a tensor of {dtype} cannot view a storage of {storage.data.dtype}")
        if not self.size:
            self.size, self.stride = [0], [1]
        if any(step < 0 for step in self.stride):
            raise self._wrong(f"strides cannot be negative, got {self.stride}")
        last = self.start + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if self.start < 0 or last >= len(storage):
            raise self._wrong(f"elements {self.start} to {last} are not in a storage of {len(storage)}")
        return storage.data.as_strided(self.size, self.stride, self.start)

    def _wrong(self, message: str) -> T7FormatError:
        return T7FormatError(message, self.file_offset)

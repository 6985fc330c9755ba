"""Memory for whole sequences, used again and again.

Fresh memory of many megabytes comes from the system page by page, which takes as long as much of the arithmetic on it.
A few blocks that are no longer in use are therefore kept for the next call.
"""

from __future__ import annotations

import threading
import weakref
from math import prod

import numpy as np
import torch
from torch import Tensor

SMALL = 2**18
"""Floats below which the allocator of PyTorch reuses memory well enough."""
CACHE_LINE = 16
"""Floats in a cache line, at which memory begins: vectors that cross lines are slow."""
ALWAYS_SPARE = 2**26
"""Floats that may lie ready, in all; or as many as were in use at once."""


class Arena:
    """Hands out memory, and takes it back when the last tensor in it is gone."""

    def __init__(self) -> None:
        self._spare: list[np.ndarray] = []
        self._lent: dict[int, tuple[weakref.ref[np.ndarray], np.ndarray]] = {}
        self._in_use = self._most_in_use = 0
        self._lock = threading.RLock()  # a collection of garbage may give memory back in the middle of a call

    def empty(self, *shape: int) -> Tensor:
        """A tensor of no particular values."""
        n = prod(shape)
        if n < SMALL:
            return torch.empty(shape, dtype=torch.float32)
        block = self._take(n)
        memory = block[:n].reshape(shape)
        loan = weakref.ref(memory, self._give_back)
        with self._lock:
            self._lent[id(loan)] = loan, block
            self._in_use += len(block)
            self._most_in_use = max(self._most_in_use, self._in_use)
        return torch.from_numpy(memory)

    def copy(self, tensor: Tensor) -> Tensor:
        """A contiguous copy."""
        if tensor.numel() < SMALL:
            return tensor.clone(memory_format=torch.contiguous_format)
        return self.empty(*tensor.shape).copy_(tensor)

    def _take(self, n: int) -> np.ndarray:
        with self._lock:
            fitting = [block for block in self._spare if n <= len(block) <= 2 * n]
            if fitting:
                best = min(fitting, key=len)
                self._spare = [block for block in self._spare if block is not best]
                return best
        fresh = np.empty(n + CACHE_LINE, dtype=np.float32)
        start = -(fresh.ctypes.data // 4) % CACHE_LINE
        return fresh[start : start + n]

    def _give_back(self, loan: weakref.ref[np.ndarray]) -> None:
        with self._lock:
            _, block = self._lent.pop(id(loan))
            self._in_use -= len(block)
            self._spare.append(block)
            while sum(map(len, self._spare)) > max(ALWAYS_SPARE, self._most_in_use):
                self._spare.pop(0)


arena = Arena()

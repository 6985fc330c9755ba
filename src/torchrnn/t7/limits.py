"""How much a file may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Budgets for reading a Torch7 file; a file that exceeds one raises `T7LimitError`.

    Arguments:
        depth: of objects within objects.
        objects: values of any kind in the whole file.
        bytes: of all numbers in storages, and of one tensor with the elements that it takes several times counted.

    >>> from torchrnn import t7
    >>> t7.loads(t7.dumps([[1, 2], [3]]), limits=t7.Limits(depth=2))
    [[1, 2], [3]]
    """

    depth: int = 10_000
    objects: int = 50_000_000
    bytes: int = 1 << 34

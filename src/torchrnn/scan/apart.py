"""Gradients that share no memory: autograd keeps them as they are, and adds to them, or users scale them, in place."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def sharing(grads: Sequence[Tensor | None], others: Sequence[Tensor]) -> list[int]:
    """The places of those that lie in memory that an earlier one or one of ``others`` lies in."""
    there = {i: each for i, each in enumerate([*grads, *others]) if each is not None}
    places = sorted([(each.data_ptr(), -(i >= len(grads)), _size(each), i) for i, each in there.items()])
    found, end = [], 0
    for start, _, size, i in places:
        if start < end and i < len(grads):
            found.append(i)
        end = max(end, start + size)
    return found


def _size(tensor: Tensor) -> int:
    """The bytes from the first to the last of its numbers."""
    if tensor.is_contiguous():
        return tensor.nbytes
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * (1 + sum((n - 1) * stride for n, stride in steps))

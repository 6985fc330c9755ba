"""Gradients that share no memory: autograd keeps them as they are, and adds to them, or users scale them, in place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor


def apart(grads: Sequence[Tensor | None], others: Iterable[Tensor]) -> list[Tensor | None]:
    """``grads``, as copies where they lie in memory that an earlier one or one of ``others`` lies in."""
    own = list(grads)
    places = [(*_place(tensor), -1) for tensor in others]
    places += [(*_place(grad), i) for i, grad in enumerate(own) if grad is not None]
    places.sort()
    end = 0
    for start, stop, i in places:
        grad = own[i] if i >= 0 else None
        if grad is not None and start < end:
            own[i] = grad.clone()
        end = max(end, stop)
    return own


def _place(tensor: Tensor) -> tuple[int, int]:
    start = tensor.data_ptr()
    if tensor.is_contiguous():
        return start, start + 4 * tensor.numel()
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return start, start + 4 * (1 + sum((n - 1) * stride for n, stride in steps))

"""A path along which a zero gradient goes back, so that stochastic units are reached and put their own there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _ZeroPath(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, source: Tensor) -> Tensor:
        ctx.source_like = source.detach()
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        return grad_output, torch.zeros_like(ctx.source_like)


def zero_path(output: Tensor, source: Tensor) -> Tensor:
    """``output`` unchanged, now also a function of ``source``, with the gradient zero."""
    linked: Tensor = _ZeroPath.apply(output, source)  # type: ignore[no-untyped-call]
    return linked

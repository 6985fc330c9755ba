"""A loss that rides on an output: it adds to the gradients, and leaves the values as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class AttachLoss(torch.autograd.Function):
    """Identity on ``output``; on the way back the gradient passes on, and ``loss`` gets the gradient 1."""

    @staticmethod
    def forward(output: Tensor, loss: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.loss_like = inputs[1].detach()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        return grad_output, torch.ones_like(ctx.loss_like)


def attach_loss(output: Tensor, loss: Tensor) -> Tensor:
    """``output`` unchanged; whoever differentiates through it also minimises the 0-dim ``loss``.

    For regularisers that live inside a network: ``loss`` need not be handed to the training loop.

    >>> import torch
    >>> from torchrnn.layers import attach_loss
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> attach_loss(x, 10 * x.sum()).sum().backward()
    >>> x.grad
    tensor([11., 11.])
    """
    if loss.dim() != 0:
        raise ValueError(f"attach_loss: loss must be a 0-dim tensor; got shape {tuple(loss.shape)}. Reduce it first.")
    attached: Tensor = AttachLoss.apply(output, loss)  # type: ignore[no-untyped-call]
    return attached

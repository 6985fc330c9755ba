"""Normalisation of rows, and of features over the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchrnn.checks import require_count, require_number, require_positive, require_tensor
from torchrnn.module import Module


class Normalize(Module):
    """Rows of p-norm 1: ``y = x / (sum |x|^p + eps)^(1/p)``, with ``p = inf``: ``x / (max |x| + eps)``.

    Arguments: ``p`` > 0; ``eps``.
    Shapes: ``(N, D)`` or ``(D,)``, and so is the output.

    Differs from ``torch.nn.functional.normalize``: ``eps`` is added inside the root, as in the original.

    >>> import torch
    >>> from torchrnn.layers import Normalize
    >>> Normalize(2)(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-10) -> None:
        super().__init__()
        self.p = require_positive(self, p, "p")
        self.eps = eps
        if not require_number(self, eps, "eps") >= 0:
            raise ValueError(f"Normalize: eps must not be negative; got {eps}.")

    def forward(self, input: Tensor) -> Tensor:
        if require_tensor(self, input).dim() not in (1, 2):
            raise ValueError(f"Normalize: input must be (N, D) or (D,); got {tuple(input.shape)}.")
        size = input.abs()
        if math.isinf(self.p):
            return input / (size.max(-1, keepdim=True).values + self.eps)
        return input / (size.pow(self.p).sum(-1, keepdim=True) + self.eps).pow(1 / self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}, eps={self.eps}"


class BatchNormalization(Module):
    """Features of mean 0 and variance 1 over the batch: ``y = (x - mean) / √(var + eps) * weight + bias``.

    While training, mean and variance are the batch's, and running averages of them are kept,
    ``running = (1 - momentum) running + momentum batch``; evaluation uses these.

    Arguments: ``n`` features; ``eps``; ``momentum``; ``affine``: whether there are ``weight`` and ``bias``.
    Parameters: ``weight`` (n,), at first uniform in 0 to 1, and ``bias`` (n,), at first 0.
    Buffers: ``running_mean``, ``running_var`` (n,).
    Shapes: ``(N, n)``, and so is the output.

    Differs from ``torch.nn.BatchNorm1d``: the first weights, and a batch of one row, which has no variance,
    uses the running averages (and leaves them) instead of raising.
    Source: Ioffe and Szegedy, "Batch Normalization", 2015.

    >>> import torch
    >>> from torchrnn.layers import BatchNormalization
    >>> BatchNormalization(6)(torch.randn(3, 6)).shape
    torch.Size([3, 6])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        self.n = require_count(self, n, "n")
        if not eps >= 0:
            raise ValueError(f"BatchNormalization: eps must not be negative; got {eps}.")
        if not 0 <= momentum <= 1:
            raise ValueError(f"BatchNormalization: momentum must be 0 to 1; got {momentum}.")
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.empty(n)) if affine else None
        self.bias = nn.Parameter(torch.empty(n)) if affine else None
        self.register_buffer("running_mean", torch.empty(n))
        self.register_buffer("running_var", torch.empty(n))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight anew and start the running averages again."""
        nn.init.zeros_(self.running_mean)
        nn.init.ones_(self.running_var)
        if self.weight is not None and self.bias is not None:
            nn.init.uniform_(self.weight)
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if require_tensor(self, input).dim() != 2 or input.shape[1] != self.n:
            raise ValueError(
                f"BatchNormalization: input must be a batch (N, {self.n}); got {tuple(input.shape)}. "
                "Flatten further dimensions first, for example with View(-1, n)."
            )
        by_batch = self.training and input.shape[0] > 1
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(input, mean, var, self.weight, self.bias, by_batch, self.momentum, self.eps)

    def extra_repr(self) -> str:
        return f"{self.n}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"

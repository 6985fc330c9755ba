"""The softmax layers of Torch7, which find the dimension of the classes themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_tensor
from torchrnn.module import Module

COEFFICIENTS = 0.125, 0.0078125, 0.00032552083, 1.0172526e-5
BEYOND = 13.0


def approximate_exp_minus(x: Tensor) -> Tensor:
    """``exp(-x)`` for ``x >= 0`` as old versions of Torch7 computed it: ``1 / p(x)^8``, and 0 from x = 13 on.

    ``p(x) = 1 + x (a + x (b + x (c + d x)))``, with the first terms of the series of ``exp(x / 8)`` as coefficients.

    >>> import torch
    >>> from torchrnn.t7.softmax import approximate_exp_minus
    >>> approximate_exp_minus(torch.tensor([0.0, 1.0, 13.0]))
    tensor([1.0000, 0.3679, 0.0000])
    """
    a, b, c, d = COEFFICIENTS
    value = 1 / (1 + x * (a + x * (b + x * (c + x * d)))) ** 8
    return torch.where(x < BEYOND, value, torch.zeros_like(value))


class SoftMax(Module):
    """Probabilities over classes: over the last dimension of ``(V,)`` and ``(N, V)``, over the first of three.

    Shapes: ``(V,)``, ``(N, V)``, ``(C, H, W)`` or ``(N, C, H, W)``, and so is the output.

    Differs from ``torch.nn.Softmax``, which is told the dimension.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.SoftMax()(torch.zeros(2, 4))[0]
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.softmax(class_dim(self, input))


class SoftMin(Module):
    """The `SoftMax` of ``-x``.

    Shapes: those of `SoftMax`.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.SoftMin()(torch.zeros(2, 4))[0]
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def forward(self, input: Tensor) -> Tensor:
        return (-input).softmax(class_dim(self, input))


class LogSoftMax(Module):
    """The logarithm of `SoftMax`.

    Arguments: ``approximate_exp``: sum up `approximate_exp_minus` instead of exponentials, as versions of Torch7 from
    before 2017 did. Losses that they recorded come out the same only so: among 100 classes the values differ by up to
    0.002. The gradient is the exact one, as it was there.
    Shapes: those of `SoftMax`.

    >>> import torch
    >>> from torchrnn import t7
    >>> scores = torch.tensor([[0.0, 5.0, 12.0]])
    >>> (t7.LogSoftMax(approximate_exp=True)(scores) - t7.LogSoftMax()(scores)).abs().max() < 1e-4
    tensor(True)
    """

    def __init__(self, approximate_exp: bool = False) -> None:
        super().__init__()
        self.approximate_exp = approximate_exp

    def forward(self, input: Tensor) -> Tensor:
        dim = class_dim(self, input)
        exact = input.log_softmax(dim)
        if not self.approximate_exp:
            return exact
        x = input.detach()
        highest = x.amax(dim, keepdim=True)
        approximate = x - highest - approximate_exp_minus(highest - x).sum(dim, keepdim=True).log()
        return exact + (approximate - exact.detach())

    def extra_repr(self) -> str:
        return f"approximate_exp={self.approximate_exp}"


def class_dim(layer: Module, input: Tensor) -> int:
    """The dimension of the classes: the first without a batch, the second with one."""
    if not 1 <= require_tensor(layer, input).dim() <= 4:
        raise ValueError(f"{type(layer).__name__}: input must have 1 to 4 dimensions; got {tuple(input.shape)}.")
    return 0 if input.dim() in (1, 3) else 1

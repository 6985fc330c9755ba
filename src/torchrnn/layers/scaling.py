"""Learned biases and gains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchrnn.checks import require_sizes, require_tensor
from torchrnn.module import Module


class Add(Module):
    """A learned bias, ``y = x + b``.

    Arguments: ``size``, the shape of b, as ``Add(6)``, ``Add(2, 3)`` or ``Add((2, 3))``; with ``scalar`` b is
    one number for all elements, and a size is not needed.
    Parameter: ``bias`` of that shape, at first uniform in ±1/√(its first size).
    Shapes: ``(*size)`` or ``(N, *size)``, and so is the output.

    >>> import torch
    >>> from torchrnn.layers import Add
    >>> Add(6)(torch.randn(3, 6)).shape
    torch.Size([3, 6])
    """

    def __init__(self, *size: int | Sequence[int], scalar: bool = False) -> None:
        super().__init__()
        self.scalar = scalar
        self.bias = nn.Parameter(torch.empty((1,) if scalar else require_sizes(self, size)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the bias anew."""
        bound = 1 / math.sqrt(self.bias.shape[0])
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        require_tensor(self, input)
        size = self.bias.shape
        if not self.scalar and input.shape[-len(size) :] != size:
            raise ValueError(f"Add: input must end in the size of the bias, {tuple(size)}; got {tuple(input.shape)}.")
        return input + self.bias

    def extra_repr(self) -> str:
        return "scalar=True" if self.scalar else f"{tuple(self.bias.shape)}"


class CMul(Module):
    """A learned gain for each element, ``y = w * x``; on the cell of an LSTM, a peephole.

    Arguments: ``size``, the shape of w, as ``CMul(6)`` or ``CMul(1, 6)``; a size of 1 serves that whole
    dimension.
    Parameter: ``weight`` of that shape, at first uniform in ±1/√(its number of elements).
    Shapes: ``(*size)`` or ``(N, *size)``, and so is the output.

    >>> import torch
    >>> from torchrnn.layers import CMul
    >>> CMul(6)(torch.randn(3, 6)).shape
    torch.Size([3, 6])
    """

    def __init__(self, *size: int | Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(require_sizes(self, size)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the gain anew."""
        bound = 1 / math.sqrt(self.weight.numel())
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        require_tensor(self, input)
        size = self.weight.shape
        fits = len(size) <= input.dim() and all(
            w in (1, x) for w, x in zip(reversed(size), reversed(input.shape), strict=False)
        )
        if not fits:
            raise ValueError(f"CMul: input must end in the size of the gain, {tuple(size)}; got {tuple(input.shape)}.")
        return input * self.weight

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}"


class Mul(Module):
    """One learned gain for all elements, ``y = w x``, in the shape of the input.

    Parameter: ``weight`` (1,), at first uniform in ±1.

    >>> import torch
    >>> from torchrnn.layers import Mul
    >>> Mul()(torch.randn(3, 6)).shape
    torch.Size([3, 6])
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the gain anew."""
        nn.init.uniform_(self.weight, -1.0, 1.0)

    def forward(self, input: Tensor) -> Tensor:
        return require_tensor(self, input) * self.weight

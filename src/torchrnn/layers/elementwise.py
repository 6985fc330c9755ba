"""Functions of each element that ``torch.nn`` has no module for."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_number, require_tensor
from torchrnn.module import Module


class Abs(Module):
    """``y = |x|``, in the shape of the input.

    >>> import torch
    >>> from torchrnn.layers import Abs
    >>> Abs()(torch.tensor([-2.0, 3.0]))
    tensor([2., 3.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return require_tensor(self, input).abs()


class Square(Module):
    """``y = x²``, in the shape of the input.

    >>> import torch
    >>> from torchrnn.layers import Square
    >>> Square()(torch.tensor([-2.0, 3.0]))
    tensor([4., 9.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return require_tensor(self, input).square()


class Sqrt(Module):
    """``y = √x``, in the shape of the input; its gradient at 0 is 0, as in the original, and not infinite.

    >>> import torch
    >>> from torchrnn.layers import Sqrt
    >>> Sqrt()(torch.tensor([4.0, 0.0]))
    tensor([2., 0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        is_zero = require_tensor(self, input) == 0
        return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, input).sqrt())


class Exp(Module):
    """``y = exp(x)``, in the shape of the input.

    >>> import torch
    >>> from torchrnn.layers import Exp
    >>> Exp()(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 2.7183])
    """

    def forward(self, input: Tensor) -> Tensor:
        return require_tensor(self, input).exp()


class Log(Module):
    """``y = ln x``, in the shape of the input.

    >>> import torch
    >>> from torchrnn.layers import Log
    >>> Log()(torch.tensor([1.0, 2.0]))
    tensor([0.0000, 0.6931])
    """

    def forward(self, input: Tensor) -> Tensor:
        return require_tensor(self, input).log()


class AddConstant(Module):
    """``y = x + c`` with a fixed number ``c``, in the shape of the input.

    >>> import torch
    >>> from torchrnn.layers import AddConstant
    >>> AddConstant(-1.5)(torch.tensor([1.0, 2.0]))
    tensor([-0.5000,  0.5000])
    """

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = require_number(self, constant, "constant")

    def forward(self, input: Tensor) -> Tensor:
        return require_tensor(self, input) + self.constant

    def extra_repr(self) -> str:
        return str(self.constant)


class MulConstant(Module):
    """``y = c x`` with a fixed number ``c``, in the shape of the input.

    >>> import torch
    >>> from torchrnn.layers import MulConstant
    >>> MulConstant(0.25)(torch.tensor([1.0, 2.0]))
    tensor([0.2500, 0.5000])
    """

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = require_number(self, constant, "constant")

    def forward(self, input: Tensor) -> Tensor:
        return require_tensor(self, input) * self.constant

    def extra_repr(self) -> str:
        return str(self.constant)


class SAdd(Module):
    """``y = x + a``, or ``-(x + a)`` with ``negate``, for a fixed number ``a``, in the shape of the input.

    ``SAdd(-1, negate=True)`` is ``1 - x``, what a GRU makes of its update gate.

    >>> import torch
    >>> from torchrnn.layers import SAdd
    >>> SAdd(-1, negate=True)(torch.tensor([0.25, 1.0]))
    tensor([0.7500, -0.0000])
    """

    def __init__(self, addend: float, negate: bool = False) -> None:
        super().__init__()
        self.addend = require_number(self, addend, "addend")
        self.negate = negate

    def forward(self, input: Tensor) -> Tensor:
        shifted = require_tensor(self, input) + self.addend
        return -shifted if self.negate else shifted

    def extra_repr(self) -> str:
        return f"{self.addend}, negate={self.negate}"

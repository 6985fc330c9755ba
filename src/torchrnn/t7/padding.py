"""The padding layer of Torch7, for one side of any dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_int, require_n_input_dims, require_number, require_tensor, resolve_dim
from torchrnn.module import Module


class Padding(Module):
    """``|pad|`` slices of one value put at an end of a dimension: in front for a negative ``pad``, else behind.

    Arguments: ``dim``; ``pad``; ``n_input_dims``, the dimensions of one row, so that with one more there is a batch
    before ``dim``; ``value``.
    Shapes: ``Padding(0, 2, n_input_dims=3)`` takes ``(C, H, W)`` to ``(C + 2, H, W)``, and batches likewise.

    Differs from ``torch.nn.ConstantPad3d``, which pads the last dimensions, however many there are.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.Padding(0, -2, n_input_dims=1)(torch.ones(2, 1))
    tensor([[0., 0., 1.],
            [0., 0., 1.]])
    """

    def __init__(self, dim: int, pad: int, n_input_dims: int | None = None, value: float = 0.0) -> None:
        super().__init__()
        self.dim = require_int(self, dim, "dim")
        self.pad = require_int(self, pad, "pad")
        self.n_input_dims = require_n_input_dims(self, n_input_dims)
        self.value = require_number(self, value, "value")

    def forward(self, input: Tensor) -> Tensor:
        tensor = require_tensor(self, input)
        dim = resolve_dim(self, self.dim, tensor.dim(), self.n_input_dims)
        shape = list(tensor.shape)
        shape[dim] = abs(self.pad)
        padding = tensor.new_full(shape, self.value)
        return torch.cat([tensor, padding] if self.pad > 0 else [padding, tensor], dim)

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.pad}, n_input_dims={self.n_input_dims}, value={self.value}"

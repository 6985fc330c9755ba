"""A layer that says the same whatever it hears."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torchrnn.checks import require_n_input_dims, require_numbers, require_tensor
from torchrnn.module import Module


class Constant(Module):
    """A fixed value whatever the input; the gradient of the input is zero.

    Arguments: ``value``, a tensor or anything ``torch.as_tensor`` takes; ``n_input_dims``: an input of more
    dimensions is a batch, and the value is repeated for each of its rows.
    Shapes: any input to the shape of ``value``, or ``(N, ...)`` to ``(N, *value.shape)``.

    >>> import torch
    >>> from torchrnn.layers import Constant
    >>> Constant([1.0, 2.0], n_input_dims=1)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    value: Tensor

    def __init__(self, value: Any, n_input_dims: int | None = None) -> None:
        super().__init__()
        self.register_buffer("value", require_numbers(self, value, "value").clone(), persistent=False)
        self.n_input_dims = require_n_input_dims(self, n_input_dims)

    def forward(self, input: Any) -> Tensor:
        if self.n_input_dims is None or require_tensor(self, input).dim() <= self.n_input_dims:
            return self.value
        return self.value.expand(input.shape[0], *self.value.shape)

    def extra_repr(self) -> str:
        return f"shape={tuple(self.value.shape)}, n_input_dims={self.n_input_dims}"

"""char-rnn's input layer."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_count, require_tensor
from torchrnn.module import Module


class OneHot(Module):
    """A 1 among zeros at the place of each id.

    Arguments: ``n_classes``: V.
    Shapes: ids ``(N,)`` of an integer type to ``(N, V)``, of the default type.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.OneHot(3)(torch.tensor([2]))
    tensor([[0., 0., 1.]])
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes = require_count(self, n_classes, "n_classes")
        # An empty buffer, so that the output has the type that the module was moved to.
        self.register_buffer("like", torch.empty(0), persistent=False)

    like: Tensor

    def forward(self, input: Tensor) -> Tensor:
        ids = require_tensor(self, input)
        return torch.nn.functional.one_hot(ids.long(), self.n_classes).to(self.like)

    def extra_repr(self) -> str:
        return str(self.n_classes)

"""Layers whose gradient is not that of what they compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from torchrnn.checks import require_number, require_tensor
from torchrnn.layers.attach_loss import attach_loss
from torchrnn.module import Module


class _ZeroGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        return input.view_as(input)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return torch.zeros_like(grad_output)


class _CopiedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        return input.view_as(input)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return grad_output.clone()


class _StraightThroughClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, minimum: float, maximum: float) -> Tensor:
        return input.clamp(minimum, maximum)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        return grad_output, None, None


class ZeroGrad(Module):
    """Identity whose gradient is zero; tensors and nested tables of them.

    Shapes: any, and so is the output.

    Differs from ``detach()``: a gradient does arrive, and it is zero.

    >>> import torch
    >>> from torchrnn.layers import ZeroGrad
    >>> x = torch.ones(2, requires_grad=True)
    >>> ZeroGrad()(x).sum().backward()
    >>> x.grad
    tensor([0., 0.])
    """

    def forward(self, input: Any) -> Any:
        return tree_map(self._identity, input)

    def _identity(self, leaf: Any) -> Any:
        return _ZeroGradient.apply(leaf) if isinstance(leaf, Tensor) else leaf  # type: ignore[no-untyped-call]


class CopyGrad(Module):
    """Identity that hands on a copy of the gradient, so that a hook may change it in place.

    Shapes: any, and so is the output.

    >>> import torch
    >>> from torchrnn.layers import CopyGrad
    >>> CopyGrad()(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        require_tensor(self, input)
        output: Tensor = _CopiedGradient.apply(input)  # type: ignore[no-untyped-call]
        return output


class Clip(Module):
    """Values held between ``minimum`` and ``maximum``; the gradient passes straight through, unchanged.

    Shapes: any, and so is the output.

    Differs from ``torch.nn.Hardtanh``, whose gradient is 0 where it clips.

    >>> import torch
    >>> from torchrnn.layers import Clip
    >>> x = torch.tensor([-3.0, 0.5], requires_grad=True)
    >>> y = Clip(-1, 1)(x)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad
    ([-1.0, 0.5], tensor([1., 1.]))
    """

    def __init__(self, minimum: float, maximum: float) -> None:
        super().__init__()
        require_number(self, minimum, "minimum")
        require_number(self, maximum, "maximum")
        if not minimum <= maximum:
            raise ValueError(f"Clip: minimum must not be greater than maximum; got {minimum} and {maximum}.")
        self.minimum = minimum
        self.maximum = maximum

    def forward(self, input: Tensor) -> Tensor:
        clamp = _StraightThroughClamp.apply
        output: Tensor = clamp(require_tensor(self, input), self.minimum, self.maximum)  # type: ignore[no-untyped-call]
        return output

    def extra_repr(self) -> str:
        return f"{self.minimum}, {self.maximum}"


class CategoricalEntropy(Module):
    """Identity on class probabilities that raises the entropy of the classes over the batch.

    With ``q = sum_n x_n / sum x``, the share of each class in the batch, the loss ``-scale / N * H(q)``,
    ``H(q) = -sum_k q_k ln(q_k + 1e-6)``, adds its gradient to that of the input. The divisor ``sum x`` counts
    as a constant, as in the original.

    Arguments: ``scale``; ``min_entropy``: nothing is added once H reaches it (default: always).
    Shapes: ``(N, K)``, and so is the output. After a forward, ``entropy`` is H, a 0-dim tensor.

    >>> import torch
    >>> from torchrnn.layers import CategoricalEntropy
    >>> layer = CategoricalEntropy()
    >>> layer(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    >>> layer.entropy
    tensor(0.6931)
    """

    entropy: Tensor | None = None

    def __init__(self, scale: float = 1.0, min_entropy: float | None = None) -> None:
        super().__init__()
        self.scale = require_number(self, scale, "scale")
        self.min_entropy = None if min_entropy is None else require_number(self, min_entropy, "min_entropy")

    def forward(self, input: Tensor) -> Tensor:
        if require_tensor(self, input).dim() != 2:
            raise ValueError(f"CategoricalEntropy: input must be a batch (N, K); got {tuple(input.shape)}.")
        shares = input.sum(0) / input.sum().detach()
        entropy = -(shares * (shares + 1e-6).log()).sum()
        self.entropy = entropy.detach()
        if self.min_entropy is None:
            penalty = entropy
        else:
            penalty = torch.where(self.entropy < self.min_entropy, entropy, torch.zeros_like(entropy))
        return attach_loss(input, -self.scale / max(input.shape[0], 1) * penalty)

    def _clear_own(self) -> None:
        super()._clear_own()
        self.entropy = None

    def extra_repr(self) -> str:
        return f"scale={self.scale}, min_entropy={self.min_entropy}"

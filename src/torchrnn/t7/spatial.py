"""Layers of nn for images (C, H, W), or batches (N, C, H, W), which those of torch.nn understand otherwise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.checks import require_count, require_number, require_probability, require_tensor
from torchrnn.module import Module


class SpatialDropout(Module):
    """Whole channels dropped while training; evaluation multiplies by ``1 - p``, which is how many are kept.

    Arguments: ``p``: the chance of a channel to be dropped.
    Shapes: ``(C, H, W)`` or ``(N, C, H, W)``, and so is the output.

    Differs from ``torch.nn.Dropout2d``: that divides by ``1 - p`` in training and leaves evaluation alone.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.SpatialDropout(0.25).eval()(torch.ones(1, 2, 2))
    tensor([[[0.7500, 0.7500],
             [0.7500, 0.7500]]])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = require_probability(self, p, "p")

    def forward(self, input: Tensor) -> Tensor:
        image = require_image(self, input)
        if not self.training:
            return image * (1 - self.p)
        return image * torch.bernoulli(image.new_full((*image.shape[:-2], 1, 1), 1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"


class SpatialUpSamplingNearest(Module):
    """Each pixel repeated ``scale`` times in both directions.

    Arguments: ``scale``: a whole number.
    Shapes: ``(C, H, W)`` or ``(N, C, H, W)`` to ``(..., scale H, scale W)``.

    Differs from ``torch.nn.Upsample``: that takes three dimensions for a batch of sequences.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.SpatialUpSamplingNearest(2)(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]])
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = require_count(self, scale, "scale")

    def forward(self, input: Tensor) -> Tensor:
        return require_image(self, input).repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)

    def extra_repr(self) -> str:
        return f"{self.scale}"


class SpatialCrossMapLRN(Module):
    """Local response normalisation: ``y_c = x_c / (k + alpha / size * sum x_c'^2)^beta`` over the channels around c.

    Arguments: ``size``: how many channels are summed up, an odd number; ``alpha``, ``beta``, ``k``.
    Shapes: ``(C, H, W)`` or ``(N, C, H, W)``, and so is the output.

    Differs from ``torch.nn.LocalResponseNorm``: that takes the first of three dimensions for a batch.
    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.SpatialCrossMapLRN(1, alpha=3.0, beta=0.5)(torch.ones(2, 1, 1)).flatten()
    tensor([0.5000, 0.5000])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = require_count(self, size, "size")
        if size % 2 == 0:
            raise ValueError(f"SpatialCrossMapLRN: size must be odd; got {size}.")
        self.alpha = require_number(self, alpha, "alpha")
        self.beta = require_number(self, beta, "beta")
        self.k = require_number(self, k, "k")

    def forward(self, input: Tensor) -> Tensor:
        image = require_image(self, input)
        beyond = self.size // 2
        squares = nn.functional.pad(image.square(), (0, 0, 0, 0, beyond, beyond))
        return image / (self.k + self.alpha / self.size * squares.unfold(-3, self.size, 1).sum(-1)) ** self.beta

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def require_image(layer: Module, input: Tensor) -> Tensor:
    """An image, or a batch of them."""
    if require_tensor(layer, input).dim() not in (3, 4):
        raise ValueError(f"{type(layer).__name__}: input must be (C, H, W) or (N, C, H, W); got {tuple(input.shape)}.")
    return input

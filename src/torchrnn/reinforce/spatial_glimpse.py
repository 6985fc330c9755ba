"""A look at a small part of an image, sharp in its middle and coarse around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from torchrnn.checks import require_count, require_number, require_real, require_sizes, require_table
from torchrnn.module import Module
from torchrnn.reinforce.zero_path import zero_path
from torchrnn.tree import Tree, describe


class SpatialGlimpse(Module):
    """Cut ``depth`` patches out of an image around one location, each ``scale`` times as wide as the one before.

    Patch d, ``(h scale^d, w scale^d)`` in size, is average-pooled to (h, w). The patches are centred on each other;
    beyond its borders the image is zero. The location (y, x) is (-1, -1) at the top left corner of the image and
    (1, 1) at the bottom right; what lies outside is moved to the border.

    The gradient of the image is that of cutting and pooling. That of the location is zero: it is learned by
    REINFORCE (see `ReinforceNormal`).

    Arguments: ``size``: h = w, or (h, w); ``depth``; ``scale``: at least 1.
    Shapes: the table ``[image (N, C, H, W), location (N, 2)]`` gives (N, depth C, h, w), patches first, channels
    second; or one image (C, H, W) with (2,) gives (depth C, h, w).
    Raises ``ValueError`` for other shapes and locations that are not finite.

    Differs from the original: any ``scale``; its average pooling takes even ones only.
    Source: Mnih et al., "Recurrent Models of Visual Attention", 2014.

    >>> import torch, torchrnn
    >>> glimpse = torchrnn.SpatialGlimpse(2, depth=2)
    >>> glimpse([torch.arange(16.0).view(1, 4, 4), torch.tensor([-1.0, 1.0])])
    tensor([[[2.0000, 3.0000],
             [6.0000, 7.0000]],
    <BLANKLINE>
            [[0.7500, 0.7500],
             [7.5000, 4.5000]]])
    """

    def __init__(self, size: int | Sequence[int], depth: int = 3, scale: float = 2) -> None:
        super().__init__()
        sizes = require_sizes(self, (size,))
        if len(sizes) > 2:
            raise ValueError(f"SpatialGlimpse: size must be one number or (height, width); got {size}.")
        self.height, self.width = sizes if len(sizes) == 2 else sizes * 2
        self.depth = require_count(self, depth, "depth")
        self.scale = require_number(self, scale, "scale")
        if scale < 1:
            raise ValueError(f"SpatialGlimpse: scale must be at least 1; got {scale}.")

    def forward(self, input: Tree) -> Tensor:
        image, location = (require_real(self, x) for x in require_table(self, input, 2))
        if image.dim() == 3 and location.shape == (2,):
            return self.forward([image[None], location[None]])[0]
        if image.dim() != 4 or location.shape != (len(image), 2):
            raise ValueError(
                f"SpatialGlimpse: expected an image (N, C, H, W) with a location (N, 2), or (C, H, W) with (2,); got "
                f"{describe(input)}."
            )
        if not location.isfinite().all():
            raise ValueError("SpatialGlimpse: location must be finite; got NaN or infinity.")
        patches = [self._patch(image, location.detach(), self.scale**d) for d in range(self.depth)]
        return zero_path(torch.cat(patches, 1), location)

    def _patch(self, image: Tensor, location: Tensor, scale: float) -> Tensor:
        """The patch (N, C, h, w) that sees ``scale`` times as much as its size."""
        height, width = int(self.height * scale), int(self.width * scale)
        pad_y, pad_x = (height - 1) // 2, (width - 1) // 2
        padded = F.pad(image, (pad_x, pad_x, pad_y, pad_y))
        free = torch.tensor([padded.shape[2] - height, padded.shape[3] - width], device=image.device)
        if free.min() < 0:
            raise ValueError(
                f"SpatialGlimpse: the image must have at least 2 rows and 2 columns; got {tuple(image.shape)}."
            )
        corner = ((location + 1) / 2 * free).clamp(min=0).minimum(free).long()
        rows = corner[:, 0, None] + torch.arange(height, device=image.device)
        columns = corner[:, 1, None] + torch.arange(width, device=image.device)
        sample = torch.arange(len(image), device=image.device)[:, None, None]
        crop = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return crop if scale == 1 else F.adaptive_avg_pool2d(crop, (self.height, self.width))

    def extra_repr(self) -> str:
        return f"({self.height}, {self.width}), depth={self.depth}, scale={self.scale}"

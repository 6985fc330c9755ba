"""Convolution and pooling over time of sequences (T, D), whose features stand last, as everywhere in this library."""

from __future__ import annotations

from torch import Tensor, nn

from torchrnn.checks import require_count, require_counts, require_tensor
from torchrnn.module import Module


class TemporalConvolution(Module):
    """``y_t = W x_(t dW ... t dW + kW - 1) + b``: a convolution over time.

    Arguments: ``input_size``, D; ``output_size``, H; ``width``, kW: how many steps a window has; ``stride``, dW: how
    far it moves.
    Parameters: those of ``convolution``, a ``torch.nn.Conv1d``: ``weight`` (H, D, kW) and ``bias`` (H,).
    Shapes: ``(T, D)`` or ``(N, T, D)`` to ``(..., (T - kW) // dW + 1, H)``.

    Differs from ``torch.nn.Conv1d``: time stands before the features. Differs from the original: there the weight
    is ``(H, kW D)``, with the features of a step side by side; `from_module` writes it so.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.TemporalConvolution(4, 6, width=3)(torch.randn(2, 10, 4)).shape
    torch.Size([2, 8, 6])
    """

    def __init__(self, input_size: int, output_size: int, width: int, stride: int = 1) -> None:
        super().__init__()
        require_counts(self, input_size=input_size, output_size=output_size, width=width, stride=stride)
        self.convolution = nn.Conv1d(input_size, output_size, width, stride)

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.convolution(require_sequence(self, input).transpose(-1, -2))
        return output.transpose(-1, -2)


class TemporalMaxPooling(Module):
    """The greatest of ``width`` steps, for each feature.

    Arguments: ``width``: how many steps; ``stride``: how far to move on, as far as that if it is not given.
    Shapes: ``(T, D)`` or ``(N, T, D)`` to ``(..., (T - width) // stride + 1, D)``.

    Differs from ``torch.nn.MaxPool1d``: time stands before the features.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.TemporalMaxPooling(2)(torch.tensor([[1.0], [3.0], [2.0], [0.0]]))
    tensor([[3.],
            [2.]])
    """

    def __init__(self, width: int, stride: int | None = None) -> None:
        super().__init__()
        self.width = require_count(self, width, "width")
        self.stride = width if stride is None else require_count(self, stride, "stride")

    def forward(self, input: Tensor) -> Tensor:
        steps = require_sequence(self, input).transpose(-1, -2)
        return nn.functional.max_pool1d(steps, self.width, self.stride).transpose(-1, -2)

    def extra_repr(self) -> str:
        return f"{self.width}, {self.stride}"


def require_sequence(layer: Module, input: Tensor) -> Tensor:
    """A sequence, or a batch of them."""
    if require_tensor(layer, input).dim() not in (2, 3):
        raise ValueError(f"{type(layer).__name__}: input must be (T, D) or (N, T, D); got {tuple(input.shape)}.")
    return input

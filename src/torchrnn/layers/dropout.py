"""Dropout, and dropout that draws one mask for a whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_chance, require_probability, require_tensor
from torchrnn.layers.sequence_mask import SequenceMask
from torchrnn.module import Module
from torchrnn.scan.lasting import numbers_in_trace


class Dropout(Module):
    """Zero elements at random while training: ``y = m * x``.

    The mask m holds 0 with probability ``p`` and else ``1 / (1 - p)``, so that evaluation changes nothing.

    Arguments: ``p``; ``v1``: no scaling of m, instead ``y = (1 - p) x`` in evaluation; ``lazy``: one mask for
    all steps of a sequence, drawn anew only after a gradient has gone back through it, after `forget`, and
    for an input of another size; ``mono``: one mask for all rows of a batch.
    Shapes: any ``(...)``, or ``(N, ...)`` with ``mono``, and so is the output.

    A subclass that draws other masks overrides `noise`.

    Differs from ``torch.nn.Dropout``: ``v1``, ``lazy``, ``mono``. Differs from the original: no ``inplace``.
    Source of the lazy mask: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
    Neural Networks", 2016.

    >>> import torch
    >>> from torchrnn.layers import Dropout
    >>> layer = Dropout(0.5, lazy=True)
    >>> steps = [layer(torch.ones(4, 6)) for _ in range(5)]
    >>> all(torch.equal(steps[0], step) for step in steps)
    True
    """

    REMEMBERED = Module.REMEMBERED | {"_mask"}

    def __init__(self, p: float = 0.5, v1: bool = False, lazy: bool = False, mono: bool = False) -> None:
        super().__init__()
        self.p = require_chance(self, p, "p")
        self.v1 = v1
        self.lazy = lazy
        self.mono = mono
        self._mask = SequenceMask()

    def noise(self, input: Tensor) -> Tensor:
        """A new mask for ``input``, scaled already: of its shape, or one row of it with ``mono``."""
        keep = 1 - self.p
        row = input[:1] if self.mono and input.dim() > 1 else input
        mask = torch.empty_like(row, requires_grad=False).bernoulli_(keep)
        return mask if self.v1 else mask / keep

    def forward(self, input: Tensor) -> Tensor:
        require_tensor(self, input)
        if not self.training:
            return input * (1 - self.p) if self.v1 else input
        if self.p == 0:
            return input
        if not self.lazy:
            return input * self.noise(input)
        mask = numbers_in_trace(self, input)
        return self._mask.times(input, self.noise, self._kind(input)) if mask is None else input * mask

    def _kind(self, input: Tensor) -> tuple[object, ...]:
        """What inputs have in common that one mask serves."""
        shape = input.shape[1:] if self.mono and input.dim() > 1 else input.shape
        return input.dim(), shape, input.dtype, input.device

    def lasting(self, input: Tensor) -> Tensor:
        """The mask of this sequence, with ``lazy``, for the native engine: drawn if there is none for such inputs."""
        return self._mask.get(input, self.noise, self._kind(input))

    def renew(self, numbers: Tensor) -> None:
        """Draw another mask, with ``lazy``, if ``numbers`` is that of this sequence: a gradient has gone back."""
        self._mask.renew(numbers)

    def _forget_own(self) -> None:
        self._mask.forget()

    def extra_repr(self) -> str:
        return f"{self.p}, v1={self.v1}, lazy={self.lazy}, mono={self.mono}"


class TotalDropout(Module):
    """Zero the whole input at random while training: ``y = m x``.

    m is one number, 0 with probability ``p`` and else 1. Nothing is scaled, and evaluation changes nothing.
    A subclass that draws m otherwise overrides `noise`.
    Shapes: any, and so is the output.

    >>> import torch
    >>> from torchrnn.layers import TotalDropout
    >>> TotalDropout(0.5).eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = require_probability(self, p, "p")

    def noise(self, input: Tensor) -> Tensor:
        """A new m, 0-dim."""
        return torch.empty((), dtype=input.dtype, device=input.device).bernoulli_(1 - self.p)

    def forward(self, input: Tensor) -> Tensor:
        return input * self.noise(require_tensor(self, input)) if self.training else input

    def extra_repr(self) -> str:
        return str(self.p)

"""Losses of one prediction and one target, or a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torchrnn.checks import require_flag, require_int, require_numbers
from torchrnn.layers.criterion import Criterion
from torchrnn.tree import describe


class ClassNLLCriterion(Criterion):
    """Negative log-likelihood of classes, ``-sum_n w[t_n] x[n, t_n] / sum_n w[t_n]``.

    Arguments: ``weights`` (V,), one for each class (default: all 1); ``size_average``: False leaves the
    division out; ``ignore_index``: rows with this target count for nothing; if all do, the loss is 0.
    Shapes: log-probabilities x ``(N, V)`` with ids t ``(N,)``, or ``(V,)`` with one id, ``()`` or ``(1,)``.
    Ids are integers, 0 to V - 1.
    Raises ``TypeError`` for ids that are not integers and ``ValueError`` for other shapes and ids out of
    range.

    Differs from ``torch.nn.NLLLoss``: 0 and not NaN when every row is ignored; no further dimensions (see
    `TemporalCrossEntropyCriterion`, `SequencerCriterion`). Differs from the original: ids start at 0.

    >>> import torch
    >>> from torchrnn.layers import ClassNLLCriterion
    >>> ClassNLLCriterion()(torch.tensor([[-0.5, -1.0], [-2.0, -0.25]]), torch.tensor([0, 1]))
    tensor(0.3750)
    """

    weights: Tensor | None

    def __init__(
        self,
        weights: Tensor | Sequence[float] | None = None,
        size_average: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self.register_buffer("weights", _class_weights(self, weights), persistent=False)
        self.size_average = require_flag(self, size_average, "size_average")
        self.ignore_index = require_int(self, ignore_index, "ignore_index")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        scores, ids = self._rows(input, target)
        weights = None if self.weights is None else self.weights.to(scores)
        try:
            total = F.nll_loss(scores, ids, weights, ignore_index=self.ignore_index, reduction="sum")
        except IndexError:
            raise ValueError(
                f"{type(self).__name__}: targets must be 0 to {scores.shape[1] - 1}, or {self.ignore_index} "
                f"to be ignored; got {int(ids.min())} to {int(ids.max())}. Ids are 0-based."
            ) from None
        if not self.size_average:
            return total
        counts = ids != self.ignore_index
        shares = counts.to(scores) if weights is None else weights[ids.where(counts, 0)] * counts
        divisor = shares.sum()
        return total / divisor.where(divisor != 0, 1.0)

    def _rows(self, input: Any, target: Any) -> tuple[Tensor, Tensor]:
        """``input`` as (N, V) and ``target`` as (N,) int64."""
        name = type(self).__name__
        if not isinstance(input, Tensor) or not isinstance(target, Tensor | int):
            raise TypeError(f"{name}: input and target must be tensors; got {describe(input)} and {describe(target)}.")
        ids = torch.as_tensor(target, device=input.device)
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise TypeError(f"{name}: target must hold integer class ids; got {ids.dtype}. Convert it with .long().")
        one = input.dim() == 1 and ids.numel() == 1 and ids.dim() <= 1
        if not one and not (input.dim() == 2 and ids.shape == input.shape[:1]):
            raise ValueError(
                f"{name}: expected input (N, V) with target (N,), or input (V,) with one id; got "
                f"{tuple(input.shape)} with {tuple(ids.shape)}. Flatten sequences, or use "
                "SequencerCriterion."
            )
        if self.weights is not None and self.weights.shape[0] != input.shape[-1]:
            raise ValueError(
                f"{name}: there must be one weight for each class; got {self.weights.shape[0]} weights for "
                f"{input.shape[-1]} classes."
            )
        return (input[None], ids.reshape(1).long()) if one else (input, ids.long())


class CrossEntropyCriterion(ClassNLLCriterion):
    """`ClassNLLCriterion` of unnormalised scores: their log-softmax over the classes comes first.

    Arguments, shapes and errors are those of `ClassNLLCriterion`.

    Differs from ``torch.nn.CrossEntropyLoss`` as `ClassNLLCriterion` from ``NLLLoss``. Differs from the
    original: ids start at 0, and sizes of 1 are not squeezed away.

    >>> import torch
    >>> from torchrnn.layers import CrossEntropyCriterion
    >>> CrossEntropyCriterion()(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        scores, ids = self._rows(input, target)
        return super().forward(scores.log_softmax(-1), ids)


class MSECriterion(Criterion):
    """Mean squared error over all elements, ``sum (x - t)² / n``.

    Arguments: ``size_average``: False leaves the division out.
    Shapes: any ``(...)``, the same for input and target.

    Differs from ``torch.nn.MSELoss``: shapes that differ raise ``ValueError``; without elements the loss is
    0.

    >>> import torch
    >>> from torchrnn.layers import MSECriterion
    >>> MSECriterion()(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))
    tensor(2.)
    """

    def __init__(self, size_average: bool = True) -> None:
        super().__init__()
        self.size_average = require_flag(self, size_average, "size_average")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        self._require_same_shape(input, target)
        total = F.mse_loss(input, target, reduction="sum")
        return total / max(input.numel(), 1) if self.size_average else total


class DistKLDivCriterion(Criterion):
    """Kullback-Leibler divergence from log-probabilities x to probabilities t, ``sum t (ln t - x) / n``.

    n is the number of all elements, and a t of 0 adds nothing.

    Arguments: ``size_average``: False leaves the division out.
    Shapes: any, the same for input and target.

    Differs from ``torch.nn.KLDivLoss``: its ``reduction="mean"`` is the same today, but warns that it will
    change; shapes that differ raise ``ValueError``; without elements the loss is 0.

    >>> import torch
    >>> from torchrnn.layers import DistKLDivCriterion
    >>> DistKLDivCriterion()(torch.tensor([0.5, 0.5]).log(), torch.tensor([1.0, 0.0]))
    tensor(0.3466)
    """

    def __init__(self, size_average: bool = True) -> None:
        super().__init__()
        self.size_average = require_flag(self, size_average, "size_average")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        self._require_same_shape(input, target)
        total = F.kl_div(input, target, reduction="sum")
        return total / max(input.numel(), 1) if self.size_average else total


class BCECriterion(Criterion):
    """Binary cross-entropy of probabilities, ``-sum w (t ln(x + e) + (1 - t) ln(1 - x + e)) / n``.

    e is 1e-12 and n the number of elements.

    Arguments: ``weights`` (D,), one for each feature (default: all 1); ``size_average``: False leaves the
    division by the number of elements out.
    Shapes: any, the same for input and target; ``(N, D)`` or ``(D,)`` with weights.
    Raises ``ValueError`` for inputs outside 0 to 1.

    Differs from ``torch.nn.BCELoss``: e bounds the logarithms, as in the original, instead of a bound of
    -100.

    >>> import torch
    >>> from torchrnn.layers import BCECriterion
    >>> BCECriterion()(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 0.0]))
    tensor(0.4904)
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | Sequence[float] | None = None, size_average: bool = True) -> None:
        super().__init__()
        self.register_buffer("weights", _class_weights(self, weights), persistent=False)
        self.size_average = require_flag(self, size_average, "size_average")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        self._require_same_shape(input, target)
        if ((input < 0) | (input > 1)).any():
            raise ValueError("BCECriterion: input must hold probabilities, 0 to 1. Apply torch.nn.Sigmoid() first.")
        if self.weights is not None and input.shape[-1:] != self.weights.shape:
            raise ValueError(
                f"BCECriterion: input must end in the size of the weights, {tuple(self.weights.shape)}; got "
                f"{tuple(input.shape)}."
            )
        eps = 1e-12
        likelihood = target * (input + eps).log() + (1 - target) * (1 - input + eps).log()
        total = -(likelihood if self.weights is None else likelihood * self.weights.to(input)).sum()
        return total / max(input.numel(), 1) if self.size_average else total


def _class_weights(criterion: Criterion, weights: Tensor | Sequence[float] | None) -> Tensor | None:
    if weights is None:
        return None
    dtype = None if isinstance(weights, Tensor) else torch.float64
    values = require_numbers(criterion, weights, "weights", dtype).clone()
    if values.dim() != 1:
        name = type(criterion).__name__
        raise ValueError(f"{name}: weights must be one number for each class, (V,); got {tuple(values.shape)}.")
    return values

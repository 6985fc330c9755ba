"""Losses of whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchrnn.checks import require_flag, require_int, require_module
from torchrnn.layers.composite_criterions import total_of
from torchrnn.layers.criterion import Criterion
from torchrnn.masks import as_mask
from torchrnn.tree import describe


class SequencerCriterion(Criterion):
    """The sum over time of a loss, ``sum_t c(x_t, t_t)``.

    Arguments: ``criterion``, one for all steps; ``size_average``: divide by T.
    Shapes: ``(T, ...)`` or a table of T elements, for input and for target; ``...`` is what the criterion
    takes.
    Raises ``ValueError`` if the numbers of steps differ. No steps have the loss 0.

    >>> import torch
    >>> from torchrnn.layers import ClassNLLCriterion, SequencerCriterion
    >>> scores = torch.zeros(5, 3, 7).log_softmax(-1)
    >>> SequencerCriterion(ClassNLLCriterion())(scores, torch.zeros(5, 3, dtype=torch.long))
    tensor(9.7296)
    """

    def __init__(self, criterion: nn.Module, size_average: bool = False) -> None:
        super().__init__()
        self.criterion = require_module(self, criterion, "criterion")
        self.size_average = require_flag(self, size_average, "size_average")
        self._zero_mask: Tensor | None = None

    def set_zero_mask(self, mask: Tensor | Sequence[Tensor] | None) -> None:
        self._require_taker(mask)
        self._zero_mask = as_mask(mask)
        super().set_zero_mask(None)

    def forward(self, input: Any, target: Any) -> Tensor:
        inputs, targets = self._steps(input, "input"), self._steps(target, "target")
        if len(inputs) != len(targets):
            raise ValueError(
                f"{type(self).__name__}: input and target must have as many steps; got {len(inputs)} and "
                f"{len(targets)}."
            )
        return self._over_time(input, inputs, targets)

    def _steps(self, value: Any, name: str) -> Sequence[Any]:
        if isinstance(value, Tensor) and value.dim() > 0:
            return value.unbind(0)
        if isinstance(value, list | tuple):
            return value
        raise TypeError(
            f"{type(self).__name__}: {name} must be a tensor (T, ...) or a table of T steps; got {describe(value)}."
        )

    def _over_time(self, input: Any, inputs: Sequence[Any], targets: Sequence[Any]) -> Tensor:
        if not inputs:
            return input.sum() if isinstance(input, Tensor) else torch.zeros(())
        if self._zero_mask is not None and len(self._zero_mask) != len(inputs):
            raise ValueError(
                f"{type(self).__name__}: the zero mask must be (T, N) for {len(inputs)} steps; got "
                f"{tuple(self._zero_mask.shape)}."
            )
        losses = []
        try:
            for t, (x, target) in enumerate(zip(inputs, targets, strict=True)):
                if self._zero_mask is not None:
                    super().set_zero_mask(self._zero_mask[t])
                losses.append(self.criterion(x, target))
        finally:
            if self._zero_mask is not None:
                super().set_zero_mask(None)
        total = total_of(losses)
        return total / len(inputs) if self.size_average else total

    def extra_repr(self) -> str:
        return f"size_average={self.size_average}"


class RepeaterCriterion(SequencerCriterion):
    """The sum over time of a loss with one target for all steps, ``sum_t c(x_t, target)``.

    Arguments: ``criterion``, one for all steps; ``size_average``: divide by T (in the original, an error).
    Shapes: input ``(T, ...)`` or a table of T elements; ``...`` and the target are what the criterion takes.

    >>> import torch
    >>> from torchrnn.layers import MSECriterion, RepeaterCriterion
    >>> RepeaterCriterion(MSECriterion())(torch.ones(5, 3, 4), torch.zeros(3, 4))
    tensor(5.)
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        inputs = self._steps(input, "input")
        return self._over_time(input, inputs, [target] * len(inputs))


class TemporalCrossEntropyCriterion(Criterion):
    """Cross-entropy of sequences of scores, ``-sum_n sum_t log_softmax(x[n, t])[target[n, t]] / N``.

    Arguments: ``batch_average``: divide by N; ``time_average``: divide by T; ``ignore_index``: steps with
    this target count for nothing, and N and T stay what they are.
    Shapes: scores ``(N, T, V)`` with integer ids ``(N, T)``.
    Raises ``TypeError`` for ids that are not integers and ``ValueError`` for other shapes and ids out of
    range.

    Differs from the original (torch-rnn): ids start at 0, and ``ignore_index`` takes the place of the id 0.

    >>> import torch
    >>> from torchrnn.layers import TemporalCrossEntropyCriterion
    >>> TemporalCrossEntropyCriterion()(torch.zeros(3, 5, 2), torch.zeros(3, 5, dtype=torch.long))
    tensor(3.4657)
    """

    def __init__(self, batch_average: bool = True, time_average: bool = False, ignore_index: int = -100) -> None:
        super().__init__()
        self.batch_average = require_flag(self, batch_average, "batch_average")
        self.time_average = require_flag(self, time_average, "time_average")
        self.ignore_index = require_int(self, ignore_index, "ignore_index")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if not (isinstance(input, Tensor) and isinstance(target, Tensor)):
            raise TypeError(
                "TemporalCrossEntropyCriterion: input and target must be tensors; got "
                f"{describe(input)} and {describe(target)}."
            )
        if target.is_floating_point() or target.dtype == torch.bool:
            raise TypeError(
                f"TemporalCrossEntropyCriterion: target must hold integer class ids; got {target.dtype}. "
                "Convert it with .long()."
            )
        if input.dim() != 3 or target.shape != input.shape[:2]:
            raise ValueError(
                "TemporalCrossEntropyCriterion: expected input (N, T, V) with target (N, T); got "
                f"{tuple(input.shape)} with {tuple(target.shape)}."
            )
        n, t, v = input.shape
        ids = target.reshape(-1).long()
        try:
            loss = F.cross_entropy(input.reshape(-1, v), ids, ignore_index=self.ignore_index, reduction="sum")
        except IndexError:
            raise ValueError(
                f"TemporalCrossEntropyCriterion: targets must be 0 to {v - 1}, or {self.ignore_index} to be "
                f"ignored; got {int(ids.min())} to {int(ids.max())}. Ids are 0-based."
            ) from None
        if self.batch_average:
            loss = loss / max(n, 1)
        return loss / max(t, 1) if self.time_average else loss

    def extra_repr(self) -> str:
        return f"batch_average={self.batch_average}, time_average={self.time_average}, ignore_index={self.ignore_index}"

"""Losses that reward right classes, and teach the stochastic units of a network with it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from torchrnn.checks import require_flag, require_module, require_number, require_tensor, require_tensors
from torchrnn.layers import Criterion, MSECriterion
from torchrnn.module import Module
from torchrnn.reinforce.zero_path import zero_path
from torchrnn.tree import describe


class ClassReward(Criterion):
    """What `VRClassReward` and `BinaryClassReward` have in common: all but the decision which rows are right."""

    module: Module
    reward: Tensor | None = None
    """The reward of each row in the last forward, (N,), before the baseline is subtracted."""

    def __init__(
        self, module: Module, scale: float = 1.0, criterion: nn.Module | None = None, size_average: bool = True
    ) -> None:
        super().__init__()
        if not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: module must be a torchrnn.Module, which takes the reward; got {module!r}. Put "
                "modules of torch.nn into a torchrnn.Sequential."
            )
        # Not as a part of the loss: the parameters belong to the network alone.
        object.__setattr__(self, "module", module)
        self.scale = require_number(self, scale, "scale")
        self.criterion = MSECriterion() if criterion is None else require_module(self, criterion, "criterion")
        self.size_average = require_flag(self, size_average, "size_average")

    def is_right(self, scores: Tensor, target: Tensor) -> Tensor:
        """Which rows are right, (N,)."""
        raise NotImplementedError(f"{type(self).__name__} must write is_right(scores, target) -> (N,).")

    def forward(self, input: Any, target: Any) -> Tensor:
        scores, baseline = require_tensors(self, input, 2)
        reward = self.scale * self.is_right(scores, require_tensor(self, target, "target")).to(baseline.dtype)
        n_rows = len(reward)
        if baseline.shape not in ((n_rows, 1), (n_rows,)):
            raise ValueError(
                f"{type(self).__name__}: the baseline must be one number for each row, ({n_rows}, 1) or ({n_rows},); "
                f"got {tuple(baseline.shape)}."
            )
        self.reward = reward
        share = max(n_rows, 1) if self.size_average else 1
        self.module.reinforce((reward - baseline.detach().reshape(n_rows)) / share)
        baseline_loss = self.criterion(baseline, reward.view_as(baseline))
        # The value is that of the reward alone, the gradient of the baseline that of its own loss.
        return zero_path(-reward.sum() / share + (baseline_loss - baseline_loss.detach()), scores)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, size_average={self.size_average}"


class VRClassReward(ClassReward):
    """Reward the network where the class with the highest score is right; variance reduced by a baseline.

    ``R_n = scale * [argmax_k scores[n, k] == target[n]]``, the loss is ``-sum_n R_n / N``, and the stochastic units
    in ``module`` get ``(R_n - baseline_n) / N`` as their reward. The scores get the gradient zero; the baseline, a
    learned guess of the reward, that of ``criterion(baseline, R)``.

    The reward is given in the **forward** of this loss, so that ``loss.backward()`` finds it; compute the loss after
    the forward of ``module`` and before anything else rewards it. In the explicit world `update_output` and `backward`
    both give it::

        loss = criterion(net(x), target)
        loss.backward()

    Arguments: ``module``: the network; its parameters do not become those of the loss. ``scale``: the reward for a
    right class. ``criterion``: the loss of the baseline (default: `MSECriterion`). ``size_average``: False leaves the
    divisions by N out.
    Shapes: the table ``[scores (N, C), baseline (N, 1)]``, or a baseline (N,); target (N,), ids 0 to C - 1.
    After a forward, ``reward`` is R.
    Raises ``TypeError`` and ``ValueError`` for other shapes and ids out of range.

    Differs from the original: ids start at 0; the reward is given in the forward, not in the backward only.

    >>> import torch, torchrnn
    >>> policy = torchrnn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(-1), torchrnn.ReinforceCategorical())
    >>> criterion = torchrnn.VRClassReward(policy)
    >>> baseline = torch.full((5, 1), 0.5, requires_grad=True)
    >>> loss = criterion([policy(torch.randn(5, 4)), baseline], torch.tensor([0, 1, 2, 0, 1]))
    >>> loss.backward()
    >>> torch.equal(loss, -criterion.reward.mean()), policy[0].weight.grad.shape
    (True, torch.Size([3, 4]))
    """

    def is_right(self, scores: Tensor, target: Tensor) -> Tensor:
        if scores.dim() != 2 or target.shape != scores.shape[:1]:
            raise ValueError(
                f"VRClassReward: expected scores (N, C) and target (N,); got {describe(scores)} and {describe(target)}."
            )
        if target.is_floating_point():
            raise TypeError(f"VRClassReward: target must hold integer class ids; got {target.dtype}. Use .long().")
        if ((target < 0) | (target >= scores.shape[1])).any():
            raise ValueError(
                f"VRClassReward: targets must be 0 to {scores.shape[1] - 1}; got {int(target.min())} to "
                f"{int(target.max())}. Ids are 0-based."
            )
        return scores.argmax(1) == target


class BinaryClassReward(ClassReward):
    """Reward the network where a probability lies on the right side of one half.

    ``R_n = scale * [(p_n > 0.5) == target_n]``; all the rest is as in `VRClassReward`.

    Arguments: those of `VRClassReward`.
    Shapes: the table ``[p (N,), baseline (N, 1)]``, or a baseline (N,); target (N,) of 0 and 1.

    >>> import torch, torchrnn
    >>> policy = torchrnn.Sequential(torch.nn.Linear(4, 1), torch.nn.Sigmoid(), torchrnn.View(-1))
    >>> criterion = torchrnn.BinaryClassReward(policy)
    >>> criterion([torch.tensor([0.9, 0.2]), torch.zeros(2, 1)], torch.tensor([1, 1]))
    tensor(-0.5000)
    """

    def is_right(self, scores: Tensor, target: Tensor) -> Tensor:
        if scores.dim() != 1 or target.shape != scores.shape:
            raise ValueError(
                f"BinaryClassReward: expected probabilities (N,) and target (N,); got {describe(scores)} and "
                f"{describe(target)}."
            )
        if ((target != 0) & (target != 1)).any():
            raise ValueError("BinaryClassReward: targets must be 0 or 1.")
        return (scores > 0.5) == target.bool()

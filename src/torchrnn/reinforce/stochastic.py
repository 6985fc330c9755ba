"""What all stochastic units have in common: they draw a sample, and learn from a reward that comes later."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from torchrnn.checks import require_flag
from torchrnn.module import Module
from torchrnn.tree import Tree, describe


class Draw:
    """One sample that was drawn: the graph that it began keeps this alive, and the reward is put here."""

    def __init__(self, log_probability: Tensor) -> None:
        self.shape = log_probability.shape
        self.reward: Tensor | None = None

    def takes(self, reward: Tensor) -> bool:
        """Whether ``reward`` is one number for each row of the sample, or one for all."""
        is_one = reward.dim() == 0 or (reward.shape == (1,) and len(self.shape) <= 1)
        return is_one or (reward.dim() == 1 and reward.shape == self.shape[:1])

    def spread(self) -> Tensor:
        """The reward in the shape of the log-probability."""
        if self.reward is None:
            raise ValueError(
                "backward reached a sample that has no reward. Call reinforce(reward) on the network after its forward "
                "and before backward, or compute a loss such as VRClassReward, whose forward does it; a list of "
                "rewards must reach back to the first step that backward goes through."
            )
        if self.reward.numel() == 1:
            return self.reward.reshape(()).expand(self.shape)
        return self.reward.reshape(-1, *[1] * (len(self.shape) - 1)).expand(self.shape)


class _Sampled(torch.autograd.Function):
    """The sample; whatever comes back, the log-probability of the sample gets the gradient ``-reward``."""

    @staticmethod
    def forward(ctx: Any, sample: Tensor, log_probability: Tensor, draw: Draw) -> Tensor:
        ctx.draw, ctx.like = draw, log_probability.detach()
        return sample.view_as(sample)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[None, Tensor, None]:
        return None, -ctx.draw.spread().to(ctx.like), None


class Reinforce(Module):
    """A unit that draws a sample of a distribution and learns by REINFORCE: the base of the ``Reinforce...`` units.

    The gradient is ``-reward * d log p(sample) / d input``. The gradient of the output is ignored: the sample is not
    a differentiable function of the input, the reward tells how good it was. Each call remembers what it drew, and
    ``reinforce(reward)``, on the unit or on any module around it, must tell the reward between forward and backward;
    `VRClassReward` does it by itself::

        y = net(x)
        net.reinforce(reward)           # (N,), the more the better
        y.sum().backward()              # or any loss that y leads to

    The explicit world is the same with ``update_output`` and ``backward``. The sample must lead to what is
    differentiated: a gradient that is zero is enough to reach the unit, none at all is not. In evaluation nothing is
    drawn: the output is the mean of the distribution, and gradients pass through it as usual.

    A subclass writes one method, ``distribution(input)``, which returns a ``torch.distributions.Distribution``; one
    that draws otherwise overrides `draw`.

    Arguments: ``stochastic``: draw in evaluation, too.
    Shapes: input (N, ...), or a table of such, as the distribution takes it; the output is a sample of it.
    Raises ``ValueError`` in backward where a sample has no reward.

    Differs from the original: every call has its own sample and reward; evaluation has a gradient.
    Source: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992.

    >>> import torch, torchrnn
    >>> class ReinforcePoisson(torchrnn.Reinforce):
    ...     def distribution(self, input):
    ...         return torch.distributions.Poisson(input)
    >>> rate = torch.tensor([[2.0]], requires_grad=True)
    >>> unit = ReinforcePoisson()
    >>> count = unit(rate)
    >>> unit.reinforce(torch.tensor([1.0]))
    >>> count.sum().backward()
    >>> torch.equal(rate.grad, 1 - count / 2)
    True
    """

    def __init__(self, stochastic: bool = False) -> None:
        super().__init__()
        self.stochastic = require_flag(self, stochastic, "stochastic")
        self._draws: deque[weakref.ref[Draw]] = deque()

    def distribution(self, input: Tree) -> Distribution:
        """What to draw from, for this input."""
        raise NotImplementedError(f"{type(self).__name__} must write distribution(input) -> torch.distributions.…")

    def draw(self, distribution: Distribution) -> Tensor:
        """A new sample."""
        sample: Tensor = distribution.sample()
        return sample

    def forward(self, input: Tree) -> Tensor:
        distribution = self.distribution(input)
        if not (self.training or self.stochastic):
            mean: Tensor = distribution.mean
            return mean
        sample = self.draw(distribution)
        log_probability: Tensor = distribution.log_prob(sample)
        draw = Draw(log_probability)
        output: Tensor = _Sampled.apply(sample, log_probability, draw)  # type: ignore[no-untyped-call]
        while self._draws and self._draws[0]() is None:
            self._draws.popleft()
        self._draws.append(weakref.ref(draw))
        return output

    def _reinforce_own(self, reward: Any) -> None:
        draws = [draw for reference in self._draws if (draw := reference()) is not None]
        rewards, is_per_step = _rewards(reward)
        if not draws:
            return
        if len(rewards) > len(draws):
            raise ValueError(
                f"reinforce: there are rewards for {len(rewards)} steps, but {type(self).__name__} drew only "
                f"{len(draws)} samples since. Give at most one for each step, the last of them for the last step; one "
                "tensor (N,) serves all steps."
            )
        for draw, value in zip(reversed(draws), reversed(rewards), strict=False):
            if not draw.takes(value):
                raise ValueError(
                    f"reinforce: a reward must be (N,), one number for each of the N = {draw.shape[0]} rows of the "
                    f"sample, or a single number; got shape {tuple(value.shape)}."
                    if draw.shape
                    else f"reinforce: the reward of a single sample must be one number; got shape {tuple(value.shape)}."
                )
            draw.reward = value
        if not is_per_step:
            for draw in draws:
                # Graphs of other batches, which somebody still holds, may have other sizes.
                if draw.takes(rewards[0]):
                    draw.reward = rewards[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_draws": deque()}

    def extra_repr(self) -> str:
        return f"stochastic={self.stochastic}"


def _rewards(reward: Any) -> tuple[list[Tensor], bool]:
    """The rewards as a list, one for each of the last steps; or one, and False, that is for every step."""
    if isinstance(reward, int | float):
        reward = torch.tensor(float(reward))
    if isinstance(reward, Tensor):
        if reward.dim() < 2:
            return [reward.detach()], False
        reward = reward.unbind(0)
    if not isinstance(reward, list | tuple) or not all(isinstance(step, Tensor) for step in reward):
        raise TypeError(
            "reinforce: reward must be a tensor (N,), or one for each step: a list of tensors (N,) or a tensor (T, N); "
            f"got {describe(reward)}."
        )
    if not reward:
        raise ValueError("reinforce: the list of rewards is empty; give one (N,) for each of the last steps.")
    return [step.detach() for step in reward], True

"""A unit that is on or off."""

from __future__ import annotations

from torch.distributions import Bernoulli

from torchrnn.checks import require_real
from torchrnn.reinforce.stochastic import Reinforce
from torchrnn.tree import Tree


class ReinforceBernoulli(Reinforce):
    """Draw ``y = 1`` with probability p and else 0, for each element, and learn p by REINFORCE.

    The gradient is ``-reward (y - p) / (p (1 - p))``. In evaluation the output is p.

    Arguments: ``stochastic``: draw in evaluation, too.
    Shapes: p (N, D), or any ``(N, ...)``, and so is the output.
    Raises ``ValueError`` for a p outside 0 to 1.

    Differs from the original: at p = 0 and p = 1 the gradient is 0 and not NaN. See `Reinforce` for the reward.

    >>> import torch, torchrnn
    >>> torchrnn.ReinforceBernoulli()(torch.tensor([[0.0, 1.0]]))
    tensor([[0., 1.]])
    """

    def distribution(self, input: Tree) -> Bernoulli:
        return Bernoulli(require_real(self, input))

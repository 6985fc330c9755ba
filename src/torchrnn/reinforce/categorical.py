"""A unit that chooses one of several classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F

from torchrnn.checks import require_real
from torchrnn.reinforce.stochastic import Reinforce
from torchrnn.tree import Tree


class ReinforceCategorical(Reinforce):
    """Draw one class of K, as a one-hot vector y, with probabilities p, and learn p by REINFORCE.

    The gradient is ``-reward y / (p + 1e-8)``, that of unnormalised probabilities: a softmax comes before. In
    evaluation the output is p.

    Arguments: ``stochastic``: draw in evaluation, too.
    Shapes: p (N, K), or (N, ..., K) for several choices a row, and so is the output.
    Raises ``ValueError`` for what are not probabilities.

    See `Reinforce` for the reward, and for what differs from the original.

    >>> import torch, torchrnn
    >>> torchrnn.ReinforceCategorical()(torch.tensor([[0.0, 1.0, 0.0]]))
    tensor([[0., 1., 0.]])
    """

    def distribution(self, input: Tree) -> OneHot:
        p = require_real(self, input)
        if p.dim() == 0 or p.shape[-1] == 0:
            raise ValueError(f"ReinforceCategorical: the input must be (N, K), K at least 1; got {tuple(p.shape)}.")
        total = p.detach().sum(-1)
        if (p < 0).any() or not (total.isfinite() & (total > 0)).all():
            raise ValueError(
                "ReinforceCategorical: the input must hold probabilities, not negative, finite, and not all zero. "
                "Apply torch.nn.Softmax(-1) first."
            )
        return OneHot(p)


class OneHot(Distribution):
    """One of K classes as a one-hot vector; differentiated by the probabilities as they are given.

    ``torch.distributions.OneHotCategorical`` is differentiated by them as it normalises them.
    """

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__(probabilities.shape[:-1], probabilities.shape[-1:], validate_args=False)
        self.probabilities = probabilities

    @property
    def mean(self) -> Tensor:
        return self.probabilities

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        p = self.probabilities.detach()
        p = p.expand(*sample_shape, *p.shape)
        rows = p.reshape(-1, p.shape[-1])
        classes = torch.multinomial(rows, 1) if len(rows) else rows.new_zeros(0, 1, dtype=torch.long)
        return F.one_hot(classes, p.shape[-1]).to(p).reshape(p.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return (value * (self.probabilities + 1e-8).log()).sum(-1)

"""Drawing from a discrete distribution in constant time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchrnn.checks import require_numbers

CERTAIN = 2**53
"""The threshold that stands for probability 1: thresholds are integers, which no change of precision touches."""


class AliasMultinomial(nn.Module):
    """Draws from a distribution over n outcomes in constant time each, by the alias method.

    There are n columns, all equally likely. Column i gives outcome i with probability ``t_i`` and outcome ``a_i``
    otherwise; the tables t and a are made once, in O(n). Outcomes of probability 0 are never drawn.

    Arguments:
        probabilities: (n,) weights, not negative, such as counts; they need not sum to 1, and are left as they are.

    `probabilities` holds them divided by their sum. Raises ``ValueError`` for weights that are no distribution.

    Differs from ``torch.multinomial``: O(1) instead of O(n) a draw, and any n. Differs from the original: many draws
    are one call, and given tensors are not changed. Source: Walker, "An Efficient Method for Generating Discrete
    Random Variables with General Distributions", 1977.

    >>> import torch, torchrnn
    >>> dice = torchrnn.AliasMultinomial([0.0, 3.0, 1.0])
    >>> dice.probabilities
    tensor([0.0000, 0.7500, 0.2500])
    >>> dice.draw(2, 5).shape
    torch.Size([2, 5])
    """

    probabilities: Tensor
    thresholds: Tensor
    aliases: Tensor

    def __init__(self, probabilities: Tensor | Sequence[float]) -> None:
        super().__init__()
        weights = require_numbers(self, probabilities, "probabilities", torch.float64)
        if weights.dim() != 1 or not len(weights):
            raise ValueError(
                "AliasMultinomial: probabilities must be one weight for each outcome, (n,); got "
                f"{tuple(weights.shape)}."
            )
        if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError(
                "AliasMultinomial: probabilities must be finite, not negative, and not all 0; got "
                f"{weights.min().item():g} to {weights.max().item():g}."
            )
        shares = weights / weights.sum()
        thresholds, aliases = _alias_tables(shares)
        dtype = torch.get_default_dtype()
        if isinstance(probabilities, Tensor) and probabilities.is_floating_point():
            dtype = probabilities.dtype
        self.register_buffer("probabilities", shares.to(dtype))
        self.register_buffer("thresholds", (thresholds * CERTAIN).round().long())
        self.register_buffer("aliases", aliases)

    def draw(self, *size: int) -> Tensor:
        """Independent outcomes, int64 of shape ``size``."""
        columns = torch.randint(len(self.aliases), size, device=self.aliases.device)
        stays = torch.randint(CERTAIN, size, device=self.aliases.device) < self.thresholds[columns]
        return columns.where(stays, self.aliases[columns])


def _alias_tables(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Thresholds t and aliases a, without a loop over the outcomes.

    A column holds the mass 1/n. The outcomes with less, in order, are filled up by those with more, in order: running
    sums of what the first lack and of what the second have left over tell who fills whom. An outcome that gave away
    more than it had left over is filled up by the next.
    """
    n = len(shares)
    mass = shares * n
    poor, rich = (mass <= 1).nonzero()[:, 0], (mass > 1).nonzero()[:, 0]
    thresholds, aliases = torch.ones_like(mass), torch.arange(n, device=mass.device)
    if len(poor) and len(rich):
        lacking, surplus = (1 - mass[poor]).cumsum(0), (mass[rich] - 1).cumsum(0)
        lacking_before = torch.cat([lacking.new_zeros(1), lacking[:-1]])
        thresholds[poor] = mass[poor]
        aliases[poor] = rich[torch.searchsorted(surplus, lacking_before, right=True).clamp(max=len(rich) - 1)]
        last_filled = torch.searchsorted(lacking, surplus).clamp(max=len(poor) - 1)
        thresholds[rich[:-1]] = (1 + surplus - lacking[last_filled]).clamp(0, 1)[:-1]
        aliases[rich[:-1]] = rich[1:]
    return thresholds, aliases

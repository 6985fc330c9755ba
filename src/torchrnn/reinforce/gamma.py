"""A gamma-distributed unit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma

from torchrnn.checks import require_number, require_one_shape, require_real, require_table
from torchrnn.reinforce.stochastic import Reinforce
from torchrnn.tree import Tree


class ReinforceGamma(Reinforce):
    """Draw ``y ~ Gamma(k, θ)`` of shape k and scale θ for each element, and learn them by REINFORCE.

    The gradients are ``-reward (ln y - ln θ - digamma(k))`` for k and, where it is an input,
    ``-reward (y / θ - k) / θ`` for θ. In evaluation the output is the mean, ``k θ``.

    Arguments: ``scale``: θ, a positive number; without it the input is the table ``[k, θ]``; ``stochastic``: draw in
    evaluation, too.
    Shapes: k (N, D), or any ``(N, ...)``; θ the same; and so is the output.
    Raises ``ValueError`` for a k or θ that is not positive.

    See `Reinforce` for the reward, and for what differs from the original.

    >>> import torch, torchrnn
    >>> torchrnn.ReinforceGamma(0.5).eval()(torch.tensor([[2.0, 4.0]]))
    tensor([[1., 2.]])
    """

    def __init__(self, scale: float | None = None, stochastic: bool = False) -> None:
        super().__init__(stochastic)
        if scale is not None and require_number(self, scale, "scale") <= 0:
            raise ValueError(f"ReinforceGamma: scale must be positive; got {scale}.")
        self.scale = scale

    def distribution(self, input: Tree) -> Gamma:
        if self.scale is None:
            shape, scale = (require_real(self, x) for x in require_table(self, input, 2))
            require_one_shape(self, [shape, scale])
        else:
            shape = require_real(self, input)
            scale = torch.full_like(shape, self.scale, requires_grad=False)
        return Gamma(shape, 1 / scale)

    def draw(self, distribution: Distribution) -> Tensor:
        assert isinstance(distribution, Gamma)
        shape, rate = distribution.concentration.detach(), distribution.rate.detach()
        # PyTorch draws gamma variates in single and double precision only.
        precise = torch.promote_types(shape.dtype, torch.float32)
        return Gamma(shape.to(precise), rate.to(precise)).sample().to(shape)

    def extra_repr(self) -> str:
        return f"{self.scale}, {super().extra_repr()}"

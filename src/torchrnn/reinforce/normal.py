"""A normally distributed unit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

from torchrnn.checks import require_number, require_real, require_table
from torchrnn.reinforce.stochastic import Reinforce
from torchrnn.tree import Tree


class ReinforceNormal(Reinforce):
    """Draw ``y ~ N(μ, σ²)`` for each element, and learn μ, and σ where it is an input, by REINFORCE.

    The gradients are ``-reward (y - μ) / σ²`` for μ and ``-reward ((y - μ)² - σ²) / (σ³ + 1e-8)`` for σ; the 1e-8 is
    the original's, and bounds the gradient of a small σ. In evaluation the output is μ.

    Arguments: ``stdev``: σ, one positive number or a tensor that broadcasts to μ; without it the input is the table
    ``[μ, σ]``; ``stochastic``: draw in evaluation, too.
    Shapes: μ (N, D), or any ``(N, ...)``; σ the same; and so is the output.
    Raises ``ValueError`` for a σ that is not positive or does not fit.

    See `Reinforce` for the reward, and for what differs from the original.

    >>> import torch, torchrnn
    >>> locator = torchrnn.Sequential(torch.nn.Linear(6, 2), torchrnn.ReinforceNormal(0.1))
    >>> h = torch.randn(3, 6)
    >>> y = locator.update_output(h)
    >>> locator.reinforce(torch.tensor([1.0, 0.0, -1.0]))
    >>> locator.backward(h, torch.zeros_like(y)).shape
    torch.Size([3, 6])
    """

    stdev: Tensor | float | None

    def __init__(self, stdev: Tensor | float | None = None, stochastic: bool = False) -> None:
        super().__init__(stochastic)
        if isinstance(stdev, Tensor):
            self.register_buffer("stdev", stdev.detach().clone(), persistent=False)
        else:
            self.stdev = None if stdev is None else require_number(self, stdev, "stdev")
        if stdev is not None and not bool((torch.as_tensor(stdev) > 0).all()):
            raise ValueError(f"ReinforceNormal: stdev must be positive; got {stdev}.")

    def distribution(self, input: Tree) -> Normal:
        if self.stdev is None:
            mean, stdev = (require_real(self, x) for x in require_table(self, input, 2))
            stdev = _damped(stdev)
        else:
            mean = require_real(self, input)
            stdev = torch.as_tensor(self.stdev, dtype=mean.dtype, device=mean.device)
        try:
            stdev = stdev.expand_as(mean)
        except RuntimeError:
            raise ValueError(
                f"ReinforceNormal: stdev must have the shape of the mean or broadcast to it, {tuple(mean.shape)}; got "
                f"{tuple(stdev.shape)}."
            ) from None
        return Normal(mean, stdev)

    def extra_repr(self) -> str:
        stdev = self.stdev if not isinstance(self.stdev, Tensor) else f"tensor of shape {tuple(self.stdev.shape)}"
        return f"{stdev}, {super().extra_repr()}"


def _damped(stdev: Tensor) -> Tensor:
    """The same σ, whose gradient is multiplied by ``σ³ / (σ³ + 1e-8)``."""
    value = stdev.detach()
    cube = value**3
    return value + cube / (cube + 1e-8) * (stdev - value)

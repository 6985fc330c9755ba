"""The loss of noise-contrastive estimation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchrnn.checks import require_flag, require_table
from torchrnn.layers import Criterion
from torchrnn.tree import Tree, describe

EPS = 1e-7


class _NoiseContrast(torch.autograd.Function):
    """The summed loss, with the original's gradients: EPS keeps them finite where a probability has come to be 0."""

    @staticmethod
    def forward(p_target: Tensor, p_noise: Tensor, q_target: Tensor, q_noise: Tensor) -> Tensor:
        k = p_noise.shape[1]
        from_model = p_target / (p_target + k * q_target + EPS)
        from_noise = k * q_noise / (p_noise + k * q_noise + EPS)
        return -(from_model.log().sum() + from_noise.log().sum())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None]:
        p_target, p_noise, q_target, q_noise = ctx.saved_tensors
        k = p_noise.shape[1]
        grad_target = -k * q_target / ((p_target + k * q_target + EPS) * (p_target + EPS))
        grad_noise = p_noise / ((p_noise + k * q_noise + EPS) * (p_noise + EPS))
        return grad_output * grad_target, grad_output * grad_noise, None, None


class NCECriterion(Criterion):
    """Noise-contrastive loss: how well targets are told from noise by what `NCEModule` gives.

    ``-(sum_n ln(p_n / (p_n + k q_n + e)) + sum_nj ln(k q_nj / (p_nj + k q_nj + e))) / N``, where p is what the model
    gives a target or a noise class, q what the noise distribution gives it, and e is 1e-7.

    Arguments:
        size_average: False leaves the division by N out.

    Shapes: a table of p (N,) and (N, k), q (N,) and (N, k), in the order of `NCEModule`: p of the targets, p of the
    noise, q of the targets, q of the noise. The target is in there already: what is given as ``target`` is not looked
    at. The gradients of both q are zero.

    Differs from the original: nothing. Source: Chen, Liu, Gales, Woodland, "Recurrent Neural Network Language Model
    Training with Noise Contrastive Estimation for Speech Recognition", 2015.

    >>> import torch, torchrnn
    >>> p, q = torch.tensor([0.5]), torch.tensor([0.25])
    >>> torchrnn.NCECriterion()([p, p[None] * 0, q, q[None]])
    tensor(0.4055)
    """

    def __init__(self, size_average: bool = True) -> None:
        super().__init__()
        self.size_average = require_flag(self, size_average, "size_average")

    def forward(self, input: Tree, target: Tree = None) -> Tensor:
        if isinstance(input, Tensor):
            raise TypeError(
                f"NCECriterion: input must be the table of four that NCEModule gives; got a tensor {describe(input)}. "
                "A normalized NCEModule gives probabilities in evaluation: use ClassNLLCriterion for their logarithms."
            )
        p_target, p_noise, q_target, q_noise = require_table(self, input, 4)
        if p_target.dim() != 1 or p_noise.dim() != 2 or len(p_noise) != len(p_target):
            shapes_agree = False
        else:
            shapes_agree = q_target.shape == p_target.shape and q_noise.shape == p_noise.shape
        if not shapes_agree:
            raise ValueError(f"NCECriterion: expected shapes (N,), (N, k), (N,), (N, k); got {describe(input)}.")
        total: Tensor = _NoiseContrast.apply(*input)  # type: ignore[no-untyped-call]
        return total / max(len(p_target), 1) if self.size_average else total

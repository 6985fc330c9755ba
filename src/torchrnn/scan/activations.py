"""Activation functions and their derivatives, written with the operations that the machine has.

PyTorch has such rules too, but to load them takes longer than to trace a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.operations import aten

TANH_SCALE, TANH_CUBE = math.sqrt(2 / math.pi), 0.044715
"""The constants of the approximation of gelu."""


def sigmoid_backward(grad: Tensor, y: Tensor) -> Tensor:
    return grad * (y * (1 - y))


def tanh_backward(grad: Tensor, y: Tensor) -> Tensor:
    return grad * (1 - y * y)


def threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    return torch.where(x <= threshold, value, x)


def threshold_backward(grad: Tensor, x: Tensor, threshold: float) -> Tensor:
    return torch.where(x <= threshold, 0.0, grad)


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def silu_backward(grad: Tensor, x: Tensor) -> Tensor:
    y = torch.sigmoid(x)
    return grad * (y * (1 + x * (1 - y)))


def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    scaled = x * beta
    return torch.where(scaled > threshold, x, torch.log1p(torch.exp(scaled)) * (1 / beta))


def softplus_backward(grad: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    scaled = x * beta
    return torch.where(scaled > threshold, grad, grad * torch.sigmoid(scaled))


def log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """With what PyTorch keeps for backward, which `log_sigmoid_backward` does without."""
    small = torch.exp(-torch.abs(x))
    return x.clamp(max=0) - torch.log1p(small), small


def log_sigmoid_backward(grad: Tensor, x: Tensor, kept: Tensor) -> Tensor:
    return grad * torch.sigmoid(-x)


def mish(x: Tensor) -> Tensor:
    return x * torch.tanh(softplus(x))


def mish_backward(grad: Tensor, x: Tensor) -> Tensor:
    y = torch.tanh(softplus(x))
    return grad * (y + x * torch.sigmoid(x) * (1 - y * y))


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(x > 0, x, x * slope)


def leaky_relu_backward(grad: Tensor, x: Tensor, slope: float, x_is_result: bool) -> Tensor:
    return torch.where(x > 0, grad, grad * slope)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * slope)


def prelu_backward(grad: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(x > 0, grad, grad * slope), torch.where(x > 0, 0.0, grad * x)


def elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    return torch.where(x > 0, x * scale, torch.expm1(x * input_scale) * (alpha * scale))


def elu_backward(
    grad: Tensor, alpha: float, scale: float, input_scale: float, is_result: bool, x_or_result: Tensor
) -> Tensor:
    if is_result:
        slope = (x_or_result + alpha * scale) * input_scale
    else:
        slope = torch.exp(x_or_result * input_scale) * (alpha * scale * input_scale)
    return torch.where(x_or_result > 0, grad * scale, grad * slope)


def celu(x: Tensor, alpha: float = 1) -> Tensor:
    return elu(x, alpha, 1, 1 / alpha)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(TANH_SCALE * (x + TANH_CUBE * (x * x * x))))
    return 0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))


def gelu_backward(grad: Tensor, x: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        y = torch.tanh(TANH_SCALE * (x + TANH_CUBE * (x * x * x)))
        inner = TANH_SCALE * (1 + 3 * TANH_CUBE * (x * x))
        return grad * (0.5 * (1 + y) + 0.5 * x * (1 - y * y) * inner)
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return grad * (0.5 * (1 + torch.erf(x * math.sqrt(0.5))) + x * density)


def hardtanh(x: Tensor, low: float = -1, high: float = 1) -> Tensor:
    return x.clamp(low, high)


def hardtanh_backward(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    return torch.where(torch.logical_and(x > low, x < high), grad, 0.0)


def hardsigmoid(x: Tensor) -> Tensor:
    return (x + 3).clamp(0, 6) * (1 / 6)


def hardsigmoid_backward(grad: Tensor, x: Tensor) -> Tensor:
    return torch.where(torch.logical_and(x > -3, x < 3), grad * (1 / 6), 0.0)


def hardswish(x: Tensor) -> Tensor:
    return x * (x + 3).clamp(0, 6) * (1 / 6)


def hardswish_backward(grad: Tensor, x: Tensor) -> Tensor:
    return torch.where(x <= -3, 0.0, torch.where(x < 3, grad * (x * (1 / 3) + 0.5), grad))


def softshrink(x: Tensor, width: float = 0.5) -> Tensor:
    return x - x.clamp(-width, width)


def hardshrink(x: Tensor, width: float = 0.5) -> Tensor:
    return torch.where(torch.abs(x) <= width, 0.0, x)


def shrink_backward(grad: Tensor, x: Tensor, width: float) -> Tensor:
    return torch.where(torch.abs(x) <= width, 0.0, grad)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    a, b = _halves(x, dim)
    return a * torch.sigmoid(b)


def glu_backward(grad: Tensor, x: Tensor, dim: int) -> Tensor:
    a, b = _halves(x, dim)
    y = torch.sigmoid(b)
    return torch.cat([grad * y, grad * a * (y * (1 - y))], dim)


def _halves(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    a, b = torch.split(x, x.shape[dim] // 2, dim)
    return a, b


ACTIVATIONS: dict[Any, Callable[..., Any]] = {
    aten.sigmoid_backward.default: sigmoid_backward,
    aten.tanh_backward.default: tanh_backward,
    aten.threshold.default: threshold,
    aten.threshold_backward.default: threshold_backward,
    aten.silu.default: silu,
    aten.silu_backward.default: silu_backward,
    aten.softplus.default: softplus,
    aten.softplus_backward.default: softplus_backward,
    aten.log_sigmoid_forward.default: log_sigmoid,
    aten.log_sigmoid_backward.default: log_sigmoid_backward,
    aten.mish.default: mish,
    aten.mish_backward.default: mish_backward,
    aten.leaky_relu.default: leaky_relu,
    aten.leaky_relu_backward.default: leaky_relu_backward,
    aten._prelu_kernel.default: prelu,
    aten._prelu_kernel_backward.default: prelu_backward,
    aten.elu.default: elu,
    aten.elu_backward.default: elu_backward,
    aten.celu.default: celu,
    aten.gelu.default: gelu,
    aten.gelu_backward.default: gelu_backward,
    aten.hardtanh.default: hardtanh,
    aten.hardtanh_backward.default: hardtanh_backward,
    aten.hardsigmoid.default: hardsigmoid,
    aten.hardsigmoid_backward.default: hardsigmoid_backward,
    aten.hardswish.default: hardswish,
    aten.hardswish_backward.default: hardswish_backward,
    aten.softshrink.default: softshrink,
    aten.softshrink_backward.default: shrink_backward,
    aten.hardshrink.default: hardshrink,
    aten.hardshrink_backward.default: shrink_backward,
    aten.glu.default: glu,
    aten.glu_backward.default: glu_backward,
}

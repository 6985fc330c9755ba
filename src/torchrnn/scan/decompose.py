"""Operators that are recorded as simpler ones: our own rules for rows, and PyTorch's for activation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions

from torchrnn.scan.operations import aten


def _layer_norm(x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    if len(shape) != 1:
        return NotImplemented
    centred = x - x.mean(-1, keepdim=True)
    scale = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)
    y = centred * scale
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    # In place of the mean: its backward below takes it anew, so this only has to be of its shape.
    return y, scale, scale


def _layer_norm_backward(
    grad: Tensor,
    x: Tensor,
    shape: list[int],
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: list[bool],
) -> Any:
    rows = list(range(x.dim() - 1))
    normal = (x - x.mean(-1, keepdim=True)) * scale
    inner = grad if weight is None else grad * weight
    centred = inner - inner.mean(-1, keepdim=True)
    grad_x = (centred - normal * (inner * normal).mean(-1, keepdim=True)) * scale
    return (
        grad_x if wanted[0] else None,
        (grad * normal).sum(rows) if wanted[1] else None,
        grad.sum(rows) if wanted[2] else None,
    )


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    by_batch: bool,
    momentum: float,
    eps: float,
) -> Any:
    if by_batch or x.dim() != 2:
        return NotImplemented
    scale = torch.rsqrt(var + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return x * scale + shift, mean.new_empty(0), mean.new_empty(0)


def _batch_norm_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    var: Tensor,
    batch_mean: Tensor,
    batch_scale: Tensor,
    by_batch: bool,
    eps: float,
    wanted: list[bool],
) -> Any:
    if by_batch or x.dim() != 2:
        return NotImplemented
    scale = torch.rsqrt(var + eps)
    return (
        grad * (scale if weight is None else scale * weight) if wanted[0] else None,
        (grad * ((x - mean) * scale)).sum(0) if wanted[1] else None,
        grad.sum(0) if wanted[2] else None,
    )


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    e = torch.exp(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def _softmax_backward(grad: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    return y * (grad - (grad * y).sum(dim, keepdim=True))


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - torch.exp(shifted).sum(dim, keepdim=True).log()


def _log_softmax_backward(grad: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    return grad - torch.exp(y) * grad.sum(dim, keepdim=True)


def _variance(x: Tensor, dim: list[int] | None = None, *, correction: Any = None, keepdim: bool = False) -> Any:
    if dim is None or len(dim) != 1:
        return NotImplemented
    centred = x - x.mean(dim, keepdim=True)
    return (centred * centred).sum(dim, keepdim=keepdim) / (x.shape[dim[0]] - (1 if correction is None else correction))


def _vector_norm(
    x: Tensor, order: float = 2, dim: list[int] | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    if order != 2 or dim is None:
        return NotImplemented
    return (x * x).sum(dim, keepdim=keepdim).sqrt()


def _lerp(start: Tensor, end: Tensor, weight: Any) -> Tensor:
    result: Tensor = start + weight * (end - start)
    return result


def _sigmoid_backward(grad: Tensor, y: Tensor) -> Tensor:
    return grad * (y * (1 - y))


def _tanh_backward(grad: Tensor, y: Tensor) -> Tensor:
    return grad * (1 - y * y)


def _threshold_backward(grad: Tensor, x: Tensor, threshold: float) -> Tensor:
    return torch.where(x <= threshold, 0.0, grad)


FROM_PYTORCH = [
    aten.silu,
    aten.silu_backward,
    aten.softplus,
    aten.softplus_backward,
    aten.leaky_relu,
    aten.leaky_relu_backward,
    aten.elu,
    aten.elu_backward,
    aten.gelu,
    aten.gelu_backward,
    aten.hardtanh,
    aten.hardtanh_backward,
    aten.hardsigmoid,
    aten.hardsigmoid_backward,
    aten.hardswish,
    aten.hardswish_backward,
    aten.log_sigmoid_forward,
    aten.log_sigmoid_backward,
    aten.slice_backward,
    aten.select_backward,
    aten.addcmul,
    aten.addcdiv,
    aten.rsub,
    aten.glu,
    aten.glu_backward,
    aten.mish,
    aten.stack,
]

DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    **get_decompositions(FROM_PYTORCH),
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten._softmax.default: _softmax,
    aten._softmax_backward_data.default: _softmax_backward,
    aten._log_softmax.default: _log_softmax,
    aten._log_softmax_backward_data.default: _log_softmax_backward,
    aten.var.correction: _variance,
    aten.linalg_vector_norm.default: _vector_norm,
    aten.lerp.Scalar: _lerp,
    aten.lerp.Tensor: _lerp,
    aten.sigmoid_backward.default: _sigmoid_backward,
    aten.tanh_backward.default: _tanh_backward,
    aten.threshold_backward.default: _threshold_backward,
}

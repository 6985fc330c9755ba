"""Operators that are recorded as simpler ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.activations import ACTIVATIONS
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


def _any(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    return (x.ne(0) * 1.0).amax(dim, keepdim=keepdim).ne(0)


def _all(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    return (x.eq(0) * 1.0).amax(dim, keepdim=keepdim).eq(0)


def _lerp(start: Tensor, end: Tensor, weight: Any) -> Tensor:
    result: Tensor = start + weight * (end - start)
    return result


def _addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    return x + a * b if value == 1 else x + value * (a * b)


def _addcdiv(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    return x + a / b if value == 1 else x + value * (a / b)


def _reverse_sub(x: Tensor, other: Any, alpha: float = 1) -> Tensor:
    return torch.sub(other, x, alpha=alpha)


def _stack(tensors: list[Tensor], dim: int = 0) -> Tensor:
    return torch.cat([tensor.unsqueeze(dim) for tensor in tensors], dim)


def _select_backward(grad: Tensor, sizes: list[int], dim: int, index: int) -> Tensor:
    return grad.new_zeros(sizes).select_scatter(grad, dim, index)


def _slice_backward(grad: Tensor, sizes: list[int], dim: int, start: int, end: int, step: int) -> Tensor:
    return grad.new_zeros(sizes).slice_scatter(grad, dim, start, end, step)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    **ACTIVATIONS,
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
    aten.any.dim: _any,
    aten.all.dim: _all,
    aten.lerp.Scalar: _lerp,
    aten.lerp.Tensor: _lerp,
    aten.addcmul.default: _addcmul,
    aten.addcdiv.default: _addcdiv,
    aten.rsub.Scalar: _reverse_sub,
    aten.rsub.Tensor: _reverse_sub,
    aten.stack.default: _stack,
    aten.select_backward.default: _select_backward,
    aten.slice_backward.default: _slice_backward,
}

"""All parameters of a module in one flat tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def flatten_parameters(parameters: Sequence[nn.Parameter]) -> tuple[Tensor, Tensor]:
    """Move parameters and their gradients into one flat tensor each (n,), and return both."""
    if not parameters:
        return torch.empty(0), torch.empty(0)
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) > 1:
        raise ValueError(
            f"get_parameters: the parameters must share one dtype and device to lie in one flat tensor; got "
            f"{sorted(map(str, kinds))}. Move the module with .to(...) first."
        )
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    values = _flattened([p.detach() for p in parameters])
    grads = _flattened([p.grad for p in parameters if p.grad is not None])
    for p, value, grad in zip(parameters, _views(values, parameters), _views(grads, parameters), strict=True):
        p.data, p.grad = value, grad
    return values, grads


def _flattened(tensors: Sequence[Tensor]) -> Tensor:
    """One flat tensor of them all: the memory they lie in one after the other already, or a new one."""
    first = tensors[0]
    position = first.storage_offset()
    in_a_row = True
    for tensor in tensors:
        in_a_row &= (
            tensor.is_contiguous()
            and tensor.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
            and tensor.storage_offset() == position
        )
        position += tensor.numel()
    if in_a_row:
        return first.as_strided((position - first.storage_offset(),), (1,))
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """`flat` cut into pieces of the shapes of `like`."""
    pieces = torch.split(flat, [tensor.numel() for tensor in like])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]

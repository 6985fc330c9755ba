"""Tables of tensors, and their gradients by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .case import Case


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply to every leaf; tables become lists."""
    if isinstance(tree, list | tuple):
        return [tree_map(function, part) for part in tree]
    return function(tree)


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in leaves(part)]
    return [tree]


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor) and leaf.numel()]


def zero_based(tree: Any) -> Any:
    """Torch7's indices count from 1, ours from 0."""
    return tree_map(lambda x: x - 1 if isinstance(x, Tensor) and x.dtype == torch.int64 else x, tree)


def indices_of(case: Case) -> Callable[[Any], Any]:
    """What makes the input and output of a case ours: 0 is padding in both worlds where it is an index at all."""
    keeps_padding = any(name in case["constructor"] for name in ("LookupTableMaskZero", "LookupRNN"))
    return (lambda tree: tree) if keeps_padding else zero_based


def wanting_gradients(tree: Any) -> Any:
    return tree_map(lambda x: x.clone().requires_grad_() if x.is_floating_point() else x.clone(), tree)


def gradients(tree: Any) -> Any:
    """What autograd left in the leaves; zeros where nothing arrived."""
    return tree_map(lambda x: torch.zeros_like(x) if x.grad is None else x.grad, tree)


def autograd_backward(outputs: Any, grad_outputs: Any) -> None:
    """Go back from all outputs at once, as a user's `loss.backward()` would."""
    pairs = zip(leaves(outputs), leaves(grad_outputs), strict=True)
    flow = [(output, grad) for output, grad in pairs if output.requires_grad]
    if flow:
        torch.autograd.backward([output for output, _ in flow], [grad for _, grad in flow])


def grad_parameters(module: torch.nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in module.parameters()]

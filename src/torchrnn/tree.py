"""Trees of tensors: what modules take and give, and what states are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Tree = Any
"""A tensor, or lists, tuples, named tuples and dicts of trees."""


def tensors_in(tree: Tree) -> list[Tensor]:
    """Its tensors; at once where it is one, or a tuple of them, as most states are."""
    if isinstance(tree, Tensor):
        return [tree]
    flat = tree if isinstance(tree, tuple) and all(isinstance(leaf, Tensor) for leaf in tree) else tree_leaves(tree)
    return [leaf for leaf in flat if isinstance(leaf, Tensor)]


def is_differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def detached(tree: Tree) -> Tree:
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def as_leaves(tree: Tree) -> Tree:
    """The same values, cut from their history, with gradients wanted."""
    return tree_map(lambda leaf: leaf.detach().requires_grad_() if is_differentiable(leaf) else leaf, tree)


def with_gradients(tree: Tree) -> Tree:
    """The same values with gradients wanted; those that have a history keep it."""
    return tree_map(lambda leaf: leaf if isinstance(leaf, Tensor) and leaf.requires_grad else as_leaves(leaf), tree)


def zeros_like(tree: Tree) -> Tree:
    return tree_map(lambda leaf: torch.zeros_like(leaf.detach()) if isinstance(leaf, Tensor) else leaf, tree)


def first_tensor(tree: Tree) -> Tensor | None:
    return next((leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)), None)


def describe(tree: Tree) -> str:
    """``[(3, 4), (3, 6)]``: the shapes in a tree, for error messages."""
    if isinstance(tree, Tensor):
        return str(tuple(tree.shape))
    if isinstance(tree, list | tuple):
        return "[" + ", ".join(describe(part) for part in tree) + "]"
    return type(tree).__name__


def n_steps(inputs: Tree) -> int:
    """The steps of a sequence; of a tensor, the first of its dimensions, which is a symbol where a graph is made."""
    return inputs.shape[0] if isinstance(inputs, Tensor) else len(inputs)


def batch_size(inputs: Tree) -> int | None:
    """The rows of a sequence: the second dimension of a tensor (T, N, ...), the first of a step in a list."""
    if isinstance(inputs, Tensor):
        return inputs.shape[1] if inputs.dim() > 1 else None
    leaf = first_tensor(inputs[0]) if inputs else None
    return None if leaf is None or leaf.dim() == 0 else leaf.shape[0]

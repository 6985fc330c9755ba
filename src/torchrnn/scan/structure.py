"""The structure of inputs, outputs and states: trees of tensors, in which some places may be empty.

This does for the few kinds of trees here what pytree does for all, in a fraction of its time: for a short sequence the
time around the loop counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchrnn.tree import Tree

LEAF, EMPTY = "leaf", "empty"


@dataclass(frozen=True)
class Structure:
    """A tree without its tensors; an empty place is ``None`` in every tree of this structure."""

    form: Any
    """`LEAF`, `EMPTY`, or the type of a node with its keys, for a dict, and the forms of what is in it."""

    def tree(self, tensors: Sequence[Any]) -> Tree:
        return tensors[0] if self.form is LEAF else _tree(self.form, iter(tensors))


LEAF_ALONE = Structure(LEAF)


def take_apart(tree: Tree) -> tuple[list[Any], Structure]:
    """The leaves of a tree that are there, and its structure."""
    if isinstance(tree, Tensor):
        return [tree], LEAF_ALONE
    leaves: list[Any] = []
    return leaves, Structure(_form(tree, leaves))


def _form(tree: Tree, leaves: list[Any]) -> Any:
    if isinstance(tree, Tensor):
        leaves.append(tree)
        return LEAF
    if tree is None:
        return EMPTY
    if isinstance(tree, list | tuple):
        return type(tree), None, tuple([_form(part, leaves) for part in tree])
    if isinstance(tree, dict):
        return type(tree), tuple(tree), tuple([_form(part, leaves) for part in tree.values()])
    leaves.append(tree)
    return LEAF


def _tree(form: Any, leaves: Iterator[Any]) -> Tree:
    if form is LEAF:
        return next(leaves)
    if form is EMPTY:
        return None
    kind, keys, parts = form
    inside = [_tree(part, leaves) for part in parts]
    if keys is not None:
        return kind(zip(keys, inside, strict=True))
    return kind(*inside) if hasattr(kind, "_fields") else kind(inside)


def has_gaps(tree: Tree) -> bool:
    """Whether a place of a tree is empty."""
    if isinstance(tree, Tensor):
        return False
    if isinstance(tree, list | tuple):
        return any(map(has_gaps, tree))
    return tree is None or (isinstance(tree, dict) and any(map(has_gaps, tree.values())))

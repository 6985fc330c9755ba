"""The structure of states: trees of tensors, in which some places may be empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from torchrnn.tree import Tree


@dataclass(frozen=True)
class Structure:
    """A tree without its tensors; an empty place is ``None`` in every tree of this structure."""

    spec: TreeSpec
    is_there: tuple[bool, ...]

    def tree(self, tensors: Sequence[Any]) -> Tree:
        left = iter(tensors)
        return tree_unflatten([next(left) if there else None for there in self.is_there], self.spec)


def take_apart(tree: Tree) -> tuple[list[Any], Structure]:
    """The leaves of a tree that are there, and its structure."""
    leaves, spec = tree_flatten(tree)
    present = [leaf for leaf in leaves if leaf is not None]
    return present, Structure(spec, tuple(leaf is not None for leaf in leaves))

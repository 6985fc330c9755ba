"""The reference engine: the plain loop over ``step``, for any dtype, device and order of derivative."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

Tree = Any


class Cell(Protocol):
    """What the engine runs: one step of time, free of memory."""

    def step(self, input: Tree, state: Tree) -> tuple[Tree, Tree]: ...


def scan(cell: Cell, inputs: Tree, state: Tree, history: list[Tree] | None = None) -> tuple[Tree, Tree]:
    """Run ``cell.step`` over a sequence: ``output[t], state = cell.step(inputs[t], state)``.

    Arguments:
        cell: any object with the method ``step(input, state) -> (output, state)``.
        inputs: a tensor (T, N, ...), or a list of T steps.
        state: the state before the first step.
        history: where given, the state after each step is appended to it.

    Returns the outputs (T, N, ...), or a list of T of them where ``inputs`` is a list, and the final state.
    """
    outputs = []
    for input in inputs.unbind(0) if isinstance(inputs, Tensor) else inputs:
        output, state = cell.step(input, state)
        outputs.append(output)
        if history is not None:
            history.append(state)
    if not isinstance(inputs, Tensor):
        return outputs, state
    if not outputs:
        return _no_steps(cell, inputs, state), state
    return tree_map(lambda *steps: torch.stack(steps), *outputs), state


def _no_steps(cell: Cell, inputs: Tensor, state: Tree) -> Tree:
    """The outputs of a sequence of no steps, (0, N, ...): a copy of the cell without data tells their shape."""
    shapes = copy.deepcopy(cell)
    if isinstance(shapes, nn.Module):
        shapes.to("meta")
    input, state = tree_map(
        lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf,
        (inputs.new_empty(inputs.shape[1:]), state),
    )
    with torch.no_grad():
        output, _ = shapes.step(input, state)
    return tree_map(lambda y: torch.empty((0, *y.shape), dtype=y.dtype, device=inputs.device), output)

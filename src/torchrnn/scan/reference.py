"""The reference engine: the plain loop over ``step``, for any dtype, device and order of derivative."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.scan.structure import take_apart
from torchrnn.tree import Tree

KeepStates = Callable[[Callable[[], Tree]], None] | None


class Cell(Protocol):
    """What the engine runs: one step of time, free of memory."""

    def step(self, input: Tree, state: Tree) -> tuple[Tree, Tree]: ...


def scan(
    cell: Cell,
    inputs: Tree,
    state: Tree,
    keep_states: KeepStates = None,
    first_apart: bool = False,
) -> tuple[Tree, Tree]:
    """Run ``cell.step`` over a sequence: ``output[t], state = cell.step(inputs[t], state)``.

    Arguments:
        cell: any object with the method ``step(input, state) -> (output, state)``.
        inputs: a tensor (T, N, ...), a tuple of such tensors, or a list of T steps.
        state: the state before the first step.
        keep_states: called once, with a function that gives the states after each step, as a list of T or stacked as
            the inputs are.
        first_apart: whether the first step is another one than those after it; here it makes no difference.

    Returns the outputs (T, N, ...), or a list of T of them where ``inputs`` is a list, and the final state.

    >>> import torch, torchrnn
    >>> class Sum:
    ...     def step(self, input, state):
    ...         return state + input, state + input
    >>> outputs, final = torchrnn.scan.scan(Sum(), torch.ones(3, 2), torch.zeros(2))
    >>> outputs[:, 0], final
    (tensor([1., 2., 3.]), tensor([3., 3.]))
    """
    outputs, states = [], []
    for input in unstacked(inputs):
        output, state = cell.step(input, state)
        outputs.append(output)
        states.append(state)
    if keep_states is not None:
        keep_states(lambda: states)
    if isinstance(inputs, list):
        return outputs, state
    if not outputs:
        return _no_steps(cell, inputs, state), state
    return tree_map(lambda *steps: torch.stack(steps), *outputs), state


def unstacked(sequence: Tree) -> list[Tree]:
    """A sequence as the list of its steps."""
    if isinstance(sequence, list):
        return sequence
    tensors, structure = take_apart(sequence)
    # unbind and not indices: their gradients would each be as large as the sequence
    return [structure.tree(step) for step in zip(*(x.unbind(0) for x in tensors), strict=True)]


def _no_steps(cell: Cell, inputs: Tree, state: Tree) -> Tree:
    """The outputs of a sequence of no steps, (0, N, ...): a copy of the cell without data tells their shape."""
    data = [*cell.parameters(), *cell.buffers()] if isinstance(cell, nn.Module) else []
    shapes = copy.deepcopy(cell, {id(tensor): torch.empty_like(tensor, device="meta") for tensor in data})
    input = tree_map(lambda x: torch.empty(x.shape[1:], dtype=x.dtype, device="meta"), inputs)
    state = tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, state)
    with torch.no_grad():
        output, _ = shapes.step(input, state)
    return tree_map(lambda y: torch.empty((0, *y.shape), dtype=y.dtype, device=tree_leaves(inputs)[0].device), output)

"""Sequences in graphs: `torch.compile` and `torch.export` see one node, ``torchrnn::scan``.

The plan is made while the graph is, from the cell itself; the node holds its number.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from torchrnn.scan import reference
from torchrnn.scan.applies import check_cell, check_sequence
from torchrnn.scan.call import plan_for
from torchrnn.scan.choice import chosen, recomputes
from torchrnn.scan.native import library
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.operators import number_of, plan_of
from torchrnn.scan.reference import KeepStates
from torchrnn.scan.signature import like, signature
from torchrnn.scan.snapshot import MODULE_INTERNALS
from torchrnn.scan.structure import take_apart
from torchrnn.tree import Tree

log = logging.getLogger("torchrnn.scan")

NONE = -1
"""In place of the number of a plan: the reference runs."""
COMPARED = (bool, int, float, str, type(None))

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """Mark a function that is called while a graph is made, and whose result is a constant of it."""
    torch._dynamo.assume_constant_result(function)  # type: ignore[no-untyped-call]
    return function


def scan_in_graph(
    cell: Any, inputs: Tree, state: Tree, keep_states: KeepStates, first_apart: bool
) -> tuple[Tree, Tree]:
    """Run ``cell.step`` over a sequence, as one node if it can be: see `engine.scan`.

    The states in the middle are not kept then, since each would be a result of the graph.
    """
    if not first_apart and all(leaf is not None for leaf in tree_leaves(state)):
        return _node(cell, inputs, state) or _reference(cell, inputs, state, keep_states)
    if isinstance(inputs, list) or tree_leaves(inputs)[0].shape[0] < 2:
        return _reference(cell, inputs, state, keep_states)
    output, state = cell.step(tree_map(lambda x: x[0], inputs), state)
    rest = tree_map(lambda x: x[1:], inputs)
    later, final = _node(cell, rest, state) or _reference(cell, rest, state, None)
    return tree_map(lambda first, others: torch.cat([first.unsqueeze(0), others]), output, later), final


def _reference(cell: Any, inputs: Tree, state: Tree, keep_states: KeepStates) -> tuple[Tree, Tree]:
    if chosen() == "native":
        raise RuntimeError(f"the native engine cannot run this sequence of a {type(cell).__name__} in a graph")
    return reference.scan(cell, inputs, state, keep_states)


def _node(cell: Any, inputs: Tree, state: Tree) -> tuple[Tree, Tree] | None:
    """Outputs and final state of a sequence as results of one node; ``None`` where it takes the reference."""
    if not isinstance(cell, nn.Module) or isinstance(inputs, list):
        return None
    autocast = torch.is_autocast_enabled("cpu")
    if autocast and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return None
    xs, states = tree_leaves(inputs), tree_leaves(state)
    tensors = [*xs, *states, *cell.parameters()]
    if not all(isinstance(t, Tensor) and t.dim() > 1 and t.device.type == "cpu" for t in [*xs, *states]):
        return None
    T, N = xs[0].shape[:2]
    if T == 0 or N == 0 or any(x.shape[:2] != (T, N) for x in xs) or any(s.shape[0] != N for s in states):
        return None
    wants_backward = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    number = _number(cell, _kind(inputs, 2), _kind(state, 1), wants_backward, autocast)
    if number == NONE:
        return None
    for path, name, value in _facts(cell):
        if getattr(_part(cell, path), name) != value:  # a condition of the graph
            raise AssertionError(f"{name} of {path} is not what it was")
    leaves = [*xs, *states, *(getattr(_part(cell, path), name) for path, name in _tensors(cell))]
    results = torch.ops.torchrnn.scan(leaves, number, recomputes())
    outputs = _results(_outputs(number), results)
    first = len(tree_leaves(outputs))
    final = tree_unflatten(list(results[first : first + len(states)]), tree_flatten(state)[1])
    return outputs, final


def _results(form: Any, results: list[Tensor]) -> Tree:
    """Results in the structure that `_outputs` describes."""
    if isinstance(form, int):
        return results[form]
    name, keys, forms = form
    parts = [_results(part, results) for part in forms]
    return dict(zip(keys, parts, strict=True)) if name == "dict" else tuple(parts) if name == "tuple" else parts


def _part(cell: nn.Module, path: tuple[str, ...]) -> Any:
    part: Any = cell
    for name in path:
        part = getattr(part, name)
    return part


def _kind(tree: Tree, n: int) -> Any:
    """A tree of tensors written as constants: shapes without the first ``n`` dimensions, and dtypes."""
    if isinstance(tree, Tensor):
        # in a graph for all sizes, too, those of features are known: ranges have lengths that are numbers
        return Tensor, tuple(len(range(size)) for size in tree.shape[n:]), tree.dtype
    if isinstance(tree, dict):
        return dict, tuple(tree), tuple(_kind(part, n) for part in tree.values())
    if isinstance(tree, list | tuple):
        return type(tree), None, tuple(_kind(part, n) for part in tree)
    return type(tree), None, None


def _example(kind: Any, n: int) -> Tree:
    """A tree of tensors of a kind, each of the first ``n`` dimensions 1."""
    form, detail, parts = kind
    if form is Tensor:
        return torch.zeros((*(1,) * n, *detail), dtype=parts)
    if parts is None:
        return None
    examples = [_example(part, n) for part in parts]
    if form is dict:
        return dict(zip(detail, examples, strict=True))
    return form(*examples) if hasattr(form, "_fields") else form(examples)


@constant
def _number(cell: nn.Module, input_kind: Any, state_kind: Any, wants_backward: bool, autocast: bool) -> int:
    """The number of the plan for this cell, as it is now."""
    with _disable_current_modes(), torch._C.DisableTorchFunction():
        inputs, states = _example(input_kind, 2), _example(state_kind, 1)
        try:
            library()
            now = signature(cell)
            check_cell(dataclasses.replace(now, tensors=[like(tensor) for tensor in now.tensors]))
            (xs, input_structure), (leaves, structure) = take_apart(inputs), take_apart(states)
            check_sequence(xs, leaves)
            plan = plan_for(cell, now, xs, input_structure, leaves, structure, wants_backward, autocast=autocast)
            if plan.trace.draws or plan.trace.gathers:
                raise Unsupported("the step draws random numbers, or looks rows of a table up")
            number = number_of(plan)
            _outputs(number)
        except Unsupported as reason:
            log.debug("%s runs by the reference in the graph: %s", type(cell).__name__, reason)
            return NONE
    return number


@constant
def _outputs(number: int) -> Any:
    """The structure of the outputs, with their indices among the results, in constants that a graph can hold."""
    plan = plan_of(number)
    return _form(plan.trace.output_structure.tree(list(range(len(plan.outputs)))))


def _form(tree: Any) -> Any:
    if isinstance(tree, int):
        return tree
    if type(tree) is dict:
        return "dict", tuple(tree), tuple(map(_form, tree.values()))
    if type(tree) in (list, tuple):
        return type(tree).__name__, (), tuple(map(_form, tree))
    raise Unsupported(f"a graph cannot hold outputs in a {type(tree).__name__}")


@constant
def _tensors(cell: nn.Module) -> tuple[tuple[tuple[str, ...], str], ...]:
    """The parameters and buffers of a cell, each once, in the order of its signature: where they are, and names."""
    found: dict[int, tuple[tuple[str, ...], str]] = {}
    for path, part in cell.named_modules():
        for name, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is not None:
                found.setdefault(id(tensor), (tuple(path.split(".")) if path else (), name))
    return tuple(found.values())


@constant
def _facts(cell: nn.Module) -> tuple[tuple[tuple[str, ...], str, Any], ...]:
    """Attributes that the step may depend on: where they are, their names and values."""
    return tuple(
        (tuple(path.split(".")) if path else (), name, value)
        for path, part in cell.named_modules()
        for name, value in vars(part).items()
        if type(value) in COMPARED and name not in MODULE_INTERNALS and name not in getattr(part, "REMEMBERED", ())
    )

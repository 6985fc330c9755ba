"""Sequences by the native engine where it can run them, and else by the reference."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.scan import reference
from torchrnn.scan.applies import check_surroundings, check_tensors
from torchrnn.scan.autograd import NativeScan, ValuesOnly
from torchrnn.scan.call import Call, prepare
from torchrnn.scan.choice import chosen, recomputes
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.reference import KeepStates
from torchrnn.scan.structure import has_gaps
from torchrnn.tree import Tree

log = logging.getLogger("torchrnn.scan")
Watcher = Callable[[Any, Tree, Tree], None]

_watchers: list[Watcher] = []
"""Who wants to see each sequence that is run; for `explain`."""


def scan(
    cell: reference.Cell, inputs: Tree, state: Tree, keep_states: KeepStates = None, first_apart: bool = False
) -> tuple[Tree, Tree]:
    """Run ``cell.step`` over a sequence: ``output[t], state = cell.step(inputs[t], state)``.

    Arguments:
        cell: any object with the method ``step(input, state) -> (output, state)``.
        inputs: a tensor (T, N, ...), a tuple of such tensors, or a list of T steps.
        state: the state before the first step.
        keep_states: called once, with a function that gives the states after each step, as a list of T or stacked as
            the inputs are.
        first_apart: whether the first step is another one than those after it, so that the reference has to take it.

    Returns the outputs (T, N, ...), or a list of T of them where ``inputs`` is a list, and the final state.

    The native engine runs wherever it can, and else the reference; see `use` and `explain`.

    >>> import torch, torchrnn
    >>> class Sum:
    ...     def step(self, input, state):
    ...         return state + input, state + input
    >>> outputs, final = torchrnn.scan.scan(Sum(), torch.ones(3, 2), torch.zeros(2))
    >>> outputs[:, 0], final
    (tensor([1., 2., 3.]), tensor([3., 3.]))
    """
    for watch in _watchers:
        watch(cell, inputs, state)
    engine = chosen()
    if torch.compiler.is_compiling():
        if engine == "reference":
            return reference.scan(cell, inputs, state, keep_states)
        from torchrnn.scan.captured import scan_in_graph  # it imports Dynamo, which is at work by now

        return scan_in_graph(cell, inputs, state, keep_states, first_apart)
    if engine != "reference":
        try:
            return _run_native(cell, inputs, state, keep_states, first_apart)
        except Unsupported as reason:
            if engine == "native":
                raise RuntimeError(f"the native engine cannot run {type(cell).__name__}: {reason}") from reason
    return reference.scan(cell, inputs, state, keep_states)


def explain(module: Any, input: Tree, state: Tree = None) -> str:
    """Which engine runs ``module`` over ``input``, and why: ``'native'``, or ``'reference: <reason>'``.

    Arguments:
        module: a cell, or a module with cells in it, such as a `Sequencer`: the first sequence in it counts.
        input: what it would be called with: for a cell a sequence (T, N, ...).
        state: for a cell, the state before the first step; the initial state if it is not given.

    The module is not run, but for a module that is no cell, a copy of it is.

    >>> import torch, torchrnn
    >>> answer = torchrnn.scan.explain(torchrnn.GRU(4, 6).double(), torch.randn(5, 3, 4).double())
    >>> answer.startswith("reference: ")  # 'reference: an input is torch.float64'
    True
    """
    if not hasattr(module, "step"):
        return _explain_inside(module, input)
    if state is None and hasattr(module, "initial_state"):
        state = module.initial_state(reference.unstacked(input)[0])
    try:
        if has_gaps(state):
            input, state = _second_step(module, input, state)
        prepare(module, input, state)
    except Unsupported as reason:
        return f"reference: {reason}"
    return "native"


def _explain_inside(module: Any, input: Tree) -> str:
    found: list[str] = []
    watched = copy.deepcopy(module)
    _watchers.append(lambda cell, inputs, state: found.append(explain(cell, inputs, state)))
    try:
        watched(input)
    finally:
        _watchers.pop()
    if not found:
        raise ValueError(f"scan.explain: {type(module).__name__} runs no sequence on this input.")
    return next((answer for answer in found if answer != "native"), "native")


def _second_step(cell: Any, inputs: Tree, state: Tree) -> tuple[Tree, Tree]:
    """The sequence and the state after the first step."""
    first, rest = _first_and_rest(inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return rest, copy.deepcopy(cell).step(first, state)[1]


def _run_native(cell: Any, inputs: Tree, state: Tree, keep_states: KeepStates, first_apart: bool) -> tuple[Tree, Tree]:
    if first_apart or has_gaps(state):
        return _after_first_step(cell, inputs, state, keep_states)
    return _run_plan(cell, inputs, state, keep_states)


def _run_plan(cell: Any, inputs: Tree, state: Tree, keep_states: KeepStates) -> tuple[Tree, Tree]:
    call = prepare(cell, inputs, state)
    plan, (T, N) = call.plan, call.xs[0].shape[:2]
    call.complete()
    if plan.wants_backward:
        results = NativeScan.apply(call, *call.leaves)  # type: ignore[no-untyped-call]
    else:
        call.finished = plan.forward(call.xs, call.states, call.tensors)
        results = (*call.finished.outputs, *call.finished.final)
    finished, call.finished = call.finished, None  # which autograd, holding the call, must not keep alive
    assert finished is not None
    n_outputs = len(plan.outputs)
    final = results[n_outputs:]
    if keep_states is not None:
        keep_states(_states_of(call, finished.kept, T, N, final))
    outputs = plan.trace.output_structure.tree(results[:n_outputs])
    if call.is_list:
        outputs = reference.unstacked(outputs)
    return outputs, call.structure.tree(final)


def _states_of(call: Call, kept: Tensor, T: int, N: int, final: Sequence[Tensor]) -> Callable[[], Tree]:
    """What gives the states after each step of a call."""
    plan, structure = call.plan, call.structure

    def values(states: list[Tensor]) -> Tree:
        if plan.wants_backward and states:
            return structure.tree(ValuesOnly.apply(final[0], *states))  # type: ignore[no-untyped-call]
        return structure.tree(states)

    if recomputes():  # the rest of the memory that they lie in is free then
        own = [state.clone() for state in plan.states(kept, T, N)]
        return lambda: values(own)
    return lambda: values(plan.states(kept, T, N))


def _after_first_step(cell: Any, inputs: Tree, state: Tree, keep_states: KeepStates) -> tuple[Tree, Tree]:
    """A step that begins from nothing is another step than those after it: the reference takes it."""
    first, rest = _first_and_rest(inputs)
    check_surroundings()
    check_tensors(tree_leaves(first))
    output, state = cell.step(first, state)
    rest_of_states: list[Callable[[], Tree]] = []
    try:
        later, final = _run_plan(cell, rest, state, rest_of_states.append)
    except Unsupported:
        if chosen() == "native":
            raise
        later, final = reference.scan(cell, rest, state, rest_of_states.append)
    if keep_states is not None:
        keep_states(lambda: [state, *reference.unstacked(rest_of_states[0]())])
    if isinstance(inputs, list):
        return [output, *later], final
    return tree_map(lambda first, others: torch.cat([first.unsqueeze(0), others]), output, later), final


def _first_and_rest(inputs: Tree) -> tuple[Tree, Tree]:
    if isinstance(inputs, list):
        first, rest, length = inputs[:1], inputs[1:], len(inputs)
    else:
        first, rest = (tree_map(lambda x, part=part: x[part], inputs) for part in (slice(1), slice(1, None)))
        length = len(tree_leaves(inputs)[0])
    if length < 2:
        raise Unsupported("the only step begins from no state")
    return reference.unstacked(first)[0], rest

"""One call of the native engine: whether it can be made, and the plan for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from torchrnn.scan.applies import check_cell, check_sequence, check_surroundings
from torchrnn.scan.bfloat16 import bfloat16_plan, is_asked_for
from torchrnn.scan.choice import chosen
from torchrnn.scan.draws import check_order, draw
from torchrnn.scan.gathers import look_up
from torchrnn.scan.lasting import Lasting
from torchrnn.scan.native import library
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.plan import Finished, Plan
from torchrnn.scan.signature import Signature, parts_of, signature
from torchrnn.scan.snapshot import Key
from torchrnn.scan.structure import Structure, take_apart
from torchrnn.scan.trace import Example, trace
from torchrnn.tree import Tree

log = logging.getLogger("torchrnn.scan")

_plans: WeakKeyDictionary[Any, dict[Any, Plan | str]] = WeakKeyDictionary()
"""For each cell, as long as it lives, its plans, or why there is none."""


@dataclass
class Call:
    """A call that the native engine can make."""

    plan: Plan
    cell: Any
    places: list[tuple[dict[str, Any], str]]
    xs: list[Tensor]
    input_structure: Structure
    is_list: bool
    states: list[Tensor]
    structure: Structure
    tensors: list[Tensor]
    key: Key
    """The cell as it is now: see `Signature`."""
    n_draws: int = 0
    """How many of ``xs``, after those that are given, are random numbers."""
    lasting: list[tuple[Lasting, Tensor]] = field(default_factory=list)
    """Modules whose random numbers are for this sequence, with these."""
    finished: Finished | None = None

    def complete(self) -> None:
        """Add the inputs that the step makes itself: what it looks up in tables, and random numbers, for all steps."""
        trace = self.plan.trace
        if not trace.gathers and not trace.draws:
            return
        found = look_up(trace.gathers, dict(zip(trace.tensors, self.tensors, strict=True)), self.xs)
        parts = parts_of(self.cell) if trace.has_lasting_draws else []
        numbers, self.lasting = draw(trace.draws, parts, *self.xs[0].shape[:2])
        self.xs, self.n_draws = [*self.xs, *numbers, *found], len(numbers)

    def inputs_from(self, xs: list[Tensor]) -> Tree:
        return self.input_structure.tree(xs)

    def release(self) -> None:
        """Let go of the tensors: autograd holds them, and may put them elsewhere."""
        self.xs, self.states, self.tensors = [], [], []

    @property
    def leaves(self) -> list[Tensor]:
        return [*self.xs, *self.states, *self.tensors]


def prepare(cell: Any, inputs: Tree, state: Tree, by_step: bool = False) -> Call:
    """The call that runs ``cell`` over a sequence, or `Unsupported`; ``by_step`` if steps of it come one by one."""
    autocast = check_surroundings()
    library()
    xs, input_structure = _stacked_inputs(inputs)
    states, structure = take_apart(state)
    check_sequence(xs, states)
    if xs[0].shape[0] == 1 and not by_step and chosen() == "auto":
        raise Unsupported("a single step takes less time there")
    now = signature(cell)
    check_cell(now)
    requires = [leaf.requires_grad for leaf in (*xs, *states, *now.tensors)]
    wants_backward = torch.is_grad_enabled() and any(requires)
    plan = plan_for(cell, now, xs, input_structure, states, structure, wants_backward, by_step, autocast)
    if plan.trace.draws:
        _check_draws(plan, xs, states)
    return Call(
        plan, cell, now.places, xs, input_structure, isinstance(inputs, list), states, structure, now.tensors, now.key
    )


def _check_draws(plan: Plan, xs: list[Tensor], states: list[Tensor]) -> None:
    check_order([*(x[0] for x in xs), *states])
    if plan.trace.has_lasting_draws and torch.is_grad_enabled() and not plan.wants_backward:
        raise Unsupported("a gradient that goes back has others of its random numbers drawn, and nothing has one")


def _stacked_inputs(inputs: Tree) -> tuple[list[Tensor], Structure]:
    """The leaves of a sequence, each (T, N, ...)."""
    if not isinstance(inputs, list):
        return take_apart(inputs)
    steps = [take_apart(step) for step in inputs]
    if not steps:
        raise Unsupported("the sequence is empty")
    if any(structure != steps[0][1] for _, structure in steps):
        raise Unsupported("the steps of the list are not alike")
    leaves = list(zip(*(leaves for leaves, _ in steps), strict=True))
    if any(not isinstance(x, Tensor) or x.shape != column[0].shape for column in leaves for x in column):
        raise Unsupported("the steps of the list are not alike")
    return [torch.stack(column) for column in leaves], steps[0][1]


def plan_for(
    cell: Any,
    now: Signature,
    xs: list[Tensor],
    input_structure: Structure,
    states: list[Tensor],
    structure: Structure,
    wants_backward: bool,
    by_step: bool = False,
    autocast: bool = False,
) -> Plan:
    shapes = tuple([(x.shape[2:], x.dtype) for x in xs]), tuple([(s.shape[1:], s.dtype) for s in states])
    key = (now.key, input_structure.form, structure.form, shapes, wants_backward, by_step, autocast)
    try:
        plans = _plans.setdefault(now.owner, {})
        plan = plans.get(key)
    except TypeError as e:
        raise Unsupported(f"the cell cannot be remembered ({e})") from e
    if plan is None:
        example = Example(cell, now.tensors, [x[0] for x in xs], input_structure, states, structure)
        plan = plans[key] = _new_plan(example, wants_backward, by_step, autocast)
    if isinstance(plan, str):
        raise Unsupported(plan)
    return plan


def _new_plan(example: Example, wants_backward: bool, by_step: bool, autocast: bool) -> Plan | str:
    name = type(example.cell).__name__
    try:
        if is_asked_for([*example.inputs, *example.states, *example.tensors], autocast):
            if by_step:
                raise Unsupported("single steps run natively in float32 alone, and without autocast")
            return bfloat16_plan(example, wants_backward, autocast)
        return Plan(trace(example), wants_backward, by_step)
    except Unsupported as reason:
        log.debug("%s runs by the reference: %s", name, reason)
        return str(reason)
    except Exception as error:  # the step itself fails on the few rows of the trace
        log.debug("%s runs by the reference: tracing failed", name, exc_info=True)
        return f"tracing failed: {type(error).__name__}: {error}"

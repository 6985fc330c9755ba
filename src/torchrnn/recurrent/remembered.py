"""What a recurrent module remembers: its state, and the steps that led there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.checks import require_count
from torchrnn.masks import where_masked
from torchrnn.module import Module
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.scan import unstacked
from torchrnn.tape import Kept, Segment
from torchrnn.tree import (
    Tree,
    as_leaves,
    batch_size,
    describe,
    detached,
    n_steps,
    tensors_in,
    with_gradients,
    zeros_like,
)

if TYPE_CHECKING:
    from typing_extensions import Self

LISTED = ("inputs", "outputs", "states", "cells", "grad_inputs")
"""What recurrent modules list; a layer of that name would be hidden by it."""


class Remembering(Module):
    """The memory of a recurrent module; `AbstractRecurrent` adds the steps."""

    is_recurrent = True
    REMEMBERED = Module.REMEMBERED | {
        "_state",
        "_start_state",
        "_segments",
        "_batch_size",
        "_state_is_set",
        "_was_going_back",
        "_state_versions",
        "_given_state_gradients",
        "_rows_to_forget",
    }

    def __init__(self, rho: int = DEFAULT_RHO) -> None:
        super().__init__()
        self.rho = require_count(self, rho, "rho")
        self._state: Tree = None
        self._start_state: Tree = None
        self._segments: deque[Segment] = deque()
        self._batch_size: int | None = None
        self._state_is_set = False
        self._was_going_back = False
        self._state_versions: list[tuple[Tensor, int]] = []
        self._given_state_gradients: dict[int, Tree] = {}
        self._rows_to_forget: Tensor | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.REMEMBERED:
            # A Parameter may be a state without becoming a parameter here; and it is faster.
            object.__setattr__(self, name, value)
        elif name in LISTED and isinstance(value, nn.Module | nn.Parameter):
            raise ValueError(
                f"{type(self).__name__}: {name!r} is the list of the {name} of all steps; choose another name."
            )
        else:
            super().__setattr__(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """States move with the parameters, to another device or dtype."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name in ("_state", "_start_state"):
            moved = tree_map(lambda leaf: fn(leaf) if isinstance(leaf, Tensor) else leaf, getattr(self, name))
            setattr(self, name, moved)
        self._state_versions = []
        return self

    def initial_state(self, input: Tree) -> Tree:
        """The state before the first step, for one step of input."""
        raise NotImplementedError(f"{type(self).__name__} must write initial_state(input) -> state.")

    # ------------------------------------------------------------------ what can be looked at

    @property
    def _steps(self) -> int:
        """How many steps were taken since the last `forget`, or in the last sequence."""
        return self._segments[-1].last_step if self._segments else 0

    @property
    def inputs(self) -> list[Tree]:
        """The input of each step since the last `forget`, or of the last sequence."""
        self._check_seen("inputs")
        return [step for segment in self._segments for step in unstacked(segment.inputs)]

    @property
    def outputs(self) -> list[Tree]:
        """The output of each step."""
        self._check_seen("outputs")
        return [step for segment in self._segments for step in unstacked(segment.outputs)]

    @property
    def states(self) -> list[Tree]:
        """The state after each step."""
        return [step for segment in self._segments for step in states_of(segment)]

    @property
    def grad_inputs(self) -> list[Tree]:
        """The gradients of the inputs that the last way back reached, in the order of time."""
        reached = (segment.grad_inputs for segment in self._segments if segment.grad_inputs is not None)
        return [step for grad_inputs in reached for step in unstacked(grad_inputs)]

    def _check_seen(self, listed: str) -> None:
        if any(segment.inputs is None for segment in self._segments):
            raise RuntimeError(
                f"{type(self).__name__}: the native engine ran the sequence around this module as a whole, so of its "
                f"steps only the states are known. Run it under torchrnn.scan.use('reference') to list its {listed}."
            )

    def get_hidden_state(self, step: int | None = None) -> Tree:
        """The state after ``step`` steps; 0 is the initial one, negative counts from the end, default the last."""
        wanted = self._absolute(step)
        for segment in self._segments:
            if segment.first_step == wanted:
                return segment.initial
            if wanted == segment.last_step:
                return segment.final
            if segment.first_step < wanted < segment.last_step:
                return states_of(segment)[wanted - segment.first_step - 1]
        if wanted == self._steps:
            return self._start_state if self._state is None else self._state
        raise ValueError(
            f"get_hidden_state: step {step} is older than the last rho = {self.rho} steps, which are kept."
        )

    def set_hidden_state(self, step: int | None, state: Tree) -> None:
        """Set the state that the next step begins from.

        At step 0 this is the start state: every sequence from now on begins with it, in training and evaluation,
        until it is set to ``None``. Later than that, ``step`` must be the number of steps taken (or ``None``, or -1).
        """
        wanted = self._absolute(step)
        if wanted == 0:
            self._start_state = state
        elif wanted == self._steps:
            self._state, self._state_is_set = state, True
        else:
            raise ValueError(
                f"set_hidden_state: step must be 0 (the start state) or {self._steps} (the state after the last step "
                f"taken), since earlier states have been used already; got {step}."
            )

    def get_grad_hidden_state(self, step: int | None = None) -> Tree:
        """The gradient of the state after ``step`` steps that comes from later steps; 0 is the initial state."""
        wanted = self._absolute(step)
        for segment in self._segments:
            if segment.first_step == wanted and segment.grad_initial is not None:
                return segment.grad_initial
        if wanted == self._steps and self._segments:
            given = self._given_state_gradients.get(wanted)
            return zeros_like(self._segments[-1].final) if given is None else given
        raise ValueError(
            f"get_grad_hidden_state: no gradient has come back to step {step}. Call backward first; within a sequence "
            "only the gradient of its initial state (step 0) is known."
        )

    def set_grad_hidden_state(self, step: int | None, grad: Tree) -> None:
        """Set a gradient of the state after ``step`` steps, which the next way back adds to what comes from there.

        Call it after the forward and before `backward`; a decoder hands its gradient to its encoder this way.
        """
        self._given_state_gradients[self._absolute(step)] = grad

    def _detach_own(self) -> None:
        self._state = detached(self._state)
        self._state_versions = []
        for segment in self._segments:
            segment.detach()

    # ------------------------------------------------------------------ memory

    def _start(self, inputs: Tree) -> Tree:
        """The state that a sequence begins from."""
        first = first_step(inputs)
        if first is None:
            return self._start_state
        if self._start_state is None:
            return self.initial_state(first)
        check_state(self, self._start_state, self.initial_state(first))
        return self._start_state

    def _begin_steps(self, inputs: Tree, through_time: bool, given: Tree = None) -> tuple[Segment, Tree]:
        """Before steps: the segment that they make, and the state they begin from, ``given`` or remembered."""
        tape = self._tape
        kept = None if tape is None else tape.recording
        is_outermost = tape is None or tape.depth == 0
        source = self._source(inputs) if given is None else given
        if given is not None:
            check_state(self, given, self.initial_state(first_step(inputs)))
            state, is_cut = given, False
        else:
            state, is_cut = self._cut(source, through_time, kept, is_outermost)
        segment = Segment(self, inputs, state, source, self._steps, through_time and is_outermost, is_cut)
        if given is None and self._state is not None:
            state = self._begin_rows_anew(inputs, state)
        segment.before, segment.began = self._state, state
        if tape is not None and kept is not None:
            tape.depth += 1
        return segment, state

    def _end_steps(self, segment: Segment) -> None:
        """After steps: remember them, and the state that they ended in."""
        tape = self._tape
        if tape is not None and tape.recording is not None:
            tape.depth -= 1
            tape.recording.segments.append(segment)
        self._rows_to_forget = None
        segment.length, self._batch_size = n_steps(segment.inputs), batch_size(segment.inputs)
        self._remember_segment(segment)

    def _source(self, inputs: Tree) -> Tree:
        """The state that is remembered, or else that of the start."""
        if self._state is None:
            return self._start(inputs)
        if self._state_is_set:
            check_state(self, self._state, self.initial_state(first_step(inputs)))
        elif is_going_back() and not self._was_going_back:
            raise ValueError(
                f"{type(self).__name__}: a step is taken in the middle of a backward, from a state that was remembered "
                "before it. So does activation checkpointing when it computes a forward again; the state has moved on "
                "since, and gradients would be wrong. Checkpoint step(input, state) or sequence(inputs, state), which "
                "are free of memory, with use_reentrant=False."
            )
        elif any(leaf._version != version for leaf, version in self._state_versions):
            raise ValueError(
                f"{type(self).__name__}: the state was changed in place after the step, perhaps through the output, "
                "which shares its memory. Use inplace=False in the layer above, or clone the output before changing it."
            )
        self._check_batch(inputs)
        return self._state

    def _check_batch(self, inputs: Tree) -> None:
        now, before = batch_size(inputs), self._batch_size
        if now != before and None not in (now, before) and tree_leaves(self._state):
            raise ValueError(
                f"{type(self).__name__}: the batch size must stay the same while states are remembered; the remembered "
                f"state has {before} rows, the input {now}. Call forget() before another batch."
            )

    def _begin_rows_anew(self, inputs: Tree, state: Tree) -> Tree:
        """``state`` with the rows that `forget` was called for as at the start."""
        rows = self._rows_to_forget
        if rows is None:
            return state
        if batch_size(inputs) not in (None, len(rows)):
            raise ValueError(
                f"{type(self).__name__}: forget(rows) was given {len(rows)} rows; the batch has {batch_size(inputs)}."
            )
        return self._fresh_rows(rows, self._start(inputs), state)

    def _cut(self, source: Tree, through_time: bool, kept: Kept | None, is_outermost: bool) -> tuple[Tree, bool]:
        """The state without the history that gradients must not follow, and whether it is a leaf of its own."""
        if kept is None:
            is_cut = False
        elif is_outermost:
            is_cut = not through_time or all(segment.cell is not self for segment in kept.segments)
        else:
            # The module around it carries the state, and its gradient; only the very beginning lies in here.
            is_cut = self._state is None
        if is_cut:
            # Parameters may lie behind the initial state; behind another one lies what was before this call.
            is_initial = self._state is None and self._start_state is None
            return (with_gradients(source) if is_initial else as_leaves(source)), True
        return (source if through_time or self._state is None else detached(source)), False

    def _is_recorded(self) -> bool:
        """Whether the explicit protocol keeps what is done now."""
        return self._tape is not None and self._tape.recording is not None

    def _remember_unseen(self, states: Tree, final: Tree, length: int) -> None:
        """Remember steps that were taken elsewhere on behalf of this module, of which only the states are known."""
        segment = Segment(self, None, None, None, self._steps, False, False, final=final, length=length)
        segment.keep_states(lambda: states)
        self._remember_segment(segment)

    def _has_rows_to_forget(self) -> bool:
        return any(isinstance(m, Remembering) and m._rows_to_forget is not None for m in self._own_modules())

    def _remember_segment(self, segment: Segment) -> None:
        self._state = segment.final
        self._state_is_set, self._was_going_back = False, is_going_back()
        self._state_versions = [] if torch.compiler.is_compiling() else versions(segment.final)
        if not self.training and self._segments:
            self._segments[-1].detach()  # only the last call can be gone back through in evaluation
        self._segments.append(segment)
        while self._segments[0].last_step <= self._steps - self.rho:
            self._segments.popleft()

    def _begin_record(self) -> None:
        """Steps are counted and listed anew, here and in the recurrent modules inside; the states stay."""
        for module in self._own_modules():
            if isinstance(module, Remembering):
                module._forget_steps()

    def _go_on_from(self, state: Tree) -> None:
        """Take the next step from a state that the module around this one has."""
        self._state, self._was_going_back = state, is_going_back()

    def _forget_steps(self) -> None:
        self._segments = deque()
        self._given_state_gradients.clear()

    def _forget_own(self) -> None:
        self._forget_steps()
        self._state = None
        self._batch_size = None
        self._rows_to_forget = None

    def _forget_rows(self, rows: Tensor) -> None:
        before = self._rows_to_forget
        self._rows_to_forget = rows if before is None else rows | before

    def _fresh_rows(self, rows: Tensor, start: Tree, state: Tree) -> Tree:
        """``state`` with the rows that are to be forgotten as at the start."""
        return where_masked(rows, start, state)

    def _clear_own(self) -> None:
        super()._clear_own()
        self._start_state = None

    def take_given_state_gradient(self, step: int) -> Tree:
        return self._given_state_gradients.pop(step, None)

    def _absolute(self, step: int | None) -> int:
        """A number of steps from the beginning; ``None`` and -1 are the last."""
        wanted = self._steps if step is None else step + self._steps + 1 if step < 0 else step
        if not 0 <= wanted <= self._steps:
            raise ValueError(f"step must lie between 0 (the initial state) and {self._steps} steps taken; got {step}.")
        return wanted

    def __getstate__(self) -> dict[str, Any]:
        # Tensors with a history can be neither copied nor saved.
        return {
            **super().__getstate__(),
            "_state": detached(self._state),
            "_start_state": tree_map(_copyable, self._start_state),
            "_state_versions": [],
            "_segments": deque(),
            "_given_state_gradients": {},
        }


def is_going_back() -> bool:
    """Whether autograd is in the middle of a backward."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def states_of(segment: Segment) -> list[Tree]:
    """The states after each of the steps."""
    if segment.states is None and segment.length:
        raise RuntimeError(
            f"{type(segment.cell).__name__}: a graph ran the sequence, and gave only its last state. Run the module "
            "without torch.compile to list its states."
        )
    return unstacked(segment.states)


def versions(state: Tree) -> list[tuple[Tensor, int]]:
    """The tensors of a state, each with how often it was changed in place."""
    return [(leaf, leaf._version) for leaf in tensors_in(state) if not leaf.is_inference()]


def _copyable(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) and not leaf.is_leaf else leaf


def first_step(inputs: Tree) -> Tree:
    if isinstance(inputs, Tensor):
        return inputs[0] if n_steps(inputs) else inputs.new_zeros(inputs.shape[1:])
    return inputs[0] if inputs else None


def check_state(cell: Remembering, state: Tree, like: Tree) -> None:
    given, expected = tree_leaves(state), tree_leaves(like)
    if any(leaf is None for leaf in expected):
        return  # it begins inside of the modules within, or not at all
    if len(given) != len(expected) or any(
        isinstance(e, Tensor) and not (isinstance(g, Tensor) and g.shape == e.shape and g.dtype == e.dtype)
        for g, e in zip(given, expected, strict=True)
    ):
        kinds = [{leaf.dtype for leaf in leaves if isinstance(leaf, Tensor)} for leaves in (expected, given)]
        raise ValueError(
            f"{type(cell).__name__}: the state must have the shapes {describe(like)} for this input; "
            f"got {describe(state)}." + ("" if kinds[0] == kinds[1] else f" It must be of {kinds[0]}, not {kinds[1]}.")
        )

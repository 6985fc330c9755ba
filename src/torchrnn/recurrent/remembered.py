"""What a recurrent module remembers: its state, and the steps that led there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from torchrnn.checks import require_count
from torchrnn.masks import where_masked
from torchrnn.module import Module
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.scan import unstacked
from torchrnn.tape import Segment
from torchrnn.tree import Tree, as_leaves, describe, detached, first_tensor, zeros_like


class Remembering(Module):
    """The memory of a recurrent module; `AbstractRecurrent` adds the steps."""

    is_recurrent = True

    def __init__(self, rho: int = DEFAULT_RHO) -> None:
        super().__init__()
        self.rho = require_count(self, rho, "rho")
        self._state: Tree = None
        self._start_state: Tree = None
        self._segments: deque[Segment] = deque()
        self._steps = 0
        self._batch_size: int | None = None
        self._given_state_gradients: dict[int, Tree] = {}
        self._rows_to_forget: Tensor | None = None

    def initial_state(self, input: Tree) -> Tree:
        """The state before the first step, for one step of input."""
        raise NotImplementedError(f"{type(self).__name__} must write initial_state(input) -> state.")

    # ------------------------------------------------------------------ what can be looked at

    @property
    def inputs(self) -> list[Tree]:
        """The input of each step since the last `forget`, or of the last sequence."""
        return [step for segment in self._segments for step in unstacked(segment.inputs)]

    @property
    def outputs(self) -> list[Tree]:
        """The output of each step."""
        return [step for segment in self._segments for step in unstacked(segment.outputs)]

    @property
    def states(self) -> list[Tree]:
        """The state after each step."""
        return [step for segment in self._segments for step in unstacked(segment.states)]

    @property
    def grad_inputs(self) -> list[Tree]:
        """The gradients of the inputs that the last way back reached, in the order of time."""
        reached = (segment.grad_inputs for segment in self._segments if segment.grad_inputs is not None)
        return [step for grad_inputs in reached for step in unstacked(grad_inputs)]

    def get_hidden_state(self, step: int | None = None) -> Tree:
        """The state after ``step`` steps; 0 is the initial one, negative counts from the end, default the last."""
        wanted = self._absolute(step)
        for segment in self._segments:
            if segment.first_step == wanted:
                return segment.initial
            if segment.first_step < wanted <= segment.last_step:
                return unstacked(segment.states)[wanted - segment.first_step - 1]
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
            self._state = state
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

    def detach_state(self) -> None:
        """Keep the state but not its history: autograd ends here (truncated backpropagation through time)."""
        self._state = detached(self._state)

    # ------------------------------------------------------------------ memory

    def _start(self, inputs: Tree) -> Tree:
        """The state that a sequence begins from."""
        first = _first_step(inputs)
        if first is None:
            return self._start_state
        if self._start_state is None:
            return self.initial_state(first)
        _check_state(self, self._start_state, self.initial_state(first))
        return self._start_state

    @contextmanager
    def _taking(
        self, inputs: Tree, state: Tree, through_time: bool, given: bool = False
    ) -> Iterator[tuple[Segment, Tree]]:
        """Around steps: settles the state they begin from, given out last, and remembers what they came to."""
        batch_size = _batch_size(inputs)
        if state is None:
            state = self._start(inputs)
        elif given:
            _check_state(self, state, self.initial_state(_first_step(inputs)))
        elif batch_size != self._batch_size and None not in (batch_size, self._batch_size) and tree_leaves(state):
            raise ValueError(
                f"{type(self).__name__}: the batch size must stay the same while states are remembered; the remembered "
                f"state has {self._batch_size} rows, the input {batch_size}. Call forget() before another batch."
            )
        tape = self._tape
        kept = None if tape is None else tape.recording
        is_outermost = tape is None or tape.depth == 0
        if kept is None or given:
            is_cut = False
        elif is_outermost:
            is_cut = not through_time or all(segment.cell is not self for segment in kept.segments)
        else:
            # The module around it carries the state, and its gradient; only the very beginning lies in here.
            is_cut = self._state is None
        if is_cut:
            state = as_leaves(state)
        elif not through_time and not given and self._state is not None:
            state = detached(state)
        segment = Segment(self, inputs, state, self._steps, through_time and is_outermost, is_cut)
        if self._rows_to_forget is not None and not given and self._state is not None:
            state = self._fresh_rows(self._rows_to_forget, self._start(inputs), state)
        self._rows_to_forget = None
        if tape is None or kept is None:
            yield segment, state
        else:
            tape.depth += 1
            yield segment, state
            tape.depth -= 1
            kept.segments.append(segment)
        segment.length = len(inputs)
        self._steps += segment.length
        self._state, self._batch_size = segment.final, batch_size
        self._segments.append(segment)
        while self._segments[0].last_step <= self._steps - self.rho:
            self._segments.popleft()

    def _begin_record(self) -> None:
        """Steps are counted and listed anew, here and in the recurrent modules inside; the states stay."""
        for module in self._own_modules():
            if isinstance(module, Remembering):
                module._segments.clear()
                module._steps = 0
                module._given_state_gradients.clear()

    def _forget_own(self) -> None:
        self._state = None
        self._batch_size = None
        self._segments.clear()
        self._steps = 0
        self._given_state_gradients.clear()
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
            "_start_state": detached(self._start_state),
            "_segments": deque(),
            "_given_state_gradients": {},
        }


def _first_step(inputs: Tree) -> Tree:
    if isinstance(inputs, Tensor):
        return inputs[0] if len(inputs) else inputs.new_zeros(inputs.shape[1:])
    return inputs[0] if inputs else None


def _batch_size(inputs: Tree) -> int | None:
    """The rows of a step: the first dimension of the first tensor in it."""
    if isinstance(inputs, Tensor):
        return inputs.shape[1] if inputs.dim() > 1 else None
    leaf = first_tensor(inputs[0]) if inputs else None
    return None if leaf is None or leaf.dim() == 0 else leaf.shape[0]


def _check_state(cell: Remembering, state: Tree, like: Tree) -> None:
    given, expected = tree_leaves(state), tree_leaves(like)
    if any(leaf is None for leaf in expected):
        return  # it begins inside of the modules within, or not at all
    if len(given) != len(expected) or any(
        isinstance(e, Tensor) and not (isinstance(g, Tensor) and g.shape == e.shape)
        for g, e in zip(given, expected, strict=True)
    ):
        raise ValueError(
            f"{type(cell).__name__}: the state must have the shapes {describe(like)} for this input; "
            f"got {describe(state)}."
        )

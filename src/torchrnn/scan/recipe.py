"""A recipe: how to make what is wanted of a pass, in one call of the machine, as far as it can do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from torchrnn.scan.apart import sharing
from torchrnn.scan.arena import arena
from torchrnn.scan.constants import Values
from torchrnn.scan.execute import allocate, given_memory
from torchrnn.scan.goals import Goal
from torchrnn.scan.places import Step
from torchrnn.scan.table import Table
from torchrnn.scan.tasks import Task, clear, copy
from torchrnn.scan.views import Memory, View, matrix

if TYPE_CHECKING:
    from torchrnn.scan.passes import LaidOut


class Wanted:
    """What is wanted of a pass; the very same object stands for the same.

    Arguments:
        goals: values for all steps, and sums of them.
        last: of what is carried, what is wanted after the last step.
    """

    def __init__(self, goals: Sequence[Goal], last: Sequence[int]) -> None:
        self.goals, self.last = list(goals), list(last)


class Made(NamedTuple):
    """What a run has made."""

    goals: list[Tensor]
    last: list[Tensor]
    kept: Tensor
    values: Values


class Recipe:
    """One way to run a pass in its layout.

    Arguments:
        own: the pass in its layout.
        wanted: what to make.
        there: which of the states are given; the others are zero.
    """

    def __init__(self, own: LaidOut, wanted: Wanted, there: Sequence[bool]) -> None:
        self._own, self._layout = own, own.layout
        layout = own.layout
        source = layout.n_sources
        before: list[Task] = [] if layout.cleared is None else [clear(layout.cleared)]
        for parts, is_there in zip(own.first, there, strict=True):
            if is_there:
                before += [copy(part, given) for given, part in _parts_of(source, parts)]
                source += 1
            else:
                before += [clear(part) for part in parts if not layout.is_cleared(part)]
        self.products: list[tuple[View, list[Step]]] = []
        """Those before the loop that PyTorch has to compute."""
        for view, steps in own.before:
            described = own.leaves.step_tasks(steps, view)
            if described is None:
                self.products.append((view, steps))
            before += described or []
        after: list[Task] = []
        self.missing: list[tuple[int, Goal]] = []
        """What PyTorch has to compute after it, and where it belongs."""
        self._sizes: list[tuple[int, ...]] = []
        """Of the others, then of what is carried."""
        for i, goal in enumerate(wanted.goals):
            described = goal.tasks(own.places, source)
            if described is None:
                self.missing.append((i, goal))
                continue
            after += described
            self._sizes.append(goal.size(layout.T, layout.N))
            source += 1
        self._n_goals = len(self._sizes)
        for index in wanted.last:
            after += [copy(result, part) for result, part in _parts_of(source, own.last[index])]
            self._sizes.append((layout.N, *own.shapes[index]))
            source += 1
        self._table = Table(layout, source, before, after)
        self._sharing: list[int] | None = None
        """Which of the gradients that come of it share memory, as the first ones showed."""

    def run(
        self,
        given: Sequence[Tensor],
        tensors: Sequence[Tensor],
        states: Sequence[Tensor | None],
        kept: Tensor | None = None,
        is_cleared: bool = False,
    ) -> Made:
        """All steps, and all that is wanted.

        Arguments:
            given: inputs, (T, N, ...).
            tensors: parameters and buffers.
            states: to begin with.
            kept: what the pass before left; memory of its own otherwise.
            is_cleared: whether even the padding has to be always the same.
        """
        layout, stacked = self._layout, self._own.stacked_type
        kept = allocate(layout.kept_size) if kept is None else kept
        memory = Memory([kept, allocate(layout.temporary_size), *tensors])
        if is_cleared:
            for each in memory.sources[:2]:
                each.zero_()
        values = Values(layout.constants, memory)
        memory.sources += [given_memory(x, row) for x, row in zip(given, layout.given_rows, strict=True)]
        memory.sources += [state.float().contiguous() for state in states if state is not None]
        results = [arena.empty(*size) for size in self._sizes]
        memory.sources += results
        if self.products:
            before = stacked(self._own.leaves, memory, values)
            for view, steps in self.products:
                before.multiply(steps, memory.view(view))
        self._table.run(memory, values)
        goals, last = results[: self._n_goals], results[self._n_goals :]
        if self.missing:
            after = stacked(self._own.places, memory, values)
            for i, goal in self.missing:
                goals.insert(i, goal.compute(after, goal.size(layout.T, layout.N)))
        return Made(goals, last, kept, values)

    def apart(self, grads: list[Tensor | None], others: Sequence[Tensor]) -> list[Tensor | None]:
        """Gradients, as copies where they lie in memory of one another, of ``others``, or of what is always the same.

        They do so in every run or in none.
        """
        if self._sharing is None:
            self._sharing = sharing(grads, [*others, *self._layout.constants.fixed.values()])
        return [grad.clone() if grad is not None and i in self._sharing else grad for i, grad in enumerate(grads)]


def _parts_of(source: int, parts: list[View]) -> list[tuple[View, View]]:
    """A state that lies in one place, in parts, with the same parts as they lie in the memory of a run."""
    widths = [part.size[1] for part in parts]
    return list(zip(matrix(source, parts[0].size[0], sum(widths)).side_by_side(widths), parts, strict=True))

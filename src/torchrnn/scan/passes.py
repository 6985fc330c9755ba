"""A pass: one of the programs of a plan, forward or backward, with what is done for all steps around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchrnn.scan.carried import Carried
from torchrnn.scan.constants import Constants
from torchrnn.scan.execute import Executor, Layout
from torchrnn.scan.layout import Ref
from torchrnn.scan.multiplications import Refs, plan_multiplications
from torchrnn.scan.native import multiplies_by_itself
from torchrnn.scan.places import Places
from torchrnn.scan.recipe import Recipe, Wanted
from torchrnn.scan.stacked import Stacked

MOST_LAYOUTS = 64


class Pass:
    """One of the programs, for any T and N.

    Arguments:
        executor: the program.
        carried: what goes from step to step.
        leaves: where values lie before the loop.
        refs: where they lie after it.
        after: the pass that left what is kept.
    """

    stacked_type: type[Stacked] = Stacked

    def __init__(
        self, executor: Executor, carried: Carried, leaves: Refs, refs: Refs, after: Pass | None = None
    ) -> None:
        self.executor, self.program, self.carried, self.after = executor, executor.program, carried, after
        self.leaves, self.refs = leaves, refs
        self.before = [(each.array, plan_multiplications(each.products, leaves)) for each in self.program.before]
        """The products that are taken out of the loop, and where they go."""
        self._laid_out: dict[tuple[int, int, int, Constants], LaidOut] = {}

    def laid_out(self, T: int, N: int, constants: Constants) -> LaidOut:
        """The pass for one T and N, and parameters that lie in a certain way."""
        key = (T, N, torch.get_num_threads(), constants)
        found = self._laid_out.get(key)
        if found is None:
            if len(self._laid_out) >= MOST_LAYOUTS:
                self._laid_out.clear()
            keeper = self.executor if self.after is None else self.after.executor
            layout = Layout(self.executor, T, N, constants, keeper.kept_at(T, N))
            found = self._laid_out[key] = LaidOut(self, layout)
        return found


class LaidOut:
    """A pass in a layout."""

    def __init__(self, own: Pass, layout: Layout) -> None:
        self.layout, self.stacked_type = layout, own.stacked_type
        first, last = (layout.T, 0) if own.executor.backwards else (0, layout.T)
        self.first, self.last = own.carried.slots(layout, first), own.carried.slots(layout, last)
        """Where the parts of each state lie before the first step, and after the last."""
        self.shapes = own.carried.shapes
        multiplies = own.stacked_type is Stacked and multiplies_by_itself()
        self.leaves = Places(layout, own.leaves, {}, multiplies)
        self.places = Places(layout, own.refs, own.program.sums, multiplies)
        self.before = [
            (layout.view(Ref(array), array.columns), self.leaves.steps(steps)) for array, steps in own.before
        ]
        self.recipes: dict[tuple[Wanted, tuple[bool, ...]], Recipe] = {}

    def recipe(self, wanted: Wanted, states: Sequence[Tensor | None]) -> Recipe:
        """How to make what is ``wanted``, with these states to begin with, or without."""
        there = tuple([state is not None for state in states])
        found = self.recipes.get((wanted, there))
        if found is None:
            if len(self.recipes) >= MOST_LAYOUTS:
                self.recipes.clear()
            found = self.recipes[wanted, there] = Recipe(self, wanted, there)
        return found

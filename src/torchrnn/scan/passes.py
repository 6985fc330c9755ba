"""A pass: one of the programs of a plan, forward or backward, with what PyTorch computes around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchrnn.scan.carried import Carried, put
from torchrnn.scan.constants import Constants
from torchrnn.scan.execute import Executor, Layout
from torchrnn.scan.layout import Ref
from torchrnn.scan.multiplications import Refs, plan_multiplications
from torchrnn.scan.pieces import Piece
from torchrnn.scan.stacked import Places, Stacked
from torchrnn.scan.views import Memory

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
        self.layout, self._stacked_type = layout, own.stacked_type
        first, last = (layout.T, 0) if own.executor.backwards else (0, layout.T)
        self._first, self.last = own.carried.slots(layout, first), own.carried.slots(layout, last)
        """Where states lie before the first step, and after the last."""
        self._leaves, self._places = Places(layout, own.leaves), Places(layout, own.refs)
        self._before = [
            (layout.view(Ref(array), array.columns), self._leaves.steps(steps)) for array, steps in own.before
        ]
        self._sums = {piece: layout.sum_view(ref, piece.width) for piece, ref in own.program.sums.items()}

    def run(
        self,
        given: Sequence[Tensor],
        tensors: Sequence[Tensor],
        states: Sequence[Tensor | None],
        kept: Tensor | None = None,
        is_cleared: bool = False,
    ) -> Stacked:
        """All steps; what the loop left behind, and what follows from that."""
        memory, values = self.layout.memory(given, tensors, kept, is_cleared)
        put(self.layout, memory, self._first, states)
        if self._before:
            before = self._stacked_type(self._leaves, memory, values)
            for view, steps in self._before:
                before.multiply(steps, memory.view(view))
        self.layout.run(memory, values)
        return self._stacked_type(self._places, memory, values)

    def sums(self, memory: Memory) -> dict[Piece, Tensor]:
        """What the loop summed, each of the threads by itself."""
        if self.layout.threads == 1:
            return {piece: memory.view(view).clone() for piece, view in self._sums.items()}
        return {piece: memory.view(view).sum(0) for piece, view in self._sums.items()}

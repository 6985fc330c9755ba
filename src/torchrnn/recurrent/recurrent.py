"""The simple recurrent network, made of modules."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from torchrnn.checks import require_module
from torchrnn.layers import Add, CAddTable
from torchrnn.masks import where_masked, without_masked
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.recurrent.nested import Nesting, hold_rows_inside, step_remembering
from torchrnn.tree import Tree


class RecurrentState(NamedTuple):
    """The state of a `Recurrent` that is made of recurrent modules, or in which some rows begin anew."""

    h: Tree
    """The last output."""
    inner: tuple[Tree, ...] = ()
    """The states of the recurrent modules inside."""
    fresh: Tensor | None = None
    """Rows that begin anew at the next step."""


class Recurrent(Nesting):
    """The simple recurrent network of Elman, made of modules.

    ``h_1 = transfer(start(input(x_1)))`` and ``h_t = transfer(merge([input(x_t), feedback(h_{t-1})]))`` after it.

    Arguments:
        start: the module for the first step, or the size of ``h``, which makes it an `Add`: a learned initial bias.
        input: maps ``x``, (N, D), to (N, H).
        feedback: maps the last ``h`` to (N, H).
        transfer: what the sum goes through; `torch.nn.Sigmoid` if it is not given.
        rho: how many steps are kept for backpropagation through time.
        merge: joins the list of both; a sum if it is not given.

    Shapes: as ``input`` and ``transfer`` give them; (N, D) to (N, H) with linear ones.

    Differs from the original: ``rho`` only bounds what is kept (there it was 5 once, 99999 later).
    Source: Elman, "Finding structure in time", 1990.

    >>> import torch, torchrnn
    >>> rnn = torchrnn.Recurrent(6, torch.nn.Linear(4, 6), torch.nn.Linear(6, 6), torch.nn.Tanh())
    >>> torchrnn.Sequencer(rnn)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self,
        start: nn.Module | int | tuple[int, ...],
        input: nn.Module,
        feedback: nn.Module,
        transfer: nn.Module | None = None,
        rho: int = DEFAULT_RHO,
        merge: nn.Module | None = None,
    ) -> None:
        super().__init__(rho)
        self.start = _start_module(start)
        self.input = require_module(self, input, "input")
        self.feedback = require_module(self, feedback, "feedback")
        self.transfer = nn.Sigmoid() if transfer is None else require_module(self, transfer, "transfer")
        self.merge = CAddTable() if merge is None else require_module(self, merge, "merge")

    def initial_state(self, input: Tree) -> Tree:
        """Nothing: the first step has no last output, it has ``start``."""
        inner = self._inside()
        return RecurrentState(None, (None,) * len(inner)) if inner else None

    def step(self, input: Tree, state: Tree) -> tuple[Tree, Tree]:
        before = _whole(state)
        parts = self._inside()
        h, inner = step_remembering(parts, before.inner, lambda: self._output(input, before))
        return h, RecurrentState(h, inner) if inner else h

    def parts(self, state: Tree) -> list[tuple[AbstractRecurrent, Tree]]:
        inner = state.inner if isinstance(state, RecurrentState) else ()
        return list(zip(self._inside(), inner, strict=True))

    def _output(self, input: Tree, before: RecurrentState) -> Tree:
        x = self.input(input)
        if before.h is None:
            return self.transfer(self.start(x))
        total = self.merge([x, self.feedback(before.h)])
        if before.fresh is not None:
            total = where_masked(before.fresh, self.start(x), total)
        return self.transfer(total)

    def zero_rows_of_state(self, rows: Tensor, state: Tree) -> RecurrentState:
        before = _whole(state)
        h, inner = without_masked(rows, (before.h, before.inner))
        return RecurrentState(h, inner, fresh=rows)

    def hold_rows_of_state(self, rows: Tensor, before: Tree, after: Tree) -> Tree:
        before, after = _whole(before), _whole(after)
        inner = hold_rows_inside(self._inside(), rows, before.inner, after.inner)
        h = without_masked(rows, after.h) if before.h is None else where_masked(rows, before.h, after.h)
        fresh = _held_fresh(rows, before, after)
        return RecurrentState(h, inner, fresh) if inner or fresh is not None else h

    def _fresh_rows(self, rows: Tensor, start: Tree, state: Tree) -> RecurrentState:
        before = _whole(state)
        return before._replace(fresh=rows if before.fresh is None else rows | before.fresh)


def _whole(state: Tree) -> RecurrentState:
    return state if isinstance(state, RecurrentState) else RecurrentState(state)


def _held_fresh(rows: Tensor, before: RecurrentState, after: RecurrentState) -> Tensor | None:
    """The rows that begin anew at the next step, of which the masked ``rows`` have not begun in this one."""
    fresh = None if after.fresh is None else after.fresh & ~rows
    if before.h is not None and before.fresh is None:
        return fresh
    held = rows if before.fresh is None else rows & before.fresh
    fresh = held if fresh is None else held | fresh
    return fresh if fresh.any() else None


def _start_module(start: Any) -> nn.Module:
    if isinstance(start, nn.Module):
        return start
    size = (start,) if isinstance(start, int) else start
    if isinstance(size, tuple) and size and all(isinstance(n, int) for n in size):
        return Add(*size)
    raise TypeError(f"Recurrent: start must be a torch.nn.Module or the size of the output; got {start!r}.")

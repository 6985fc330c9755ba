"""A module that gets its own last output back."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchrnn.checks import require_module
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.recurrent.nested import Nesting, hold_rows_inside, step_remembering
from torchrnn.tree import Tree, first_tensor


class RecurrenceState(NamedTuple):
    """The state of a `Recurrence` around recurrent modules: its last output, and their states."""

    h: Tree
    inner: tuple[Tree, ...]


class Recurrence(Nesting):
    """A recurrent module made of any module that maps ``[x_t, h_{t-1}]`` to ``h_t``; ``h_0`` is zero.

    Arguments:
        module: takes the list ``[x, h]``, returns the next ``h``; recurrent modules may stand inside it.
        output_size: the size of ``h`` without the batch: an int, a tuple of ints, or a list of sizes where ``h`` is
            a table.
        n_input_dims: how many dimensions ``x`` has without the batch: 1 for vectors, 0 for indices, 3 for images.
            With one more dimension the input is a batch.
        rho: how many steps are kept for backpropagation through time.

    Shapes: ``x`` (N, D) or (D,), ``h`` (N, H) or (H,); either may be a table.

    >>> import torch, torchrnn
    >>> step = torchrnn.Sequential(torchrnn.JoinTable(0, 1), torch.nn.Linear(4 + 6, 6), torch.nn.Tanh())
    >>> rnn = torchrnn.Recurrence(step, 6, 1)
    >>> torchrnn.Sequencer(rnn)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, module: nn.Module, output_size: Any, n_input_dims: int, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        require_module(self, module)
        if isinstance(n_input_dims, bool) or not isinstance(n_input_dims, int) or n_input_dims < 0:
            raise ValueError(
                f"Recurrence: n_input_dims must be the number of dimensions of one input without its batch, 1 for "
                f"vectors, 0 for indices; got {n_input_dims!r}."
            )
        self.module = module
        self.output_size = _checked_size(output_size)
        self.n_input_dims = n_input_dims

    def initial_state(self, input: Tree) -> Tree:
        x = first_tensor(input)
        if x is None or x.dim() not in (self.n_input_dims, self.n_input_dims + 1):
            raise ValueError(
                f"Recurrence: the input must have n_input_dims = {self.n_input_dims} dimensions, or one more for a "
                f"batch; got {'no tensor' if x is None else tuple(x.shape)}."
            )
        weight = next(iter(self.parameters()), torch.empty(0))
        like = x if x.is_floating_point() else torch.empty(0, dtype=weight.dtype, device=x.device)
        h = _zeros(self.output_size, x.shape[: x.dim() - self.n_input_dims], like)
        inner = (None,) * len(self._inside())
        return RecurrenceState(h, inner) if inner else h

    def step(self, input: Tree, state: Tree) -> tuple[Tree, Tree]:
        h, inner = state if isinstance(state, RecurrenceState) else (state, ())
        parts = self._inside()
        h, inner = step_remembering(parts, inner, lambda: self.module([input, h]))
        return h, RecurrenceState(h, inner) if inner else h

    def parts(self, state: Tree) -> list[tuple[AbstractRecurrent, Tree]]:
        inner = state.inner if isinstance(state, RecurrenceState) else ()
        return list(zip(self._inside(), inner, strict=True))

    def hold_rows_of_state(self, rows: Tensor, before: Tree, after: Tree) -> Tree:
        if not isinstance(after, RecurrenceState):
            return super().hold_rows_of_state(rows, before, after)
        inner = hold_rows_inside(self._inside(), rows, before.inner, after.inner)
        return RecurrenceState(super().hold_rows_of_state(rows, before.h, after.h), inner)

    def _fresh_rows(self, rows: Tensor, start: Tree, state: Tree) -> Tree:
        if not isinstance(state, RecurrenceState):
            return super()._fresh_rows(rows, start, state)
        return RecurrenceState(super()._fresh_rows(rows, start.h, state.h), state.inner)


def _zeros(size: Any, batch: tuple[int, ...], like: Tensor) -> Tree:
    if isinstance(size, list):
        return [_zeros(part, batch, like) for part in size]
    return like.new_zeros(*batch, *size)


def _checked_size(size: Any) -> Any:
    """Sizes as tuples, tables of sizes as lists of them."""
    if isinstance(size, list) and size:
        return [_checked_size(part) for part in size]
    dims = (size,) if isinstance(size, int) else size
    if isinstance(dims, tuple) and dims and all(type(n) is int and n > 0 for n in dims):
        return tuple(dims)
    raise ValueError(
        f"Recurrence: output_size must be a positive int, a tuple of them, or a list of such sizes; got {size!r}."
    )

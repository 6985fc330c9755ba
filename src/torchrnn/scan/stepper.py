"""One step at a time, of any cell, with its parameters packed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.scan.applies import check_surroundings
from torchrnn.scan.call import Call, prepare
from torchrnn.scan.choice import chosen
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.stepping import Stepping
from torchrnn.scan.structure import take_apart
from torchrnn.tree import Tree


class Stepper:
    """Steps of a cell as they come, for control loops and streams: ``output = stepper(input)``.

    The state is carried from call to call, and no gradients are. The native engine packs the parameters once and takes
    each step in one call; what it cannot run, ``cell.step`` does, with the same results.

    Arguments:
        cell: any object with the method ``step(input, state) -> (output, state)``.
        state: the state before the first step; ``cell.initial_state(input)`` of the first input if it is not given.

    Shapes: input (N, ...), or a tuple of such tensors; output as the cell gives it.

    Parameters that an optimizer changes, or that are replaced, are packed anew, and so they are when the cell changes
    between training and evaluation. Changes that PyTorch does not count, those through ``.data`` that
    `update_parameters` makes, and changed attributes of the cell are seen after `refresh`.

    Raises ``TypeError`` for a cell without ``step``, ``ValueError`` for a first step without any state, and
    ``RuntimeError`` where `use` asks for the native engine and it cannot run the step.

    >>> import torch, torchrnn
    >>> stepper = torchrnn.scan.Stepper(torchrnn.GRU(4, 6))
    >>> for x in torch.randn(5, 1, 4):
    ...     y = stepper(x)
    >>> torch.equal(y, stepper.state)
    True
    """

    def __init__(self, cell: Any, state: Tree = None) -> None:
        if not callable(getattr(cell, "step", None)):
            raise TypeError(f"scan.Stepper: cell must have a method step(input, state); got a {type(cell).__name__}.")
        self.cell = cell
        self._state = state
        self._is_begun = False
        self._stepping: Stepping | None = None
        self._call: Call | None = None
        self._seen: list[Any] = []
        """What the parameters were when they were packed."""
        self._kind: Any = None
        """Of the inputs that the native engine expects."""
        self._refused: str | None = None
        """The choice of an engine under which this step is taken by the reference."""

    @property
    def state(self) -> Tree:
        """The state after the last step, as a copy; it may be set. ``None`` before the first."""
        if self._stepping is None or self._call is None:
            return self._state
        return self._call.structure.tree(self._stepping.states())

    @state.setter
    def state(self, state: Tree) -> None:
        self.refresh()
        self._state, self._is_begun = state, False

    def refresh(self) -> None:
        """Look at the cell and its parameters anew before the next step."""
        self._state = self.state
        self._stepping = self._call = self._refused = None

    def __call__(self, input: Tree) -> Tree:
        xs, structure = take_apart(input)
        kind = [structure, *((x.shape, x.dtype, x.device) if isinstance(x, Tensor) else type(x) for x in xs)]
        if self._stepping is not None and not self._is_current(kind):
            self.refresh()
        if self._stepping is None:
            self._begin(input, kind)
        if self._stepping is None or self._call is None:
            with torch.no_grad():
                output, self._state = self.cell.step(input, self._state)
            self._is_begun = True
            return output
        return self._call.plan.trace.output_structure.tree(self._stepping.step(xs))

    def _is_current(self, kind: Any) -> bool:
        if kind != self._kind or chosen() == "reference" or self._now() != self._seen:
            return False
        try:
            return not check_surroundings()
        except Unsupported:
            return False

    def _now(self) -> list[Any]:
        """What tells whether the parameters are still those that were packed."""
        assert self._call is not None
        now: list[Any] = [getattr(self.cell, "training", None)]
        for held, name in self._call.places:
            tensor = held.get(name)
            if tensor is None:
                now.append(None)
            else:
                now += (id(tensor), tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        return now

    @torch.no_grad()
    def _begin(self, input: Tree, kind: Any) -> None:
        """Get ready to run natively, if that can be."""
        if self._state is None:
            if not hasattr(self.cell, "initial_state"):
                name = type(self.cell).__name__
                raise ValueError(f"scan.Stepper: a {name} has no initial_state(input), so the state must be given.")
            self._state = self.cell.initial_state(input)
        engine = chosen()
        if engine == "reference" or engine == self._refused:
            return
        if not self._is_begun and any(leaf is None for leaf in tree_leaves(self._state)):
            return  # a step that begins from nothing is another step than those after it
        try:
            call = prepare(self.cell, tree_map(lambda x: x[None], input), self._state, by_step=True)
            stepping = Stepping(call.plan, call.xs[0].shape[1], call.tensors, call.states)
        except Unsupported as reason:
            if engine == "native":
                name = type(self.cell).__name__
                raise RuntimeError(f"the native engine cannot run {name}: {reason}") from reason
            self._refused = engine
            return
        self._call, self._stepping, self._kind = call, stepping, kind
        self._seen = self._now()

"""What all sequence modules have in common: what they remember from call to call."""

from __future__ import annotations

from torchrnn.module import Module
from torchrnn.recurrent import AbstractRecurrent
from torchrnn.tree import Tree


class AbstractSequencer(Module):
    """A module that takes a whole sequence in one call.

    Every call begins from a fresh state, unless it remembers: see `Module.remember`. A remembered state is detached,
    so gradients flow through time within one call only. Shapes: as the subclass says, usually (T, N, ...) in and out.

    >>> import torch, torchrnn
    >>> issubclass(torchrnn.Sequencer, torchrnn.AbstractSequencer)
    True
    """

    takes_sequences = True

    def __init__(self) -> None:
        super().__init__()
        self._remembered_modes = "neither"

    @property
    def remembers(self) -> bool:
        """Whether the state is carried over to the next call, in the present mode."""
        return self._remembered_modes in ("both", "train" if self.training else "eval")

    def _remember_own(self, mode: str) -> None:
        self._remembered_modes = mode

    def _begin(self) -> None:
        """Before a sequence: forget the last one, unless it is remembered."""
        if not self.remembers:
            forget_states(self)


class CellSequencer(AbstractSequencer):
    """A sequence module that runs one cell."""

    cell: AbstractRecurrent

    @property
    def inputs(self) -> list[Tree]:
        """The input of each step of the last sequence."""
        return self.cell.inputs

    @property
    def outputs(self) -> list[Tree]:
        """The output of each step of the last sequence."""
        return self.cell.outputs

    @property
    def states(self) -> list[Tree]:
        """The state after each step of the last sequence."""
        return self.cell.states

    @property
    def grad_inputs(self) -> list[Tree]:
        """The gradient of the input of each step, after backward."""
        return self.cell.grad_inputs

    def mask_zero(self, n_input_dims: int | None = None) -> CellSequencer:
        self.cell.mask_zero(n_input_dims)
        return self

    def get_hidden_state(self, step: int | None = None) -> Tree:
        return self.cell.get_hidden_state(step)

    def set_hidden_state(self, step: int | None, state: Tree) -> None:
        self.cell.set_hidden_state(step, state)

    def get_grad_hidden_state(self, step: int | None = None) -> Tree:
        return self.cell.get_grad_hidden_state(step)

    def set_grad_hidden_state(self, step: int | None, grad: Tree) -> None:
        self.cell.set_grad_hidden_state(step, grad)


def forget_states(module: Module) -> None:
    """Drop the states and masks in ``module``, but not the calls that it kept for backward."""
    for inside in module._own_modules():
        inside._forget_own()

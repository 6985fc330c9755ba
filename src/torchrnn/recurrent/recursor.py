"""Any module as a recurrent one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from torchrnn.checks import require_module
from torchrnn.masks import as_mask, steps_of_mask, with_lengths, with_mask
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.recurrent.nested import Nesting, hold_rows_inside, step_remembering
from torchrnn.scan.reference import Cell
from torchrnn.tree import Tree


class Recursor(Nesting):
    """Lift a module, recurrent inside or not, into a recurrent one that takes one step a call.

    ``output_t = module(input_t)``; the state is the tuple of the states of the recurrent modules inside, which is
    empty where there are none. A `Sequencer` wraps its module in this by itself.

    Arguments:
        module: any module; lists in and out are fine if it takes them.
        rho: how many steps are kept for backpropagation through time.

    Shapes: those of ``module``. What steps by hand keep, and until when: `AbstractRecurrent`.

    Differs from the original: no clones are made, one module serves all steps.

    >>> import torch, torchrnn
    >>> net = torchrnn.Recursor(torchrnn.Sequential(torchrnn.LSTM(4, 6), torch.nn.Linear(6, 2)))
    >>> [net(torch.randn(3, 4)).shape for _ in range(2)]
    [torch.Size([3, 2]), torch.Size([3, 2])]
    >>> len(net.get_hidden_state())
    1
    """

    def __init__(self, module: nn.Module, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        require_module(self, module)
        self.module = module
        self._inner_mask: Tensor | None = None

    def initial_state(self, input: Tree) -> tuple[None, ...]:
        return (None,) * len(self._inside())

    def step(self, input: Tree, state: tuple[Tree, ...]) -> tuple[Tree, tuple[Tree, ...]]:
        return step_remembering(self._inside(), state, lambda: self.module(input))

    def parts(self, state: Tree) -> list[tuple[AbstractRecurrent, Tree]]:
        return list(zip(self._inside(), state, strict=True))

    @property
    def takes_zero_mask(self) -> bool:
        return super().takes_zero_mask if self._masks else bool(self._takers())

    def set_zero_mask(self, mask: Tensor | Sequence[Tensor] | None) -> None:
        super().set_zero_mask(mask)
        self._inner_mask = None if self._masks else as_mask(mask)
        if mask is None:
            for module in self._nearest_modules():
                module.set_zero_mask(None)

    def _masked(self, inputs: Tree, lengths: Tensor | list[int] | None = None, offset: int = 0) -> tuple[Cell, Tree]:
        if self._inner_mask is None or not len(inputs):
            return super()._masked(inputs, lengths, offset)
        mask = steps_of_mask(self, self._inner_mask, inputs, offset)
        return with_lengths(_MaskedInside(self), with_mask(inputs, mask), lengths, inputs)

    def hold_rows_of_state(self, rows: Tensor, before: tuple[Tree, ...], after: tuple[Tree, ...]) -> tuple[Tree, ...]:
        return hold_rows_inside(self._inside(), rows, before, after)

    def _check_batch(self, inputs: Tree) -> None:
        """The modules inside check theirs: the input need not be a batch for them."""

    def _fresh_rows(self, rows: Tensor, start: Tree, state: Tree) -> Tree:
        return state  # the modules inside see to it

    def get_grad_hidden_state(self, step: int | None = None) -> tuple[Tree, ...]:
        parts = self._inside()
        grads = super().get_grad_hidden_state(step)
        # The states of the modules inside begin inside of them.
        return tuple(
            part.get_grad_hidden_state(0) if grad is None else grad for part, grad in zip(parts, grads, strict=True)
        )


class _MaskedInside:
    """A `Recursor` whose modules inside get the mask of each step; its input is the pair of both."""

    def __init__(self, recursor: Recursor) -> None:
        self.recursor = recursor
        self.takers = recursor._takers()

    def step(self, input: tuple[Tree, Tensor], state: tuple[Tree, ...]) -> tuple[Tree, tuple[Tree, ...]]:
        x, mask = input
        self._set(mask)
        try:
            return self.recursor.step(x, state)
        finally:
            self._set(None)

    def _set(self, mask: Tensor | None) -> None:
        for module in self.takers:
            module.set_zero_mask(mask)

    def hold_rows_of_state(self, rows: Tensor, before: Tree, after: Tree) -> Tree:
        return self.recursor.hold_rows_of_state(rows, before, after)

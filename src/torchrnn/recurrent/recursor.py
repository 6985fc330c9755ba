"""Any module as a recurrent one."""

from __future__ import annotations

from torch import nn

from torchrnn.checks import require_module
from torchrnn.module import DEFAULT_RHO
from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.recurrent.nested import recurrent_modules, step_remembering
from torchrnn.tree import Tree


class Recursor(AbstractRecurrent):
    """Lift a module, recurrent inside or not, into a recurrent one that takes one step a call.

    ``output_t = module(input_t)``; the state is the tuple of the states of the recurrent modules inside, which is
    empty where there are none. A `Sequencer` wraps its module in this by itself.

    Arguments:
        module: any module; lists in and out are fine if it takes them.
        rho: how many steps are kept for backpropagation through time.

    Shapes: those of ``module``.

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

    def initial_state(self, input: Tree) -> tuple[None, ...]:
        return (None,) * len(recurrent_modules(self.module))

    def step(self, input: Tree, state: tuple[Tree, ...]) -> tuple[Tree, tuple[Tree, ...]]:
        return step_remembering(recurrent_modules(self.module), state, lambda: self.module(input))

    def get_grad_hidden_state(self, step: int | None = None) -> tuple[Tree, ...]:
        parts = recurrent_modules(self.module)
        grads = super().get_grad_hidden_state(step)
        # The states of the modules inside begin inside of them.
        return tuple(
            part.get_grad_hidden_state(0) if grad is None else grad for part, grad in zip(parts, grads, strict=True)
        )

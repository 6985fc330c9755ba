"""A recurrent module that decides at each step where to look next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchrnn.checks import require_count, require_module, require_sizes
from torchrnn.layers import ZeroGrad
from torchrnn.recurrent.nested import Nesting, step_remembering
from torchrnn.sequence.abstract_sequencer import CellSequencer
from torchrnn.tree import Tree, first_tensor


class AttentionState(NamedTuple):
    """The last output, the action that led to it, and the states of the recurrent modules inside."""

    h: Tensor
    action: Tree
    inner: tuple[Tree, ...]


class AttentionCell(Nesting):
    """One glance: ``a_t = action(h_{t-1})``, ``h_t = rnn([x, a_t])``."""

    def __init__(self, rnn: nn.Module, action: nn.Module, hidden_size: tuple[int, ...], forward_actions: bool) -> None:
        super().__init__()
        self.rnn = rnn
        self.action = action
        self.hidden_size = hidden_size
        self.forward_actions = forward_actions
        self.no_gradient = ZeroGrad()

    def initial_state(self, input: Tree) -> AttentionState:
        x = first_tensor(input)
        if x is None or x.dim() < 2:
            raise ValueError(
                "RecurrentAttention: the input must be a batch (N, ...); got "
                + ("no tensor." if x is None else f"shape {tuple(x.shape)}.")
            )
        inner = (None,) * len(self._inside())
        return AttentionState(x.new_zeros(len(x), *self.hidden_size), None, inner)

    def step(self, input: Tree, state: AttentionState) -> tuple[Tree, AttentionState]:
        def glance() -> tuple[Tensor, Tree]:
            action = self.action(state.h)
            return self.rnn([input, self.no_gradient(action)]), action

        parts = self._inside()
        (h, action), inner = step_remembering(parts, state.inner, glance)
        return [h, action] if self.forward_actions else h, AttentionState(h, action, inner)


class RecurrentAttention(CellSequencer):
    """Look at one input ``n_steps`` times, each time where the last output says.

    ``a_t = action(h_{t-1})`` and ``h_t = rnn([x, a_t])``, with ``h_0 = 0``. No gradient goes from ``rnn`` into the
    actions, which are learned by REINFORCE: a stochastic unit belongs into ``action``, and `Module.reinforce` or
    `VRClassReward` rewards it. The gradient of the stochastic unit goes on into ``h_{t-1}``.

    Arguments: ``rnn``: takes ``[x, a]``, usually a `Recurrence` or a `Sequential` that ends in an `LSTM`; ``action``:
    takes h, gives a; both may be recurrent inside; ``n_steps``; ``hidden_size``: the size of h, an int or a tuple;
    ``forward_actions``: the output at each step is ``[h_t, a_t]``.
    Shapes: x (N, ...), such as images (N, C, H, W); h (N, H); the output is a list of ``n_steps`` h.
    After a forward, ``actions`` lists the actions.

    Every call begins from a fresh state unless it remembers (`Module.remember`). Hidden states are
    ``(h, action, inner)``, with the states of the recurrent modules inside.

    Differs from the original: ``forward_actions`` works for any number of steps.
    Source: Mnih et al., "Recurrent Models of Visual Attention", 2014.

    >>> import torch, torchrnn
    >>> sensor = torchrnn.Sequential(torchrnn.SpatialGlimpse(2, depth=1), torch.nn.Flatten(), torch.nn.Linear(4, 6))
    >>> rnn = torchrnn.Sequential(sensor, torchrnn.LSTM(6, 6))
    >>> locator = torchrnn.Sequential(torch.nn.Linear(6, 2), torchrnn.ReinforceNormal(0.1), torch.nn.Hardtanh())
    >>> attention = torchrnn.RecurrentAttention(rnn, locator, 3, 6)
    >>> outputs = attention(torch.randn(5, 1, 8, 8))
    >>> len(outputs), outputs[0].shape, attention.actions[0].shape
    (3, torch.Size([5, 6]), torch.Size([5, 2]))
    """

    cell: AttentionCell

    def __init__(
        self,
        rnn: nn.Module,
        action: nn.Module,
        n_steps: int,
        hidden_size: int | Sequence[int],
        forward_actions: bool = False,
    ) -> None:
        super().__init__()
        require_module(self, rnn, "rnn")
        require_module(self, action, "action")
        self.n_steps = require_count(self, n_steps, "n_steps")
        self.cell = AttentionCell(rnn, action, require_sizes(self, (hidden_size,)), forward_actions)

    @property
    def actions(self) -> list[Tree]:
        """The actions of the last sequence."""
        return [state.action for state in self.states]

    def forward(self, input: Tree) -> list[Tree]:
        self._begin()
        # A view for each step, so that each has a gradient of its own to be looked at.
        steps = [tree_map(lambda x: x.view_as(x) if isinstance(x, Tensor) else x, input) for _ in range(self.n_steps)]
        outputs: list[Tree] = self.cell.remembered_sequence(steps)
        return outputs

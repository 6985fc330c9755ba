"""The module protocol: a `torch.nn.Module` that can also be driven call by call, as in Torch7."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchrnn.protocol import ExplicitProtocol
from torchrnn.sharing import share, shared_clone
from torchrnn.tree import Tree, describe
from torchrnn.walk import modules_of

if TYPE_CHECKING:
    from typing_extensions import Self


class Module(ExplicitProtocol):
    """A module of two worlds: PyTorch's autograd, and the explicit forward and backward calls of Torch7.

    A subclass writes ``forward`` and nothing more. In PyTorch's world it is a module like any other::

        y = net(x); loss.backward(); optimizer.step()

    In the explicit world each call does one thing, nothing is recorded outside it, and results are detached::

        y = net.update_output(x)
        grad_x = net.backward(x, grad_y)          # accumulates the gradients of the parameters, too
        net.update_parameters(0.1)
        net.zero_grad_parameters()

    T calls of `update_output` may be followed by T calls of `backward` in reverse order; that is right for every
    module, recurrent or not, alone or inside containers. What the calls kept goes when they have been gone back
    through; where gradients flow through time (a recurrent module is stepped) it stays until `forget`, or for the
    last ``rho`` calls, so that windows may overlap. In evaluation mode only the last call is kept.

    Gradients are accumulated into ``parameter.grad``, which both worlds share.

    Differs from ``torch.nn``: a switch between `train` and `eval` forgets what was remembered. Differs from Torch7:
    the loop above is wrong there, silently, for modules that are not recurrent.

    >>> import torch, torchrnn
    >>> net = torchrnn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    >>> xs = [torch.randn(4, 3) for _ in range(5)]
    >>> ys = [net.update_output(x) for x in xs]
    >>> net.zero_grad_parameters()
    >>> grads = [net.backward(x, torch.ones_like(y)) for x, y in zip(reversed(xs), reversed(ys))]
    >>> grads[0].shape
    torch.Size([4, 3])
    """

    takes_sequences = False
    """Whether one call takes a whole sequence, so that gradients do not flow from call to call."""
    # ------------------------------------------------------------------ training and evaluation

    def train(self, mode: bool = True) -> Self:
        """Put this module and all inside into training mode; a real switch forgets."""
        was_training = self.training
        super().train(mode)
        if self.training != was_training:
            self._forget_calls()
            self._forget_own()
        return self

    def evaluate(self) -> Self:
        """The same as ``eval()``."""
        return self.train(False)

    # ------------------------------------------------------------------ copies that share

    def shared_clone(self, share_params: bool = True, share_grads: bool = True) -> Self:
        """A copy with the same parameters and gradients, and everything else of its own.

        ``share_params``: values of parameters and buffers are those of this module; ``share_grads``: gradients are.
        What is not shared is copied, gradients begin anew. Calls kept for backward stay behind. Only where both are
        shared does the tie outlive what gives parameters new memory: ``to(...)`` and `get_parameters` of one of the
        two, or gradients set to ``None``.
        """
        return shared_clone(self, share_params, share_grads)

    def step_clone(self, share_params: bool = True, share_grads: bool = True) -> Self:
        """`shared_clone`, but recurrent modules inside are not copied: they keep their own time, and stand in both.

        A recurrent module itself is returned as it is; a sequence module is cloned as a whole.
        """
        parts = [self] if self.is_recurrent else [] if self.takes_sequences else self._recurrent_parts()
        return shared_clone(self, share_params, share_grads, keep=parts)

    def share(self, other: nn.Module, *names: str) -> Self:
        """Use the parameters and buffers of ``other`` that are called ``names``, such as ``'weight'``, here and inside.

        Without names all of them. Each is taken from the place in ``other`` that it has here, gradient included.
        Raises ``ValueError`` where there is none of the same shape, and shares nothing.
        """
        share(self, other, names)
        return self

    # ------------------------------------------------------------------ memory

    def forget(self, rows: Tensor | None = None) -> Self:
        """Drop every state that is carried, everything kept for backward, and every mask drawn for a sequence.

        With ``rows``, a bool tensor (N,), only the states of those rows of the batch are dropped: they begin anew at
        the next step, in mid-stream, and the others go on.
        """
        if rows is not None and (rows.dtype != torch.bool or rows.dim() != 1):
            raise ValueError(f"forget: rows must be a bool tensor (N,); got {rows.dtype} of shape {tuple(rows.shape)}.")
        for module in self._own_modules():
            if rows is not None:
                module._forget_rows(rows)
            else:
                module._forget_calls()
                module._forget_own()
        return self

    def detach_state(self) -> Self:
        """Keep the states but not their history: autograd ends here (truncated backpropagation through time)."""
        for module in self._own_modules():
            module._detach_own()
        return self

    def remember(self, mode: str = "both") -> Self:
        """Carry states over from call to call in the sequence modules inside.

        ``mode``: ``'train'``, ``'eval'``, ``'both'`` or ``'neither'`` (what a new module does). A carried state is
        detached: no gradient flows into the call before.

        A module that remembers cannot stand in ``torch.utils.checkpoint``, which computes forwards again when the state
        has moved on: that raises ``ValueError`` in backward, as long as nothing was forgotten in between.
        `AbstractRecurrent.step` and `AbstractRecurrent.sequence` are free of memory, and can, with
        ``use_reentrant=False``.
        """
        if mode not in ("both", "train", "eval", "neither"):
            raise ValueError(f"remember: mode must be 'both', 'train', 'eval' or 'neither'; got {mode!r}.")
        for module in self._own_modules():
            if module.takes_sequences:
                module._remember_own(mode)
        return self

    def mask_zero(self, n_input_dims: int | None = None) -> Self:
        """Let the recurrent modules inside mask rows: a masked row gives zeros, and its state becomes zero.

        With ``n_input_dims`` (1 for vectors, 0 for indices) those rows are masked whose input is all zeros. Without
        it `set_zero_mask` says which. For padding on the right, ``lengths`` of the sequence modules keeps the final
        states, too.
        """
        for module in self._nearest_modules():
            module.mask_zero(n_input_dims)
        return self

    def trim_zero(self, n_input_dims: int) -> Self:
        """The same results as ``mask_zero(n_input_dims)``."""
        return self.mask_zero(n_input_dims)

    def set_zero_mask(self, mask: Tensor | Sequence[Tensor] | None) -> None:
        """Set which rows are masked in the modules inside that `mask_zero` was called for.

        ``mask`` is a bool tensor (T, N) for a sequence, or a list of T masks (N,), or one (N,) for each step, true
        where a row is masked. It stays until the next call; ``None`` switches masking off. Raises ``ValueError`` where
        nothing inside takes a mask.
        """
        self._require_taker(mask)
        for module in self._nearest_modules() if mask is None else self._takers():
            module.set_zero_mask(mask)

    @property
    def takes_zero_mask(self) -> bool:
        """Whether `set_zero_mask` has an effect: `mask_zero` was called here or inside, without ``n_input_dims``."""
        return bool(self._takers())

    def recycle(self) -> Self:
        """Let go of the steps and calls that are older than ``rho``, which happens by itself at the next step."""
        if self._tape is not None:
            self._tape.trim(self._call_limit())
        return self

    def get_hidden_state(self, step: int | None = None) -> Tree:
        """The states of the recurrent modules inside after ``step`` steps, as a tuple in the order of the modules.

        0 is the initial state, negative numbers count from the end, and without ``step`` it is the last. A recurrent
        module itself, or a sequence module around one, gives its state instead of a tuple.
        """
        return tuple(part.get_hidden_state(step) for part in self._recurrent_parts())

    def set_hidden_state(self, step: int | None, state: Tree) -> None:
        """Set the states of the recurrent modules inside, given as `get_hidden_state` returns them.

        At step 0 they are the start states of every sequence from now on, until they are set to ``None``.
        """
        for part, own in self._with_parts("set_hidden_state", state):
            part.set_hidden_state(step, own)

    def set_start_state(self, state: Tree) -> None:
        """``set_hidden_state(0, state)``."""
        self.set_hidden_state(0, state)

    def get_grad_hidden_state(self, step: int | None = None) -> Tree:
        """The gradients of the states after ``step`` steps that came back from later steps."""
        return tuple(part.get_grad_hidden_state(step) for part in self._recurrent_parts())

    def set_grad_hidden_state(self, step: int | None, grad: Tree) -> None:
        """Set gradients of the states after ``step`` steps, which the next way back adds to what comes from there."""
        for part, own in self._with_parts("set_grad_hidden_state", grad):
            part.set_grad_hidden_state(step, own)

    def reinforce(self, reward: Tensor | float | Sequence[Tensor]) -> None:
        """Tell the stochastic units inside (`Reinforce`) how good it was what they drew; the more the better.

        Call it after the forward and before the backward. ``reward`` is a tensor (N,), one number for each row of the
        batch, for every sample since; or a list of such tensors or a tensor (T, N), one for each of the last T steps.
        A list follows the order in which the steps were taken: in a backward direction (`ReverseUnreverse`,
        `BiSequencer`) its first reward is for the end of the sequence. Where forward and backward take turns, the very
        first `backward` goes back at once and needs a reward already, 0 if it is not known yet; the last one given
        counts. Where nothing was drawn, as in evaluation, it does nothing.
        """
        for module in self._own_modules():
            module._reinforce_own(reward)

    def clear_state(self) -> Self:
        """`forget`, and drop start states: nothing but the model is left."""
        self.forget()
        for module in self._own_modules():
            module._clear_own()
        return self

    # ------------------------------------------------------------------ for subclasses and the tape

    def _forget_own(self) -> None:
        """Drop what this very module remembers; `forget` calls it on every module inside."""

    def _detach_own(self) -> None:
        """Cut what this very module remembers from its history."""

    def _forget_rows(self, rows: Tensor) -> None:
        """Drop what this very module remembers of some rows."""

    def _remember_own(self, mode: str) -> None:
        """Set the mode of remembering of this very module; `remember` calls it on every sequence module inside."""

    def _reinforce_own(self, reward: Any) -> None:
        """Take the reward for what this very module drew; `reinforce` calls it on every module inside."""

    def _clear_own(self) -> None:
        """Drop what `forget` leaves; `clear_state` calls it on every module inside."""
        self._tape = None

    def _nearest_modules(self, within: nn.Module | None = None) -> Iterator[Module]:
        """The modules of this library that are children, directly or in modules of PyTorch."""
        for child in (within or self).children():
            if isinstance(child, Module):
                yield child
            else:
                yield from self._nearest_modules(child)

    def _takers(self) -> list[Module]:
        return [module for module in self._nearest_modules() if module.takes_zero_mask]

    def _require_taker(self, mask: Any) -> None:
        if mask is not None and not self.takes_zero_mask:
            raise ValueError(
                f"{type(self).__name__}: set_zero_mask(mask) needs a module that takes a mask, and there is none. Call "
                "mask_zero() before it, without n_input_dims, which would mask rows of zeros instead."
            )

    def _recurrent_parts(self) -> list[Module]:
        """The outermost recurrent modules inside."""
        found: dict[Module, None] = {}
        hidden: set[Module] = set()
        for module in self._own_modules():
            if module is not self and module.is_recurrent and module not in hidden:
                found[module] = None
                hidden.update(module._own_modules())
        return list(found)

    def _with_parts(self, method: str, values: Tree) -> Iterator[tuple[Module, Tree]]:
        parts = self._recurrent_parts()
        values = [None] * len(parts) if values is None else values
        if not isinstance(values, list | tuple) or len(values) != len(parts):
            raise ValueError(
                f"{method}: the states must be a tuple of {len(parts)}, one for each recurrent module inside; "
                f"got {describe(values)}."
            )
        return zip(parts, values, strict=True)

    def take_given_state_gradient(self, step: int) -> Tree:
        """The gradient that was set for the state after ``step``, which is then used up (recurrent modules)."""
        return None

    def _own_modules(self) -> list[Module]:
        return [module for module in modules_of(self) if isinstance(module, Module)]

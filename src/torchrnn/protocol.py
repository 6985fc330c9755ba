"""The explicit training protocol of Torch7: each call does one thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchrnn.checks import require_count
from torchrnn.flat import flatten_parameters
from torchrnn.tape import Tape
from torchrnn.tree import Tree

if TYPE_CHECKING:
    from typing_extensions import Self

Gradients = list[tuple[Tensor, Tensor]]

DEFAULT_RHO = 9999
"""How many steps or calls are kept for backward where nothing else is said."""


class ExplicitProtocol(nn.Module):
    """The calls forward and back; see `Module`, which adds memory."""

    is_recurrent = False
    """Whether the module steps through time, one call a step."""
    rho: int = DEFAULT_RHO
    """How many steps, or calls, are kept for backward."""

    REMEMBERED: frozenset[str] = frozenset({"_tape", "_online", "_is_flat"})
    """Attributes that are about calls, and no part of what a step computes: the native engine leaves them aside."""

    _tape: Tape | None = None
    _online: bool = False
    _is_flat: bool = False

    # ------------------------------------------------------------------ one call forward, one call back

    def update_output(self, input: Tree, **options: Any) -> Tree:
        """Run the module and keep what `backward` needs; the result is detached.

        Under ``torch.no_grad()`` nothing is kept. ``input`` is a tensor or a table (list or tuple) of them; options,
        such as ``lengths``, go to ``forward``.
        """
        if not torch.is_grad_enabled():
            return self(input, **options)
        if self._tape is None or self._tape.module is not self:
            self._tape = Tape(self)
        for part in self._protocol_modules():
            if part.is_recurrent:
                part._tape = self._tape
        return self._tape.record(input, options, limit=self._call_limit() if self.training else 1)

    def update_grad_input(self, input: Tree, grad_output: Tree) -> Tree:
        """The gradient of ``input``, the one of the last call that was not yet gone back through.

        Its structure is the structure of ``input``; entries that have no gradient, such as indices, get zeros.
        ``None`` while backward through time is deferred (see `backward_through_time`).
        """
        tape = self._require_tape("update_grad_input", own=True)
        return tape.update_grad_input(input, grad_output, online=self._online)

    def acc_grad_parameters(self, input: Tree, grad_output: Tree, scale: float = 1.0) -> None:
        """Add ``scale`` times the gradients of the parameters; `update_grad_input` comes first."""
        self._add_gradients(self._require_tape("acc_grad_parameters", own=True).acc_grad_parameters(input, scale))

    def backward(self, input: Tree, grad_output: Tree, scale: float = 1.0) -> Tree:
        """`update_grad_input`, then `acc_grad_parameters`; returns the gradient of ``input``."""
        grad_input = self.update_grad_input(input, grad_output)
        self.acc_grad_parameters(input, grad_output, scale)
        return grad_input

    def acc_update_grad_parameters(self, input: Tree, grad_output: Tree, lr: float) -> None:
        """Move the parameters by ``-lr`` times their gradients, which are not stored."""
        tape = self._require_tape("acc_update_grad_parameters", own=True)
        self._descend(tape.acc_grad_parameters(input, 1.0, stored=False), lr)

    def backward_update(self, input: Tree, grad_output: Tree, lr: float) -> Tree:
        """`update_grad_input`, then `acc_update_grad_parameters`; returns the gradient of ``input``."""
        grad_input = self.update_grad_input(input, grad_output)
        self.acc_update_grad_parameters(input, grad_output, lr)
        return grad_input

    # ------------------------------------------------------------------ back through time

    def backward_online(self, online: bool = True) -> Self:
        """Go back at once, call by call in reverse order, instead of deferring to `backward_through_time`."""
        for module in self._protocol_modules():
            module._online = online
        return self

    def backward_through_time(self, step: int | None = None, rho: int | None = None) -> Tree:
        """Go back through the deferred calls, from ``step`` (the newest) at most ``rho`` of them.

        Where a recurrent module is stepped and forward and backward take turns, `backward` only keeps its
        ``grad_output``; this goes back through time with all of them. After calls of `backward` in reverse order it
        goes on through the calls that are left. Returns the gradient of the earliest input that it reached.
        """
        grad_input = self.update_grad_input_through_time(step, rho)
        self.acc_grad_parameters_through_time()
        return grad_input

    def update_grad_input_through_time(self, step: int | None = None, rho: int | None = None) -> Tree:
        """The first half of `backward_through_time`: the gradients of the inputs."""
        tape = self._require_tape("update_grad_input_through_time")
        return tape.update_grad_input_through_time(step, self._call_limit() if rho is None else rho)

    def acc_grad_parameters_through_time(self) -> None:
        """The second half: the gradients of the parameters in the calls that the first half went through."""
        tape = self._require_tape("acc_grad_parameters_through_time")
        self._add_gradients(tape.acc_grad_parameters_through_time())

    def backward_update_through_time(self, lr: float, step: int | None = None, rho: int | None = None) -> Tree:
        """`backward_through_time`, but the gradients move the parameters by ``-lr`` and are not stored."""
        grad_input = self.update_grad_input_through_time(step, rho)
        self._descend(self._require_tape("backward_update_through_time").acc_grad_parameters_through_time(), lr)
        return grad_input

    def max_bptt_step(self, rho: int) -> Self:
        """Keep at most ``rho`` steps for backpropagation through time, in every recurrent module inside."""
        require_count(self, rho, "rho")
        for module in self._protocol_modules():
            if module.is_recurrent:
                module.rho = rho
        return self

    # ------------------------------------------------------------------ parameters

    def zero_grad_parameters(self) -> None:
        """Set the gradients of all parameters to zero, in place, so that flat views of them stay valid."""
        for parameter in self.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            else:
                parameter.grad = parameter.grad.detach().zero_()

    def update_parameters(self, lr: float) -> None:
        """One step of gradient descent, ``p -= lr * p.grad``; deferred calls go back through time first."""
        if self._tape is not None and self._tape.is_waiting:
            self.backward_update_through_time(lr)
        self._descend([(p, p.grad) for p in self.parameters() if p.grad is not None], lr)

    def get_parameters(self) -> tuple[Tensor, Tensor]:
        """All parameters and all their gradients, each as one flat tensor (n,) that the module lives in.

        Changing the flat tensors changes the module and the other way round. Tied parameters stand there once. Call
        it after moving the module to its device and dtype; a second call gives views of the same memory. An optimizer
        is to call ``zero_grad(set_to_none=False)``, or it lets go of these gradients.
        """
        self._is_flat = True
        return flatten_parameters(list(self.parameters()))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As in PyTorch, but gradients that `get_parameters` gave out are set to zero in their place."""
        super().zero_grad(set_to_none=set_to_none and not self._is_flat)

    # ------------------------------------------------------------------ the tape

    def _protocol_modules(self) -> Iterator[ExplicitProtocol]:
        return (module for module in self.modules() if isinstance(module, ExplicitProtocol))

    def _call_limit(self) -> int:
        """How many calls are kept: as many as the recurrent module inside with the shortest memory keeps steps."""
        return min((module.rho for module in self._protocol_modules() if module.is_recurrent), default=DEFAULT_RHO)

    def _forget_calls(self) -> None:
        if self._tape is not None:
            self._tape.clear()

    def _require_tape(self, method: str, own: bool = False) -> Tape:
        if self._tape is None or (own and self._tape.module is not self):
            raise ValueError(f"{method}: call update_output first; it keeps what backward needs (forward does not).")
        return self._tape

    def _add_gradients(self, gradients: Gradients) -> None:
        for parameter, grad in gradients:
            if parameter.grad is None:
                parameter.grad = grad.clone()
            else:
                parameter.grad.data.add_(grad)

    def _descend(self, gradients: Gradients, lr: float) -> None:
        """Move own parameters; the gradients of others, for which a container was called, are stored."""
        own = {id(parameter) for parameter in self.parameters()}
        # Through .data, as Torch7 does it: calls that were kept see the new values when they go back.
        for parameter, grad in gradients:
            if id(parameter) in own:
                parameter.data.add_(grad, alpha=-lr)
        self._add_gradients([(parameter, grad) for parameter, grad in gradients if id(parameter) not in own])

    def __getstate__(self) -> dict[str, Any]:
        """For copies and files: the model and what it remembers, without the calls that were kept."""
        return {**self.__dict__, "_tape": None}

"""The module protocol: a `torch.nn.Module` that can also be driven call by call, as in Torch7."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from torchrnn.checks import require_count
from torchrnn.flat import flatten_parameters
from torchrnn.tape import Tape
from torchrnn.tree import Tree, describe

Gradients = list[tuple[Tensor, Tensor]]

DEFAULT_RHO = 9999
"""How many steps or calls are kept for backward where nothing else is said."""


class Mode(int):
    """``module.training``: true while training; called, as in Torch7, it puts the module into training mode."""

    _module: Module

    def __new__(cls, module: Module) -> Mode:
        mode = super().__new__(cls, module._training)
        mode._module = module
        return mode

    def __call__(self) -> Module:
        return self._module.train()

    def __repr__(self) -> str:
        return repr(bool(self))

    def __reduce__(self) -> Any:
        return bool, (bool(self),)


class Module(nn.Module):
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
    is_recurrent = False
    """Whether the module steps through time, one call a step."""
    rho: int = DEFAULT_RHO
    """How many steps, or calls, are kept for backward."""

    output: Tree = None
    """What the last `update_output` gave."""
    grad_input: Tree = None
    """What the last `backward` or `update_grad_input` gave."""

    _training: bool = True
    _tape: Tape | None = None
    _online: bool = False

    # ------------------------------------------------------------------ training and evaluation

    @property  # type: ignore[override]
    def training(self) -> Mode:
        return Mode(self)

    @training.setter
    def training(self, mode: bool) -> None:
        self._training = bool(mode)

    def train(self, mode: bool = True) -> Module:
        """Put this module and all inside into training mode; a real switch forgets."""
        if bool(mode) != self._training:
            self._forget_calls()
            self._forget_own()
        super().train(mode)
        return self

    def evaluate(self) -> Module:
        """The same as ``eval()``."""
        return self.train(False)

    # ------------------------------------------------------------------ one call forward, one call back

    def update_output(self, input: Tree) -> Tree:
        """Run the module and keep what `backward` needs; the result is detached.

        Under ``torch.no_grad()`` nothing is kept. ``input`` is a tensor or a table (list or tuple) of them.
        """
        if not torch.is_grad_enabled():
            self.output = self(input)
            return self.output
        if self._tape is None or self._tape.module is not self:
            self._tape = Tape(self)
        for part in self._own_modules():
            if part.is_recurrent:
                part._tape = self._tape
        self.output = self._tape.record(input, limit=self._call_limit() if self._training else 1)
        return self.output

    def update_grad_input(self, input: Tree, grad_output: Tree) -> Tree:
        """The gradient of ``input``, the one of the last call that was not yet gone back through.

        Its structure is the structure of ``input``; entries that have no gradient, such as indices, get zeros.
        ``None`` while backward through time is deferred (see `backward_through_time`).
        """
        self.grad_input = self._require_tape("update_grad_input").update_grad_input(
            input, grad_output, online=self._online
        )
        return self.grad_input

    def acc_grad_parameters(self, input: Tree, grad_output: Tree, scale: float = 1.0) -> None:
        """Add ``scale`` times the gradients of the parameters; `update_grad_input` comes first."""
        self._add_gradients(self._require_tape("acc_grad_parameters").acc_grad_parameters(input, scale))

    def backward(self, input: Tree, grad_output: Tree, scale: float = 1.0) -> Tree:
        """`update_grad_input`, then `acc_grad_parameters`; returns the gradient of ``input``."""
        grad_input = self.update_grad_input(input, grad_output)
        self.acc_grad_parameters(input, grad_output, scale)
        return grad_input

    def acc_update_grad_parameters(self, input: Tree, grad_output: Tree, lr: float) -> None:
        """Move the parameters by ``-lr`` times their gradients, which are not stored."""
        self._descend(self._require_tape("acc_update_grad_parameters").acc_grad_parameters(input, 1.0), lr)

    def backward_update(self, input: Tree, grad_output: Tree, lr: float) -> Tree:
        """`update_grad_input`, then `acc_update_grad_parameters`; returns the gradient of ``input``."""
        grad_input = self.update_grad_input(input, grad_output)
        self.acc_update_grad_parameters(input, grad_output, lr)
        return grad_input

    # ------------------------------------------------------------------ back through time

    def backward_online(self, online: bool = True) -> Module:
        """Go back at once, call by call in reverse order, instead of deferring to `backward_through_time`."""
        for module in self._own_modules():
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
        self.grad_input = tape.update_grad_input_through_time(step, self._call_limit() if rho is None else rho)
        return self.grad_input

    def acc_grad_parameters_through_time(self) -> None:
        """The second half: the gradients of the parameters in the calls that the first half went through."""
        tape = self._require_tape("acc_grad_parameters_through_time")
        self._add_gradients(tape.acc_grad_parameters_through_time())

    def backward_update_through_time(self, lr: float, step: int | None = None, rho: int | None = None) -> Tree:
        """`backward_through_time`, but the gradients move the parameters by ``-lr`` and are not stored."""
        grad_input = self.update_grad_input_through_time(step, rho)
        self._descend(self._require_tape("backward_update_through_time").acc_grad_parameters_through_time(), lr)
        return grad_input

    def max_bptt_step(self, rho: int) -> Module:
        """Keep at most ``rho`` steps for backpropagation through time, in every recurrent module inside."""
        require_count(self, rho, "rho")
        for module in self._own_modules():
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
            return
        self._descend([(p, p.grad) for p in self.parameters() if p.grad is not None], lr)

    def get_parameters(self) -> tuple[Tensor, Tensor]:
        """All parameters and all their gradients, each as one flat tensor (n,) that the module lives in.

        Changing the flat tensors changes the module and the other way round. Tied parameters stand there once. Call
        it after moving the module to its device and dtype; a second call gives views of the same memory.
        """
        return flatten_parameters(list(self.parameters()))

    # ------------------------------------------------------------------ memory

    def forget(self) -> Module:
        """Drop every state that is carried, everything kept for backward, and every mask drawn for a sequence."""
        for module in self._own_modules():
            module._forget_calls()
            module._forget_own()
        return self

    def remember(self, mode: str = "both") -> Module:
        """Carry states over from call to call in the sequence modules inside.

        ``mode``: ``'train'``, ``'eval'``, ``'both'`` or ``'neither'`` (what a new module does). A carried state is
        detached: no gradient flows into the call before.
        """
        if mode not in ("both", "train", "eval", "neither"):
            raise ValueError(f"remember: mode must be 'both', 'train', 'eval' or 'neither'; got {mode!r}.")
        for module in self._own_modules():
            if module.takes_sequences:
                module._remember_own(mode)
        return self

    def recycle(self) -> Module:
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

    def get_grad_hidden_state(self, step: int | None = None) -> Tree:
        """The gradients of the states after ``step`` steps that came back from later steps."""
        return tuple(part.get_grad_hidden_state(step) for part in self._recurrent_parts())

    def set_grad_hidden_state(self, step: int | None, grad: Tree) -> None:
        """Set gradients of the states after ``step`` steps, which the next way back adds to what comes from there."""
        for part, own in self._with_parts("set_grad_hidden_state", grad):
            part.set_grad_hidden_state(step, own)

    def clear_state(self) -> Module:
        """`forget`, and drop outputs, gradients of inputs and start states: nothing but the model is left."""
        self.forget()
        for module in self._own_modules():
            module._clear_own()
        return self

    # ------------------------------------------------------------------ for subclasses and the tape

    def _forget_own(self) -> None:
        """Drop what this very module remembers; `forget` calls it on every module inside."""

    def _remember_own(self, mode: str) -> None:
        """Set the mode of remembering of this very module; `remember` calls it on every sequence module inside."""

    def _clear_own(self) -> None:
        self.output = self.grad_input = self._tape = None

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

    def _own_modules(self) -> Iterator[Module]:
        return (module for module in self.modules() if isinstance(module, Module))

    def _call_limit(self) -> int:
        """How many calls are kept: as many as the recurrent module inside with the shortest memory keeps steps."""
        return min((module.rho for module in self._own_modules() if module.is_recurrent), default=DEFAULT_RHO)

    def _forget_calls(self) -> None:
        if self._tape is not None:
            self._tape.clear()

    def _require_tape(self, method: str) -> Tape:
        if self._tape is None:
            raise ValueError(f"{method}: call update_output first; it keeps what backward needs (forward does not).")
        return self._tape

    def _own_gradients(self, gradients: Gradients) -> Gradients:
        own = {id(parameter) for parameter in self.parameters()}
        return [(p, grad) for p, grad in gradients if id(p) in own]

    def _add_gradients(self, gradients: Gradients) -> None:
        for parameter, grad in self._own_gradients(gradients):
            if parameter.grad is None:
                parameter.grad = grad.clone()
            else:
                parameter.grad.data.add_(grad)

    def _descend(self, gradients: Gradients, lr: float) -> None:
        # Through .data, as Torch7 does it: calls that were kept see the new values when they go back.
        for parameter, grad in self._own_gradients(gradients):
            parameter.data.add_(grad, alpha=-lr)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and files: the model and what it remembers, without the calls that were kept."""
        return {**self.__dict__, "_tape": None, "output": None, "grad_input": None}

"""What the explicit protocol keeps between a forward and its backward, and the way back through it.

Every call of ``update_output`` leaves one `Kept` on the `Tape` of the module it was called on. Its graph is cut at
the states that recurrent modules carry into the call, so that going back through one call gives the gradient of
those states, which is then carried on to the call before: backpropagation through time, one call after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.tree import Tree, as_leaves, describe, detached, zeros_like

if TYPE_CHECKING:
    from torchrnn.recurrent.remembered import Remembering


@dataclass
class Segment:
    """Consecutive steps that one recurrent module took in one call: a single step, or a whole sequence."""

    cell: Remembering
    inputs: Tree
    """A sequence: stacked, (T, ...), or a list of T steps; so are the outputs and the states."""
    initial: Tree
    """The state before the first of the steps."""
    source: Tree
    """The same state as it was remembered, with its history."""
    first_step: int
    through_time: bool
    """Whether the gradient of `initial` goes on to the call before (a step) or ends here (a sequence)."""
    is_cut: bool
    """Whether `initial` is a leaf of its own, so that its gradient is known."""
    outputs: Tree = None
    final: Tree = None
    length: int = 0
    grad_inputs: Tree = None
    grad_initial: Tree = None
    before: Tree = None
    """The state that was remembered, or nothing at the start of a sequence."""
    began: Tree = None
    """The state that the first step was computed from: `initial`, with the rows begun anew that were forgotten."""
    find_states: Callable[[], Tree] | None = None
    """Gives the states after each step; seldom asked for."""

    @property
    def states(self) -> Tree:
        """The states after each step."""
        if self.find_states is None:
            return None
        states = self.find_states()
        self.find_states = lambda: states
        return states

    def detach(self) -> None:
        """Keep the values but not the graphs behind them."""
        self.inputs, self.initial, self.source = detached((self.inputs, self.initial, self.source))
        self.outputs, states, self.final = detached((self.outputs, self.states, self.final))
        self.find_states = lambda: states
        self.before, self.began = detached((self.before, self.began))

    def keep_states(self, find_states: Callable[[], Tree]) -> None:
        self.find_states = find_states

    @property
    def last_step(self) -> int:
        return self.first_step + self.length


class Kept:
    """One call of ``update_output``: its input, its graph, and in the end its gradients."""

    def __init__(self, input: Tree) -> None:
        self.input = detached(input)
        self.leaves = as_leaves(input)
        self.output: Tree = None
        self.segments: list[Segment] = []
        self.grad_output: Tree = None
        self.scale = 1.0
        self.parameter_gradients: list[tuple[Tensor, Tensor]] | None = None

    def gradients(
        self,
        grad_output: Tree,
        parameters: Sequence[Tensor],
        carried: dict[Remembering, tuple[Tree, Tree]],
        retain_graph: bool,
    ) -> Tree:
        """Go back through this call: returns the gradient of its input, and moves `carried` to the call before.

        `carried` holds, for each recurrent module, a state and its gradient. It enters this call if that is the state
        that the call ended in, and not one that was set or cut since.
        """
        flow: list[tuple[Tensor, Tensor]] = list(_pairs(self.output, grad_output))
        for cell, segment in {segment.cell: segment for segment in self.segments}.items():
            if cell in carried:
                state, grad = carried.pop(cell)
                flow += _pairs(segment.final, grad) if state is segment.final else []
            given = cell.take_given_state_gradient(segment.last_step)
            if given is not None:
                flow += _pairs(segment.final, given)
        cuts = [segment for segment in self.segments if segment.is_cut]
        sources = tree_leaves([self.leaves, [s.inputs for s in self.segments], [s.initial for s in cuts], parameters])
        wanted = {id(leaf): leaf for leaf in sources if isinstance(leaf, Tensor) and leaf.requires_grad}
        found: dict[int, Tensor | None] = {}
        if flow and wanted:
            outputs, grads = zip(*flow, strict=True)
            results = torch.autograd.grad(
                outputs, list(wanted.values()), grads, retain_graph=retain_graph, allow_unused=True
            )
            found = dict(zip(wanted, results, strict=True))

        def gradient(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return None
            grad = found.get(id(leaf))
            return torch.zeros_like(leaf.detach()) if grad is None else grad

        for segment in self.segments:
            segment.grad_inputs = tree_map(gradient, segment.inputs)
        for segment in cuts:
            segment.grad_initial = tree_map(gradient, segment.initial)
            if segment.through_time:
                carried[segment.cell] = segment.source, segment.grad_initial
        self.parameter_gradients = [
            (parameter, grad) for parameter in parameters if (grad := found.get(id(parameter))) is not None
        ]
        return tree_map(gradient, self.leaves)


class Tape:
    """The calls of ``update_output`` on one module, newest last, and how far back the gradient has come."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kept: list[Kept] = []
        self.reached: list[Kept] = []
        """The calls that this way back has gone through."""
        self.first_alone: list[tuple[Tensor, Tensor | None, Tensor]] | None = None
        """What the first call did to gradients when it went back alone: parameter, gradient before, gradient added."""
        self.recording: Kept | None = None
        self.depth = 0
        """How many recurrent modules are running inside one another right now."""
        self.forgotten = 0
        """Calls that fell off the old end, so that calls can be numbered from the beginning."""
        self._restart()

    def _restart(self) -> None:
        """A new way back begins at the newest call."""
        self.next_input = self.next_parameters = len(self.kept)
        self.deferred: bool | None = None
        """Whether this way back waits for `backward_through_time`; not known before its first step."""
        self.window = range(0)
        """The calls that backpropagation through time last visited, newest first."""
        self._start_sweep()

    def _start_sweep(self) -> None:
        self.carried: dict[Remembering, tuple[Tree, Tree]] = {}
        for kept in self.reached:
            for segment in kept.segments:
                segment.grad_inputs = None
                segment.grad_initial = None
        self.reached.clear()

    @property
    def through_time(self) -> bool:
        """Whether gradients flow from call to call: some recurrent module is being stepped."""
        newest = self.kept[-1].segments if self.kept else []
        return any(segment.through_time and segment.is_cut for segment in newest)

    def clear(self) -> None:
        self.kept.clear()
        self.first_alone = None
        self.forgotten = 0
        self._restart()

    # ------------------------------------------------------------------ forward

    def record(self, input: Tree, options: dict[str, Any], limit: int) -> Tree:
        """Run the module on `input` and keep what backward needs; at most `limit` calls are kept."""
        if not self.through_time:
            del self.kept[self.next_input :]
        self._take_back_first()
        kept = Kept(input)
        self.recording = kept
        try:
            kept.output = self.module(kept.leaves, **options)
        finally:
            self.recording = None
            self.depth = 0
        self.kept.append(kept)
        self.trim(limit)
        self._restart()
        return detached(kept.output)

    def trim(self, limit: int) -> None:
        """Let the oldest calls go, all but `limit`."""
        excess = max(0, len(self.kept) - limit)
        del self.kept[:excess]
        self.forgotten += excess
        self.next_input = max(0, self.next_input - excess)
        self.next_parameters = max(0, self.next_parameters - excess)

    # ------------------------------------------------------------------ backward, one call at a time

    def update_grad_input(self, input: Tree, grad_output: Tree, online: bool) -> Tree:
        index = self._take("update_grad_input", self.next_input, input)
        kept = self.kept[index]
        _check_grad_output(kept.output, grad_output)
        if self.deferred is None:
            # Forward and backward taking turns: every earlier call has its gradOutput already, and none of them
            # could go back yet. Otherwise the calls come in reverse order and each goes back at once. The very first
            # call could be either: it goes back at once, which is taken back when another forward shows the turns.
            in_turns = index > 0 and self.kept[index - 1].grad_output is not None
            self.deferred = self.through_time and not online and in_turns
            if self.through_time and not online and len(self.kept) == 1 and not self.forgotten:
                kept.grad_output, self.first_alone = grad_output, []
        self.next_input = index
        if self.deferred:
            kept.grad_output = grad_output
            return None
        return self._go_back(kept, grad_output)

    def acc_grad_parameters(self, input: Tree, scale: float, stored: bool = True) -> list[tuple[Tensor, Tensor]]:
        """The gradients of the parameters in the next call on the way back, times `scale`, to be `stored` or not."""
        index = self._take("acc_grad_parameters", self.next_parameters, input)
        if index < self.next_input:
            raise ValueError(
                "acc_grad_parameters: update_grad_input comes first for each call; it has not been called for this "
                "input. `backward` does both."
            )
        self.next_parameters = index
        kept = self.kept[index]
        if self.deferred:
            kept.scale = scale
            return []
        gradients = [(p, grad * scale) for p, grad in kept.parameter_gradients or []]
        if not self.through_time:
            del self.kept[index:]
            self.next_input = min(self.next_input, index)
        if self.first_alone is not None and stored:
            kept.scale = scale
            self.first_alone = [(p, None if p.grad is None else p.grad.clone(), grad) for p, grad in gradients]
        elif self.first_alone is not None:
            kept.grad_output = self.first_alone = None
        return gradients

    def _take_back_first(self) -> None:
        """Undo what the first call did alone, since it turns out to be one of calls in turns, which are deferred."""
        if self.first_alone is None:
            return
        after = [grad if before is None else before + grad for _, before, grad in self.first_alone]
        done = [p.grad for p, _, _ in self.first_alone]
        if all(now is not None and torch.equal(now, expected) for now, expected in zip(done, after, strict=True)):
            for p, before, _ in self.first_alone:
                if before is None:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.data.copy_(before)
        else:
            self.kept[0].grad_output = None  # it has been used in the meantime
        self.first_alone = None

    def _take(self, method: str, position: int, input: Tree) -> int:
        """The index of the call that comes next on the way back, which must have had this `input`."""
        if position == 0:
            done = len(self.kept)
            raise ValueError(
                f"{method}: there is no call of update_output left to go back through ("
                + (f"all {done} that are kept were gone through" if done else "none is kept")
                + "). Call update_output before it, in training mode and with gradients enabled; in evaluation mode "
                "only the last call is kept, and forget() drops them all."
            )
        kept = self.kept[position - 1]
        if not _same(kept.input, input):
            raise ValueError(
                f"{method}: input must be the one of call {self.forgotten + position} of update_output, the last that "
                f"is still to be gone back through, of shape {describe(kept.input)}; got another input, of shape "
                f"{describe(input)}. Go back in reverse order, with the very inputs of the forward calls."
            )
        return position - 1

    def _go_back(self, kept: Kept, grad_output: Tree) -> Tree:
        self.reached.append(kept)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        return kept.gradients(grad_output, parameters, self.carried, retain_graph=self.through_time)

    # ------------------------------------------------------------------ backward through time

    @property
    def is_waiting(self) -> bool:
        """Whether gradOutputs were given that have not gone back yet."""
        return bool(self.deferred)

    def update_grad_input_through_time(self, step: int | None, rho: int) -> Tree:
        """Go back through at most `rho` calls from call `step`; returns the earliest gradient of an input."""
        if self.first_alone is not None:
            self._take_back_first()
            self._restart()
        if self.deferred is False:
            newest = self.next_input
        else:
            newest = len(self.kept) if step is None else step - self.forgotten
            self._start_sweep()
        if not self.kept or not 0 <= newest <= len(self.kept) or rho < 1:
            raise ValueError(
                f"backward through time: step must be one of the {len(self.kept)} calls of update_output that are "
                f"kept, the last of which is {self.forgotten + len(self.kept)}, and rho at least 1; got step={step}, "
                f"rho={rho}. Call update_output and backward for each step before."
            )
        self.window = range(newest - 1, max(-1, newest - 1 - rho), -1)
        grad_input = None
        for index in self.window:
            kept = self.kept[index]
            given = None if self.deferred is False else kept.grad_output
            grad_input = self._go_back(kept, zeros_like(kept.output) if given is None else given)
            self.next_input = min(self.next_input, index)
        return grad_input

    def acc_grad_parameters_through_time(self) -> list[tuple[Tensor, Tensor]]:
        """The gradients of the parameters in the calls that were just gone back through."""
        gradients = []
        for index in self.window:
            kept = self.kept[index]
            gradients += [(p, grad * kept.scale) for p, grad in kept.parameter_gradients or []]
            self.next_parameters = min(self.next_parameters, index)
        self.window = range(0)
        if self.deferred:
            self.deferred = None
        return gradients


def _pairs(values: Tree, grads: Tree) -> Iterator[tuple[Tensor, Tensor]]:
    for value, grad in zip(tree_leaves(values), tree_leaves(grads), strict=True):
        if isinstance(value, Tensor) and value.requires_grad and grad is not None:
            yield value, grad


def _sum(left: Tree, right: Tree) -> Tree:
    return tree_map(lambda a, b: a + b, left, right)


def _same(kept: Tree, given: Tree) -> bool:
    left, right = tree_leaves(kept), tree_leaves(given)
    return len(left) == len(right) and all(_same_leaf(a, b) for a, b in zip(left, right, strict=True))


def _same_leaf(a: Any, b: Any) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return bool(a == b)
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    same_memory = a.data_ptr() == b.data_ptr() and a.stride() == b.stride()
    return same_memory or torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def _check_grad_output(output: Tree, grad_output: Tree) -> None:
    outputs, grads = tree_leaves(output), tree_leaves(grad_output)
    if len(outputs) != len(grads) or any(
        isinstance(y, Tensor) and not (isinstance(g, Tensor) and g.shape == y.shape)
        for y, g in zip(outputs, grads, strict=True)
    ):
        raise ValueError(
            f"grad_output must have the structure and shapes of the output, {describe(output)}; "
            f"got {describe(grad_output)}."
        )

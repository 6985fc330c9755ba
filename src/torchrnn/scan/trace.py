"""Tracing: a step and its derivative become one graph of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from torchrnn.scan.draws import Draw
from torchrnn.scan.faithful import Watch, check_leaves, check_same
from torchrnn.scan.gathers import Gather
from torchrnn.scan.lasting import LastingDraw, tracing
from torchrnn.scan.linear import check_linear
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.record import Call, Recorder, Value
from torchrnn.scan.rows import Row
from torchrnn.scan.signature import Attributes, forget_all, parts_of, stand_in
from torchrnn.scan.structure import Structure, take_apart
from torchrnn.scan.translate import Translation
from torchrnn.tree import Tree

BATCHES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)


@dataclass
class Trace:
    """One step: what it computes from inputs ``x`` and states ``s``, and from gradients ``gy`` and ``gs``."""

    translation: Translation
    draws: list[Draw | LastingDraw]
    """Its random numbers, which are inputs after those that are given."""
    gathers: list[Gather]
    """What it looks up in tables, inputs after those."""
    tensors: list[Value]
    """The parameters and buffers."""
    outputs: list[Row]
    states: list[Row]
    output_structure: Structure
    output_shapes: list[tuple[int, ...]]
    state_shapes: list[tuple[int, ...]]
    """Of one row."""
    grad_inputs: list[Row | None]
    grad_states: list[Row | None]
    grad_tensors: list[Value | None]

    @property
    def has_lasting_draws(self) -> bool:
        """Whether some of its random numbers stay for a whole sequence."""
        return any(isinstance(each, LastingDraw) for each in self.draws)

    @property
    def all_rows(self) -> list[Row]:
        return self.translation.graph.rows


@dataclass(frozen=True)
class Example:
    """A step to be traced. Of its inputs and states, leaves of trees, only shapes and dtypes count."""

    cell: Any
    tensors: list[Tensor]
    """Its parameters and buffers."""
    inputs: list[Tensor]
    input_structure: Structure
    states: list[Tensor]
    structure: Structure

    @torch.no_grad()
    def leaves(self, rows: int, random: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs and states of so many rows: zeros, or random numbers, where they are no indices."""

        def like(tensor: Tensor) -> Tensor:
            make = torch.randn if random and tensor.is_floating_point() else torch.zeros
            return make((rows, *tensor.shape[1:]), dtype=tensor.dtype)

        return list(map(like, self.inputs)), list(map(like, self.states))

    def step(self, cell: Any, inputs: list[Tensor], states: list[Tensor]) -> tuple[Tree, Tree]:
        """Its step, of a copy of the cell, on other tensors."""
        output, after = cell.step(self.input_structure.tree(inputs), self.structure.tree(states))
        return output, after


def trace(example: Example) -> Trace:
    """Run one step of a copy of the cell, on a few rows of zeros, and write down what it does."""
    # Hooks on saved tensors, as torch.utils.checkpoint has, are not for the tensors of a trace.
    with torch.inference_mode(False), saved_tensors_hooks(torch.Tensor.detach, lambda tensor: tensor):
        return _trace(example)


def _trace(example: Example) -> Trace:
    copy, aliases = stand_in(example.cell, example.tensors)
    if any(alias.requires_grad and alias.numel() == 0 for alias in aliases):  # it lies nowhere
        raise Unsupported("a parameter has no elements")
    batch, other_batch = _unused_sizes([*example.tensors, *example.inputs, *example.states])
    xs, ss = (list(map(_leaf, leaves)) for leaves in example.leaves(batch))
    recorder, t = Recorder(), Translation(batch)
    known = [recorder.know(tensor) for tensor in aliases]
    for group, leaves in (("x", xs), ("s", ss)):
        for index, leaf in enumerate(leaves):
            t.input(recorder.know(leaf), group, index)

    attributes, watch = Attributes(copy), Watch()
    lasting = tracing(parts_of(copy), recorder.know_lasting)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), watch.run(), lasting, recorder:
        output, after = example.step(copy, xs, ss)
    attributes.check_unchanged()
    ys, output_structure = take_apart(output)
    after_leaves, after_structure = take_apart(after)
    if any(isinstance(leaf, Tensor) and leaf._version for leaf in after_leaves):
        raise Unsupported("a state is changed in place")
    _check_results(ys, after_leaves, ss, after_structure == example.structure, batch)
    for index, (draw, value) in enumerate(recorder.draws):
        if draw.shape[0] != batch:
            raise Unsupported("random numbers are drawn that are not rows of the batch")
        t.input(value, "x", len(xs) + index)
    n_forward = len(recorder.calls)
    grads = {group: [torch.zeros_like(r) for r in results] for group, results in (("gy", ys), ("gs", after_leaves))}
    for group, leaves in grads.items():
        for index, leaf in enumerate(leaves):
            t.input(recorder.know(leaf), group, index)
    t.translate(recorder.calls, is_forward=True)

    sources = [*xs, *ss, *aliases]
    check_leaves([*ys, *after_leaves], sources)
    found = _gradients(recorder, [*ys, *after_leaves], [*grads["gy"], *grads["gs"]], sources)
    forget_all(copy)
    with watch.run():
        others = _other_calls(example, copy, aliases, other_batch)
    watch.check()
    check_same(recorder.calls, others, batch, other_batch)
    t.translate(recorder.calls[n_forward:], is_forward=False)
    if any(gather.table not in known for gather in t.gathers):
        raise Unsupported("an embedding of what is no parameter")
    rows = [None if g is None else t.row_of(g, "the gradient of an input") for g in found[: len(xs) + len(ss)]]
    grad_tensors = [None if g in t.elsewhere else g for g in found[len(xs) + len(ss) :]]
    check_linear(t, dict(zip(known, aliases, strict=True)), [g for g in grad_tensors if g is not None])
    return Trace(
        translation=t,
        draws=[draw for draw, _ in recorder.draws],
        gathers=t.gathers,
        tensors=known,
        outputs=[t.row_of(recorder.value_of(y), "an output") for y in ys],
        states=[t.row_of(recorder.value_of(s), "a state") for s in after_leaves],
        output_structure=output_structure,
        output_shapes=[tuple(y.shape[1:]) for y in ys],
        state_shapes=[tuple(s.shape[1:]) for s in ss],
        grad_inputs=[*rows[: len(xs)], *[None] * len(recorder.draws), *(gather.grad for gather in t.gathers)],
        grad_states=rows[len(xs) :],
        grad_tensors=grad_tensors,
    )


def _other_calls(example: Example, copy: Any, aliases: list[Tensor], batch: int) -> list[Call]:
    """What the step and its derivative run for another number of rows, and other values in them."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        xs, ss = (list(map(_leaf, leaves)) for leaves in example.leaves(batch, random=True))
        recorder = Recorder()
        for leaf in [*aliases, *xs, *ss]:
            recorder.know(leaf)
        with tracing(parts_of(copy), recorder.know_lasting), recorder:
            output, after = example.step(copy, xs, ss)
        results = [*take_apart(output)[0], *take_apart(after)[0]]
        grads = [torch.ones_like(result) for result in results]
        for grad in grads:
            recorder.know(grad)
        _gradients(recorder, results, grads, [*xs, *ss, *aliases])
    return recorder.calls


def _unused_sizes(tensors: list[Tensor]) -> list[int]:
    """Two numbers of rows that are no size of anything else, so that the batch can be told from other dimensions."""
    sizes = {size for tensor in tensors for size in tensor.shape}
    unused = [batch for batch in BATCHES if batch not in sizes]
    if len(unused) < 2:
        raise Unsupported("the cell has dimensions of too many sizes")
    return unused[:2]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def _check_results(ys: list[Any], after: list[Any], before: list[Tensor], same_tree: bool, batch: int) -> None:
    if not same_tree or [getattr(s, "shape", None) for s in after] != [s.shape for s in before]:
        raise Unsupported("the state after a step is not of the structure and shapes of the state before it")
    for result in [*ys, *after]:
        if not isinstance(result, Tensor) or result.dtype != torch.float32:
            raise Unsupported("an output or state is not a float32 tensor")
        if result.dim() < 2 or result.shape[0] != batch:
            raise Unsupported("an output or state is not of shape (N, ...)")
        if result.numel() == 0:
            raise Unsupported("an output or state has no elements")


def _gradients(
    recorder: Recorder, results: list[Tensor], grads: list[Tensor], sources: list[Tensor]
) -> list[Value | None]:
    """The gradients of ``sources``, recorded; ``None`` where there is none."""
    flow = [(result, grad) for result, grad in zip(results, grads, strict=True) if result.requires_grad]
    wanted = [source for source in sources if source.requires_grad]
    if not flow or not wanted:
        return [None] * len(sources)
    outputs, weights = zip(*flow, strict=True)
    with torch.enable_grad():
        end = _End.apply(weights, *outputs)  # type: ignore[no-untyped-call]
    recorder.know(end)
    with recorder:
        found = torch.autograd.grad(end, wanted, allow_unused=True)
    values = {id(s): None if g is None else recorder.value_of(g) for s, g in zip(wanted, found, strict=True)}
    return [values.get(id(source)) for source in sources]


class _End(torch.autograd.Function):
    """A number whose gradients are given: with these as its arguments, `torch.autograd.grad` would import SymPy."""

    @staticmethod
    def forward(ctx: Any, weights: tuple[Tensor, ...], *results: Tensor) -> Tensor:
        ctx.weights = weights
        return results[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return None, *ctx.weights

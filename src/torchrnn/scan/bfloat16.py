"""Products in bfloat16: under autocast to it, or of cells and sequences in it; all else stays float32.

A step is traced as if everything were float32. Both operands of a product, of the backward as of the forward, are
rounded to bfloat16, and what they are summed in is float32; so are states, from step to step, and everything else. The
results are of the dtypes that the reference gives them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torchrnn.scan import reference
from torchrnn.scan.arena import arena
from torchrnn.scan.build import BFLOAT16
from torchrnn.scan.layout import Program
from torchrnn.scan.native import library, multiplies_in_bfloat16
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.plan import Finished, Plan
from torchrnn.scan.signature import forget_all, stand_in
from torchrnn.scan.stacked import Stacked
from torchrnn.scan.structure import take_apart
from torchrnn.scan.trace import Example, trace

STEPS = 3
"""After so many the dtypes of the reference no longer change, though states may begin in another."""


def is_asked_for(leaves: list[Tensor], autocast: bool) -> bool:
    return autocast or any(leaf.dtype == torch.bfloat16 for leaf in leaves)


def without_autocast() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)


def bfloat16_plan(example: Example, wants_backward: bool, autocast: bool) -> Plan:
    """The plan of a step whose products are in bfloat16."""
    floating = {tensor.dtype for tensor in example.tensors if tensor.is_floating_point()}
    if not autocast and floating - {torch.bfloat16}:
        raise Unsupported("a part of the cell or of the sequence is torch.bfloat16, and another is not")
    probe = _Probe(example, autocast)
    with without_autocast():
        inputs, states = _widened(example.inputs), _widened(example.states)
        traced = trace(replace(example, inputs=inputs, states=states))
        if traced.draws and probe.draws_others:
            raise Unsupported("the step draws random numbers in bfloat16")
        return Bfloat16Plan(traced, wants_backward, probe, autocast)


class Bfloat16Plan(Plan):
    """A plan whose products are in bfloat16."""

    takes_bfloat16 = True

    def __init__(self, traced: Any, wants_backward: bool, probe: _Probe, autocast: bool) -> None:
        super().__init__(traced, wants_backward)
        self.under_autocast = autocast
        self.output_dtypes, self.state_dtypes = probe.output_dtypes, probe.state_dtypes
        passes = [self.forward_pass, *([self.backward_pass] if wants_backward else [])]
        for each in passes:
            each.stacked_type = OfBfloat16 if multiplies_in_bfloat16() else OfRounded

    def _build(self, *arguments: Any, **named: Any) -> Program:
        program = super()._build(*arguments, **named)
        program.code.insert(0, BFLOAT16)
        return program

    def forward(
        self, xs: list[Tensor], states: list[Tensor], tensors: list[Tensor], is_cleared: bool = False
    ) -> Finished:
        with without_autocast():
            finished = super().forward(_widened(xs), _widened(states), _widened(tensors), is_cleared)
            finished.outputs = _as(self.output_dtypes, finished.outputs)
            finished.final = _as(self.state_dtypes, finished.final)
            return finished

    def states(self, kept: Tensor, T: int, N: int) -> list[Tensor]:
        return _as(self.state_dtypes, super().states(kept, T, N))

    def backward(
        self,
        xs: list[Tensor],
        kept: Tensor,
        tensors: list[Tensor],
        grad_outputs: list[Tensor | None],
        grad_final: list[Tensor | None],
        wanted: list[bool],
    ) -> list[Tensor | None]:
        """In float32: autograd takes gradients to the dtypes of their leaves."""
        with without_autocast():
            outputs, final = _widened(grad_outputs), _widened(grad_final)
            return super().backward(_widened(xs), kept, _widened(tensors), outputs, final, wanted)


class OfRounded(Stacked):
    """Products of numbers that are rounded to bfloat16, in float32: exact, and as fast as those of float32 are."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._rounded: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        """Several products read the same numbers. The originals are held, so that none comes to lie in their place."""

    def rounded(self, a: Tensor) -> Tensor:
        if a.stride(1) != 1:
            in_rows = torch.contiguous_format
            return self.rounded(a.t()).t() if a.stride(0) == 1 else self.rounded(a.clone(memory_format=in_rows))
        place = a.data_ptr(), a.shape, a.stride()
        if place not in self._rounded:
            self._rounded[place] = a, self.round(a)
        return self._rounded[place][1]

    def round(self, a: Tensor) -> Tensor:
        result = arena.empty(*a.shape)
        library().engine_round(a.data_ptr(), *a.shape, a.stride(0), result.data_ptr(), torch.get_num_threads())
        return result

    def product(self, a: Tensor, b: Tensor, initial: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        return super().product(self.rounded(a), self.rounded(b), initial, out)


class OfBfloat16(OfRounded):
    """PyTorch's own products in bfloat16, for which it has the processor's instructions; they round the result, too."""

    def round(self, a: Tensor) -> Tensor:
        return _memory(*a.shape).copy_(a)

    def product(self, a: Tensor, b: Tensor, initial: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        narrow = torch.mm(self.rounded(a), self.rounded(b), out=_memory(a.shape[0], b.shape[1]))
        out = torch.empty(narrow.shape, dtype=torch.float32) if out is None else out
        return out.copy_(narrow) if initial is None else torch.add(initial, narrow, out=out)


def _memory(rows: int, columns: int) -> Tensor:
    return arena.empty((rows * columns + 1) // 2).view(torch.bfloat16)[: rows * columns].view(rows, columns)


class _Probe:
    """What dtypes the reference gives, seen on a few steps of zeros."""

    def __init__(self, example: Example, autocast: bool) -> None:
        copy, _ = stand_in(example.cell, example.tensors, in_float32=False)
        inputs, states = example.leaves(2)
        steps = example.input_structure.tree([torch.stack([x] * STEPS) for x in inputs])
        seen = _DrawnDtypes()
        cast = torch.autocast("cpu", torch.bfloat16, enabled=autocast)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), seen, cast:
            outputs, final = reference.scan(copy, steps, example.structure.tree(states))
        forget_all(copy)
        self.output_dtypes = [leaf.dtype for leaf in take_apart(outputs)[0]]
        self.state_dtypes = [leaf.dtype for leaf in take_apart(final)[0]]
        self.draws_others = bool(seen.dtypes - {torch.float32})


class _DrawnDtypes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The dtypes of all random numbers that are drawn under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtypes: set[torch.dtype] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in `record.Recorder`

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.dtypes.update(leaf.dtype for leaf in tree_leaves(result))
        return result


Either = TypeVar("Either", Tensor, Tensor | None)


def _widened(tensors: list[Either]) -> list[Either]:
    return [tensor.float() if tensor is not None and tensor.dtype == torch.bfloat16 else tensor for tensor in tensors]


def _as(dtypes: list[torch.dtype], tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.to(dtype) for tensor, dtype in zip(tensors, dtypes, strict=True)]

"""The engine as operators of PyTorch: what graphs, `torch.export` and `opcheck` see of it.

``torchrnn::scan`` runs a plan forward, ``torchrnn::scan_backward`` runs it backward. Outside of graphs sequences take
the shorter way through `autograd.NativeScan`, which does the same.
"""

from __future__ import annotations

import itertools
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from torchrnn.scan.plan import Plan

_numbers = itertools.count()
_plans: WeakValueDictionary[int, Plan] = WeakValueDictionary()
"""Graphs hold numbers; a plan lives as long as its cell."""


def number_of(plan: Plan) -> int:
    """The number that stands for a plan in a graph of this process."""
    known = next((number for number, other in _plans.items() if other is plan), None)
    if known is None:
        known = next(_numbers)
        _plans[known] = plan
    return known


def _plan(number: int) -> Plan:
    if number not in _plans:
        raise RuntimeError("torchrnn::scan: the cell that this graph was made from is gone; trace it again.")
    return _plans[number]


def _split(plan: Plan, leaves: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    n_x, n_s = len(plan.x_rows), len(plan.s_rows)
    return leaves[:n_x], leaves[n_x : n_x + n_s], leaves[n_x + n_s :]


@torch.library.custom_op("torchrnn::scan", mutates_args=(), device_types="cpu")
def scan_operator(leaves: list[Tensor], plan: int) -> list[Tensor]:
    """Outputs, final states and what is kept for backward, of inputs (T, N, ...), states and parameters."""
    own = _plan(plan)
    finished = own.forward(*_split(own, leaves), is_cleared=True)
    return [*finished.outputs, *finished.final, finished.kept]


@torch.library.custom_op("torchrnn::scan_backward", mutates_args=(), device_types="cpu")
def scan_backward_operator(
    leaves: list[Tensor], kept: Tensor, grads: list[Tensor], wanted: list[bool], plan: int
) -> list[Tensor]:
    """The gradients of all leaves, zeros where they are not wanted or nothing depends on a leaf."""
    own = _plan(plan)
    xs, _, tensors = _split(own, leaves)
    n_outputs = len(own.outputs)
    found = own.backward(xs, kept, tensors, list(grads[:n_outputs]), list(grads[n_outputs:]), wanted)
    return [
        torch.zeros_like(leaf) if grad is None else grad.clone(memory_format=torch.contiguous_format)
        for leaf, grad in zip(leaves, found, strict=True)
    ]


@scan_operator.register_fake
def _(leaves: list[Tensor], plan: int) -> list[Tensor]:
    own, x = _plan(plan), leaves[0]
    T, N = x.shape[:2]
    outputs = [x.new_empty((T, N, *shape), dtype=torch.float32) for shape in own.trace.output_shapes]
    final = [x.new_empty((N, *shape), dtype=torch.float32) for shape in own.trace.state_shapes]
    return [*outputs, *final, x.new_empty(own.kept_size(T, N), dtype=torch.float32)]


@scan_backward_operator.register_fake
def _(leaves: list[Tensor], kept: Tensor, grads: list[Tensor], wanted: list[bool], plan: int) -> list[Tensor]:
    return [leaf.new_empty(leaf.shape) for leaf in leaves]


def _setup(ctx: Any, inputs: tuple[list[Tensor], int], output: list[Tensor]) -> None:
    leaves, ctx.plan = inputs
    ctx.set_materialize_grads(True)
    ctx.save_for_backward(*leaves, output[-1])


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[list[Tensor], None]:
    *leaves, kept = ctx.saved_tensors
    wanted = [leaf.is_floating_point() for leaf in leaves]
    return torch.ops.torchrnn.scan_backward(leaves, kept, list(grads[:-1]), wanted, ctx.plan), None


scan_operator.register_autograd(_backward, setup_context=_setup)

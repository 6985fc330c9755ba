"""The engine as operators of PyTorch: what `torch.compile`, `torch.export` and `opcheck` see of it.

``torchrnn::scan`` runs a plan forward, ``torchrnn::scan_backward`` runs it backward. Outside of graphs sequences take
the shorter way through `autograd.NativeScan`, which does the same.
"""

from __future__ import annotations

import itertools
import secrets
from math import prod
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.plan import Plan

_numbers = itertools.count(secrets.randbits(40) << 20)
"""Different ones in every process, so that a graph that was saved in another one is not run by another plan."""
_plans: dict[int, Plan] = {}
"""Graphs hold numbers, and may outlive the cells that they were made from."""


def number_of(plan: Plan) -> int:
    """The number that stands for a plan in the graphs of this process."""
    known = next((number for number, other in _plans.items() if other is plan), None)
    if known is None:
        known = next(_numbers)
        _plans[known] = plan
    return known


def plan_of(number: int) -> Plan:
    if number not in _plans:
        raise RuntimeError(
            "torchrnn::scan: this graph was made in another process. Make it again; to write graphs into files, make "
            "them under torchrnn.scan.use('reference'), which gives operators of PyTorch alone."
        )
    return _plans[number]


def _check(plan: Plan, leaves: list[Tensor]) -> None:
    """A graph may be given any tensors; the machine must not."""
    xs, states, tensors = _split(plan, leaves)
    if len(leaves) != len(plan.x_rows) + len(plan.s_rows) + len(plan.trace.tensors):
        raise ValueError(f"torchrnn::scan: got {len(leaves)} tensors, more or fewer than the plan takes.")
    T, N = xs[0].shape[:2] if xs[0].dim() > 1 else (0, 0)
    expected: list[tuple[Tensor, tuple[int, ...], torch.dtype]] = []
    for x, row in zip(xs, plan.x_rows, strict=True):
        features = x.shape[2:] if prod(x.shape[2:]) == sum(piece.width for piece in row) else (-1,)
        expected.append((x, (T, N, *features), torch.bool if x.dtype == torch.bool else torch.float32))
    for state, shape in zip(states, plan.trace.state_shapes, strict=True):
        expected.append((state, (N, *shape), torch.float32))
    for tensor, value in zip(tensors, plan.trace.tensors, strict=True):
        expected.append((tensor, value.shape, value.dtype))
    for position, (leaf, shape, dtype) in enumerate(expected):
        is_narrow = plan.takes_bfloat16 and (leaf.dtype, dtype) == (torch.bfloat16, torch.float32)
        if leaf.shape != shape or not (leaf.dtype == dtype or is_narrow) or T * N == 0:
            raise ValueError(
                f"torchrnn::scan: tensor {position} of {len(xs)} inputs, {len(states)} states and {len(tensors)} "
                f"parameters is {leaf.dtype} of shape {tuple(leaf.shape)}, which is not what the graph was made for."
            )


def _split(plan: Plan, leaves: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    n_x, n_s = len(plan.x_rows), len(plan.s_rows)
    return leaves[:n_x], leaves[n_x : n_x + n_s], leaves[n_x + n_s :]


@torch.library.custom_op("torchrnn::scan", mutates_args=(), device_types="cpu")
def scan_operator(leaves: list[Tensor], plan: int, recompute: bool) -> list[Tensor]:
    """Outputs, final states and what is kept for backward, of inputs (T, N, ...), states and parameters.

    With ``recompute`` nothing is kept, and backward runs forward once more.
    """
    own = plan_of(plan)
    _check(own, leaves)
    finished = own.forward(*_split(own, leaves), is_cleared=True)
    return [*finished.outputs, *finished.final, leaves[0].new_empty(0) if recompute else finished.kept]


@torch.library.custom_op("torchrnn::scan_backward", mutates_args=(), device_types="cpu")
def scan_backward_operator(
    leaves: list[Tensor], kept: Tensor, grads: list[Tensor], wanted: list[bool], plan: int
) -> list[Tensor]:
    """The gradients of all leaves, zeros where they are not wanted or nothing depends on a leaf."""
    own = plan_of(plan)
    _check(own, leaves)
    xs, states, tensors = _split(own, leaves)
    if not kept.numel():
        kept = own.forward(xs, states, tensors).kept
    elif kept.numel() == own.kept_size(*xs[0].shape[:2]):
        kept = kept.clone()  # a backward writes over it, and operators change no arguments
    else:
        raise ValueError("torchrnn::scan_backward: kept is not what torchrnn::scan kept for these tensors.")
    n_outputs = len(own.outputs)
    found = own.backward(xs, kept, tensors, list(grads[:n_outputs]), list(grads[n_outputs:]), wanted)
    return [
        torch.zeros_like(leaf)
        if grad is None
        else grad.to(leaf.dtype, copy=True, memory_format=torch.contiguous_format)
        for leaf, grad in zip(leaves, found, strict=True)
    ]


@scan_operator.register_fake
def _(leaves: list[Tensor], plan: int, recompute: bool) -> list[Tensor]:
    own, x = plan_of(plan), leaves[0]
    T, N = x.shape[:2]
    outputs = [
        x.new_empty((T, N, *shape), dtype=dtype)
        for shape, dtype in zip(own.trace.output_shapes, own.output_dtypes, strict=True)
    ]
    final = [
        x.new_empty((N, *shape), dtype=dtype)
        for shape, dtype in zip(own.trace.state_shapes, own.state_dtypes, strict=True)
    ]
    return [*outputs, *final, x.new_empty(0 if recompute else own.kept_size(T, N), dtype=torch.float32)]


@scan_backward_operator.register_fake
def _(leaves: list[Tensor], kept: Tensor, grads: list[Tensor], wanted: list[bool], plan: int) -> list[Tensor]:
    return [leaf.new_empty(leaf.shape) for leaf in leaves]


def _setup(ctx: Any, inputs: tuple[list[Tensor], int, bool], output: list[Tensor]) -> None:
    leaves, ctx.plan, _ = inputs
    ctx.set_materialize_grads(True)
    ctx.save_for_backward(*leaves, output[-1])


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[list[Tensor | None], None, None]:
    *leaves, kept = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[0])
    found = torch.ops.torchrnn.scan_backward(leaves, kept, list(grads[:-1]), wanted, ctx.plan)
    return [grad if is_wanted else None for grad, is_wanted in zip(found, wanted, strict=True)], None, None


scan_operator.register_autograd(_backward, setup_context=_setup)

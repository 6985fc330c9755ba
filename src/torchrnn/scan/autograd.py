"""The native engine inside autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from torchrnn.scan import reference
from torchrnn.scan.bfloat16 import without_autocast
from torchrnn.scan.call import Call
from torchrnn.scan.choice import recomputes
from torchrnn.scan.signature import signature


class NativeScan(torch.autograd.Function):
    """One run of a plan, as autograd sees it."""

    @staticmethod
    def forward(ctx: Any, call: Call, *leaves: Tensor) -> tuple[Tensor, ...]:
        finished = call.finished = call.plan.forward(call.xs, call.states, call.tensors)
        ctx.call, ctx.n_x, ctx.n_s, ctx.is_used_up = call, len(call.xs), len(call.states), False
        call.release()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*leaves, *([] if recomputes() else [finished.kept]))
        return (*finished.outputs, *finished.final)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        call: Call = ctx.call
        wanted = list(ctx.needs_input_grad[1:])
        saved = ctx.saved_tensors
        xs, states, tensors = _split(saved[: len(wanted)], ctx.n_x, ctx.n_s)
        if torch.is_grad_enabled():
            with torch.autocast("cpu", torch.bfloat16, enabled=call.plan.under_autocast):
                return None, *_differentiate_reference(call, xs, states, tensors, grads, wanted)
        if torch.is_autocast_enabled("cpu"):  # it is not, as a rule, and asking takes less time than turning it off
            with without_autocast():
                return NativeScan.backward(ctx, *grads)
        n_outputs = len(call.plan.outputs)
        gy, gs = list(grads[:n_outputs]), list(grads[n_outputs:])
        is_kept = len(saved) > len(wanted) and not ctx.is_used_up
        kept = saved[-1] if is_kept else call.plan.forward(xs, states, tensors).kept
        ctx.is_used_up = True  # should the graph be retained: the next backward computes it again
        for module, numbers in call.lasting:
            module.renew(numbers)
        return None, *call.plan.backward(xs, kept, tensors, gy, gs, wanted)


class ValuesOnly(torch.autograd.Function):
    """States that are there to be looked at: a gradient of one says that there is none, instead of being lost."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        return tuple(state.view_as(state) for state in states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        raise RuntimeError(
            "the native engine gives the states in the middle of a sequence as values, without gradients; run the "
            "sequence under torchrnn.scan.use('reference') to differentiate them, or make them outputs of the step."
        )


def _split(leaves: Sequence[Tensor], n_x: int, n_s: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Inputs, states and parameters."""
    return list(leaves[:n_x]), list(leaves[n_x : n_x + n_s]), list(leaves[n_x + n_s :])


def _differentiate_reference(
    call: Call,
    xs: list[Tensor],
    states: list[Tensor],
    tensors: list[Tensor],
    grads: tuple[Tensor | None, ...],
    wanted: list[bool],
) -> list[Tensor | None]:
    """Gradients that can be differentiated again: those of the reference, run anew on the same tensors."""
    if call.n_draws:
        raise RuntimeError(
            "gradients of gradients through a step that draws random numbers: the native engine cannot draw them "
            "again; run the sequence under torchrnn.scan.use('reference')."
        )
    if signature(call.cell).key != call.key:
        raise RuntimeError(
            f"gradients of gradients: the {type(call.cell).__name__} is no longer what it was in the forward, since an "
            "attribute or its mode was changed; the step would be another one now."
        )
    # As views: one of them may come from another, a state from the parameters, and what flows on from it is not ours.
    own = [
        leaf.view_as(leaf) if is_wanted else leaf
        for leaf, is_wanted in zip([*xs, *states, *tensors], wanted, strict=True)
    ]
    xs, states, tensors = _split(own, len(xs), len(states))
    before = [held[name] for held, name in call.places]
    try:
        for (held, name), tensor in zip(call.places, tensors, strict=True):
            held[name] = tensor
        outputs, final = reference.scan(call.cell, call.inputs_from(xs), call.structure.tree(states))
    finally:
        for (held, name), tensor in zip(call.places, before, strict=True):
            held[name] = tensor
    results = [*tree_leaves(outputs), *tree_leaves(final)]
    flow = [(r, g) for r, g in zip(results, grads, strict=True) if g is not None and r.requires_grad]
    sources = [leaf for leaf, is_wanted in zip(own, wanted, strict=True) if is_wanted]
    outs, weights = zip(*flow, strict=True)
    found = iter(torch.autograd.grad(outs, sources, weights, create_graph=True, allow_unused=True))
    return [next(found) if is_wanted else None for is_wanted in wanted]

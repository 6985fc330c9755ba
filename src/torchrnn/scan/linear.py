"""Whether gradients of parameters are what autograd makes of sums over all steps: only if it is linear in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from torchrnn.scan.constants import Replay, run_calls
from torchrnn.scan.operations import Unsupported, aten
from torchrnn.scan.record import Call, Value
from torchrnn.scan.translate import Translation

REARRANGING = {
    *(aten.view, aten._unsafe_view, aten.t, aten.transpose, aten.permute, aten.unsqueeze, aten.squeeze, aten.expand),
    *(aten.slice, aten.select, aten.split_with_sizes, aten.cat, aten.slice_scatter, aten.select_scatter),
    *(aten.new_zeros, aten.zeros_like, aten.clone, aten.sum, aten.neg),
}
"""Operators that are linear in all that they are given."""
OF_TWO = {aten.add, aten.sub}
"""And these, if they are given two tensors."""
SCALES = (-1e6, 1e-6)
"""Where functions that are linear only here and there, such as bounds, are none."""


@torch.no_grad()
def check_linear(t: Translation, tensors: Mapping[Value, Tensor], gradients: Iterable[Value]) -> None:
    """Refuse a step whose backward does anything else with the gradients of its parameters.

    Arguments:
        t: the step.
        tensors: its parameters and buffers.
        gradients: those of parameters.
    """
    tails, wanted = Replay(t.tails), list(gradients)
    calls = tails.needed(wanted)
    made = {value for call in calls for value in call.made()}
    from_sums = made | set(t.accumulators)
    if all(value in from_sums for value in wanted) and all(_is_surely_linear(call, from_sums) for call in calls):
        return
    known = dict(tensors)
    operands = [value for call in calls for value in call.operands()]
    run_calls(Replay(t.constants).needed([*operands, *wanted]), known)
    generator = torch.Generator().manual_seed(20_261_122)  # numbers that nothing else is likely to be equal to
    a, b = ({value: torch.randn(value.shape, generator=generator) for value in t.accumulators} for _ in range(2))

    def of(sums: Mapping[Value, Tensor]) -> list[Tensor]:
        values = known | dict(sums)
        run_calls(calls, values)
        return [values[value] for value in wanted]

    of_a, of_b = of(a), of(b)
    if not all(bool(found.isfinite().all()) for found in (*of_a, *of_b)):
        return  # such parameters show nothing
    largest = [torch.stack([x.abs().max(), y.abs().max()]).max() for x, y in zip(of_a, of_b, strict=True)]

    def are(found: list[Tensor], expected: list[Tensor], scale: float) -> bool:
        """Up to rounding, which may be all that there is."""
        pairs = zip(found, expected, [abs(scale) * (1e-3 * float(size) + 1e-6) for size in largest], strict=True)
        return all(torch.allclose(x, y, rtol=0, atol=tolerance, equal_nan=True) for x, y, tolerance in pairs)

    same = are(of({value: a[value] + b[value] for value in a}), [x + y for x, y in zip(of_a, of_b, strict=True)], 1)
    for scale in SCALES:
        same = same and are(of({value: scale * a[value] for value in a}), [scale * x for x in of_a], scale)
    if not same:
        raise Unsupported("the gradient of a parameter is not linear in those of the steps")


def _is_surely_linear(call: Call, from_sums: set[Value]) -> bool:
    operands = list(call.operands())
    if not all(value in from_sums for value in operands):
        return False
    return call.operator in REARRANGING or (call.operator in OF_TWO and len(operands) == 2)

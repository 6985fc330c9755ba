"""What a step makes of parameters alone: PyTorch computes it, once per sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.order import in_order
from torchrnn.scan.record import Call, Value

VIEW = torch.ops.aten.view.default


class Replay:
    """Recorded calls that can be run again on other tensors, as far as their results are asked for."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._makers = {result: call for call in calls for result in call.made()}

    def needed(self, wanted: Iterable[Value]) -> list[Call]:
        """The calls that ``wanted`` comes from, in order."""
        return in_order(self._makers_of(wanted), lambda call: self._makers_of(call.operands()))

    def _makers_of(self, values: Iterable[Value]) -> list[Call]:
        return [self._makers[value] for value in values if value in self._makers]


def run_calls(calls: Iterable[Call], values: dict[Value, Tensor]) -> None:
    """Run calls on ``values``, and put their results there."""

    def known(argument: Any) -> Any:
        if isinstance(argument, Value):
            return values[argument]
        return [known(inside) for inside in argument] if isinstance(argument, list | tuple) else argument

    for call in calls:
        kwargs = {name: known(argument) for name, argument in call.kwargs.items()}
        op = torch.reshape if call.op is VIEW else call.op  # a parameter may lie in memory in another way by now
        result = op(*[known(argument) for argument in call.args], **kwargs)
        if isinstance(call.results, Value):
            values[call.results] = result
        else:
            made = zip(call.results, result, strict=True)
            values.update((value, tensor) for value, tensor in made if isinstance(value, Value))


def flat_constant(values: dict[Value, Tensor], value: Value, shape: Sequence[int], start: int, width: int) -> Tensor:
    """Columns of a constant as a vector (width,)."""
    tensor = values[value]
    if tensor.dtype != torch.float32:  # such as a mask of weights, or indices
        tensor = tensor.to(torch.float32)
    if tensor.dim() != 1 or tensor.shape != tuple(shape):
        tensor = tensor.reshape(-1)[0:1] if tuple(shape) == (1,) else _aligned(tensor, shape).reshape(-1)
    return tensor[start : start + width]


def _aligned(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A constant, whose row for the batch may be written out, over the features of a row."""
    while tensor.dim() > len(shape):
        tensor = tensor[0]
    return tensor.expand(*shape)

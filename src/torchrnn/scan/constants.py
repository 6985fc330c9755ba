"""What a step makes of parameters alone: PyTorch computes it, once per sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from torchrnn.scan.record import Call, Value

VIEW = torch.ops.aten.view.default


class Replay:
    """Recorded calls that can be run again on other tensors, as far as their results are asked for."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._makers = {result: call for call in calls for result in tree_leaves(call.results)}

    def needed(self, wanted: Iterable[Value]) -> list[Call]:
        """The calls that ``wanted`` comes from, in order."""
        found: dict[Call, None] = {}
        for value in wanted:
            waiting = [self._makers[value]] if value in self._makers else []
            while waiting:
                call = waiting[-1]
                makers = [self._makers[v] for v in call.operands() if v in self._makers]
                missing = [maker for maker in makers if maker not in found]
                if missing:
                    waiting += missing
                    continue
                waiting.pop()
                found[call] = None
        return list(found)


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

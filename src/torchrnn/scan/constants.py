"""What a step makes of parameters alone: PyTorch computes it, once per sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.order import in_order
from torchrnn.scan.record import Call, Value
from torchrnn.scan.views import FIRST_TENSOR, Memory, View

VIEW = torch.ops.aten.view.default


class Replay:
    """Recorded calls that can be run again on other tensors, as far as their results are asked for."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._makers = {result: call for call in calls for result in call.made()}

    def calls(self) -> Iterable[Call]:
        return dict.fromkeys(self._makers.values())

    def maker(self, value: Value) -> Call | None:
        return self._makers.get(value)

    def needed(self, wanted: Iterable[Value]) -> list[Call]:
        """The calls that ``wanted`` comes from, in order."""
        return in_order(self._makers_of(wanted), lambda call: self._makers_of(call.operands()))

    def _makers_of(self, values: Iterable[Value]) -> list[Call]:
        return [self._makers[value] for value in values if value in self._makers]


def run_calls(calls: Iterable[Call], values: dict[Value, Tensor]) -> None:
    """Run calls on ``values``, and put their results there."""
    for call in calls:
        kwargs = {name: _known(argument, values) for name, argument in call.kwargs.items()}
        op = torch.reshape if call.op is VIEW else call.op  # a parameter may lie in memory in another way by now
        result = op(*[_known(argument, values) for argument in call.args], **kwargs)
        if isinstance(call.results, Value):
            values[call.results] = result
        else:
            made = zip(call.results, result, strict=True)
            values.update((value, tensor) for value, tensor in made if isinstance(value, Value))


def _known(argument: Any, values: dict[Value, Tensor]) -> Any:
    if isinstance(argument, Value):
        return values[argument]
    return [_known(inside, values) for inside in argument] if isinstance(argument, list | tuple) else argument


class Constants:
    """The calls on parameters alone, for parameters that lie in memory in a certain way.

    Views of a parameter, such as its transpose, are found once, and so is what no parameter is in, such as numbers. The
    rest is computed in every call. What is no view is a source of its own, after the parameters.

    Arguments:
        calls: what is done to the parameters.
        of: which values the parameters and buffers are.
        tensors: parameters that lie as those of all calls will.
    """

    def __init__(self, calls: Iterable[Call], of: Sequence[Value], tensors: Sequence[Tensor]) -> None:
        values = dict(zip(of, tensors, strict=True))
        self.views = {
            value: View(FIRST_TENSOR + i, tuple(tensor.shape), tensor.stride(), 0)
            for i, (value, tensor) in enumerate(values.items())
        }
        self.computed: list[tuple[Call, list[Value]]] = []
        self.fixed: dict[Value, Tensor] = {}
        """What no parameter is in."""
        self.n_sources = FIRST_TENSOR + len(of)
        for call in calls:
            run_calls([call], values)
            operands, made = set(call.operands()), call.made()
            whole = next(iter(operands)) if len(operands) == 1 else None
            if whole is not None and all(_lies_in(values[value], values[whole]) for value in made):
                for value in made:
                    self.views[value] = _view(values[value], values[whole], self.views[whole])
                continue
            if not operands:
                self.fixed.update((value, values[value].contiguous()) for value in made)
            for value in made:
                values[value] = made_now = values[value].contiguous()
                self.views[value] = View(self.n_sources, tuple(made_now.shape), made_now.stride(), 0)
                self.n_sources += 1
            self.computed.append((call, made))
        self._floats = {value for value in self.views if values[value].dtype == torch.float32}

    def row(self, value: Value, shape: Sequence[int], start: int, width: int) -> View | None:
        """Columns of a constant as a vector, where it is one and is stored as one: see `flat_constant`."""
        view = self.views[value]
        if value not in self._floats or view.size != tuple(shape) or len(shape) != 1:
            return None
        return View(view.source, (width,), view.stride, view.offset + start * view.stride[0])


def _view(part: Tensor, whole: Tensor, base: View) -> View:
    """Where a part lies of what lies at ``base``."""
    offset = base.offset + int(part.storage_offset() - whole.storage_offset())
    return View(base.source, tuple(part.shape), part.stride(), offset)


def _lies_in(part: Tensor, whole: Tensor) -> bool:
    address = part.untyped_storage().data_ptr()
    return part.dtype == whole.dtype and address != 0 and address == whole.untyped_storage().data_ptr()


class Values(dict[Value, Tensor]):
    """What is made of the parameters of one call; views of them when they are asked for."""

    def __init__(self, constants: Constants, memory: Memory) -> None:
        super().__init__()
        self._views, self._memory = constants.views, memory
        for call, made in constants.computed:
            if made[0] in constants.fixed:
                self.update((value, constants.fixed[value]) for value in made)
            else:
                run_calls([call], self)
                self.update((value, self[value].contiguous()) for value in made)
            memory.sources += [self[value] for value in made]

    def __missing__(self, value: Value) -> Tensor:
        self[value] = tensor = self._memory.view(self._views[value])
        return tensor


def flat_constant(values: Mapping[Value, Tensor], value: Value, shape: Sequence[int], start: int, width: int) -> Tensor:
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

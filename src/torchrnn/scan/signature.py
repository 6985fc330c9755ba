"""What a plan depends on: the modules of a cell, their plain attributes, and their parameters and buffers."""

from __future__ import annotations

import copy
import copyreg
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from torchrnn.scan.operations import Unsupported

PLAIN = frozenset({bool, int, float, str, type(None), tuple, FunctionType, BuiltinFunctionType, MethodType})
"""Types of attributes that a step may read, and that are compared; a change of one is another step."""
MODULE_INTERNALS = frozenset(vars(nn.Module())) - {"training"}
LARGE_ARRAY = 2**16
"""Bytes of an array of NumPy above which what is in it is not compared."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass
class Signature:
    """A cell at this moment."""

    key: tuple[Any, ...]
    owner: Any
    """The object that plans for this cell live as long as."""
    tensors: list[Tensor]
    """Its parameters and buffers, each once."""
    places: list[tuple[dict[str, Any], str]]
    """Where each of them is held."""
    hooked: str | None
    """A module inside with hooks, which a plan would not call."""


def signature(cell: Any) -> Signature:
    key: list[Any] = []
    owner, hooked = None, None
    tensors: list[Tensor] = []
    places: list[tuple[dict[str, Any], str]] = []
    numbers: dict[int, int] = {}
    for part in _parts(cell):
        attributes = part.__dict__
        kind = type(part)
        key.append(kind)
        remembered = getattr(kind, "REMEMBERED", ())
        is_module = isinstance(part, nn.Module)
        for name, value in attributes.items():
            if name not in remembered and not (is_module and name in MODULE_INTERNALS):
                key.append(value if type(value) in PLAIN else _summary(value))
        if not is_module:
            continue
        owner = part if owner is None else owner
        key.append(id(part))
        key += map(id, attributes["_modules"].values())  # one module may stand in several places
        if part is not cell and any(attributes[hooks] for hooks in HOOKS):
            hooked = kind.__name__
        for held in (attributes["_parameters"], attributes["_buffers"]):
            for name, tensor in held.items():
                if tensor is None:
                    key.append(None)
                elif id(tensor) in numbers:
                    key.append(numbers[id(tensor)])
                else:
                    numbers[id(tensor)] = len(tensors)
                    tensors.append(tensor)
                    places.append((held, name))
                    key += (tensor.shape, tensor.dtype, _may_have_gradient(tensor))
    return Signature(tuple(key), cell if owner is None else owner, tensors, places, hooked)


def _summary(value: Any, depth: int = 3) -> Any:
    """What a plan may depend on in an attribute that is no plain value; of tensors only that they are there."""
    kind = type(value)
    if kind in PLAIN and kind is not tuple:
        return value
    if depth == 0 or isinstance(value, Tensor | nn.Module):
        return kind
    if isinstance(value, list | tuple | deque):
        return kind, *[_summary(inside, depth - 1) for inside in value]
    if isinstance(value, set | frozenset):
        return kind, frozenset(_summary(inside, depth - 1) for inside in value)
    if isinstance(value, dict):
        return kind, *[(name, _summary(inside, depth - 1)) for name, inside in value.items()]
    if isinstance(value, np.ndarray):
        return kind, value.shape, value.dtype.str, value.tobytes() if value.nbytes <= LARGE_ARRAY else None
    if isinstance(value, partial):
        return kind, *[_summary(inside, depth - 1) for inside in (value.func, value.args, value.keywords)]
    names = [name for name in copyreg._slotnames(kind) if hasattr(value, name)]  # type: ignore[attr-defined]
    held = {name: getattr(value, name) for name in names} | getattr(value, "__dict__", {})
    if held and not isinstance(value, type):
        return kind, _summary(held, depth)
    try:
        hash(value)  # a number of NumPy, a dtype, a class: what it is equal to
    except TypeError:
        return kind
    return kind, value


def _may_have_gradient(tensor: Tensor) -> bool:
    """Whether a step is planned with the gradient of a tensor: parameters may be frozen and thawed at any time."""
    return tensor.is_floating_point() and (isinstance(tensor, nn.Parameter) or tensor.requires_grad)


def _parts(cell: Any) -> Iterator[Any]:
    """A cell, and the modules and cells in its attributes, each once."""
    if isinstance(cell, nn.Module):
        seen: set[int] = set()
        waiting = [cell]
        while waiting:
            module = waiting.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield module
                inside = [part for part in module.__dict__["_modules"].values() if part is not None]
                waiting += inside[::-1]  # so that they come in the order of `modules`
        return
    if not hasattr(cell, "__dict__"):
        raise Unsupported(f"the parameters of a {type(cell).__name__} cannot be found; make it a torch.nn.Module")
    yield cell
    for attribute in vars(cell).values():
        if isinstance(attribute, nn.Module) or hasattr(attribute, "step"):
            yield from _parts(attribute)
        elif isinstance(attribute, Tensor):
            raise Unsupported(f"a {type(cell).__name__}, which is no torch.nn.Module, holds a tensor")


def is_stand_in(tensor: Any) -> bool:
    """Whether a tensor only stands for another, as while PyTorch makes a graph."""
    return type(tensor).__module__.startswith("torch._subclasses.")


def like(tensor: Tensor) -> Tensor:
    """A tensor, or in place of one that only stands for another, zeros; one of inference mode is copied out of it."""
    if tensor.is_inference():
        return tensor.clone()
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device) if is_stand_in(tensor) else tensor


def stand_in(cell: Any, tensors: list[Tensor], in_float32: bool = True) -> tuple[Any, list[Tensor]]:
    """A copy of a cell to be traced, so that the cell itself sees nothing of it, and the tensors that it holds.

    These share the memory of the originals, where these have any and are not in bfloat16, unless they are to stay as
    they are. What modules remember of earlier calls is no part of
    a step.
    """
    with torch.no_grad():
        aliases = [like(tensor).detach() for tensor in tensors]
        if in_float32:
            aliases = [alias.float() if alias.dtype == torch.bfloat16 else alias for alias in aliases]
        places: set[tuple[Any, ...]] = set()
        for i, alias in enumerate(aliases):  # what lies in the same memory now need not do so for ever
            place = alias.data_ptr(), alias.shape, alias.stride()
            aliases[i] = alias.clone() if place in places else alias
            places.add(place)
        aliases = [alias.requires_grad_(_may_have_gradient(t)) for alias, t in zip(aliases, tensors, strict=True)]
    memo: dict[int, Any] = {id(tensor): alias for tensor, alias in zip(tensors, aliases, strict=True)}
    # A state that only stands for another cannot be copied.
    remembered = [(vars(part), vars(part).get("_state")) for part in _parts(cell)]
    remembered = [(held, state) for held, state in remembered if any(map(is_stand_in, tree_leaves(state)))]
    try:
        for held, _ in remembered:
            held["_state"] = None
        double = copy.deepcopy(cell, memo)
    except Exception as e:
        raise Unsupported(f"the cell cannot be copied to be traced ({type(e).__name__}: {e})") from e
    finally:
        for held, state in remembered:
            held["_state"] = state
    forget_all(double)
    return double, aliases


def forget_all(cell: Any) -> None:
    """Let all parts of a cell forget what they remember."""
    for part in _parts(cell):
        if hasattr(part, "forget"):
            part.forget()


class Attributes:
    """The attributes of all parts of a cell at one moment, to see whether a step changes any.

    A class names in ``REMEMBERED`` those that are no part of what a step computes, and that are seen to otherwise.
    """

    def __init__(self, cell: Any) -> None:
        self._parts = list(_parts(cell))
        self._before = [self._now(part) for part in self._parts]

    def _now(self, part: Any) -> dict[str, Any]:
        remembered = getattr(type(part), "REMEMBERED", ())
        return {name: _contents(value) for name, value in vars(part).items() if name not in remembered}

    def check_unchanged(self) -> None:
        for part, before in zip(self._parts, self._before, strict=True):
            now = self._now(part)
            for name in [*before, *now]:
                if name not in now or name not in before or not _same(before[name], now[name]):
                    raise Unsupported(f"the step changes the attribute {name!r} of a {type(part).__name__}")


def _contents(value: Any, depth: int = 3) -> Any:
    """What an attribute holds, as far as it may be changed without another attribute being set."""
    if depth == 0 or isinstance(value, Tensor | nn.Module) or type(value) in PLAIN - {tuple}:
        return value
    if isinstance(value, dict):
        return [(name, _contents(inside, depth - 1)) for name, inside in value.items()]
    if isinstance(value, list | tuple | set | deque):
        return [_contents(inside, depth - 1) for inside in value]
    return _contents(vars(value), depth) if hasattr(value, "__dict__") and not callable(value) else value


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, list | tuple) and type(before) is type(now):
        return len(before) == len(now) and all(map(_same, before, now))
    return before is now or (type(before) in PLAIN and type(before) is type(now) and before == now)

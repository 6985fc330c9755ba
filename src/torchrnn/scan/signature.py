"""What a plan depends on: the modules of a cell, their plain attributes, and their parameters and buffers."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from torchrnn.scan.operations import Unsupported

PLAIN = frozenset({bool, int, float, str, type(None), tuple, FunctionType, BuiltinFunctionType, MethodType})
"""Types of attributes that a step may read, and that are compared; a change of one is another step."""
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
    found: dict[int, tuple[Tensor, tuple[dict[str, Any], str]]] = {}
    for part in _parts(cell):
        attributes = part.__dict__
        key.append(type(part))
        if not isinstance(part, nn.Module):
            key.extend(value for value in attributes.values() if type(value) in PLAIN)
            continue
        owner = part if owner is None else owner
        key.append(id(part))
        key.append(attributes.get("_training", attributes.get("training")))
        key.extend(v for name, v in attributes.items() if name[0] != "_" and type(v) in PLAIN)
        if part is not cell and any(attributes[hooks] for hooks in HOOKS):
            hooked = type(part).__name__
        for held in (attributes["_parameters"], attributes["_buffers"]):
            for name, tensor in held.items():
                if tensor is not None and id(tensor) not in found:
                    found[id(tensor)] = (tensor, (held, name))
                    key.append(tensor.shape)
                else:
                    key.append(None if tensor is None else list(found).index(id(tensor)))
    tensors = [tensor for tensor, _ in found.values()]
    places = [place for _, place in found.values()]
    return Signature(tuple(key), cell if owner is None else owner, tensors, places, hooked)


def _parts(cell: Any) -> Iterator[Any]:
    """A cell, and the modules and cells in its attributes."""
    if isinstance(cell, nn.Module):
        yield from cell.modules()
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
    """A tensor, or in place of one that only stands for another, zeros."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device) if is_stand_in(tensor) else tensor


def stand_in(cell: Any, tensors: list[Tensor]) -> tuple[Any, list[Tensor]]:
    """A copy of a cell to be traced, so that the cell itself sees nothing of it, and the tensors that it holds.

    These share the memory of the originals, where these have any. What modules remember of earlier calls is no part of
    a step.
    """
    with torch.no_grad():
        aliases = [like(tensor).detach() for tensor in tensors]
    for alias in aliases:
        alias.requires_grad_(alias.is_floating_point())
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
    for part in _parts(double):
        if hasattr(part, "forget"):
            part.forget()
    return double, aliases


class Attributes:
    """The attributes of all parts of a cell at one moment, to see whether a step changes any.

    A class names in ``REMEMBERED`` those that it changes in a step and that are seen to otherwise.
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

"""What a plan depends on: the modules of a cell, their plain attributes, and their parameters and buffers."""

from __future__ import annotations

import copy
import copyreg
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from torchrnn.scan.operations import Unsupported
from torchrnn.walk import modules_of

PLAIN = frozenset({bool, int, float, str, type(None), tuple, FunctionType, BuiltinFunctionType, MethodType})
"""Types of attributes that a step may read, and that are compared; a change of one is another step."""
MODULE_INTERNALS = frozenset(vars(nn.Module())) - {"training"}
LARGE_ARRAY = 2**16
"""Bytes of an array of NumPy above which what is in it is not compared."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Key:
    """What a step is made of, as one key: compared by what is in it, and hashed once."""

    __slots__ = ("_hash", "contents")

    def __init__(self, contents: tuple[Any, ...]) -> None:
        self.contents = contents
        self._hash: int | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self.contents)
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Key) and self.contents == other.contents)


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
    parts = list(_parts(cell))
    modules = [part for part in parts if isinstance(part, nn.Module)]
    owner = modules[0] if modules else cell
    key: list[Any] = [_attributes(cell, owner, parts)]
    hooked = None
    tensors: list[Tensor] = []
    places: list[tuple[dict[str, Any], str]] = []
    numbers: dict[int, int] = {}
    for part in modules:
        own = part.__dict__
        if part is not cell and any(map(own.__getitem__, HOOKS)):
            hooked = type(part).__name__
        for held in (own["_parameters"], own["_buffers"]):
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
    return Signature(tuple(key), owner, tensors, places, hooked)


class Seen:
    """The attributes of one part of a cell when they were last looked at."""

    def __init__(self, part: Any) -> None:
        self._kind = type(part)
        remembered = getattr(self._kind, "REMEMBERED", ())
        is_module = isinstance(part, nn.Module)
        attributes = part.__dict__
        self._names = set(attributes)
        compared = [n for n in attributes if n not in remembered and not (is_module and n in MODULE_INTERNALS)]
        self._plain = [name for name in compared if type(attributes[name]) in PLAIN]
        self._values = [attributes[name] for name in self._plain]
        self._others = [(name, _summary(attributes[name])) for name in compared if type(attributes[name]) not in PLAIN]
        self._inside = _identities(part)
        self.key = self._kind, *zip(self._plain, self._values, strict=True), *self._others, *self._inside

    def still_is(self, part: Any) -> bool:
        """Whether nothing that counts has changed: the very same plain values, and others that look the same."""
        attributes = part.__dict__
        return (
            type(part) is self._kind
            and attributes.keys() == self._names
            and all(map(is_, map(attributes.__getitem__, self._plain), self._values))
            and all(_summary(attributes[name]) == summary for name, summary in self._others)
            and _identities(part) == self._inside
        )


_seen: WeakKeyDictionary[Any, dict[type, tuple[list[Seen], Key]]] = WeakKeyDictionary()
"""For what owns the plans of a cell, and each kind of cell around it."""


def _attributes(cell: Any, owner: Any, parts: list[Any]) -> Key:
    """What the parts of a cell hold beside tensors; looked at in full only when something has changed."""
    try:
        known = _seen.setdefault(owner, {})
    except TypeError:  # nothing can be remembered for this cell
        known = {}
    seen, key = known.get(type(cell), ((), None))
    if key is None or len(seen) != len(parts) or not all(map(Seen.still_is, seen, parts)):
        seen = [Seen(part) for part in parts]
        key = Key(tuple([each.key for each in seen]))
        known[type(cell)] = seen, key
    return key


def _identities(part: Any) -> list[int]:
    """A module and those that it holds: one may stand in several places."""
    return [id(part), *map(id, part.__dict__["_modules"].values())] if isinstance(part, nn.Module) else []


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
    return tensor.requires_grad or (isinstance(tensor, nn.Parameter) and tensor.is_floating_point())


def _parts(cell: Any) -> Iterator[Any]:
    """A cell, and the modules and cells in its attributes, each once."""
    if isinstance(cell, nn.Module):
        yield from modules_of(cell)
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

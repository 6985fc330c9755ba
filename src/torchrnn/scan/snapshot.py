"""What a module holds beside tensors, looked at in full only when something has changed.

A cell may be of dozens of modules, and every sequence has to know that none of them is another by now.
"""

from __future__ import annotations

import copyreg
from collections import deque
from functools import partial
from operator import attrgetter, getitem, is_
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor, nn

from torchrnn.walk import modules_of

PLAIN = frozenset({bool, int, float, str, type(None), tuple, FunctionType, BuiltinFunctionType, MethodType})
"""Types of attributes that a step may read, and that are compared; a change of one is another step."""
MODULE_INTERNALS = frozenset(vars(nn.Module())) - {"training"}
HELD = ("_modules", "_parameters", "_buffers")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
LARGE_ARRAY = 2**16
"""Bytes of an array of NumPy above which what is in it is not compared."""


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


class Snapshot:
    """A module, and all modules in it, as they were when they were last looked at.

    ``tensors`` are the places of their parameters and buffers, and ``hooks`` those of their hooks. The module itself is
    not held.
    """

    def __init__(self, module: nn.Module) -> None:
        modules = modules_of(module)
        self._inside = modules[1:]
        self._kinds = list(map(type, modules))
        self._attributes = list(map(attrgetter("__dict__"), modules))
        self._where: list[dict[str, Any]] = []
        self._names: list[str] = []
        self._sized: list[dict[str, Any]] = []
        self._others: list[tuple[dict[str, Any], str, Any]] = []
        self.tensors: list[tuple[dict[str, Any], str]] = []
        self.hooks: list[dict[str, Any]] = []
        key: list[Any] = []
        for part in modules:
            compared = self._look_at(part)
            inside = part.__dict__["_modules"]
            key.append((type(part), compared, id(part), *map(id, inside.values())))  # one may stand in several places
        self._values = list(map(getitem, self._where, self._names))
        self._sizes = list(map(len, self._sized))
        self.key = Key(tuple(key))

    def _look_at(self, part: nn.Module) -> tuple[Any, ...]:
        """Note where everything lies that one module holds; returns what of it belongs to the key."""
        attributes = part.__dict__
        plain, others = attributes_of(part)
        inside = attributes["_modules"]
        watched = [(attributes, [*plain, *HELD, *HOOKS]), (inside, list(inside))]
        for name, summary in others:
            if _holds_plain_values_only(attributes[name]):
                own = attributes[name].__dict__
                watched += (attributes, [name]), (own, list(own))
            else:
                self._others.append((attributes, name, summary))
        for where, names in watched:
            self._where += [where] * len(names)
            self._names += names
        self._sized += [*(where for where, _ in watched), *(attributes[name] for name in HELD)]
        self.tensors += [(attributes[held], name) for held in HELD[1:] for name in attributes[held]]
        self.hooks += [attributes[name] for name in HOOKS]
        return *((name, attributes[name]) for name in plain), *others

    def still_holds(self, module: nn.Module) -> bool:
        """Whether nothing has changed: the very same things are there, and what may change within looks the same."""
        modules = [module, *self._inside]
        try:
            return (
                list(map(len, self._sized)) == self._sizes
                and all(map(is_, map(getitem, self._where, self._names), self._values))
                and list(map(type, modules)) == self._kinds
                and all(map(is_, map(attrgetter("__dict__"), modules), self._attributes))
                and all(summary_of(where[name]) == summary for where, name, summary in self._others)
            )
        except KeyError:
            return False


_snapshots: WeakKeyDictionary[nn.Module, Snapshot] = WeakKeyDictionary()


def snapshot(module: nn.Module) -> Snapshot:
    """The module as it is now."""
    known = _snapshots.get(module)
    if known is None or not known.still_holds(module):
        known = _snapshots[module] = Snapshot(module)
    return known


def attributes_of(part: Any) -> tuple[list[str], list[tuple[str, Any]]]:
    """The attributes that a plan depends on: the names of plain ones, and others with what they look like."""
    attributes, remembered = part.__dict__, getattr(type(part), "REMEMBERED", ())
    left_out = MODULE_INTERNALS if isinstance(part, nn.Module) else ()
    compared = [name for name in attributes if name not in remembered and name not in left_out]
    plain = [name for name in compared if type(attributes[name]) in PLAIN]
    return plain, [(name, summary_of(attributes[name])) for name in compared if name not in plain]


def _holds_plain_values_only(value: Any) -> bool:
    """Whether an object is one of a simple class, and what it holds cannot change within."""
    kind = type(value)
    return kind.__mro__[1:] == (object,) and hasattr(value, "__dict__") and {*map(type, vars(value).values())} <= PLAIN


def summary_of(value: Any, depth: int = 3) -> Any:
    """What a plan may depend on in an attribute that is no plain value; of tensors only that they are there."""
    kind = type(value)
    if kind in PLAIN and kind is not tuple:
        return value
    if depth == 0 or isinstance(value, Tensor | nn.Module):
        return kind
    if isinstance(value, list | tuple | deque):
        return kind, *[summary_of(inside, depth - 1) for inside in value]
    if isinstance(value, set | frozenset):
        return kind, frozenset(summary_of(inside, depth - 1) for inside in value)
    if isinstance(value, dict):
        return kind, *[(name, summary_of(inside, depth - 1)) for name, inside in value.items()]
    if isinstance(value, np.ndarray):
        return kind, value.shape, value.dtype.str, value.tobytes() if value.nbytes <= LARGE_ARRAY else None
    if isinstance(value, partial):
        return kind, *[summary_of(inside, depth - 1) for inside in (value.func, value.args, value.keywords)]
    names = [name for name in copyreg._slotnames(kind) if hasattr(value, name)]  # type: ignore[attr-defined]
    held = {name: getattr(value, name) for name in names} | getattr(value, "__dict__", {})
    if held and not isinstance(value, type):
        return kind, summary_of(held, depth)
    try:
        hash(value)  # a number of NumPy, a dtype, a class: what it is equal to
    except TypeError:
        return kind
    return kind, value

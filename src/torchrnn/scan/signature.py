"""What a plan depends on: the modules of a cell, their plain attributes, and their parameters and buffers."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from torchrnn.scan.operations import Unsupported
from torchrnn.scan.snapshot import HOOKS, PLAIN, Key, Snapshot, attributes_of, snapshot
from torchrnn.walk import modules_of


@dataclass(eq=False)
class Seen:
    """What a cell looked like when it was last looked at: while it still does, its key is the same."""

    looks: tuple[list[Any], list[Snapshot], list[Any], list[int | None]]
    """What is around its modules, these, and of the parameters and buffers at all places the kinds and the numbers."""
    key: Key
    places: list[tuple[dict[str, Any], str]]
    is_sound: bool = False
    """Whether `check_cell` has passed it."""


@dataclass
class Signature:
    """A cell at this moment."""

    seen: Seen
    owner: Any
    """The object that plans for this cell live as long as."""
    tensors: list[Tensor]
    """Its parameters and buffers, each once."""
    hooked: str | None
    """A module inside with hooks, which a plan would not call."""

    @property
    def key(self) -> Key:
        """What plans are for."""
        return self.seen.key

    @property
    def places(self) -> list[tuple[dict[str, Any], str]]:
        """Where each of the tensors is held."""
        return self.seen.places


_seen: WeakKeyDictionary[Any, Seen] = WeakKeyDictionary()


def signature(cell: Any) -> Signature:
    around, modules = _around_and_modules(cell)
    owner = modules[0] if modules else cell
    snapshots = list(map(snapshot, modules))
    summaries = list(map(_summary_of_plain, around))
    where = [place for each in snapshots for place in each.tensors]
    held = [attributes[name] for attributes, name in where]
    tensors = list({id(tensor): tensor for tensor in held if tensor is not None}.values())
    first: dict[int, int] = {}
    numbers = [None if tensor is None else first.setdefault(id(tensor), len(first)) for tensor in held]
    kinds = [None if tensor is None else _kind(tensor) for tensor in held]
    hooked = _hooked(cell, modules, snapshots)
    try:
        seen = _seen.get(owner)
    except TypeError as e:
        raise Unsupported(f"the cell cannot be remembered ({e})") from e
    looks = summaries, snapshots, kinds, numbers
    if seen is None or seen.looks != looks:
        planned_for = [(tensor.shape, tensor.dtype, _may_have_gradient(tensor)) for tensor in tensors]
        contents = *summaries, *(each.key for each in snapshots), *planned_for, *numbers
        places = [where[numbers.index(number)] for number in range(len(tensors))]
        seen = _seen[owner] = Seen(looks, Key(contents), places)
    return Signature(seen, owner, tensors, hooked)


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    """Everything about a tensor but where it lies and what is in it."""
    form = tensor.shape, tensor.dtype, tensor.device, tensor.layout, tensor.is_neg()
    return type(tensor), tensor.requires_grad, *form


def _around_and_modules(cell: Any) -> tuple[list[Any], list[nn.Module]]:
    """A cell taken apart: the objects that are no modules, and the outermost modules in their attributes."""
    if isinstance(cell, nn.Module):
        return [], [cell]
    if not hasattr(cell, "__dict__"):
        raise Unsupported(f"the parameters of a {type(cell).__name__} cannot be found; make it a torch.nn.Module")
    around: list[Any] = [cell]
    modules: list[nn.Module] = []
    for attribute in vars(cell).values():
        if isinstance(attribute, nn.Module) or hasattr(attribute, "step"):
            more_around, more = _around_and_modules(attribute)
            around, modules = around + more_around, modules + more
        elif isinstance(attribute, Tensor):
            raise Unsupported(f"a {type(cell).__name__}, which is no torch.nn.Module, holds a tensor")
    return around, modules


def _summary_of_plain(part: Any) -> tuple[Any, ...]:
    plain, others = attributes_of(part)
    return type(part), *((name, part.__dict__[name]) for name in plain), *others


def _hooked(cell: Any, modules: list[nn.Module], snapshots: list[Snapshot]) -> str | None:
    """A module inside with hooks; those on the cell itself are called."""
    if not any(any(map(len, each.hooks)) for each in snapshots):
        return None
    parts = [part for module in modules for part in modules_of(module) if part is not cell]
    return next((type(part).__name__ for part in parts if any(map(part.__dict__.__getitem__, HOOKS))), None)


def _may_have_gradient(tensor: Tensor) -> bool:
    """Whether a step is planned with the gradient of a tensor: parameters may be frozen and thawed at any time."""
    return tensor.requires_grad or (isinstance(tensor, nn.Parameter) and tensor.is_floating_point())


def parts_of(cell: Any) -> list[Any]:
    """A cell, and the modules and cells in its attributes."""
    around, modules = _around_and_modules(cell)
    return [*around, *(part for module in modules for part in modules_of(module))]


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
    they are. What modules remember of earlier calls is no part of a step.
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
    remembered = [(vars(part), vars(part).get("_state")) for part in parts_of(cell)]
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
    for part in parts_of(cell):
        if hasattr(part, "forget"):
            part.forget()


class Attributes:
    """The attributes of all parts of a cell at one moment, to see whether a step changes any.

    A class names in ``REMEMBERED`` those that are no part of what a step computes, and that are seen to otherwise.
    """

    def __init__(self, cell: Any) -> None:
        self._parts = list(parts_of(cell))
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

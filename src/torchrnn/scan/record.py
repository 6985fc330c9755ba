"""Recording: one step, forward and backward, as the list of the operators that PyTorch runs for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.scan.decompose import DECOMPOSITIONS
from torchrnn.scan.draws import Draw
from torchrnn.scan.lasting import LastingDraw
from torchrnn.scan.operations import Unsupported, aten


class Value:
    """A tensor that was seen while recording: only its shape counts."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape = tuple(tensor.shape)
        self.dtype = tensor.dtype


class Call:
    """One operator, its arguments with values in place of tensors, and its results."""

    def __init__(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> None:
        self.op, self.args, self.kwargs, self.results = op, args, kwargs, results

    @property
    def operator(self) -> Any:
        """The operator without its overload: ``aten.add`` of ``aten.add.Tensor``."""
        return self.op.overloadpacket

    def operands(self) -> Iterable[Value]:
        return (leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Value))

    def made(self) -> list[Value]:
        """Its results, as values."""
        return [leaf for leaf in tree_leaves(self.results) if isinstance(leaf, Value)]


DATA_DEPENDENT = {aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero}


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records what runs under it, on tensors that are small but real.

    A tensor is known by where it lies in memory, since autograd hands out other objects for what it saved. All of
    them are held, so that no memory is used twice.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.draws: list[tuple[Draw | LastingDraw, Value]] = []
        self._values: dict[tuple[Any, ...], Value] = {}
        self._held: list[Tensor] = []
        self._views: Counter[int] = Counter()
        """How many known tensors lie in each storage."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep PyTorch from importing its whole compiler, for a second or two, only to tell it to stay away.

        While it compiles, nothing is traced (`check_surroundings`).
        """
        return False

    def know(self, tensor: Tensor) -> Value:
        """Make a tensor known that comes from outside."""
        key = _place(tensor)
        if key not in self._values:
            self._values[key] = Value(tensor)
            self._held.append(tensor)
            self._views[tensor.untyped_storage().data_ptr()] += 1
        return self._values[key]

    def _known(self, tree: Any) -> Any:
        return tree_map(lambda leaf: self.value_of(leaf) if isinstance(leaf, Tensor) else leaf, tree)

    def value_of(self, tensor: Tensor) -> Value:
        value = self._values.get(_place(tensor))
        if value is None:
            raise Unsupported(
                "the step uses a tensor that is no input, state, parameter or buffer; register it as a buffer"
            )
        return value

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        decomposition = DECOMPOSITIONS.get(func)
        if decomposition is not None:
            with self:
                result = decomposition(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if func.overloadpacket in DATA_DEPENDENT:
            raise Unsupported("the step looks at the values of a tensor (data-dependent control flow)")
        if torch.Tag.nondeterministic_seeded in func.tags:
            return self._draw(func, args, kwargs)
        if func._schema.is_mutable:
            return self._in_place(func, args, kwargs)
        known = self._known(args), self._known(kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and _place(result) in self._values:
            return result  # a view of the whole: what is known already
        made = tree_map(lambda leaf: self.know(leaf) if isinstance(leaf, Tensor) else leaf, result)
        self.calls.append(Call(func, *known, made))
        return result

    def _draw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Record a random operator: its result is an input of the step."""
        target = args[0] if func._schema.is_mutable else None
        if target is not None and not self._is_new(target):
            raise Unsupported(f"{func} draws random numbers into a tensor that is there already")
        result: Tensor = func(*args, **kwargs)
        self.draws.append((Draw(func, args, kwargs, result), made := Value(result)))
        if target is None:
            self.know(result)
        self._values[_place(result)] = made
        return result

    def know_lasting(self, numbers: Tensor, draw: LastingDraw) -> None:
        """Random numbers that stay for a sequence are an input of the step, too."""
        self.draws.append((draw, self.know(numbers)))

    def _is_new(self, tensor: Tensor) -> bool:
        """Whether a tensor was made by the step, and nothing else lies in its memory."""
        made = [*(call.results for call in self.calls), *(value for _, value in self.draws)]
        is_made = any(value is self.value_of(tensor) for value in made)
        return is_made and self._views[tensor.untyped_storage().data_ptr()] == 1

    def _in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operator that changes its first argument as one that makes a new value."""
        target: Any = args[0] if args else None
        name = func.overloadpacket.__name__
        functional = getattr(getattr(aten, name[:-1], None), func._overloadname, None) if name[-1] == "_" else None
        if functional is None or not isinstance(target, Tensor) or not self._is_new(target):
            raise Unsupported(f"{func} changes a tensor in place")
        if functional in DECOMPOSITIONS:
            with self:
                made = self.value_of(DECOMPOSITIONS[functional](*args, **kwargs))
            self._values[_place(target)] = made
            return func(*args, **kwargs)
        known = self._known(args), self._known(kwargs)
        result = func(*args, **kwargs)
        self._values[_place(target)] = made = Value(target)
        self.calls.append(Call(functional, *known, made))
        return result


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

"""Random numbers that stay for a whole sequence, such as the masks of a lazy `Dropout`: an input of the loop.

A module that draws such numbers lets the trace of a step have them. Before the loop they are those that the module has,
or draws now, as the first step would; after a backward it is told to draw others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from torchrnn.scan.operations import Unsupported


class Lasting(Protocol):
    """A module with random numbers that stay for a sequence."""

    def noise(self, input: Tensor) -> Tensor:
        """New numbers for inputs like this one: of its shape, or one row of it."""
        ...

    def lasting(self, input: Tensor) -> Tensor:
        """Those of this sequence, which are drawn if there are none for inputs like this one."""
        ...

    def renew(self, numbers: Tensor) -> None:
        """Draw others for the next sequence, if these are those of this one."""
        ...


class LastingDraw:
    """The numbers of one module in a step."""

    def __init__(self, part: int, input: Tensor, numbers: Tensor) -> None:
        self._part = part
        """Which part of the cell the module is."""
        self._input_shape = tuple(input.shape[1:])
        """Of one row."""
        self.shape = tuple(numbers.shape)
        """Of the numbers in the trace."""

    def of(self, parts: list[Any], N: int) -> tuple[Lasting, Tensor]:
        """The module, and its numbers for N rows."""
        module: Lasting = parts[self._part]
        return module, module.lasting(torch.zeros(N, *self._input_shape, dtype=torch.float32))


Notice = Callable[[Tensor, LastingDraw], None]


class _Traced:
    """The numbers of the modules in the step that is being traced."""

    def __init__(self, parts: list[Any], notice: Notice) -> None:
        self._places = {id(part): i for i, part in enumerate(parts)}
        self._notice = notice
        self._found: dict[int, tuple[Tensor, torch.Size]] = {}

    def numbers(self, module: Lasting, input: Tensor) -> Tensor:
        if id(module) not in self._places or input.dim() < 2 or input.dtype != torch.float32:
            raise Unsupported("random numbers that stay for a sequence are drawn for what are no float32 rows")
        if id(module) not in self._found:
            with _disable_current_modes():
                numbers = _drawn(module, input)
            self._found[id(module)] = numbers, input.shape
            self._notice(numbers, LastingDraw(self._places[id(module)], input, numbers))
        numbers, shape = self._found[id(module)]
        if shape != input.shape:
            raise Unsupported("one module draws random numbers for inputs of several shapes")
        return numbers


_traced: ContextVar[_Traced | None] = ContextVar("traced", default=None)


def _at_work() -> _Traced | None:
    return None if torch.compiler.is_compiling() else _traced.get()


def is_traced() -> bool:
    """Whether a step is being traced."""
    return _at_work() is not None


def numbers_in_trace(module: Lasting, input: Tensor) -> Tensor | None:
    """What stands for the numbers of a module while a step is traced; ``None`` at all other times."""
    traced = _at_work()
    return None if traced is None else traced.numbers(module, input)


@contextmanager
def tracing(parts: list[Any], notice: Notice) -> Iterator[None]:
    """While a step of a cell of these parts runs, ``notice`` is told of the numbers that modules have."""
    token = _traced.set(_Traced(parts, notice))
    try:
        yield
    finally:
        _traced.reset(token)


def _drawn(module: Lasting, input: Tensor) -> Tensor:
    """Numbers for a few rows; refused if they depend on the values in these, or on parameters."""
    state = torch.get_rng_state()
    numbers = module.noise(torch.zeros_like(input))
    if numbers.requires_grad:
        raise Unsupported("random numbers that stay for a sequence have a gradient")
    torch.set_rng_state(state)
    if not torch.equal(numbers, module.noise(torch.ones_like(input))):
        raise Unsupported("random numbers that stay for a sequence depend on values")
    if numbers.dim() != input.dim() or numbers.shape[0] not in (1, len(input)) or numbers.dtype != torch.float32:
        raise Unsupported("random numbers that stay for a sequence are no float32 rows")
    return numbers.expand(len(input), *numbers.shape[1:]).contiguous()

"""Recurrent modules inside other modules: stepping them with states that come from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from torchrnn.module import Module
from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.tree import Tree


class Nesting(AbstractRecurrent):
    """A recurrent module that is made of others: the recurrent ones inside are stepped with it."""

    REMEMBERED = AbstractRecurrent.REMEMBERED | {"_found"}

    _found: list[AbstractRecurrent] | None = None

    def sequence(
        self, inputs: Tree, state: Tree = None, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tree, Tree]:
        with self._looking_once():
            return super().sequence(inputs, state, lengths)

    def remembered_sequence(self, inputs: Tree, state: Tree = None, lengths: Tensor | list[int] | None = None) -> Tree:
        with self._looking_once():
            return super().remembered_sequence(inputs, state, lengths)

    def _inside(self) -> list[AbstractRecurrent]:
        """The recurrent modules inside that are stepped with this one."""
        return recurrent_modules(*self.children()) if self._found is None else self._found

    @contextmanager
    def _looking_once(self) -> Iterator[None]:
        """Around a sequence, in which the modules inside stay the same: look for them once and not at every step."""
        nestings = [m for m in self.modules() if isinstance(m, Nesting) and m._found is None]
        for module in nestings:
            module._found = module._inside()
        try:
            yield
        finally:
            for module in nestings:
                module._found = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_found": None}


def recurrent_modules(*modules: nn.Module) -> list[AbstractRecurrent]:
    """The recurrent modules in ``modules`` that are stepped with them: the outermost, each once.

    Those inside sequence modules are not among them: a sequence module looks after its own.
    """
    found: list[AbstractRecurrent] = []
    for module in modules:
        if isinstance(module, AbstractRecurrent):
            found.append(module)
        elif not (isinstance(module, Module) and module.takes_sequences):
            found += recurrent_modules(*module.children())
    return list(dict.fromkeys(found))


def step_remembering(
    parts: list[AbstractRecurrent], states: tuple[Tree, ...], run: Callable[[], Tree]
) -> tuple[Tree, tuple[Tree, ...]]:
    """``run()`` with the recurrent modules ``parts`` in ``states``; returns its output and their new states.

    A state ``None`` is the start of a sequence.
    """
    for part, state in zip(parts, states, strict=True):
        part._go_on_from(state)
    return run(), tuple(part._state for part in parts)


def hold_rows_inside(
    parts: list[AbstractRecurrent], rows: Tensor, before: tuple[Tree, ...], after: tuple[Tree, ...]
) -> tuple[Tree, ...]:
    """The states of ``parts`` ``after`` a step, with the masked ``rows`` as they were ``before`` it.

    Where they began in that step, a whole sequence or some forgotten rows of it, only the parts know from what.
    """
    return tuple(
        part.hold_rows_of_state(rows, _began(part, own_before), own_after)
        for part, own_before, own_after in zip(parts, before, after, strict=True)
    )


def _began(part: AbstractRecurrent, before: Tree) -> Tree:
    """The state that ``part`` took its last step from ``before`` from."""
    return next((segment.began for segment in reversed(part._segments) if segment.before is before), before)

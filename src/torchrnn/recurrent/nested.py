"""Recurrent modules inside other modules: stepping them with states that come from outside."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from torchrnn.module import Module
from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.tree import Tree


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
        part._state = state
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

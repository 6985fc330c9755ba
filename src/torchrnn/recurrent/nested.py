"""Recurrent modules inside other modules: stepping them with states that come from outside."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

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

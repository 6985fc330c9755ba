"""A random mask that stays for a whole sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class SequenceMask:
    """One mask for all steps of a sequence, drawn when it is first needed.

    It is drawn anew after `forget`, for another kind of input, and once a gradient has gone back through it: then the
    next forward is of another sequence, or of another chunk of it.
    """

    def __init__(self) -> None:
        self._mask: Tensor | None = None
        self._kind: tuple[object, ...] = ()

    def times(self, input: Tensor, noise: Callable[[Tensor], Tensor], kind: tuple[object, ...]) -> Tensor:
        """``mask * input``; ``noise(input)`` draws a mask, which serves every input of the same ``kind``."""
        if self._mask is None or self._kind != kind:
            self._mask, self._kind = noise(input), kind
        mask = self._mask
        output = input * mask

        def redraw(_: Tensor) -> None:
            if self._mask is mask:
                self._mask = None

        if torch.is_grad_enabled():
            # An input that needs no gradient, such as data, must not hide that a gradient came back.
            output = output if output.requires_grad else output.requires_grad_()
            output.register_hook(redraw)  # type: ignore[no-untyped-call]
        return output

    def forget(self) -> None:
        self._mask = None

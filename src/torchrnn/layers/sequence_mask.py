"""A random mask that stays for a whole sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from torchrnn.scan.lasting import is_traced
from torchrnn.scan.operations import Unsupported


class SequenceMask:
    """One mask for all steps of a sequence, drawn when it is first needed.

    It is drawn anew after `forget`, for another kind of input, and once a gradient has gone back through it: then the
    next forward is of another sequence, or of another chunk of it.
    """

    def __init__(self) -> None:
        self._mask: Tensor | None = None
        self._kind: tuple[object, ...] = ()

    def get(self, input: Tensor, noise: Callable[[Tensor], Tensor], kind: tuple[object, ...]) -> Tensor:
        """The mask; ``noise(input)`` draws one, which serves every input of the same ``kind``."""
        if self._mask is None or self._kind != kind:
            self._mask, self._kind = noise(input), kind
        if not torch.compiler.is_compiling() and self._mask.is_inference() and not torch.is_inference_mode_enabled():
            self._mask = self._mask.clone()  # which autograd may keep
        return self._mask

    def times(self, input: Tensor, noise: Callable[[Tensor], Tensor], kind: tuple[object, ...]) -> Tensor:
        """``mask * input``, with the mask that `get` gives."""
        if is_traced():
            raise Unsupported("a mask for a whole sequence is drawn in the step, and not by Dropout")
        mask = self.get(input, noise, kind)
        output = input * mask

        def redraw(_: Tensor) -> None:
            self.renew(mask)

        if torch.is_grad_enabled():
            # An input that needs no gradient, such as data, must not hide that a gradient came back.
            output = output if output.requires_grad else output.requires_grad_()
            output.register_hook(redraw)  # type: ignore[no-untyped-call]
        return output

    def renew(self, mask: Tensor) -> None:
        """Let another one be drawn, if this is still the mask."""
        if self._mask is mask:
            self._mask = None

    def forget(self) -> None:
        self._mask = None

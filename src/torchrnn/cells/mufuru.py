"""The multi-function recurrent unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from torchrnn.checks import require_counts
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent import AbstractRecurrent


def sqrt_diff(h: Tensor, v: Tensor) -> Tensor:
    """``sqrt(abs(h - v)) / 4``, with gradient zero where they are equal."""
    difference = torch.abs(h - v)
    equal = difference == 0
    return 0.25 * torch.where(equal, difference, torch.sqrt(torch.where(equal, 1, difference)))


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "keep": lambda h, v: h,
    "replace": lambda h, v: v,
    "mul": lambda h, v: h * v,
    "diff": lambda h, v: h - v,
    "forget": lambda h, v: torch.zeros_like(h),
    "sqrt_diff": sqrt_diff,
    "max": torch.maximum,
    "min": torch.minimum,
}
"""How the last output ``h`` and the new value ``v`` may be combined."""


class MuFuRu(AbstractRecurrent):
    """The multi-function recurrent unit: each element chooses how to combine the old with the new.

    | ``r = sigmoid(W_r x + b + U_r h + b')``
    | ``v = sigmoid(W_v [x, r * h] + b_v)``
    | ``p = softmax over the operations of W_p [x, h] + b_p``, for each of the H elements
    | ``h' = sum_k p_k * operation_k(h, v)``, which is the output.

    The operations: keep ``h``, replace ``v``, mul ``h v``, diff ``h - v``, forget ``0``, sqrt_diff
    ``sqrt(abs(h - v)) / 4``, max and min.

    Arguments:
        input_size: D.
        hidden_size: H.
        ops: the names of the operations, all eight if not given.
        rho: how many steps are kept for backpropagation through time.

    Shapes: input (N, D) or (D,), output and state (N, H) or (H,).

    Differs from the original: each layer has operations of its own, so that gradients are right in stacks.
    Source: Weissenborn and Rocktaeschel, "MuFuRU: the multi-function recurrent unit", 2016.

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.MuFuRu(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self, input_size: int, hidden_size: int, ops: Sequence[str] | None = None, rho: int = DEFAULT_RHO
    ) -> None:
        super().__init__(rho)
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        self.ops = tuple(OPERATIONS) if ops is None else tuple(ops)
        if not self.ops or not set(self.ops) <= set(OPERATIONS):
            raise ValueError(f"MuFuRu: ops must be names out of {', '.join(OPERATIONS)}; got {ops!r}.")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.i2r = nn.Linear(input_size, hidden_size)
        self.o2r = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(input_size + hidden_size, hidden_size)
        self.weights = nn.Linear(input_size + hidden_size, len(self.ops) * hidden_size)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(*input.shape[:-1], self.hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        r = torch.sigmoid(self.i2r(x) + self.o2r(h))
        v = torch.sigmoid(self.value(torch.cat([x, r * h], dim=-1)))
        p = self.weights(torch.cat([x, h], dim=-1)).unflatten(-1, (len(self.ops), self.hidden_size)).softmax(dim=-2)
        candidates = torch.stack([OPERATIONS[op](h, v) for op in self.ops], dim=-2)
        h = (p * candidates).sum(dim=-2)
        return h, h

"""Cells that the package does not have, as a user writes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import torchrnn
from torchrnn.scan import scan


class MinimalGated(torchrnn.AbstractRecurrent):
    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.H, self.gate, self.candidate = H, nn.Linear(D + H, H), nn.Linear(D + H, H)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(len(input), self.H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.sigmoid(self.gate(torch.cat([x, h], -1)))
        h = (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([x, f * h], -1)))
        return h, h


class DeepTransition(torchrnn.AbstractRecurrent):
    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.H, self.first, self.second, self.third = H, nn.Linear(D + H, H), nn.Linear(H, H), nn.Linear(H, H)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(len(input), self.H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        u = torch.relu(self.first(torch.cat([x, h], -1)))
        h = torch.tanh(self.third(torch.relu(self.second(u))) + h)
        return h, h


class LayerNormLSTM(torchrnn.AbstractRecurrent):
    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.H, self.i2g, self.h2g = H, nn.Linear(D, 4 * H, bias=False), nn.Linear(H, 4 * H)
        self.norm_i, self.norm_h, self.norm_c = nn.LayerNorm(4 * H), nn.LayerNorm(4 * H), nn.LayerNorm(H)

    def initial_state(self, input: Tensor) -> tuple[Tensor, Tensor]:
        return input.new_zeros(len(input), self.H), input.new_zeros(len(input), self.H)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        h, c = state
        i, f, o, g = (self.norm_i(self.i2g(x)) + self.norm_h(self.h2g(h))).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
        return h, (h, c)


class MaskedStep:
    """A step that keeps the state, and gives zero, in the rows that are masked."""

    def __init__(self, cell: torchrnn.AbstractRecurrent) -> None:
        self.cell = cell

    def step(self, input: tuple[Tensor, Tensor], state: Any) -> tuple[Tensor, Any]:
        x, mask = input
        y, new = self.cell.step(x, state)
        return torch.where(mask, y, 0), type(state)(*(torch.where(mask, n, o) for n, o in zip(new, state, strict=True)))


class Masked(nn.Module):
    """A cell over a sequence with a mask (T, N, 1)."""

    def __init__(self, cell: torchrnn.AbstractRecurrent, mask: Tensor) -> None:
        super().__init__()
        self.cell, self.mask = cell, mask

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = scan(MaskedStep(self.cell), (x, self.mask), self.cell.initial_state(x[0]))[0]
        return output

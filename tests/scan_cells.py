"""Cells that the package does not have, written as a user would write them: plain PyTorch, one step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Cell(nn.Module):
    """A cell with ``n_states`` states of the sizes ``sizes``."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = sizes

    def initial_state(self, input: Tensor) -> Any:
        states = tuple(input.new_zeros(len(input), size) for size in self.sizes)
        return states[0] if len(states) == 1 else states


class MinimalGated(Cell):
    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.gate, self.candidate = nn.Linear(D + H, H), nn.Linear(D + H, H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.sigmoid(self.gate(torch.cat([x, h], -1)))
        h = (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([x, f * h], -1)))
        return h, h


class LayerNormLSTM(Cell):
    def __init__(self, D: int, H: int) -> None:
        super().__init__(H, H)
        self.i2g, self.h2g = nn.Linear(D, 4 * H, bias=False), nn.Linear(H, 4 * H)
        self.norm_i, self.norm_h, self.norm_c = nn.LayerNorm(4 * H), nn.LayerNorm(4 * H), nn.LayerNorm(H)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        h, c = state
        i, f, o, g = (self.norm_i(self.i2g(x)) + self.norm_h(self.h2g(h))).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
        return h, (h, c)


class DeepTransition(Cell):
    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.first, self.second, self.out = nn.Linear(D + H, H), nn.Linear(H, H), nn.Linear(H, H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.second(F.relu(self.first(torch.cat([x, h], -1)))) + h)
        return self.out(h), h


class Highway(Cell):
    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.i2h = nn.Linear(D, 2 * H)
        self.layers = nn.ModuleList(nn.Linear(H, 2 * H) for _ in range(2))

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        for depth, layer in enumerate(self.layers):
            a = layer(h) + (self.i2h(x) if depth == 0 else 0.0)
            u, t = a.chunk(2, -1)
            t = torch.sigmoid(t)
            h = torch.tanh(u) * t + h * (1 - t)
        return h, h


class Masked(Cell):
    """A mask that the input decides: rows with a first feature below zero keep their state."""

    def __init__(self, D: int, H: int) -> None:
        super().__init__(H, H)
        self.gates = nn.Linear(D + H, 4 * H)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        h, c = state
        mask = x[:, :1] > 0
        i, f, o, g = self.gates(torch.cat([x, h], -1)).chunk(4, -1)
        new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        new_h = torch.sigmoid(o) * torch.tanh(new_c)
        return torch.where(mask, new_h, 0.0), (torch.where(mask, new_h, h), torch.where(mask, new_c, c))


class SoftmaxCell(Cell):
    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.i2h, self.h2h = nn.Linear(D, H), nn.Linear(H, H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.softmax(self.i2h(x) + 3 * self.h2h(h), -1)
        return h.log_softmax(-1), h


class Multiplicative(Cell):
    """With weight normalisation by hand and a scalar parameter."""

    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.i2h, self.h2h = nn.Linear(D, H), nn.Linear(H, H)
        self.gain, self.direction = nn.Parameter(torch.randn(H, 1)), nn.Parameter(torch.randn(H, H) * 0.1)
        self.scale = nn.Parameter(torch.tensor(0.7))

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.gain * self.direction / self.direction.norm(dim=1, keepdim=True)
        h = torch.tanh(self.i2h(x) * (h @ weight.t()) * self.scale + self.h2h(h))
        return h, h


class Clockwork(Cell):
    """Parts of the state with rules of their own."""

    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.i2h, self.h2h, self.half = nn.Linear(D, H), nn.Linear(H, H), H // 2

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        a = self.i2h(x) + self.h2h(h)
        slow = 0.9 * h[:, self.half :] + 0.1 * torch.sigmoid(a[:, self.half :])
        return a[:, self.half :], torch.cat([torch.tanh(a[:, : self.half]), slow], 1)


class Projected(Cell):
    def __init__(self, D: int, H: int) -> None:
        super().__init__(H // 2, H)
        self.gates, self.project = nn.Linear(D + H // 2, 4 * H), nn.Linear(H, H // 2, bias=False)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        h, c = state
        i, f, o, g = self.gates(torch.cat([x, h], -1)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = self.project(torch.sigmoid(o) * torch.tanh(c))
        return h, (h, c)


class Heads(Cell):
    """Several heads whose softmax runs over the heads and over their features, as a tree of outputs."""

    def __init__(self, D: int, H: int) -> None:
        super().__init__(4 * H)
        self.i2h, self.h2h = nn.Linear(D, 4 * H), nn.Linear(4 * H, 4 * H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Any, Tensor]:
        heads = torch.tanh(self.i2h(x) + self.h2h(h)).unflatten(-1, (4, -1))
        weights = heads.softmax(-2)
        return {"heads": heads, "mean": (weights * heads).sum(-2)}, (weights * heads).flatten(1)


class Activations(Cell):
    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.i2h, self.h2h = nn.Linear(D, H), nn.Linear(H, H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        a = self.i2h(x) + self.h2h(h)
        b = F.silu(a) * 0.5 + F.softplus(a).clamp(max=2.0) - F.gelu(a) + F.leaky_relu(a) * torch.exp(-a * a)
        return torch.log1p(b * b), torch.tanh(b)


OWN_CELLS = [
    MinimalGated,
    LayerNormLSTM,
    DeepTransition,
    Highway,
    Masked,
    SoftmaxCell,
    Multiplicative,
    Clockwork,
    Projected,
    Heads,
    Activations,
]

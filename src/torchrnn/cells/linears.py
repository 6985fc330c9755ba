"""Several linear maps of one input: one product, or one each behind dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.layers import Dropout


def linears(in_size: int, out_size: int, n: int, bias: bool, dropout: float, mono: bool) -> nn.Module:
    """``n`` linear maps of one input, (N, in_size) to (N, n * out_size)."""
    if dropout:
        return DroppedLinears(in_size, out_size, n, bias, dropout, mono)
    return nn.Linear(in_size, n * out_size, bias=bias)


class DroppedLinears(nn.Module):
    """``n`` linear maps side by side, each with a dropout mask of its own that stays for a whole sequence."""

    def __init__(self, in_size: int, out_size: int, n: int, bias: bool, dropout: float, mono: bool) -> None:
        super().__init__()
        self.dropouts = nn.ModuleList(Dropout(dropout, lazy=True, mono=mono) for _ in range(n))
        self.linears = nn.ModuleList(nn.Linear(in_size, out_size, bias=bias) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([linear(drop(x)) for drop, linear in zip(self.dropouts, self.linears, strict=True)], dim=-1)

"""The definition of products in bfloat16, in a few lines: what the native engine is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
FACTORS = {aten.mm.default: 0, aten.bmm.default: 0, aten.addmm.default: 1, aten.baddbmm.default: 1}
"""Operators that multiply matrices, and where the first of the two is among their arguments."""


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().to(x.dtype)


class RoundedProducts(TorchDispatchMode):
    """All as it is, but that both factors of every product, in forward and backward, are rounded to bfloat16."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        args = list(args)
        if func in FACTORS:
            for i in (FACTORS[func], FACTORS[func] + 1):
                args[i] = rounded(args[i])
        return func(*args, **(kwargs or {}))

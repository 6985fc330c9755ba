"""The rules by which operators are recorded as simpler ones, against the operators themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from native_library import require_library
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from torchrnn.scan import explain, scan, use
from torchrnn.scan.decompose import DECOMPOSITIONS

KNOTS = [-100.0, -21.0, -6.0, -3.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 3.0, 6.0, 20.0, 21.0, 80.0]
"""Where activation functions are pieced together, and where they run out of numbers."""

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "threshold": lambda x: F.threshold(x, 0.1, 2.0),
    "silu": F.silu,
    "softplus": F.softplus,
    "softplus with options": lambda x: F.softplus(x, 3.0, 2.0),
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "leaky_relu with a slope": lambda x: F.leaky_relu(x, 0.3),
    "prelu": lambda x: F.prelu(x, 0.5 * torch.ones(1, dtype=x.dtype)),
    "elu": F.elu,
    "elu with alpha": lambda x: F.elu(x, 0.3),
    "elu in place": lambda x: F.elu(x * 1, 0.3, inplace=True),
    "silu in place": lambda x: F.silu(x + 1, inplace=True) * x,
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.7),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "glu": F.glu,
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "var": lambda x: x.var(-1, keepdim=True) + x,
    "var without correction": lambda x: x.var(-1, unbiased=False, keepdim=True) + x,
    "norm": lambda x: x.norm(dim=-1, keepdim=True) + x,
    "any": lambda x: torch.where((x > 30).any(-1, keepdim=True), x, -x) + torch.where((x < 0).any(1, True), x, 3 * x),
    "all": lambda x: torch.where((x < 1).all(-1, keepdim=True), x, -x) * (x[:, 2:] != 0).all(1).unsqueeze(1),
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "lerp by a tensor": lambda x: torch.lerp(x, x * x, torch.sigmoid(x)),
    "addcmul": lambda x: torch.addcmul(x, x, x + 1),
    "addcmul with a value": lambda x: torch.addcmul(x, x, x + 1, value=-2),
    "addcdiv": lambda x: torch.addcdiv(x, x, x * x + 1),
    "addcdiv with a value": lambda x: torch.addcdiv(x, x, x * x + 1, value=3),
    "rsub": lambda x: 1 - x,
    "rsub with alpha": lambda x: torch.rsub(x, x * x, alpha=3),
    "stack": lambda x: torch.stack([x, x * x], 1).flatten(1),
    "select": lambda x: x[:, 2:3] * x + x[:, -1].unsqueeze(-1),
    "slice": lambda x: x[:, 3:7] * x[:, -4:],
}
WITH_PARAMETERS: dict[str, Callable[[Tensor], Tensor]] = {
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:], x.new_ones(x.shape[-1]), x.new_ones(x.shape[-1]), 0.1),
    "batch_norm": lambda x: F.batch_norm(x, *[number + x.new_zeros(x.shape[-1]) for number in (0.5, 2.0, 3.0, 1.0)]),
}


class Decomposed(TorchDispatchMode):
    """Runs operators by the rules alone."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = DECOMPOSITIONS.get(func)
        if rule is None:
            return func(*args, **(kwargs or {}))
        self.used.add(str(func))
        with self:
            return rule(*args, **(kwargs or {}))


def both_passes(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = f(x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return y.detach(), torch.autograd.grad(y, x, weights)[0]


def values() -> Tensor:
    return torch.cat([torch.tensor(KNOTS).double(), torch.randn(32).double()]).view(6, 8)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rules_in_double_precision(name: str) -> None:
    f, x = FUNCTIONS[name], values()
    expected = both_passes(f, x)
    with Decomposed():
        got = both_passes(f, x)
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-12)  # torch divides by 6 in single precision


def test_every_rule_is_tested() -> None:
    mode = Decomposed()
    with mode:
        for f in [*FUNCTIONS.values(), *WITH_PARAMETERS.values()]:
            both_passes(f, values())
    assert mode.used == set(map(str, DECOMPOSITIONS))


class Applied(nn.Module):
    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.f(x + h), 0.5 * h


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_machine_runs_them(name: str) -> None:
    require_library()
    cell = Applied(FUNCTIONS[name])
    x = values().float().clamp(-30, 30).view(3, 2, 8).requires_grad_()
    h = torch.zeros(2, 8, requires_grad=True)
    assert explain(cell, x, h) == "native"
    found = []
    for engine in ("native", "reference"):
        with use(engine):
            y = scan(cell, x, h)[0]
        found.append([y, *torch.autograd.grad(y.sum(), [x, h])])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_the_first_call_imports_nothing_large() -> None:
    """SymPy and Dynamo take more than a second to import."""
    code = (
        "import sys, torch, torchrnn; before = set(sys.modules);"
        "net, x = torchrnn.Sequencer(torchrnn.LayerNormLSTM(4, 6)), torch.randn(3, 2, 4, requires_grad=True);"
        "net(x).sum().backward(); print([m for m in sys.modules if m not in before and 'torchrnn' not in m])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"

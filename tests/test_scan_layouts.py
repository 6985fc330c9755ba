"""What is prepared once for a number of steps and rows must not outlive what it was prepared for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from native_library import require_library
from torch import Tensor, nn

import torchrnn
from torchrnn.scan import scan, use
from torchrnn.scan.arena import SMALL

require_library()

D, H = 5, 16


class Normed(nn.Module):
    """A step whose matrix is computed from parameters, and used transposed and in part."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(2 * H, D + H)), nn.Parameter(torch.ones(2 * H, 1))

    def initial_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.gain * self.weight / self.weight.norm(dim=1, keepdim=True)
        gate, new = (torch.cat([x, h], 1) @ weight.t()).chunk(2, 1)
        h = torch.sigmoid(gate) * h + torch.tanh(new)
        return h, h


CELLS: dict[str, Callable[[], nn.Module]] = {
    "FastLSTM": lambda: torchrnn.FastLSTM(D, H),
    "GRU": lambda: torchrnn.GRU(D, H),
    "RecVanilla": lambda: torchrnn.RecVanilla(D, H),
    "LayerNormGRU": lambda: torchrnn.LayerNormGRU(D, H),
    "a matrix that is computed": Normed,
}


def results(cell: nn.Module, engine: str, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    with use(engine):
        y, _ = scan(cell, x, cell.initial_state(x[0]))
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return [y, *torch.autograd.grad((y * weights).sum(), [x, *cell.parameters()])]


def assert_same(cell: nn.Module, x: Tensor) -> None:
    for got, expected in zip(results(cell, "native", x), results(cell, "reference", x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def transposed(cell: nn.Module) -> None:
    for p in cell.parameters():
        if p.dim() == 2:
            p.data = p.data.t().contiguous().t()


def flat(cell: nn.Module) -> None:
    """All in one storage, at other offsets."""
    values = torch.cat([p.data.reshape(-1) for p in cell.parameters()])
    for p, part in zip(cell.parameters(), values.split([p.numel() for p in cell.parameters()]), strict=True):
        p.data = part.view(p.shape)


def apart(cell: nn.Module) -> None:
    for p in cell.parameters():
        p.data = p.data.contiguous().clone() + 0.1


def among_others(cell: nn.Module) -> None:
    for p in cell.parameters():
        if p.dim() == 2:
            p.data = torch.randn(len(p) + 2, p.shape[1] + 3)[1:-1, 1:-2]


@pytest.mark.parametrize("name", CELLS)
def test_parameters_may_move_and_lie_in_another_way(name: str) -> None:
    cell, x = CELLS[name](), torch.randn(4, 3, D)
    assert_same(cell, x)
    for change in (flat, apart, transposed, among_others, flat, transposed):
        change(cell)
        assert_same(cell, x)


@pytest.mark.parametrize("name", CELLS)
def test_inputs_may_lie_in_any_way(name: str) -> None:
    cell = CELLS[name]()
    for x in (
        torch.randn(4, 3, D),
        torch.randn(3, 4, D).transpose(0, 1),
        torch.randn(6, 3, D)[1:5],
        torch.randn(4, 3, D + 2)[..., 1:-1],
        torch.randn(4, 1, D).expand(4, 3, D),
        torch.randn(7, 2, D),
    ):
        assert_same(cell, x)


def test_threads_may_run_one_plan_at_once() -> None:
    cell, xs = torchrnn.FastLSTM(D, H), [torch.randn(30, 4, D) for _ in range(4)]
    expected = [results(cell, "native", x) for x in xs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, alone in zip(pool.map(lambda x: results(cell, "auto", x), xs), expected, strict=True):
                for a, b in zip(got, alone, strict=True):
                    torch.testing.assert_close(a, b)


def test_large_outputs_are_tensors_like_others() -> None:
    """Their memory is used again, but not as long as they are there."""
    cell = torchrnn.FastLSTM(D, H)
    xs = torch.randn(3, 64, SMALL // 64 // H, D)
    ys = [scan(cell, x, cell.initial_state(x[0]))[0] for x in xs]
    with use("reference"):
        again = [scan(cell, x, cell.initial_state(x[0]))[0] for x in xs]
    for y, expected in zip(ys, again, strict=True):
        torch.testing.assert_close(y, expected)
        y.mul_(2).relu_()
        torch.testing.assert_close(y, 2 * expected.relu())
    grads = torch.autograd.grad(ys[0].sum(), list(cell.parameters()))
    expected = torch.autograd.grad(2 * again[0].relu().sum(), list(cell.parameters()))
    for got, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


class Switched(nn.Module):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = x + (0.5 if hasattr(self, "halves") else 0.25) * h
        return h, h


def test_one_attribute_for_another_is_a_change() -> None:
    cell, x = Switched(), torch.randn(4, 3, D)
    cell.halves = True
    first = scan(cell, x, torch.zeros(3, D))[0]
    del cell.halves
    cell.whole = True
    second = scan(cell, x, torch.zeros(3, D))[0]
    with use("reference"):
        torch.testing.assert_close(second, scan(cell, x, torch.zeros(3, D))[0])
    assert not torch.equal(first, second)


class Doubled(nn.Module):
    """Products that are added up again and again, and one row in two shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.inner = nn.Linear(H, H), nn.Linear(D, H)

    def initial_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), H)

    def step(self, x: Tensor, h: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        h = torch.tanh(self.inner(x) + 0.5 * h)
        y = self.out(h) + self.out(h * h)
        for _ in range(40):
            y = 0.5 * (y + y)
        z = self.out(h)
        for _ in range(40):
            z = z + z
        return (h, h.view(-1, 4, H // 4), y, z * 2.0**-40), h


def test_sums_of_sums_and_one_row_in_two_shapes() -> None:
    cell, x = Doubled(), torch.randn(4, 3, D)
    found = []
    for engine in ("native", "reference"):
        with use(engine):
            ys, _ = scan(cell, x, cell.initial_state(x[0]))
        found.append([*ys, *torch.autograd.grad(sum(y.sum() for y in ys), list(cell.parameters()))])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)

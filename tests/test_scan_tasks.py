"""What is done for all steps around the loop: by the machine in the same call, or by PyTorch, with the same results."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
import torch
from cell_table import D, MinimalGatedUnit
from test_scan_layouts import CELLS, results
from torch import Tensor, nn

import torchrnn
from torchrnn.scan import call, native, passes, scan, use
from torchrnn.scan.goals import Tiled
from torchrnn.scan.recipe import Recipe

H = 16


class Crooked(nn.Module):
    """A step whose weights and biases lie in every way, and of which much is computed after the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(5, H)), nn.Parameter(torch.randn(H, 5))
        self.biases, self.inner = nn.Parameter(torch.randn(H, 3)), nn.Linear(H, H)

    def initial_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        moved = x @ self.left + x @ self.right.t() + self.biases[:, 0] + self.biases[:, 1] + self.inner.bias
        h = torch.tanh(moved + h @ (self.inner.weight + self.inner.weight.t()))
        y = self.inner(torch.relu(h)) + self.biases[:, 2]
        return torch.cat([y, torch.softmax(h[:, 3:7], 1) * x[:, :1], h], 1), h


STEPS: dict[str, Callable[[], nn.Module]] = {**CELLS, "weights that lie in every way": Crooked}


@pytest.mark.parametrize("name", STEPS)
def test_the_machine_does_what_pytorch_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.multiplies_by_itself():
        pytest.skip("PyTorch hides its function for products of matrices")
    torch.manual_seed(0)
    cell, x = STEPS[name](), torch.randn(4, 3, 5)
    by_machine = results(cell, "native", x)
    call._plans.clear()
    monkeypatch.setattr(passes, "multiplies_by_itself", lambda: False)
    by_pytorch, expected = results(cell, "native", x), results(cell, "reference", x)
    call._plans.clear()
    for ours, theirs, reference in zip(by_machine, by_pytorch, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def recipes_of(cell: nn.Module, x: Tensor) -> list[Recipe]:
    """The ways that a forward and backward of a cell were run."""
    results(cell, "native", x)
    plan = call.prepare(cell, x.requires_grad_(), cell.initial_state(x[0])).plan
    layouts = [layout for each in (plan.forward_pass, plan.backward_pass) for layout in each._laid_out.values()]
    return [recipe for layout in layouts for recipe in layout.recipes.values()]


@pytest.mark.parametrize(
    "make",
    [torchrnn.FastLSTM, torchrnn.LSTM, torchrnn.GRU, torchrnn.RecVanilla, MinimalGatedUnit],
    ids=lambda make: make.__name__,
)
def test_usual_cells_are_the_machines_alone(make: Callable[..., nn.Module]) -> None:
    if not native.multiplies_by_itself():
        pytest.skip("PyTorch hides its function for products of matrices")
    recipes = recipes_of(make(D, H), torch.randn(4, 3, D))
    assert len(recipes) == 2
    assert not any(recipe.products or recipe.missing for recipe in recipes)


def test_what_is_more_than_products_is_left_to_pytorch() -> None:
    assert any(recipe.missing for recipe in recipes_of(Crooked(), torch.randn(4, 3, 5)))


def test_a_function_that_does_not_multiply_is_refused() -> None:
    nothing = ctypes.CFUNCTYPE(None)(lambda: None)
    is_there = native.multiplies_by_itself()
    try:
        assert not native.library().engine_use_sgemm(nothing)
    finally:
        native.multiplies_by_itself.cache_clear()
        assert native.multiplies_by_itself() == is_there


class Summed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(H, H)), nn.Parameter(torch.randn(H, H))

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x + h @ (self.a + self.b))
        return h, h


def test_equal_gradients_are_tensors_of_their_own() -> None:
    cell, x = Summed(), torch.randn(4, 3, H)
    for T in (4, 3, 4):  # what shares memory is looked for in the first backward alone
        cell.zero_grad()
        scan(cell, x[:T], torch.zeros(3, H))[0].sum().backward()
        torch.testing.assert_close(cell.a.grad, cell.b.grad)
        assert cell.a.grad.data_ptr() != cell.b.grad.data_ptr()


def test_sums_over_many_rows_are_as_exact_as_those_of_pytorch() -> None:
    cell = torchrnn.FastLSTM(D, H)
    x = torch.randn(3, 20_000, D)
    got, exact = results(cell, "native", x), results(cell.double(), "reference", x.double())
    for ours, true in zip(got, exact, strict=True):
        assert (ours - true).norm() <= 2e-6 * true.norm()


class Quilted(nn.Module):
    """A step that uses a weight in parts: of its columns, of its rows, and one of them for two parts of a row."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts, self.weight = parts, nn.Parameter(torch.randn(2 * H, 3 * H))
        self.last = nn.Parameter(torch.randn(H, 2 * H))

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        above, below = self.weight[:H], self.weight[H:]
        y = x @ above + torch.cat([h @ below[:, : 2 * H], (h * x) @ below[:, 2 * H :]], 1)
        gate, new, other = y.chunk(3, 1)
        if self.parts == 3:
            other = other + x @ above[:, 3 : 3 + H]
        if self.parts == 4:
            other = other + x @ self.last[:, -H:] + h @ self.last[:, :-H]
        h = torch.tanh(torch.sigmoid(gate) * h + new + other)
        return h, h


@pytest.mark.parametrize(("parts", "n_tiled"), [(2, 1), (3, 0), (4, 2)])
def test_a_gradient_in_parts_is_written_in_place(parts: int, n_tiled: int) -> None:
    cell, x = Quilted(parts), torch.randn(4, 3, H)
    found = []
    for engine in ("native", "reference"):
        with use(engine):
            y = scan(cell, x.requires_grad_(), torch.zeros(3, H))[0]
        found.append(torch.autograd.grad(y.sum(), [x, cell.weight, *([cell.last] if parts == 4 else [])]))
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    goals = call.prepare(cell, x, torch.zeros(3, H)).plan.parameter_gradients.wanted([True, True]).goals
    assert [type(goal) for goal in goals].count(Tiled) == n_tiled

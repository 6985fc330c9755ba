"""Where a plan must not be used, or must be made anew: steps that one trace does not stand for."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fuzz_scan import error
from native_library import require_library
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import torchrnn
from torchrnn.scan import explain, scan, use

require_library()

H = 16
"""A multiple of every vector, so that nothing is padded and tensors lie as the machine leaves them."""
Change = Callable[["Own", Tensor, Tensor], Tensor]


class Own(nn.Module):
    """A step whose output goes through a function."""

    def __init__(self, change: Change, **attributes: Any) -> None:
        super().__init__()
        self.i2h, self.h2h = nn.Linear(H, H), nn.Linear(H, H)
        self.change = change
        for name, value in attributes.items():
            setattr(self, name, value)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.tanh(self.i2h(x) + self.h2h(h))
        y = self.change(self, x, y)
        return y, y


def run(cell: nn.Module, engine: str, x: Tensor | None = None) -> list[Tensor | None]:
    """Outputs and all gradients."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    x = torch.randn(4, 6, H) if x is None else x
    x, h = x.detach().requires_grad_(), torch.randn(6, H)
    with use(engine):
        y, final = scan(cell, x, h)
    wanted = [x, *cell.parameters()]
    grads = torch.autograd.grad((y * torch.randn(y.shape)).sum() + final.sum(), wanted, allow_unused=True)
    return [y.detach(), final.detach(), *grads]


def assert_same(cell: nn.Module, engine: str = "auto", x: Tensor | None = None) -> None:
    assert error(run(cell, engine, x), run(cell, "reference", x)) < 1e-4


VALUES: dict[str, Change] = {
    "and of numbers": lambda cell, x, y: y * torch.logical_and(F.relu(x), F.relu(y)),
    "or of numbers": lambda cell, x, y: y * torch.logical_or(F.relu(x), F.relu(y)),
    "numbers to masks": lambda cell, x, y: y * F.relu(x).bool().float(),
    "a sum of masks": lambda cell, x, y: y * ((x > 0) + (y > 0)).float(),
    "a sum of a mask and a number": lambda cell, x, y: y * ((x > 0) + True).float(),
    "a mask of parameters": lambda cell, x, y: torch.where(cell.h2h.bias > 0, y, 0.5 * x),
    "indices": lambda cell, x, y: y * (torch.arange(H) % 3) * (torch.arange(H) != 2),
    "a buffer of integers": lambda cell, x, y: y * cell.i2h.ids + cell.i2h.ids,
}


@pytest.mark.parametrize("name", VALUES)
def test_masks_and_integers_are_numbers(name: str) -> None:
    cell = Own(VALUES[name])
    cell.i2h.register_buffer("ids", torch.arange(H) % 4)
    assert_same(cell, "native")


REFUSED: dict[str, tuple[Change, str]] = {
    "the number of rows": (lambda cell, x, y: y / len(x), "number of rows"),
    "values as a list": (lambda cell, x, y: y * (1 + x.tolist()[0][0]), "values of a tensor"),
    "values in NumPy": (lambda cell, x, y: y * float(np.sum(x.detach().numpy())), "values of a tensor"),
    "random numbers of Python": (lambda cell, x, y: -y if random.random() < 0.5 else y, "of Python or NumPy"),
    "random numbers of NumPy": (lambda cell, x, y: y * float(np.random.rand()), "of Python or NumPy"),  # noqa: NPY002
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_the_same_at_every_step(name: str) -> None:
    change, reason = REFUSED[name]
    cell = Own(change)
    assert reason in explain(cell, torch.randn(4, 6, H), torch.zeros(6, H))
    assert_same(cell)


def test_the_number_of_rows_in_a_backward() -> None:
    class Mean(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad / len(grad)

    assert_same(Own(lambda cell, x, y: Mean.apply(y)))


def test_functions_that_hold_the_cell() -> None:
    """The copy that is traced has the same function, and that has the cell itself."""
    cell = Own(lambda own, x, y: y + cell.i2h(x))
    assert "holds the cell" in explain(cell, torch.randn(4, 6, H), torch.zeros(6, H))
    assert_same(cell)


class Slots:
    __slots__ = ("scale",)

    def __init__(self, scale: float) -> None:
        self.scale = scale


class Scaling:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, y: Tensor) -> Tensor:
        return y * self.scale


def _set(value: Any) -> Callable[[Any], None]:
    return lambda cell: setattr(cell, "own", value)


CHANGED: dict[str, tuple[Any, Change, Callable[[Any], None]]] = {
    "a number of NumPy": (np.float64(0.5), lambda cell, x, y: y * cell.own, _set(np.float64(0.1))),
    "an array": (np.ones(2), lambda cell, x, y: y * float(cell.own[0]), lambda cell: cell.own.fill(3)),
    "a dtype": (torch.half, lambda cell, x, y: -y if cell.own == torch.half else y, _set(torch.float)),
    "a class": (int, lambda cell, x, y: y * float(cell.own(1.5)), _set(float)),
    "a range": (range(2), lambda cell, x, y: y * len(cell.own), _set(range(1))),
    "a set": ({"twice"}, lambda cell, x, y: y * (1 + ("twice" in cell.own)), lambda cell: cell.own.clear()),
    "an object with slots": (Slots(0.5), lambda cell, x, y: y * cell.own.scale, lambda c: setattr(c.own, "scale", 2)),
    "a callable object": (Scaling(0.5), lambda cell, x, y: cell.own(y), lambda cell: setattr(cell.own, "scale", 2)),
    "a partial": (
        functools.partial(F.leaky_relu, negative_slope=0.1),
        lambda cell, x, y: cell.own(y),
        _set(functools.partial(F.leaky_relu, negative_slope=0.9)),
    ),
    "a place of a module": (nn.Linear(H, H), lambda cell, x, y: cell.own(y), lambda cell: _set(cell.i2h)(cell)),
    "which of two modules": (None, lambda cell, x, y: cell.h2h(y), lambda cell: setattr(cell, "h2h", cell.i2h)),
    "the way a parameter lies": (
        nn.Linear(H, H),
        lambda cell, x, y: y + cell.own.weight.reshape(-1)[:H],
        lambda cell: setattr(cell.own, "weight", nn.Parameter(torch.randn(H, H).t())),
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_changes_that_make_another_step(name: str) -> None:
    value, step, change = CHANGED[name]
    cell = Own(step, own=value)
    assert_same(cell)
    change(cell)
    assert_same(cell)


def test_one_module_in_two_places() -> None:
    cell = Own(lambda cell, x, y: cell.again(y), other=nn.Linear(H, H))
    cell.again = cell.i2h
    assert_same(cell, "native")
    cell.again = cell.other
    assert_same(cell, "native")


def test_a_buffer_of_another_dtype() -> None:
    cell = Own(lambda cell, x, y: y * cell.i2h.own)
    cell.i2h.register_buffer("own", torch.ones(H))
    assert_same(cell, "native")
    cell.i2h.own = torch.arange(H) % 3
    assert_same(cell, "native")


def test_parameters_that_lie_in_the_same_memory_for_a_while() -> None:
    cell = Own(lambda cell, x, y: y)
    cell.h2h.bias.data = cell.i2h.bias.data
    assert_same(cell, "native")
    cell.h2h.bias.data = torch.randn(H)
    assert_same(cell, "native")


def test_random_numbers_like_a_transposed_input() -> None:
    cell, x = Own(lambda cell, x, y: y + F.dropout(x, 0.5)), torch.randn(4, H, 6)
    assert explain(cell, torch.randn(4, 6, H), torch.zeros(6, H)) == "native"
    assert_same(cell, x=x.transpose(1, 2))


class Added(nn.Module):
    def step(self, x: tuple[Tensor, Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        h = x[0] + x[1] + 0.5 * h
        return h, h


def test_gradients_share_no_memory() -> None:
    """Neither with one another nor with the gradient that was given: they are added to in place."""
    x, h = (torch.randn(4, 6, H, requires_grad=True), torch.randn(4, 6, H, requires_grad=True)), torch.zeros(6, H)
    for times in (1, 2):
        y, _ = scan(Added(), x, h)
        y.sum().backward()
        assert error([x[0].grad], [x[1].grad]) == 0
        if times == 1:
            once = x[0].grad.clone()
    torch.testing.assert_close(x[0].grad, 2 * once)

    class Copied(nn.Module):
        def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return x.clone(), h

    only, given = torch.randn(4, 6, H, requires_grad=True), torch.ones(4, 6, H)
    for _ in range(2):
        scan(Copied(), only, h)[0].backward(given)
    assert torch.equal(given, torch.ones(4, 6, H))

    cell = torchrnn.MuFuRu(H, H)
    torchrnn.Sequencer(cell)(only).sum().backward()
    places = [p.grad.data_ptr() for p in cell.parameters()]
    assert len(set(places)) == len(places)


def test_another_default_dtype() -> None:
    cell = Own(lambda cell, x, y: F.dropout(y, 0.5) / 3)
    x = torch.randn(4, 6, H)
    lstm, h = torchrnn.LSTM(H, H), torch.randn(3, 2, H)
    with use("reference"):
        steps = [torchrnn.scan.Stepper(lstm)(step) for step in h]
    torch.set_default_dtype(torch.float64)
    try:
        state = torch.randn(6, H, dtype=torch.float32)
        with use("native"):
            torch.manual_seed(0)
            torch.randn(6, H, dtype=torch.float32)
            y, _ = scan(cell, x.requires_grad_(), state)
            got = [torchrnn.scan.Stepper(lstm)(step) for step in h]
        torch.manual_seed(0)
        torch.randn(6, H, dtype=torch.float32)
        with use("reference"):
            again, _ = scan(cell, x, state)
        wanted = [x, *cell.parameters()]
        grads = [torch.autograd.grad(each.square().sum(), wanted) for each in (y, again)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert error([y, *grads[0]], [again, *grads[1]]) < 1e-4
    assert error(got, steps) < 1e-5


def test_hooks_on_all_modules_are_called() -> None:
    seen: list[str] = []
    net, x = torchrnn.Sequencer(torchrnn.GRU(4, 6)), torch.randn(5, 3, 4)
    hook = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    try:
        net(x)
    finally:
        hook.remove()
    assert seen.count("Linear") >= 5


def test_gradients_of_gradients_of_a_cell_that_was_changed() -> None:
    cell, x = Own(lambda cell, x, y: y * (1 if cell.training else 0.5)), torch.randn(4, 6, H, requires_grad=True)
    y, _ = scan(cell.eval(), x, torch.zeros(6, H))
    cell.train()
    with pytest.raises(RuntimeError, match="no longer what it was in the forward"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_a_first_call_in_inference_mode_is_native() -> None:
    cell, x = torchrnn.GRU(4, 6), torch.randn(5, 3, 4)
    with torch.inference_mode():
        assert explain(cell, x) == "native"
        assert explain(torchrnn.GRU(4, 6), x) == "native"  # whose parameters are of inference mode, too
        with use("native"):
            y = torchrnn.Sequencer(cell)(x)
    cell.forget()
    with use("reference"):
        assert error([y], tree_leaves(torchrnn.Sequencer(cell)(x))) < 1e-5


class Bounded(torch.autograd.Function):
    """The parameter itself, with another gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.change(grad), None


NOT_LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "bounded": lambda grad: grad.clamp(-0.05, 0.05),
    "hardly bounded": lambda grad: grad.clamp(-1e4, 1e4),
    "shrunk": lambda grad: torch.where(grad.abs() > 1e-3, grad, 0),
    "normalised": lambda grad: grad / grad.norm(),
    "ones": torch.ones_like,
    "shifted": lambda grad: grad + 0.1,
    "another": lambda grad: torch.ones(H, H),
}
LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "half of it": lambda grad: 0.5 * grad,
    "reversed": lambda grad: -grad.flip(0),
    "none": torch.zeros_like,
    "no numbers": lambda grad: torch.zeros(H, H),
    "a product": lambda grad: grad @ torch.ones(H, H).triu(),
}


@pytest.mark.parametrize("name", [*NOT_LINEAR, *LINEAR])
def test_what_a_backward_does_to_sums_is_linear(name: str) -> None:
    """Gradients of parameters are summed over the steps before autograd does the rest."""
    change = (NOT_LINEAR | LINEAR)[name]
    cell = Own(lambda cell, x, y: y @ Bounded.apply(cell.weight, change), weight=nn.Parameter(0.1 * torch.randn(H, H)))
    answer = explain(cell, torch.randn(4, 6, H), torch.zeros(6, H))
    if name in LINEAR:
        assert answer == "native"
    else:
        assert answer == "reference: the gradient of a parameter is not linear in those of the steps"
    assert_same(cell)
    assert error(run(cell, "auto"), run(cell, "auto")) == 0


def test_gradients_are_the_users_own() -> None:
    """Even those that are the same numbers in every call."""
    cell = Own(
        lambda cell, x, y: y @ Bounded.apply(cell.weight, LINEAR["no numbers"]), weight=nn.Parameter(torch.ones(H, H))
    )
    for _ in range(2):
        y, _ = scan(cell, torch.randn(4, 6, H), torch.zeros(6, H))
        (grad,) = torch.autograd.grad(y.sum(), [cell.weight])
        assert not grad.any()
        grad.add_(1)


def test_what_lies_nowhere_is_the_references() -> None:
    x, h = torch.randn(4, 6, H), torch.zeros(6, H)
    empty = Own(lambda cell, x, y: y + cell.nothing.sum(), nothing=nn.Parameter(torch.zeros(0, H)))
    assert explain(empty, x, h) == "reference: a parameter has no elements"
    scan(empty, x, h)[0].sum().backward()
    assert empty.nothing.grad is not None

    class Narrow(nn.Module):
        def step(self, x: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            h, nothing = states
            return x + h, (torch.tanh(x + h), nothing)

    states = h, torch.zeros(6, 0)
    assert explain(Narrow(), x, states) == "reference: an output or state has no elements"
    assert scan(Narrow(), x, states)[1][1].shape == (6, 0)


def test_signs_that_pytorch_keeps_elsewhere() -> None:
    numbers = torch.randn(H, dtype=torch.complex64)
    cell = Own(lambda cell, x, y: y + cell.shift, shift=nn.Parameter(numbers.conj().imag))
    assert cell.shift.is_neg()
    assert_same(cell)
    assert_same(Own(lambda cell, x, y: y), x=torch.randn(4, 6, H, dtype=torch.complex64).conj().imag)

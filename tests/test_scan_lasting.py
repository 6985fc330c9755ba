"""Random numbers that stay for a whole sequence: the same, and as long, as those of the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cell_table import D
from native_library import require_library
from torch import Tensor, nn

import torchrnn
from torchrnn.scan import explain, scan, use

require_library()

H = 6


def mixed() -> nn.Module:
    """Numbers for the sequence, for each step, and for the sequence again."""
    return torchrnn.Recursor(
        torchrnn.Sequential(
            torchrnn.Dropout(0.3, lazy=True),
            torchrnn.GRU(D, H, dropout=0.4),
            nn.Dropout(0.5),
            torchrnn.Dropout(0.2, lazy=True, v1=True),
            torchrnn.FastLSTM(H, H, dropout=0.3, mono=True),
        )
    )


CELLS: dict[str, Callable[[], nn.Module]] = {
    "FastLSTM": lambda: torchrnn.FastLSTM(D, H, dropout=0.5),
    "LSTM": lambda: torchrnn.LSTM(D, H, dropout=0.5),
    "LSTM, one mask for all rows": lambda: torchrnn.LSTM(D, H, dropout=0.5, mono=True),
    "GRU": lambda: torchrnn.GRU(D, H, dropout=0.25),
    "GRU, one mask for all rows": lambda: torchrnn.GRU(D, H, dropout=0.25, mono=True),
    "beside other random numbers": mixed,
}


def lessons(make: Callable[[], nn.Module], engine: str, memory: str = "keep") -> list[Tensor]:
    """Chunks of sequences with and without a backward in between, other numbers of rows, evaluation, `forget`."""
    torch.manual_seed(3)
    net = torchrnn.Sequencer(make()).remember("both")
    found: list[Tensor] = []

    def run(T: int, N: int, goes_back: bool = True) -> None:
        x = torch.randn(T, N, D, requires_grad=True)
        y = net(x)
        found.append(y.detach())
        if goes_back:
            found.extend(torch.autograd.grad((y * torch.randn(y.shape)).sum(), [x, *net.parameters()]))

    with use(engine), use(memory=memory):
        run(5, 3)
        run(4, 3, goes_back=False)  # the masks that this one draws are those of the next
        run(6, 3)
        with torch.no_grad():
            run(4, 3, goes_back=False)
        run(4, 3)
        net.forget()
        run(3, 7)
        net.eval()
        run(3, 7, goes_back=False)
        net.train()
        run(3, 7)
    return [*found, torch.rand(3)]  # and nothing more was drawn


@pytest.mark.parametrize("name", CELLS)
def test_masks_are_those_of_the_reference(name: str) -> None:
    for got, expected in zip(lessons(CELLS[name], "native"), lessons(CELLS[name], "reference"), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_what_is_computed_again_has_the_same_masks() -> None:
    for got, expected in zip(lessons(mixed, "native"), lessons(mixed, "native", "recompute"), strict=True):
        assert torch.equal(got, expected)


def test_engines_may_take_turns_within_a_sequence() -> None:
    """They keep the masks in the same place."""

    def run(engines: tuple[str, str]) -> Tensor:
        torch.manual_seed(5)
        net = torchrnn.Sequencer(torchrnn.FastLSTM(D, H, dropout=0.5)).remember("both")
        x = torch.randn(6, 3, D)
        for engine, part in zip(engines, x.split(3), strict=True):
            with use(engine):
                y = net(part)
        return y

    expected = run(("reference", "reference"))
    for engines in (("native", "reference"), ("reference", "native"), ("native", "native")):
        torch.testing.assert_close(run(engines), expected)


def test_a_frozen_cell_is_the_references() -> None:
    """Its output has a gradient all the same, so that masks may be drawn anew."""
    cell, x = torchrnn.FastLSTM(D, H, dropout=0.5).requires_grad_(False), torch.randn(4, 3, D)
    assert "nothing has one" in explain(cell, x)
    with pytest.raises(RuntimeError, match="nothing has one"), use("native"):
        scan(cell, x, cell.initial_state(x[0]))
    y, _ = scan(cell, x, cell.initial_state(x[0]))
    assert y.requires_grad
    with torch.no_grad(), use("native"):
        scan(cell, x, cell.initial_state(x[0]))


def test_masks_are_in_single_precision_whatever_the_default_is() -> None:
    net, x = torchrnn.Sequencer(torchrnn.FastLSTM(D, H, dropout=0.5)).remember("both"), torch.randn(4, 3, D)
    torch.set_default_dtype(torch.float64)
    try:
        with use("native"):
            net(x)
    finally:
        torch.set_default_dtype(torch.float32)
    layers = [layer for layer in net.modules() if isinstance(layer, torchrnn.Dropout)]
    masks = [layer._mask._mask for layer in layers]
    with use("reference"):
        net(x)
    assert all(mask is layer._mask._mask for mask, layer in zip(masks, layers, strict=True))


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_masks_of_inference_mode_serve_training(engine: str) -> None:
    cell, x = torchrnn.FastLSTM(D, H, dropout=0.5), torch.randn(4, 3, D, requires_grad=True)
    state = cell.initial_state(x[0])
    with use(engine):
        with torch.inference_mode():
            before = scan(cell, x, state)[0].clone()
        y = scan(cell, x, state)[0]
    torch.testing.assert_close(before.clone(), y)
    y.sum().backward()


@pytest.mark.slow
def test_compile_makes_one_graph_of_layers_with_masks() -> None:
    for net in (
        torchrnn.Dropout(0.4, lazy=True),
        torchrnn.Sequencer(torchrnn.GRU(D, H, dropout=0.3)),
        torchrnn.Sequencer(torchrnn.WeightDropout(torchrnn.FastLSTM(D, H), ["o2g.weight"])),
    ):
        with torch.no_grad():
            torch.compile(net, backend="eager", fullgraph=True)(torch.randn(4, 3, D))


def test_gradients_of_gradients_are_refused() -> None:
    cell, x = torchrnn.FastLSTM(D, H, dropout=0.5), torch.randn(4, 3, D, requires_grad=True)
    y, _ = scan(cell, x, cell.initial_state(x[0]))
    with pytest.raises(RuntimeError, match="cannot draw them"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


class ByValues(torchrnn.Dropout):
    def noise(self, input: Tensor) -> Tensor:
        return (input.abs() > 0.5).to(input.dtype)


class OneForARow(torchrnn.Dropout):
    def noise(self, input: Tensor) -> Tensor:
        return super().noise(input[:, :1])


class Learned(torchrnn.Dropout):
    def __init__(self) -> None:
        super().__init__(0.5, lazy=True)
        self.size = nn.Parameter(torch.ones(()))

    def noise(self, input: Tensor) -> Tensor:
        return self.size * super().noise(input)


class Alone(torchrnn.Dropout):
    def forward(self, input: Tensor) -> Tensor:
        return self._mask.times(input, self.noise, (input.shape,))


class Twice(nn.Module):
    """One module for inputs of two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = torchrnn.Dropout(0.5, lazy=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x) + self.drop(x[:, :1])


@pytest.mark.parametrize(
    ("layer", "answer"),
    [
        (OneForARow(0.5, lazy=True), "native"),
        (ByValues(0.5, lazy=True), "reference: random numbers that stay for a sequence depend on values"),
        (Learned(), "reference: random numbers that stay for a sequence have a gradient"),
        (Alone(0.5, lazy=True), "reference: a mask for a whole sequence is drawn in the step, and not by Dropout"),
        (Twice(), "reference: one module draws random numbers for inputs of several shapes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_masks_of_ones_own(layer: nn.Module, answer: str) -> None:
    net, x = torchrnn.Sequencer(torchrnn.Sequential(layer, torchrnn.GRU(D, H))), torch.randn(5, 3, D)
    assert explain(net, x) == answer
    results = []
    for engine in ("auto", "reference"):
        net.forget()
        torch.manual_seed(2)
        with use(engine):
            results.append(net(x))
    torch.testing.assert_close(*results)

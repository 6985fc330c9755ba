"""Steps of a cell that come one by one: natively the same as by the reference, whatever happens between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cell_table import CELLS, D, MinimalGatedUnit
from native_library import require_library
from scan_cells import OWN_CELLS
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import torchrnn
from torchrnn.scan import Stepper, use


def is_native(stepper: Stepper) -> bool:
    return stepper._stepping is not None


require_library()


def by_steps(cell: Any, xs: Tensor, engine: str, state: Any = None) -> tuple[list[Tensor], Stepper]:
    torch.manual_seed(1)
    with use(engine):
        stepper = Stepper(cell, state)
        outputs = [tree_leaves(stepper(x)) for x in xs]
    made = [torch.stack(leaves) for leaves in zip(*outputs, strict=True)]
    return [*made, *(leaf for leaf in tree_leaves(stepper.state) if leaf is not None)], stepper


def assert_parity(cell: Any, xs: Tensor, state: Any = None) -> Stepper:
    expected, _ = by_steps(cell, xs, "reference", state)
    made, stepper = by_steps(cell, xs, "auto", state)
    for a, b in zip(made, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert not a.requires_grad
    return stepper


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("N", [1, 3])
def test_cells_of_the_package(name: str, N: int) -> None:
    assert_parity(CELLS[name](), torch.randn(4, N, D))


@pytest.mark.parametrize("make", OWN_CELLS)
@pytest.mark.parametrize("N", [1, 40])
def test_cells_of_ones_own(make: Any, N: int) -> None:
    assert is_native(assert_parity(make(8, 24), torch.randn(5, N, 8)))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_the_rows(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert is_native(assert_parity(torchrnn.RecLSTM(16, 64), torch.randn(5, 50, 16)))
    finally:
        torch.set_num_threads(before)


def test_batch_normalisation_in_evaluation_is_native() -> None:
    cell = torchrnn.FastLSTM(4, 6, batch_norm=True)
    cell.sequence(torch.randn(20, 9, 4))  # running averages
    assert not is_native(assert_parity(cell, torch.randn(4, 3, 4)))
    assert is_native(assert_parity(cell.eval(), torch.randn(4, 3, 4)))


def test_memory_does_not_grow_and_long_streams_stay_right() -> None:
    cell, xs = torchrnn.GRU(4, 6), torch.randn(3001, 1, 4)
    stepper = assert_parity(cell, xs)
    assert stepper._stepping is not None
    assert max(len(memory) for memory in stepper._stepping._memory.values()) < 200


def test_the_state_may_be_read_and_set() -> None:
    cell, xs = torchrnn.RecLSTM(4, 6), torch.randn(6, 2, 4)
    with use("native"):
        stepper = Stepper(cell)
        assert stepper.state is None
        outputs = [stepper(x) for x in xs[:3]]
        state = stepper.state
        assert isinstance(state, type(cell.initial_state(xs[0])))
        later = [stepper(x) for x in xs[3:]]
        state.h.add_(0)  # a copy
        stepper.state = state
        for x, y in zip(xs[3:], later, strict=True):
            assert torch.equal(stepper(x), y)
        outputs += later
        again = Stepper(cell, cell.initial_state(xs[0]))
        for x, y in zip(xs, outputs, strict=True):
            assert torch.equal(again(x), y)
    before = outputs[-1].clone()
    outputs[-1].zero_()  # outputs are the caller's
    assert torch.equal(again.state.h, before)


CHANGES: dict[str, Any] = {
    "in place": lambda cell: nn.init.constant_(cell.weight, 0.1),
    "one of a row": lambda cell: cell.bias.detach()[0].fill_(3.0),
    "another parameter": lambda cell: setattr(cell, "weight", nn.Parameter(torch.ones_like(cell.weight))),
    "other data": lambda cell: setattr(cell.weight, "data", torch.ones_like(cell.weight)),
    "by an optimizer": lambda cell: torch.optim.SGD(cell.parameters(), 1.0, weight_decay=0.9).step(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_parameters_are_noticed(change: str) -> None:
    cell, x = torchrnn.RecLSTM(4, 6), torch.randn(2, 4)
    for parameter in cell.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with use("native"):
        stepper = Stepper(cell)
        before = stepper(x)
        state = stepper.state
        CHANGES[change](cell)
        got = stepper(x)
    expected = cell.step(x, state)[0]
    torch.testing.assert_close(got, expected)
    assert not torch.allclose(got, before)


def test_uncounted_changes_are_seen_after_refresh() -> None:
    cell, x = torchrnn.RecLSTM(4, 6), torch.randn(2, 4)
    stepper = Stepper(cell)
    stepper(x)
    state = stepper.state
    cell.weight.data.mul_(3)
    stepper.refresh()
    torch.testing.assert_close(stepper(x), cell.step(x, state)[0])


def test_another_batch_size_mode_or_engine_between_steps() -> None:
    cell = torchrnn.Zoneout(torchrnn.GRU(4, 6), 0.5)
    stepper = Stepper(cell.eval())
    x = torch.randn(3, 4)
    stepper(x)
    assert is_native(stepper)
    state = stepper.state
    with use("reference"):
        torch.testing.assert_close(stepper(x), cell.step(x, state)[0])
        assert not is_native(stepper)
    state = stepper.state
    torch.testing.assert_close(stepper(x), cell.step(x, state)[0])
    assert is_native(stepper)
    state = stepper.state
    cell.train()
    torch.manual_seed(3)
    got = stepper(x)
    torch.manual_seed(3)
    torch.testing.assert_close(got, cell.step(x, state)[0])
    assert not is_native(stepper)  # its random numbers
    cell.eval()
    stepper.state = cell.initial_state(x[:1])
    torch.testing.assert_close(stepper(x[:1]), cell.step(x[:1], cell.initial_state(x[:1]))[0])
    assert is_native(stepper)


def test_rows_that_do_not_fit_raise_as_the_step_does_and_lose_nothing() -> None:
    cell, x = torchrnn.GRU(4, 6), torch.randn(3, 4)
    stepper = Stepper(cell)
    stepper(x)
    state = stepper.state
    for wrong in (torch.randn(2, 4), torch.randn(3, 5), x.double()):
        with pytest.raises(RuntimeError):
            stepper(wrong)
        assert torch.equal(stepper.state, state)
    torch.testing.assert_close(stepper(x), cell.step(x, state)[0])


def test_double_precision_single_samples_and_no_rows_run_by_the_reference() -> None:
    for cell, x in (
        (torchrnn.GRU(4, 6).double(), torch.randn(3, 4).double()),
        (torchrnn.GRU(4, 6), torch.randn(4)),
        (torchrnn.GRU(4, 6), torch.randn(0, 4)),
    ):
        stepper = Stepper(cell)
        state = cell.initial_state(x)
        torch.testing.assert_close(stepper(x), cell.step(x, state)[0])
        assert not is_native(stepper)
        with use("native"), pytest.raises(RuntimeError, match="the native engine cannot run GRU"):
            Stepper(cell)(x)


def test_a_state_that_begins_empty() -> None:
    cell = torchrnn.Recursor(torchrnn.Sequential(torchrnn.GRU(4, 6), nn.Linear(6, 4)))
    assert is_native(assert_parity(cell, torch.randn(4, 3, 4)))


def test_several_inputs() -> None:
    class Gated(nn.Module):
        def step(self, input: tuple[Tensor, Tensor], h: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            x, mask = input
            h = torch.where(mask, torch.tanh(x + h), h)
            return {"h": h, "x": x * 2}, h

    with use("native"):
        stepper = Stepper(Gated(), torch.zeros(2, 3))
        x, mask = torch.randn(2, 3), torch.tensor([[True], [False]])
        output = stepper((x, mask))
    torch.testing.assert_close(output["h"], torch.where(mask, torch.tanh(x), 0.0))
    torch.testing.assert_close(output["x"], x * 2)


def test_nonsense_is_refused() -> None:
    with pytest.raises(TypeError, match=r"cell must have a method step\(input, state\); got a Linear"):
        Stepper(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="a NoStart has no initial_state"):

        class NoStart:
            def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
                return x, h

        Stepper(NoStart())(torch.randn(1, 2))


def test_a_user_cell() -> None:
    assert is_native(assert_parity(MinimalGatedUnit(D, 7), torch.randn(4, 1, D)))


def test_outputs_that_are_numbers() -> None:
    class Nothing(nn.Module):
        def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(x[:, :1]), h + x

    stepper = Stepper(Nothing(), torch.zeros(2, 3))
    assert torch.equal(stepper(torch.ones(2, 3)), torch.zeros(2, 1))
    assert torch.equal(stepper.state, torch.ones(2, 3))

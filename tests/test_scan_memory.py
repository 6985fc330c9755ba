"""What the native engine keeps for backward, and what it computes again instead."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cell_table import CELLS, D, MinimalGatedUnit
from native_library import require_library
from scan_cells import OWN_CELLS
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import torchrnn
from torchrnn.scan import call, recipe, scan, use
from torchrnn.scan.arena import SMALL, Arena

require_library()


def gradients(run: Callable[[], Any], sources: list[Tensor], memory: str) -> list[Any]:
    """Results and gradients, with what ``memory`` means."""
    torch.manual_seed(1)
    with use(memory=memory):
        made = [leaf for leaf in tree_leaves(run()) if isinstance(leaf, Tensor) and leaf.requires_grad]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(m.shape, generator=generator) for m in made]
    return [*made, *torch.autograd.grad(made, sources, weights, allow_unused=True)]


def assert_same(run: Callable[[], Any], sources: list[Tensor]) -> None:
    kept, again = (gradients(run, sources, memory) for memory in ("keep", "recompute"))
    for a, b in zip(kept, again, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def leaf(tensor: Any) -> Any:
    return tensor.detach().requires_grad_() if isinstance(tensor, Tensor) else tensor


def assert_same_for(cell: Any, x: Tensor) -> None:
    x = leaf(x)
    state = tree_map(lambda t: leaf(t if t is None else torch.randn(t.shape)), cell.initial_state(x[0]))
    sources = [t for t in tree_leaves((x, state)) if isinstance(t, Tensor)]
    assert_same(lambda: scan(cell, x, state), [*sources, *cell.parameters()])


@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_every_cell_are_the_same(name: str) -> None:
    assert_same_for(CELLS[name](), torch.randn(6, 5, D))


@pytest.mark.parametrize("make", OWN_CELLS)
def test_gradients_of_cells_that_only_the_tests_know_are_the_same(make: Callable[[int, int], nn.Module]) -> None:
    assert_same_for(make(7, 20), torch.randn(6, 5, 7))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchrnn.Zoneout(torchrnn.FastLSTM(D, 6), 0.2, 0.5),
        lambda: torchrnn.Recursor(torchrnn.Sequential(torchrnn.GRU(D, 6), nn.Dropout(0.5), torchrnn.LSTM(6, 5))),
    ],
)
def test_random_numbers_are_drawn_once(make: Callable[[], Any]) -> None:
    assert_same_for(make(), torch.randn(6, 5, D))


def test_sequences_of_every_form() -> None:
    x, lengths = torch.randn(6, 3, D, requires_grad=True), [6, 2, 4]
    lstm = torchrnn.Sequencer(torchrnn.LSTM(D, 6))
    assert_same(lambda: lstm(x, lengths), [x, *lstm.parameters()])
    masked = torchrnn.Sequencer(MinimalGatedUnit(D, 6)).mask_zero(1)
    assert_same(lambda: masked(torch.where(torch.tensor([[True], [False], [True]]), x, 0)), [x, *masked.parameters()])
    assert_same(lambda: lstm(list(x.unbind())), [x, *lstm.parameters()])
    both = torchrnn.BiSequencer(torchrnn.GRU(D, 6))
    assert_same(lambda: both(x), [x, *both.parameters()])
    net = torchrnn.Sequential(lstm, torchrnn.Sequencer(torchrnn.Sequential(torchrnn.GRU(6, 5), nn.Linear(5, 2))))
    assert_same(lambda: net(x), [x, *net.parameters()])


def test_backward_twice_and_gradients_of_gradients() -> None:
    cell, x = torchrnn.FastLSTM(D, 6), torch.randn(5, 3, D, requires_grad=True)

    def twice() -> list[Tensor]:
        y = scan(cell, x, cell.initial_state(x[0]))[0].sum()
        first = torch.autograd.grad(y, x, retain_graph=True)
        second = torch.autograd.grad(y, x, create_graph=True)
        return [*first, *torch.autograd.grad(y, x, retain_graph=True), *torch.autograd.grad(second[0].sum(), x)]

    kept = twice()
    with use(memory="recompute"):
        again = twice()
    for a, b in zip(kept, again, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(again[0], again[1])


@pytest.mark.parametrize("make", [torchrnn.FastLSTM, torchrnn.LSTM, torchrnn.GRU, MinimalGatedUnit, *OWN_CELLS])
def test_a_second_backward_through_a_graph_gives_the_same(make: Callable[[int, int], Any]) -> None:
    """The first one has written over what was kept."""
    cell = make(D, 6)
    x = torch.randn(5, 3, D, requires_grad=True)
    made = tree_leaves(scan(cell, x, tree_map(leaf, cell.initial_state(x[0]))))
    first, second = (
        torch.autograd.grad(made, [x, *cell.parameters()], [torch.ones_like(m) for m in made], True, allow_unused=True)
        for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("make", [torchrnn.FastLSTM, torchrnn.LSTM, torchrnn.GRU])
def test_gradients_of_gates_lie_where_the_gates_were(make: Callable[[int, int], Any]) -> None:
    """A backward takes no memory for all steps of its own, but for what it reads of the states."""
    cell, x = make(D, 16), torch.randn(50, 3, D, requires_grad=True)
    backward = call.prepare(cell, x, cell.initial_state(x[0])).plan.backward_pass.executor
    own = sum(array.columns for array in backward.temporary if array.kind == "stack")
    assert own <= 16


def test_the_explicit_protocol() -> None:
    net, x = torchrnn.Sequencer(torchrnn.GRU(D, 6)), torch.randn(5, 3, D)
    found = []
    for memory in ("keep", "recompute"):
        with use(memory=memory):
            y = net.update_output(x)
        net.zero_grad_parameters()
        found.append([net.backward(x, torch.ones_like(y)), *(p.grad.clone() for p in net.parameters())])
    assert all(map(torch.equal, *found))


def test_parameters_that_were_changed_since_are_noticed() -> None:
    cell, x = torchrnn.FastLSTM(D, 6), torch.randn(5, 3, D)
    with use(memory="recompute"):
        y = scan(cell, x, cell.initial_state(x[0]))[0]
    with torch.no_grad():
        cell.i2g.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many floats of the engine's memory are in use."""
    alive: dict[int, int] = {}

    def allocate(n: int) -> Tensor:
        memory = np.empty(n, dtype=np.float32)
        alive[id(memory)] = n
        weakref.finalize(memory, alive.pop, id(memory))
        return torch.from_numpy(memory)

    monkeypatch.setattr(recipe, "allocate", allocate)
    return lambda: sum(alive.values())


def test_what_an_lstm_keeps(held: Callable[[], int]) -> None:
    """Beyond input and output at most 8 N T H, and 3 where it is computed again."""
    T, N, H = 20, 8, 32
    x = torch.randn(T, N, 16, requires_grad=True)
    for make in (torchrnn.FastLSTM, torchrnn.LSTM, torchrnn.RecLSTM):
        net = torchrnn.Sequencer(make(16, H))
        y = net(x)
        assert 5 * N * T * H < held() <= 8 * N * T * H
        del y
        net.forget()
        with use(memory="recompute"):
            y = net(x)
        states = {s.untyped_storage().data_ptr(): s.untyped_storage().nbytes() for s in tree_leaves(net.states)}
        assert held() == 0
        assert sum(states.values()) == 4 * 2 * N * T * H
        y.sum().backward()
        del y
        assert held() == 0


def test_tensors_that_autograd_puts_elsewhere_are_not_held() -> None:
    """As when they are kept on disk, or by torch.utils.checkpoint."""
    cell, x = torchrnn.FastLSTM(D, 6), torch.randn(5, 3, D, requires_grad=True)
    inner = 2 * x
    expected = torch.autograd.grad(scan(cell, inner, cell.initial_state(x[0]))[0].sum(), x, retain_graph=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        y = scan(cell, inner, cell.initial_state(x[0]))[0].sum()
    there = weakref.ref(inner)
    del inner
    assert there() is None
    assert torch.equal(torch.autograd.grad(y, x)[0], expected[0])


def test_the_choice_is_nested() -> None:
    from torchrnn.scan.choice import chosen, recomputes

    with use("reference", memory="recompute"):
        assert (chosen(), recomputes()) == ("reference", True)
        with use("native"):
            assert (chosen(), recomputes()) == ("native", True)
            with use(memory="keep"):
                assert (chosen(), recomputes()) == ("native", False)
            assert (chosen(), recomputes()) == ("native", True)
    assert (chosen(), recomputes()) == ("auto", False)
    with pytest.raises(ValueError, match="memory must be one of 'keep', 'recompute'; got 'none'"):
        use("auto", "none")
    with pytest.raises(ValueError, match="name an engine, a memory, or both"):
        use()
    assert (chosen(), recomputes()) == ("auto", False)


def test_memory_is_used_again_and_never_while_it_is_in_use() -> None:
    arena = Arena()
    first, second = arena.empty(2 * SMALL), arena.empty(2 * SMALL)
    addresses = {first.data_ptr(), second.data_ptr()}
    assert len(addresses) == 2
    view = first[5:7]
    del first
    third = arena.empty(2 * SMALL)
    assert third.data_ptr() not in addresses  # the view holds the first
    del view, second
    assert {arena.empty(2 * SMALL).data_ptr() for _ in range(4)} <= addresses
    assert all(arena.empty(n).data_ptr() % 64 == 0 for n in (SMALL, SMALL + 1, 3 * SMALL))

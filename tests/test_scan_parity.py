"""The native engine against the reference: every cell of the package, cells of one's own, and random ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cell_table import CELLS, D, MinimalGatedUnit
from fuzz_scan import AMPLIFIED, WITH_PARTS, RandomCell, error, poisoned, run_seed
from hypothesis import example, given
from hypothesis import strategies as st
from native_library import require_library
from scan_cells import OWN_CELLS
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import torchrnn
from torchrnn.scan import explain, scan, use

require_library()

SHAPES = [(5, 3), (1, 4), (9, 1), (2, 50)]
OWN_ROWS = "reference: a parameter with one row for each element of the batch"
OWN_MASK = "reference: a mask for a whole sequence is drawn in the step, and not by Dropout"
BY_REFERENCE = {
    "NormStabilizer": "reference: the step takes a mean over the batch",
    "Zoneout of a FastLSTM": OWN_ROWS,  # with a mask that the tests fix, row by row
    "Zoneout of a GRU": OWN_ROWS,
    "Zoneout of a user's cell": OWN_ROWS,
    **dict.fromkeys(["WeightDropout of a FastLSTM", "WeightDropout of a RecGRU", "all of them"], OWN_MASK),
}
"""Cells of the package that the native engine leaves to the reference, and why."""


def results(cell: Any, x: Any, state: Any, engine: str) -> list[Tensor | None]:
    torch.manual_seed(1)
    with use(engine):
        made = [leaf for leaf in tree_leaves(scan(cell, x, state)) if isinstance(leaf, Tensor)]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(m.shape, generator=generator).to(m.dtype) for m in made]
    sources = [leaf for leaf in [*tree_leaves((x, state)), *cell.parameters()] if getattr(leaf, "requires_grad", False)]
    grads = torch.autograd.grad(made, sources, weights, allow_unused=True)
    return [*(m.detach() for m in made), *grads]


def leaf(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x


def assert_parity(cell: Any, x: Any, state: Any, tolerance: float = 1e-5) -> None:
    """Both engines agree, or differ no more than the reference itself from double precision."""
    x, state = (tree_map(lambda t: leaf(t, torch.float32) if isinstance(t, Tensor) else t, tree) for tree in (x, state))
    native, expected = (
        results(
            cell,
            x,
            state,
            "native",
        ),
        results(cell, x, state, "reference"),
    )
    if error(native, expected) <= tolerance:
        return
    exact = [tree_map(lambda t: leaf(t, torch.float64) if isinstance(t, Tensor) else t, tree) for tree in (x, state)]
    double = results(copy.deepcopy(cell).double(), *exact, "reference")
    assert error(native, double) <= max(tolerance, AMPLIFIED * error(expected, double))


def random_state(cell: Any, x: Tensor) -> Any:
    return tree_map(lambda t: t if t is None else 0.5 * torch.randn(t.shape), cell.initial_state(x[0]))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("T", "N"), SHAPES)
def test_cells_of_the_package(name: str, T: int, N: int) -> None:
    cell, x = CELLS[name](), torch.randn(T, N, D)
    state = random_state(cell, x)
    with use("native"):
        answer = explain(cell, x, state)
    if name in BY_REFERENCE:
        assert answer == BY_REFERENCE[name]
    elif not (T == 1 and None in tree_leaves(state)):
        assert answer == "native"
        with poisoned():
            assert_parity(cell, x, state)


@pytest.mark.parametrize("make", OWN_CELLS)
@pytest.mark.parametrize(
    ("T", "N", "D", "H"), [(7, 5, 16, 32), (9, 3, 7, 13), (6, 1, 10, 33), (5, 21, 37, 50), (3, 4, 5, 260)]
)
def test_cells_that_only_the_tests_know(make: Callable[[int, int], nn.Module], T: int, N: int, D: int, H: int) -> None:
    cell, x = make(D, H), torch.randn(T, N, D)
    state = random_state(cell, x)
    assert explain(cell, x, state) == "native"
    with poisoned():
        assert_parity(cell, x, state)


def recursor_with_dropout() -> nn.Module:
    return torchrnn.Recursor(torchrnn.Sequential(torchrnn.GRU(D, 6), nn.Dropout(0.5), torchrnn.LSTM(6, 5)))


DRAWING = [
    lambda: torchrnn.Zoneout(torchrnn.FastLSTM(D, 6), 0.2, 0.5),
    lambda: torchrnn.Zoneout(MinimalGatedUnit(D, 6)),
    recursor_with_dropout,
]


@pytest.mark.parametrize("make", DRAWING)
@pytest.mark.parametrize("training", [True, False])
def test_random_numbers_are_those_of_the_reference(make: Callable[[], Any], training: bool) -> None:
    cell, x = make().train(training), torch.randn(6, 5, D)
    state = random_state(cell, x)
    assert explain(cell, x, state) == "native"
    other, before = make().train(training), torch.get_rng_state()
    explain(other, x, state)
    assert torch.equal(torch.get_rng_state(), before)  # tracing draws from a generator of its own
    assert_parity(cell, x, state)


class Words(nn.Module):
    """Ids in, scores out: with tables for ids, the output tied to one of them."""

    def __init__(self, tied: bool, n_tables: int = 1) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(9, D, padding_idx=2 if i else None) for i in range(n_tables))
        self.cell, self.scores = torchrnn.FastLSTM(D, D), nn.Linear(D, 9)
        if tied:
            self.scores.weight = self.tables[0].weight

    def initial_state(self, ids: Tensor) -> Any:
        return self.cell.initial_state(torch.zeros(len(ids), D))

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = self.cell.step(sum(table(ids) for table in self.tables), state)
        return self.scores(y), state


@pytest.mark.parametrize("tied", [False, True])
def test_words_are_looked_up_before_the_loop(tied: bool) -> None:
    cell, ids = Words(tied), torch.randint(0, 9, (6, 5))
    state = random_state(cell, ids)
    assert explain(cell, ids, state) == "native"
    assert_parity(cell, ids, state)
    assert explain(Words(tied, n_tables=2), ids, state) == (
        "reference: several embeddings of one size and the same ids"
    )


def test_a_container_reads_words() -> None:
    net = torchrnn.Sequential(torchrnn.LookupTable(9, D), torchrnn.LSTM(D, 6), torchrnn.GRU(6, 6), nn.Linear(6, 9))
    cell, ids = torchrnn.Recursor(net), torch.randint(0, 9, (6, 5))
    assert explain(cell, ids) == "native"
    assert_parity(cell, ids, cell.initial_state(ids[0]))
    assert_parity(cell, list(ids), cell.initial_state(ids[0]))
    with pytest.raises(ValueError, match="ids must be 0 to 8; got 8 to 9"):
        torchrnn.Sequencer(net)(torch.tensor([[0, 1], [2, 3], [8, 9]]))


def test_dropped_weights_are_parameters_like_others() -> None:
    cell = torchrnn.WeightDropout(torchrnn.FastLSTM(D, 6), ["o2g.weight"], 0.5)
    assert explain(torchrnn.Sequencer(cell), torch.randn(6, 5, D)) == "native"


@pytest.mark.slow
@example(seed=7100, grid=(1, 1))
@example(seed=7646, grid=(2, 1))
@example(seed=8531, grid=(1, 2))
@given(
    seed=st.integers(10_000, 20_000) | st.integers(WITH_PARTS, WITH_PARTS + 20_000),
    grid=st.sampled_from([None, (1, 1), (2, 1), (1, 2), (2, 2), (3, 1)]),
)
def test_random_cells(seed: int, grid: tuple[int, int] | None) -> None:
    with poisoned(grid):
        how, native, eager = run_seed(seed)
    assert how == "native"
    assert native < max(1e-5, AMPLIFIED * eager)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (1, 5)])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "FastLSTM", "MuFuRu", "Recursor"])
def test_every_grid_of_threads(name: str, grid: tuple[int, int]) -> None:
    cell, x = CELLS[name](), torch.randn(6, 9, D)
    with poisoned(grid):
        for _ in range(5):
            assert_parity(cell, x, random_state(cell, x))


def test_one_plan_serves_every_length_and_batch() -> None:
    from torchrnn.scan import call

    cell = torchrnn.LSTM(4, 6)
    for T, N in [(3, 2), (7, 5), (1, 1), (3, 2), (20, 40)]:
        x = torch.randn(T, N, 4)
        assert_parity(cell, x, random_state(cell, x))
    assert len(call._plans[cell]) == 1


def test_kernels_against_their_definitions() -> None:
    """sigmoid, tanh and exp within 4 ulp or 1e-6, with NaN, infinities, denormals and large arguments."""
    edges = [0.0, -0.0, 1e-45, -1e-40, 1e-8, -1e-8, 0.625, -0.625, 17.0, 88.0, -88.0, 100.0, -100.0, 104.0, 1e30, -1e30]
    edges += [float("inf"), -float("inf"), float("nan")]
    x = torch.cat([torch.tensor(edges), torch.randn(4000), 20 * torch.randn(4000), torch.linspace(-110, 110, 8001)])
    for function in (torch.sigmoid, torch.tanh, torch.exp):

        class Cell:
            def step(self, input: Tensor, state: Tensor, f: Any = function) -> tuple[Tensor, Tensor]:
                return f(input) + 0 * state, state

        with use("native"):
            got = scan(Cell(), x.view(1, 1, -1), torch.zeros(1, 1))[0].flatten()
        exact = function(x.double())
        expected = exact.float()
        ulp = (torch.nextafter(expected.abs(), torch.tensor(float("inf"))) - expected.abs()).double()
        finite = expected.isfinite() & (expected.abs() > 1e-37)
        allowed = torch.maximum(4 * ulp, 1e-6 * exact.abs())
        assert ((got.double() - exact).abs() <= allowed)[finite].all(), function
        if function is torch.tanh:
            assert (got[x.abs() > 10].abs() == 1).all()
        assert torch.equal(got.isnan(), expected.isnan())
        assert torch.equal(got[expected.isinf()], expected[expected.isinf()])
        assert (got[expected.abs() <= 1e-37].abs() <= 1.2e-37).all()


@pytest.mark.parametrize("seed", range(3))
def test_random_cells_can_be_repeated(seed: int) -> None:
    assert [p.shape for p in RandomCell(seed).parameters()] == [p.shape for p in RandomCell(seed).parameters()]

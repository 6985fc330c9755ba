"""bfloat16 in the native engine: its products against the definition, and all else against the reference."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cell_table import CELLS, D
from fuzz_scan import error, poisoned, run_seed_in_bfloat16
from native_library import require_library
from rounded_products import RoundedProducts, rounded
from scan_cells import OWN_CELLS, Cell
from test_scan_parity import BY_REFERENCE, random_state
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import torchrnn
from torchrnn.scan import bfloat16, explain, native, reference, scan, use

require_library()

pytestmark = pytest.mark.slow


def results(cell: Any, x: Any, state: Any, run: Callable[..., Any]) -> list[Tensor | None]:
    """Outputs, final states and the gradients of everything, of inputs and states that are copied."""
    x, state = (tree_map(lambda t: t.detach().requires_grad_() if is_floating(t) else t, tree) for tree in (x, state))
    torch.manual_seed(1)
    made = [leaf for leaf in tree_leaves(run(cell, x, state)) if isinstance(leaf, Tensor)]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(m.shape, generator=generator).bfloat16().to(m.dtype) for m in made]
    sources = [leaf for leaf in [*tree_leaves((x, state)), *cell.parameters()] if getattr(leaf, "requires_grad", False)]
    return [*(m.detach() for m in made), *torch.autograd.grad(made, sources, weights, allow_unused=True)]


def is_floating(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def natively(cell: Any, x: Any, state: Any) -> Any:
    with use("native"):
        return scan(cell, x, state)


def under_autocast(run: Callable[..., Any]) -> Callable[..., Any]:
    def cast(*arguments: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return run(*arguments)

    return cast


def as_defined(cell: Any, x: Any, state: Any) -> list[Tensor | None]:
    with RoundedProducts():
        return results(cell, x, state, reference.scan)


def assert_as_defined(
    cell: Any, x: Any, state: Any, median: float = 2e-5, most: float = 1e-3, grid: tuple[int, int] | None = None
) -> None:
    """Numbers are equal, but for a few that the last bit of a sum took to the other side of a border of bfloat16.

    Without rounding, or with another rounding, the differences are 5e-3 of the largest number, and the median 1e-3.
    """
    expected = as_defined(cell, x, state)
    with poisoned(grid):
        made = results(cell, x, state, under_autocast(natively))
    for a, b in zip(made, expected, strict=True):
        assert (a is None) == (b is None)
        if a is None or b is None:
            continue
        half = 0.0 if a.dtype == torch.float32 else 2**-8  # autocast leaves it in bfloat16
        differences = (a - b).abs() / b.abs().max().clamp_min(1e-2)
        assert differences.median() <= median + half
        assert differences.max() <= most + half


def dtypes(tensors: list[Tensor | None]) -> list[torch.dtype | None]:
    return [None if tensor is None else tensor.dtype for tensor in tensors]


SOFTWARE = {"pairs": [], "tiles": ["-DSOFTWARE_TILES"]}
"""Instructions of processors to come, which this one is taught."""
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]


@pytest.fixture(scope="session")
def software(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Builds of the machine for processors with bfloat16, whose instructions are functions."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("the processor has no AVX-512")
    folder, csrc = tmp_path_factory.mktemp("software"), root / "csrc"
    command = ["c++", "-O1", "-std=c++17", "-shared", "-fPIC", "-fopenmp", *AVX512]
    building = []
    for name, flags in SOFTWARE.items():
        arguments = [
            *command,
            "-include",
            str(root / "tests" / "software_bfloat16.h"),
            *flags,
            str(csrc / "engine.cpp"),
        ]
        (folder / name).mkdir()
        building.append(subprocess.Popen([*arguments, "-o", str(folder / name / "engine_portable.so")]))
    if any(process.wait() for process in building):
        pytest.skip("the compiler does not know AVX-512")
    return {name: folder / name for name in SOFTWARE}


@pytest.fixture
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Another build of the machine for the length of a test, or the processor's own."""
    name: str = request.param
    if name == "own":
        yield name
        return
    monkeypatch.setattr(native, "FOLDER", request.getfixturevalue("software")[name])
    monkeypatch.setattr(native, "variants", lambda: ["portable"])
    native.library.cache_clear()
    assert native.library().engine_bfloat16() == list(SOFTWARE).index(name) + 1
    yield name
    native.library.cache_clear()


every_machine = pytest.mark.parametrize("machine", SOFTWARE, indirect=True)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products for all steps at once that are not rounded, whatever the processor."""
    monkeypatch.setattr(bfloat16, "multiplies_in_bfloat16", lambda: False)


# ---------------------------------------------------------------------- what is computed


@pytest.mark.parametrize("name", [name for name in CELLS if name not in BY_REFERENCE])
@pytest.mark.parametrize(("T", "N"), [(2, 3), (1, 4), (6, 5)])
@pytest.mark.usefixtures("exact")
def test_cells_of_the_package(name: str, T: int, N: int) -> None:
    cell, x = CELLS[name](), torch.randn(T, N, D)
    state = random_state(cell, x)
    begins_from_nothing = None in tree_leaves(state)
    if begins_from_nothing and T < 6:
        return
    with use("native"), torch.autocast("cpu", torch.bfloat16):
        assert explain(cell, x, state) == "native"
    if begins_from_nothing:  # the first step is the reference's, and rounds more
        assert_as_defined(cell, x, state, 1e-2, 3e-2)
    else:
        assert_as_defined(cell, x, state)


SHAPES = [(2, 5, 16, 32), (2, 3, 7, 13), (2, 1, 10, 33), (2, 21, 37, 50), (1, 4, 5, 260)]


@pytest.mark.parametrize("make", OWN_CELLS)
@pytest.mark.parametrize(("T", "N", "D", "H"), SHAPES)
@pytest.mark.usefixtures("exact")
def test_cells_that_only_the_tests_know(make: Callable[[int, int], nn.Module], T: int, N: int, D: int, H: int) -> None:
    cell, x = make(D, H), torch.randn(T, N, D)
    assert_as_defined(cell, x, random_state(cell, x))


@pytest.mark.parametrize("make", OWN_CELLS)
@pytest.mark.parametrize(("T", "N", "D", "H"), SHAPES)
@every_machine
@pytest.mark.usefixtures("exact")
def test_instructions_of_other_processors(
    make: Callable[[int, int], nn.Module], machine: str, T: int, N: int, D: int, H: int
) -> None:
    cell, x = make(D, H), torch.randn(T, N, D)
    assert_as_defined(cell, x, random_state(cell, x))


@pytest.mark.parametrize("N", [1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 65])
@every_machine
@pytest.mark.usefixtures("exact")
def test_every_number_of_rows(machine: str, N: int) -> None:
    cell, x = torchrnn.FastLSTM(9, 19), torch.randn(2, N, 9)
    assert_as_defined(cell, x, random_state(cell, x))


@pytest.mark.parametrize("H", [1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 64, 97])
@every_machine
@pytest.mark.usefixtures("exact")
def test_every_width_and_depth(machine: str, H: int) -> None:
    cell, x = torchrnn.RecVanilla(3, H), torch.randn(2, 20, 3)
    assert_as_defined(cell, x, random_state(cell, x))


@pytest.mark.parametrize("grid", [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (1, 5)])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "MuFuRu"])
@pytest.mark.parametrize("machine", ["own", *SOFTWARE], indirect=True)
@pytest.mark.usefixtures("exact")
def test_every_grid_of_threads(name: str, grid: tuple[int, int], machine: str) -> None:
    cell, x = CELLS[name](), torch.randn(2, 9, D)
    for _ in range(5):
        assert_as_defined(cell, x, random_state(cell, x), grid=grid)


@pytest.mark.parametrize("make", OWN_CELLS)
def test_products_in_bfloat16_of_pytorch(
    make: Callable[[int, int], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the processor has the instructions, the results of products for all steps at once are rounded, too."""
    monkeypatch.setattr(bfloat16, "multiplies_in_bfloat16", lambda: True)
    cell, x = make(7, 13), torch.randn(2, 5, 7)
    assert_as_defined(cell, x, random_state(cell, x), 5e-3, 3e-2)


@pytest.mark.parametrize("grid", [None, (2, 1), (1, 2), (2, 2)])
def test_random_cells(grid: tuple[int, int] | None) -> None:
    for seed in range(20_000, 20_005):
        with poisoned(grid):
            how, native_error, allowed = run_seed_in_bfloat16(seed)
        assert how == "native"
        assert native_error <= allowed, seed


def test_rounding_is_that_of_pytorch() -> None:
    bits = torch.randint(-(2**31), 2**31, (40, 1003), dtype=torch.int64).to(torch.int32)
    bits[0, :6] = torch.tensor([0x7F800000, 0x7F7FFFFF, 0x7F800001, 0x7FFFFFFF, 0x00008000, 0x00018000])
    x = bits.view(torch.float32)
    got = torch.empty_like(x)
    native.library().engine_round(x.data_ptr(), 40, 1003, 1003, got.data_ptr(), 2)
    expected = rounded(x)
    assert torch.equal(got.isnan(), expected.isnan())
    assert x.isnan().any()
    assert torch.equal(got[~got.isnan()], expected[~got.isnan()])
    part = torch.full((40, 3), -1.0)
    native.library().engine_round(x[:, 7:].data_ptr(), 40, 3, 1003, part.data_ptr(), 1)
    assert torch.equal(part.nan_to_num(), expected[:, 7:10].nan_to_num())


def test_infinities_and_nan_stay_in_their_rows() -> None:
    cell, x = torchrnn.GRU(4, 6), torch.randn(3, 5, 4)
    x[1, 2, 0], x[0, 4, 3] = float("nan"), float("inf")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = natively(cell, x, cell.initial_state(x[0]))[0]
    assert y[:, [0, 1, 3]].isfinite().all()
    assert y[0].isfinite().all()
    assert y[1:, 2].isnan().any(1).all()


# ---------------------------------------------------------------------- dtypes, and who rounds what


class Plain(Cell):
    """All that autocast sees of it are two products and what follows them: its states are bfloat16 then."""

    def __init__(self, D: int, H: int) -> None:
        super().__init__(H)
        self.i2h, self.h2h = nn.Linear(D, H), nn.Linear(H, H)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.i2h(x) + self.h2h(h))
        return h, h


@pytest.mark.parametrize("make", [*OWN_CELLS, Plain, torchrnn.LSTM, torchrnn.GRU])
def test_results_are_of_the_dtypes_of_the_reference(make: Callable[[int, int], nn.Module]) -> None:
    cell, x = make(7, 13), torch.randn(4, 5, 7)
    state = random_state(cell, x)
    expected = results(cell, x, state, under_autocast(reference.scan))
    made = results(cell, x, state, under_autocast(natively))
    assert dtypes(made) == dtypes(expected)
    cell, (x, state) = cell.bfloat16(), tree_map(torch.Tensor.bfloat16, (x, state))
    made, expected = (results(cell, x, state, run) for run in (natively, reference.scan))
    assert dtypes(made) == dtypes(expected)
    assert set(dtypes(made)) == {torch.bfloat16}


@pytest.mark.parametrize("make", [*OWN_CELLS, Plain, torchrnn.LSTM, torchrnn.GRU])
def test_cells_in_bfloat16(make: Callable[[int, int], nn.Module]) -> None:
    """Inside, it is what it is of the same numbers in float32; only the results are rounded."""
    cell = make(7, 13).bfloat16()
    x = torch.randn(2, 5, 7).bfloat16()
    state = tree_map(torch.Tensor.bfloat16, random_state(cell, x))
    assert explain(cell, x, state) == "native"
    made = results(cell, x, state, natively)
    wide = as_defined(copy.deepcopy(cell).float(), *tree_map(torch.Tensor.float, (x, state)))
    for a, b in zip(made, wide, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert error([a], [b]) <= 2**-8 + (2e-2 if native.multiplies_in_bfloat16() else 1e-5)


def test_what_autocast_gives_is_taken() -> None:
    """A layer in front, and the state of the sequence before, may be bfloat16."""
    cell, x = Plain(4, 6), torch.randn(5, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        x = nn.Linear(4, 4)(x)
        assert x.dtype == torch.bfloat16
        y, state = natively(cell, x, torch.zeros(3, 6))
        assert y.dtype == state.dtype == torch.bfloat16
        later, _ = natively(cell, x, state)
        expected, _ = reference.scan(cell, x, state)
    assert error([later], [expected]) <= 2e-2


def test_masked_sequences() -> None:
    net, x = torchrnn.SeqLSTM(4, 6), torch.randn(7, 3, 4)
    made, expected = [], []
    for engine, into in (("native", made), ("reference", expected)):
        with use(engine), torch.autocast("cpu", torch.bfloat16):
            y = net(x, torch.tensor([7, 2, 4]))
        into += [y.detach(), *torch.autograd.grad(y.square().sum(), [*net.parameters()])]
    assert dtypes(made) == dtypes(expected)
    assert error(made, expected) <= 2e-2
    assert not made[0][2:, 1].any()


def test_random_numbers() -> None:
    cell, x = torchrnn.Zoneout(torchrnn.FastLSTM(4, 6), 0.2, 0.5), torch.randn(6, 5, 4)
    state = random_state(cell, x)
    made, expected = (results(cell, x, state, under_autocast(run)) for run in (natively, reference.scan))
    assert error(made, expected) <= 3e-2
    answer = explain(cell.bfloat16(), *tree_map(torch.Tensor.bfloat16, (x, state)))
    assert answer == "reference: the step draws random numbers in bfloat16"


# ---------------------------------------------------------------------- around a run


def fast_lstm() -> tuple[torchrnn.FastLSTM, Tensor]:
    return torchrnn.FastLSTM(4, 6), torch.randn(5, 3, 4)


def gradients(cell: Any, y: Tensor, inside: bool) -> list[Tensor]:
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        return list(torch.autograd.grad(y, [*cell.parameters()], torch.ones_like(y)))


@pytest.mark.parametrize("inside", [True, False])
def test_backward_multiplies_as_its_forward_did(inside: bool) -> None:
    cell, x = fast_lstm()
    outputs = []
    for autocast in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs.append(cell.sequence(x)[0])
    there, elsewhere = (gradients(cell, y, inside) for y in outputs)
    again = [gradients(cell, cell.sequence(x)[0], not inside), None]
    assert all(torch.equal(a, b) for a, b in zip(elsewhere, again[0], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(there, elsewhere, strict=True))
    assert error(there, elsewhere) <= 2e-2


def test_recomputing_gives_the_same_bits() -> None:
    cell, x = fast_lstm()
    kept = results(cell, x, cell.initial_state(x[0]), under_autocast(natively))
    with use(memory="recompute"):
        again = results(cell, x, cell.initial_state(x[0]), under_autocast(natively))
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@pytest.mark.parametrize("as_cell", [True, False])
def test_gradients_of_gradients_are_those_of_the_reference(as_cell: bool) -> None:
    cell, x = fast_lstm()
    if as_cell:
        cell, x = cell.bfloat16(), x.bfloat16()
    x.requires_grad_()
    found = []
    for engine in ("native", "reference"):
        with use(engine), torch.autocast("cpu", torch.bfloat16, enabled=not as_cell):
            y = cell.sequence(x)[0]
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        found.append([first.detach(), *torch.autograd.grad(first.square().sum(), [*cell.parameters()])])
    assert dtypes(found[0]) == dtypes(found[1])
    assert error(*found) <= (5e-2 if as_cell else 2e-2)


def test_states_in_the_middle() -> None:
    cell, x = Plain(4, 6), torch.randn(5, 3, 4)
    kept: list[Any] = []
    with use("native"), torch.autocast("cpu", torch.bfloat16):
        outputs, _ = scan(cell, x, torch.zeros(3, 6), kept.append)
    assert torch.equal(kept[0](), outputs)
    assert outputs.dtype == torch.bfloat16


def test_precisions_have_plans_of_their_own() -> None:
    cell, x = fast_lstm()
    plain = cell.sequence(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        cast = cell.sequence(x)[0]
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(cell.sequence(x)[0], plain)
    assert torch.equal(cell.sequence(x)[0], plain)
    assert not torch.equal(cast, plain)
    assert 0 < error([cast], [plain]) <= 2e-2


@pytest.mark.parametrize("as_cell", [True, False])
@pytest.mark.parametrize("of_pytorch", [True, False])
def test_training(as_cell: bool, of_pytorch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses within 2 % of those of float32, of an LSTM that learns to average."""
    monkeypatch.setattr(bfloat16, "multiplies_in_bfloat16", lambda: of_pytorch)

    def losses(autocast: bool, in_bfloat16: bool) -> Tensor:
        torch.manual_seed(3)
        net, read = torchrnn.LSTM(4, 32), nn.Linear(32, 1)
        learnt = [*net.parameters()]  # float32 in any case
        low = copy.deepcopy(net).bfloat16() if in_bfloat16 else net
        optimizer, found = torch.optim.Adam([*learnt, *read.parameters()], 5e-3), []
        for _ in range(80):
            x = torch.randn(10, 32, 4)
            if in_bfloat16:
                torch._foreach_copy_([p.data for p in low.parameters()], learnt)
            with use("native"), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                last = low.sequence(x.bfloat16() if in_bfloat16 else x)[0][-1]
            loss = (read(last.float())[:, 0] - x[..., 0].mean(0)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            if in_bfloat16:
                for parameter, other in zip(learnt, low.parameters(), strict=True):
                    parameter.grad, other.grad = other.grad.float(), None
            optimizer.step()
            found.append(loss.item())
        return torch.tensor(found).view(-1, 10).mean(1)

    expected, made = losses(False, False), losses(not as_cell, as_cell)
    assert expected[-1] < 0.3 * expected[0]
    assert not torch.equal(made, expected)
    torch.testing.assert_close(made, expected, rtol=0.02, atol=0)


# ---------------------------------------------------------------------- what is left to the reference


def test_what_is_left_to_the_reference() -> None:
    cell, x = fast_lstm()
    state = cell.initial_state(x[0])
    with torch.autocast("cpu", torch.float16):
        assert explain(cell, x, state) == "reference: autocast to torch.float16 is on"
        assert cell.sequence(x)[0].shape == (5, 3, 6)
    mixed = "reference: a part of the cell or of the sequence is torch.bfloat16, and another is not"
    assert explain(cell, x.bfloat16(), state) == mixed
    with pytest.raises(RuntimeError, match="dtype"):
        cell.sequence(x.bfloat16())  # as PyTorch has it
    answer = explain(copy.deepcopy(cell).bfloat16(), x, state)
    assert answer.startswith("reference: tracing failed: RuntimeError")


def test_single_steps_are_left_to_the_reference() -> None:
    cell, x = fast_lstm()
    stepper = torchrnn.scan.Stepper(cell)
    plain = stepper(x[0])
    with torch.autocast("cpu", torch.bfloat16):
        cast = stepper(x[1])
        expected = cell.step(x[1], cell.step(x[0], cell.initial_state(x[0]))[1])[0]
        assert error([cast], [expected]) <= 2e-2
        with use("native"), pytest.raises(RuntimeError, match="single steps run natively in float32 alone"):
            torchrnn.scan.Stepper(cell)(x[0])
    low = cell.bfloat16()
    stepper = torchrnn.scan.Stepper(low)
    assert error([stepper(x[0].bfloat16())], [plain]) <= 2e-2


# ---------------------------------------------------------------------- in graphs


@pytest.mark.parametrize("make", [Plain, torchrnn.FastLSTM])
@pytest.mark.parametrize("as_cell", [True, False])
def test_graphs(make: Callable[[int, int], nn.Module], as_cell: bool) -> None:
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.compilers import nop

    cell, x = make(4, 6), torch.randn(5, 3, 4)
    state = random_state(cell, x)
    if as_cell:
        cell, (x, state) = cell.bfloat16(), tree_map(torch.Tensor.bfloat16, (x, state))
    nodes: list[str] = []

    def look(graph: Any, inputs: Any) -> Any:
        nodes.extend(str(node.target) for node in graph.graph.nodes)
        return nop(graph, inputs)

    graph = torch.compile(scan, backend=aot_autograd(fw_compiler=look, bw_compiler=look), fullgraph=True)
    run, native_run = (each if as_cell else under_autocast(each) for each in (graph, natively))
    made, expected = (results(cell, x, state, each) for each in (run, native_run))
    assert {"torchrnn.scan.default", "torchrnn.scan_backward.default"} <= {*nodes}
    assert dtypes(made) == dtypes(expected)
    assert error(made, expected) <= 1e-6


def test_graphs_know_what_autocast_was() -> None:
    cell, x = fast_lstm()
    compiled = torch.compile(lambda x: cell.sequence(x)[0], backend="aot_eager", fullgraph=True)
    plain = cell.sequence(x)[0]
    assert torch.equal(compiled(x), plain)
    with torch.autocast("cpu", torch.bfloat16):
        cast = cell.sequence(x)[0]
        assert torch.equal(compiled(x), cast)
    assert not torch.equal(cast, plain)
    assert torch.equal(compiled(x), plain)
    with torch.autocast("cpu", torch.float16), use("reference"):
        expected = cell.sequence(x)[0]
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(compiled(x), expected)


def test_exported_programs() -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = torchrnn.FastLSTM(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.cell.sequence(x)[0]

    module, x = Cast(), torch.randn(5, 3, 4)
    program = torch.export.export(module, (x,))
    graphs = [part.graph for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    assert "torchrnn.scan.default" in [str(node.target) for graph in graphs for node in graph.nodes]
    assert torch.equal(program.module()(x), module(x))

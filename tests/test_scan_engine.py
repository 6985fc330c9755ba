"""The native engine at home in PyTorch: where it runs, where it does not, and that it may be used like any module."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import threading
from typing import Any

import pytest
import torch
from native_library import require_library
from scan_cells import MinimalGated
from torch import Tensor, nn

import torchrnn
from torchrnn.scan import call, explain, native, scan, use

require_library()


class Fine(nn.Module):
    """A step that is native, to be spoilt by subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4 + 6, 6)
        self.register_buffer("scale", torch.tensor(1.0))

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.linear(torch.cat([x, h], -1))) * self.scale
        return h, h


class DataDependent(Fine):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return (h, h) if h.sum() > 0 else super().step(x, h)


class Random(Fine):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = super().step(x, h)
        return torch.bernoulli(torch.sigmoid(y)), h


class OverBatch(Fine):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = super().step(x, h)
        return y - y.mean(0, keepdim=True), h


class Unknown(Fine):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = super().step(x, h)
        return torch.cumsum(y, 1), h


class InPlace(Fine):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = super().step(x, h)
        y = y.clone()
        y[:, :2].mul_(0.5)
        return y, h


class Captured(Fine):
    def __init__(self) -> None:
        super().__init__()
        self.shift = [torch.ones(6)]

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = super().step(x, h)
        return y + self.shift[0], h


class AnotherState(Fine):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Any]:
        y, h = super().step(x, h)
        return y, h.unsqueeze(1)


REFUSED = [
    (DataDependent, "data-dependent control flow"),
    (Random, "draws random numbers in a way"),
    (OverBatch, "over the batch"),
    (Unknown, "aten.cumsum.default is not in the instruction set"),
    (InPlace, "in place"),
    (Captured, "no input, state, parameter or buffer"),
    (AnotherState, "not of the structure and shapes"),
]


class Special(Tensor):
    """A tensor of a kind of its own."""


def assert_near(got: Any, expected: Any) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def sequence(T: int = 5, N: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(T, N, 4, requires_grad=True), torch.randn(N, 6, requires_grad=True)


def both(run: Any) -> tuple[Any, Any]:
    with use("reference"):
        expected = run()
    with use("auto"):
        return run(), expected


def test_modules_in_a_container_list_the_states_of_a_native_sequence() -> None:
    net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.LSTM(4, 6), nn.Linear(6, 4), torchrnn.GRU(4, 6)))
    lstm, x = net.get().get(0), torch.randn(5, 3, 4)
    with use("reference"):
        net(x)
        expected = lstm.cells
    with use("native"):
        net(x)
    torch.testing.assert_close(lstm.cells, expected)
    with pytest.raises(RuntimeError, match="to list its outputs"):
        lstm.outputs  # noqa: B018
    with pytest.raises(RuntimeError, match="as values, without gradients"):
        lstm.cells[2].sum().backward()
    assert lstm.get_hidden_state() is net.get_hidden_state()[0]


def test_modules_deep_inside_list_the_states_of_a_native_sequence() -> None:
    """The reference takes the first step, in which the parts are called."""
    lstm, x = torchrnn.LSTM(4, 6), torch.randn(5, 3, 4)
    net = torchrnn.Sequencer(torchrnn.Recursor(torchrnn.Sequential(torchrnn.Recursor(lstm), nn.Tanh())))

    def run() -> list[Tensor]:
        net(x)
        return lstm.cells

    native, expected = both(run)
    torch.testing.assert_close(native, expected)


def test_rows_are_forgotten_inside_of_a_container() -> None:
    net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.LSTM(4, 6), nn.Linear(6, 4))).remember()
    x, rows = torch.randn(5, 3, 4), torch.tensor([True, False, True])

    def run() -> Tensor:
        net.forget()
        net(x)
        net.forget(rows=rows)
        return net(x)

    native, expected = both(run)
    torch.testing.assert_close(native, expected)


@pytest.mark.parametrize(("cell", "reason"), REFUSED, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_refused_runs_by_the_reference(cell: type[Fine], reason: str) -> None:
    module, (x, h) = cell(), sequence()
    answer = explain(module, x, h)
    assert answer.startswith("reference: ")
    assert reason in answer
    if cell is AnotherState:
        return
    torch.manual_seed(3)
    expected = scan(module, x, h)[0]
    torch.manual_seed(3)
    with use("reference"):
        assert torch.equal(scan(module, x, h)[0], expected)
    with use("native"), pytest.raises(RuntimeError, match=f"cannot run {cell.__name__}"):
        scan(module, x, h)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda c, x, h: (c.double(), x.double(), h.double()), "float64"),
        (lambda c, x, h: (c.to("meta"), x.to("meta"), h.to("meta")), "on the CPU"),
        (lambda c, x, h: (c, x[:0], h), "empty"),
        (lambda c, x, h: (c, x[:, :0], h[:0]), "empty"),
        (lambda c, x, h: (c, x[:, 0], h[0]), "no batch dimension"),
        (lambda c, x, h: (c, x.as_subclass(Special), h), "an input is a Special"),
    ],
)
def test_tensors_of_another_kind(spoil: Any, reason: str) -> None:
    cell, x, h = spoil(Fine(), *sequence())
    assert reason in explain(cell, x, h)
    assert scan(cell, x, h)[0].shape == (*x.shape[:-1], 6)


def test_surroundings_in_which_pytorch_does_more_than_run() -> None:
    cell, (x, h) = Fine(), sequence()
    with torch.autocast("cpu", torch.float16):
        assert "autocast" in explain(cell, x, h)
    hooked = Fine()
    hooked.linear.register_forward_hook(lambda *_: None)
    assert "hooks" in explain(hooked, x, h)
    per_row = torch.func.vmap(lambda h: scan(cell, x[:, 0], h)[0])(h)
    assert per_row.shape == (3, 5, 6)
    with torch.device("meta"):
        assert "mode" in explain(cell, x, h)


def test_the_choice_of_an_engine() -> None:
    cell, (x, h) = Fine(), sequence()
    with use("reference"):
        with use("native"):
            assert type(scan(cell, x, h)[0].grad_fn).__name__ == "NativeScanBackward"
        assert type(scan(cell, x, h)[0].grad_fn).__name__ == "StackBackward0"
    use("reference")
    assert type(scan(cell, x, h)[0].grad_fn).__name__ == "StackBackward0"
    use("auto")
    with pytest.raises(ValueError, match="'auto', 'native', 'reference'; got 'fast'"):
        use("fast")


def test_explain_looks_inside_modules() -> None:
    net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.LSTM(4, 6), nn.Linear(6, 2)))
    assert explain(net, torch.randn(5, 3, 4)) == "native"
    assert "float64" in explain(net.double(), torch.randn(5, 3, 4).double())
    with pytest.raises(ValueError, match="Linear runs no sequence"):
        explain(nn.Linear(4, 6), torch.randn(5, 3, 4))


def test_double_backward_is_that_of_the_reference() -> None:
    cell, (x, h) = Fine(), sequence()

    def second() -> list[Tensor]:
        y, final = scan(cell, x, h)
        parameters = list(cell.parameters())
        first = torch.autograd.grad(y.square().sum() + final.sum(), [x, *parameters], create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), [x, h, *parameters]))

    for a, b in zip(*both(second), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_gradients_of_gradients_of_sequences_that_follow_one_another() -> None:
    """The state and the input of the second come from the same parameters as its step."""
    cell, x = torchrnn.LSTM(4, 4), torch.randn(5, 3, 4, requires_grad=True)
    wanted = [x, *cell.parameters()]

    def gradients() -> list[Tensor]:
        y, state = cell.sequence(x)
        y, _ = cell.sequence(y, state)
        first = torch.autograd.grad(y.square().sum(), wanted, create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), wanted)]

    for a, b in zip(*both(gradients), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_values_of_the_moment_are_used() -> None:
    """Parameters that are changed, replaced, swapped, shared or frozen, buffers, and flags of a module."""
    cell, (x, h) = Fine(), sequence()
    scan(cell, x, h)
    with torch.no_grad():
        cell.linear.weight.mul_(0.5)
        cell.scale.fill_(2.0)
    assert_near(*both(lambda: scan(cell, x, h)[0]))
    cell.linear.weight = nn.Parameter(torch.randn(6, 10))
    assert_near(*both(lambda: scan(cell, x, h)[0]))
    cell.linear.weight.requires_grad_(False)
    cell.zero_grad()
    scan(cell, x, h)[0].sum().backward()
    assert cell.linear.weight.grad is None
    assert cell.linear.bias.grad is not None

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Fine()

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return scan(self.cell, x, h)[0]

    net, weight = Net(), torch.randn(6, 10, requires_grad=True)
    swapped = {"cell.linear.weight": weight * 2}
    got, expected = both(
        lambda: torch.autograd.grad(torch.func.functional_call(net, swapped, (x, h)).sum(), weight, retain_graph=True)
    )
    assert_near(got, expected)


def test_a_flag_that_changes_the_step_is_seen() -> None:
    class Flagged(Fine):
        sign = 1.0

        def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            y, h = super().step(x, h)
            return (y if self.training else -y) * self.sign, h

    cell, (x, h) = Flagged(), sequence()
    first = scan(cell, x, h)[0]
    assert torch.equal(scan(cell.eval(), x, h)[0], -first)
    cell.sign = 3.0
    torch.testing.assert_close(scan(cell, x, h)[0], -3 * first)


def test_a_shared_parameter_has_one_gradient() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
            self.b.weight = self.a.weight

        def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            h = torch.tanh(self.a(h) + self.b(torch.relu(h)) + x.sum(-1, keepdim=True))
            return h, h

    cell, (x, h) = Tied(), sequence()
    got, expected = both(lambda: torch.autograd.grad(scan(cell, x, h)[0].sum(), [x, h, *cell.parameters()]))
    torch.testing.assert_close(got, expected)


def test_changes_in_place_are_noticed() -> None:
    cell, (x, h) = Fine(), sequence()
    y = scan(cell, x, h)[0]
    with torch.no_grad():
        cell.linear.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_outputs_may_be_changed_in_place() -> None:
    cell, (x, h) = Fine(), sequence()
    got, expected = both(lambda: torch.autograd.grad(scan(cell, x, h)[0].mul_(2).relu_().sum(), [x, h]))
    assert_near(got, expected)


def test_backward_twice() -> None:
    cell, (x, h) = Fine(), sequence()
    y = scan(cell, x, h)[0].sum()
    first = torch.autograd.grad(y, x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(y, x), first)


def test_copies_and_files_have_plans_of_their_own() -> None:
    scan(Fine(), *sequence())  # PyTorch keeps the frames of the first trace
    gc.collect()
    planned = len(call._plans)
    cell, (x, h) = Fine(), sequence()
    expected = scan(cell, x, h)[0]
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert torch.equal(scan(twin, x, h)[0], expected)
    file = io.BytesIO()
    torch.save(cell.state_dict(), file)
    del cell, twin, expected
    gc.collect()
    assert len(call._plans) == planned


def test_wrappers_that_are_no_modules_share_plans() -> None:
    class Wrapper:
        def __init__(self, cell: nn.Module) -> None:
            self.cell = cell

        def step(self, input: Any, h: Tensor) -> tuple[Tensor, Tensor]:
            x, mask = input
            y, new = self.cell.step(torch.where(mask, x, 0), h)
            return torch.where(mask, y, 0), torch.where(mask, new, h)

    cell, (x, h) = Fine(), sequence()
    mask = torch.rand(5, 3, 1) > 0.5
    spoilt = torch.where(mask, x, torch.nan).detach().requires_grad_()
    for _ in range(3):
        wrapper = Wrapper(cell)
        assert explain(wrapper, (spoilt, mask), h) == "native"
        got, expected = both(
            lambda w=wrapper: torch.autograd.grad(scan(w, (spoilt, mask), h)[0].sum(), [spoilt, h, *cell.parameters()])
        )
        torch.testing.assert_close(got, expected)
        assert all(g.isfinite().all() for g in got)
    assert len(call._plans[cell]) == 1


def test_sequences_of_every_form() -> None:
    cell, (x, h) = MinimalGated(4, 6), sequence()
    expected, final = scan(cell, x, h)
    outputs, listed_final = scan(cell, list(x.unbind()), h)
    assert isinstance(outputs, list)
    assert torch.equal(torch.stack(outputs), expected)
    assert torch.equal(listed_final, final)
    transposed = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(scan(cell, transposed, h.t().contiguous().t())[0], expected)
    assert torch.equal(scan(cell, torch.stack([x, x], -1)[..., 0], h)[0], expected)
    kept: list[Any] = []
    scan(cell, x, h, kept.append)
    torch.testing.assert_close(kept[0](), expected)


def test_states_are_views() -> None:
    cell, (x, h) = torchrnn.LSTM(4, 6), sequence()
    kept: list[Any] = []
    scan(cell, x, torchrnn.LSTMState(h, h), kept.append)
    states = kept[0]()
    assert states.h.untyped_storage().data_ptr() == states.c.untyped_storage().data_ptr()


def test_threads_of_ones_own_and_changing_numbers_of_threads() -> None:
    cell, (x, h) = MinimalGated(4, 6), sequence(5, 40)
    expected = scan(cell, x, h)[0]
    found: list[Tensor] = []
    workers = [threading.Thread(target=lambda: found.append(scan(cell, x, h)[0])) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(scan(cell, x, h)[0])
    finally:
        torch.set_num_threads(before)
    for y in found:
        torch.testing.assert_close(y, expected)


def test_memory_kept_for_backward_of_an_lstm() -> None:
    T, N, H = 6, 4, 32
    for cell, most in ((torchrnn.FastLSTM(16, H), 8), (torchrnn.LSTM(16, H), 8), (torchrnn.GRU(16, H), 6)):
        x = torch.randn(T, N, 16, requires_grad=True)
        y = scan(cell, x, cell.initial_state(x[0]))[0]
        kept = y.grad_fn.saved_tensors[-1]
        assert kept.numel() <= most * (T + 1) * N * H + 1000


@pytest.mark.parametrize(
    ("make", "forward", "backward"),
    [
        (torchrnn.FastLSTM, 1, 1),
        (torchrnn.LSTM, 1, 1),
        (torchrnn.GRU, 2, 2),
        (torchrnn.RecVanilla, 1, 1),
        (torchrnn.LayerNormLSTM, 2, 2),
    ],
)
def test_how_often_threads_wait(make: Any, forward: int, backward: int) -> None:
    """Numbers that stand for plans: a lost fusion shows here and not as a slow day."""
    cell, x = make(16, 32), torch.randn(3, 2, 16, requires_grad=True)
    scan(cell, x, cell.initial_state(x[0]))
    (plan,) = call._plans[cell].values()
    assert plan.forward_pass.program.barriers == forward
    assert plan.backward_pass.program.barriers == backward


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([7], "stage out of range: 7"),
        ([1, 0, 1, 0, 16, 5, 0, -1, -1], "buffer out of range: 5"),
        ([1, 0, 1, 999, 16, 0, 0, -1, -1], "operation out of range: 999"),
        ([1, 0, 1, 0, 16, 0, (1 << 20) + 3, -1, -1], "a local slot is read before it is written"),
        ([0, 1, 0], "ends in the middle of a stage"),
        ([1, 0, 1, 0, 16, 0, 0, 1, -1], "unused operand out of range: 1"),
        ([1, 0, 2, 0, 16, 0, 0, -1, -1, 0, 32, 0, 0, -1, -1], "values of one width"),
        ([1, 0, 1, native.code("row_sum"), 16, 0, 0, 1, -1], "values of one width"),
    ],
)
def test_the_machine_refuses_what_is_no_program(numbers: list[int], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        native.NativeProgram(numbers, 2, 0)


def test_without_the_library_the_reference_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native.library.cache_clear()
    try:
        cell, (x, h) = Fine(), sequence()
        assert "was not built" in explain(cell, x, h)
        assert scan(cell, x, h)[0].shape == (5, 3, 6)
    finally:
        native.library.cache_clear()


@pytest.mark.parametrize("make", [torchrnn.FastLSTM, torchrnn.SeqLSTM, torchrnn.GRU])
def test_a_first_call_without_gradients_is_native(make: Any) -> None:
    net, x = make(4, 6), torch.randn(5, 3, 4)
    net = net if make is torchrnn.SeqLSTM else torchrnn.Sequencer(net)
    with torch.no_grad():
        assert explain(net, x) == "native"
        with use("native"):
            native = net(x)
        with use("reference"):
            assert_near(native, net(x))


def test_private_attributes_of_modules_inside_are_part_of_a_plan() -> None:
    """``mask_zero`` on a module in a container sets one; so may a cell of one's own."""
    lstm = torchrnn.LSTM(4, 6)
    net = torchrnn.Sequencer(torchrnn.Sequential(lstm, nn.Linear(6, 2)))
    x = torch.randn(5, 3, 4)
    x[2, 1] = 0

    class Scaled(Fine):
        def __init__(self) -> None:
            super().__init__()
            self._factors = [1.0]

        def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            y, h = super().step(x, h)
            return self._factors[0] * y, h

    with use("auto"):
        unmasked = net(x)
        lstm.mask_zero(1)
        masked = net(x)
    with use("reference"):
        assert_near(masked, net(x))
    assert not torch.allclose(masked, unmasked)

    cell, (inputs, h) = Scaled(), sequence()
    before = scan(cell, inputs, h)[0]
    cell._factors[0] = 3.0
    assert_near(scan(cell, inputs, h)[0], 3 * before)

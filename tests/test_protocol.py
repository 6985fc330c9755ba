"""The explicit protocol: calls forward and back, deferred and online, truncated, misused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import torchrnn
from torchrnn import Module

D, H, T, N = 4, 6, 5, 3


class Noisy(nn.Module):
    """A module whose gradient depends on what its forward drew."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.randn_like(x)


NETS: dict[str, Callable[[], Module]] = {
    "stateless": lambda: torchrnn.Sequential(nn.Linear(D, H), nn.Tanh(), nn.Linear(H, H), nn.LogSoftmax(-1)),
    "recurrent under stateless": lambda: torchrnn.Sequential(torchrnn.LSTM(D, H), nn.Linear(H, H), nn.LogSoftmax(-1)),
    "recurrent upon stateless": lambda: torchrnn.Sequential(nn.Linear(D, H), torchrnn.GRU(H, H)),
    "two recurrent": lambda: torchrnn.Sequential(torchrnn.FastLSTM(D, H), nn.Tanh(), torchrnn.GRU(H, H)),
    "recurrent in branches": lambda: torchrnn.Sequential(
        torchrnn.ConcatTable(torchrnn.GRU(D, H), nn.Linear(D, H), torchrnn.LSTM(D, H)), torchrnn.CAddTable()
    ),
    "one recurrent module, twice": lambda: torchrnn.Sequential(nn.Linear(D, H), *([torchrnn.GRU(H, H)] * 2)),
    "recurrent in torch.nn": lambda: torchrnn.Sequential(nn.Sequential(torchrnn.GRU(D, H), nn.Linear(H, H))),
    "Recursor": lambda: torchrnn.Recursor(torchrnn.Sequential(torchrnn.LSTM(D, H), nn.Linear(H, H))),
    "drawing random numbers": lambda: torchrnn.Sequential(torchrnn.GRU(D, H), Noisy(), nn.Dropout(0.5)),
    "Repeater": lambda: torchrnn.Sequential(torchrnn.Repeater(torchrnn.GRU(D, H), 3), torchrnn.CAddTable()),
}
every_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())
Make = Callable[[], Module]


def made(make: Make) -> Module:
    torch.manual_seed(3)
    net = make().double()
    net.zero_grad_parameters()
    torch.manual_seed(4)
    return net


def data(seed: int = 0, steps: int = T) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def draw(size: int) -> list[Tensor]:
        return [torch.randn(N, size, dtype=torch.float64, generator=generator) for _ in range(steps)]

    return draw(D), draw(H)


def by_autograd(net: Module, xs: list[Tensor], gs: list[Tensor], detach_before: int = 0) -> list[Tensor]:
    """Gradients of the inputs, then of the parameters, by PyTorch alone; the first calls may be left out."""
    leaves = [x.clone().requires_grad_() for x in xs]
    loss = torch.zeros((), dtype=torch.float64)
    for t, (x, g) in enumerate(zip(leaves, gs, strict=True)):
        if t == detach_before:
            for module in net.modules():
                if isinstance(module, torchrnn.AbstractRecurrent):
                    module.detach_state()
        y = net(x)
        if t >= detach_before:
            loss = loss + (y * g).sum()
    loss.backward()
    return [x.grad for x in leaves[detach_before:]] + [p.grad for p in net.parameters()]


def assert_same(got: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@every_net
@pytest.mark.parametrize("online", [False, True])
def test_all_forward_then_all_back_in_reverse_is_right_for_every_module(make: Make, online: bool) -> None:
    xs, gs = data()
    expected = by_autograd(made(make), xs, gs)
    net = made(make)
    if online:
        net.backward_online()
    for x in xs:
        net.update_output(x)
    grads = [net.backward(x, g) for x, g in zip(xs[::-1], gs[::-1], strict=True)]
    assert_same(grads[::-1] + [p.grad for p in net.parameters()], expected)


@every_net
def test_the_two_halves_of_backward_may_go_back_one_after_the_other(make: Make) -> None:
    xs, gs = data()
    expected = by_autograd(made(make), xs, gs)
    net = made(make)
    for x in xs:
        net.update_output(x)
    grads = [net.update_grad_input(x, g) for x, g in zip(xs[::-1], gs[::-1], strict=True)]
    for x, g in zip(xs[::-1], gs[::-1], strict=True):
        net.acc_grad_parameters(x, g, 0.5)
    halves = [p.grad * 2 for p in net.parameters()]
    assert_same(grads[::-1] + halves, expected)


TIME_NETS = {name: make for name, make in NETS.items() if name not in ("stateless", "Repeater")}
every_time_net = pytest.mark.parametrize("make", TIME_NETS.values(), ids=TIME_NETS.keys())


@every_time_net
def test_forward_and_backward_in_turns_are_deferred(make: Make) -> None:
    xs, gs = data()
    expected = by_autograd(made(make), xs, gs)
    net = made(make)
    for x, g in zip(xs, gs, strict=True):
        net.update_output(x)
        assert (net.backward(x, g) is None) == (x is not xs[0])
    assert all(not p.grad.any() for p in net.parameters())
    earliest = net.backward_through_time()
    assert_same([earliest, *(p.grad for p in net.parameters())], [expected[0], *expected[T:]])


@every_time_net
@pytest.mark.parametrize("online", [False, True])
def test_a_single_call_goes_back_at_once(make: Make, online: bool) -> None:
    xs, gs = data(steps=1)
    expected = by_autograd(made(make), xs, gs)
    net = made(make)
    if online:
        net.backward_online()
    net.update_output(xs[0])
    grad = net.backward(xs[0], gs[0])
    assert_same([grad, *(p.grad for p in net.parameters())], expected)


def test_a_single_call_is_not_taken_back_after_its_gradients_were_used() -> None:
    xs, gs = data(steps=3)
    net = made(NETS["recurrent under stateless"])
    for x, g in zip(xs, gs, strict=True):
        net.update_output(x)
        assert net.backward(x, g) is not None
        net.update_parameters(0.1)
        net.zero_grad_parameters()


@every_time_net
@pytest.mark.parametrize("rho", [1, 2, 4])
def test_deferred_backward_through_time_is_truncated(make: Make, rho: int) -> None:
    xs, gs = data()
    expected = by_autograd(made(make), xs, gs, detach_before=T - rho)
    net = made(make)
    for x, g in zip(xs, gs, strict=True):
        net.update_output(x)
        net.backward(x, g)
    earliest = net.backward_through_time(rho=rho)
    assert_same([earliest, *(p.grad for p in net.parameters())], [expected[0], *expected[rho:]])


@every_time_net
def test_max_bptt_step_truncates_too(make: Make) -> None:
    xs, gs = data()
    expected = by_autograd(made(make), xs, gs, detach_before=T - 2)
    net = made(make).max_bptt_step(2)
    for x, g in zip(xs, gs, strict=True):
        net.update_output(x)
        net.backward(x, g)
    net.backward_through_time()
    assert_same([p.grad for p in net.parameters()], expected[2:])


def test_windows_may_overlap() -> None:
    """Every three steps back through five: the older ones count again, as in the original."""
    xs, gs = data(steps=9)
    net = made(NETS["recurrent under stateless"])
    lstm = net.get(0)
    for t, (x, g) in enumerate(zip(xs, gs, strict=True)):
        net.update_output(x)
        net.backward(x, g)
        if t % 3 == 2:
            net.zero_grad_parameters()
            net.backward_through_time(rho=5)
            assert len(lstm.grad_inputs) == min(5, t + 1)
            window = slice(max(0, t - 4), t + 1)
            other = made(NETS["recurrent under stateless"])
            expected = by_autograd(other, xs[: t + 1], gs[: t + 1], detach_before=window.start)
            assert_same([p.grad for p in net.parameters()], expected[len(xs[window]) :])


def test_reverse_calls_may_overlap_too() -> None:
    xs, gs = data(steps=6)
    net = made(NETS["two recurrent"]).backward_online()
    for start in (0, 3):
        for x in xs[start : start + 3]:
            net.update_output(x)
        net.zero_grad_parameters()
        for t in range(start + 2, max(-1, start - 3), -1):
            net.backward(xs[t], gs[t])
    expected = by_autograd(made(NETS["two recurrent"]), xs, gs, detach_before=1)
    assert_same([p.grad for p in net.parameters()], expected[5:])


def test_backward_through_time_goes_on_where_backward_stopped() -> None:
    """A loss at the last step only."""
    xs, gs = data()
    gs = [*map(torch.zeros_like, gs[:-1]), gs[-1]]
    expected = by_autograd(made(NETS["two recurrent"]), xs, gs)
    net = made(NETS["two recurrent"])
    for x in xs:
        net.update_output(x)
    net.backward(xs[-1], gs[-1])
    earliest = net.backward_through_time()
    assert_same([earliest, *(p.grad for p in net.parameters())], [expected[0], *expected[T:]])


def test_the_halves_of_backward_through_time() -> None:
    xs, gs = data()
    expected = by_autograd(made(NETS["two recurrent"]), xs, gs)
    net = made(NETS["two recurrent"])
    for x, g in zip(xs, gs, strict=True):
        net.update_output(x)
        net.backward(x, g, scale=0.5)
    net.update_grad_input_through_time()
    assert all(not p.grad.any() for p in net.parameters())
    net.acc_grad_parameters_through_time()
    assert_same([2 * p.grad for p in net.parameters()], expected[T:])


@pytest.mark.parametrize("by", ["backward_update_through_time", "update_parameters", "the recurrent module alone"])
def test_updates_without_stored_gradients(by: str) -> None:
    xs, gs = data()
    net = made(NETS["recurrent upon stateless"])
    expected = by_autograd(copy.deepcopy(net), xs, gs)[T:]
    before = [p.detach().clone() for p in net.parameters()]
    for x, g in zip(xs, gs, strict=True):
        net.update_output(x)
        net.backward(x, g)
    if by == "backward_update_through_time":
        net.backward_update_through_time(0.1)
    elif by == "update_parameters":
        net.update_parameters(0.1)
    else:
        net.get(1).update_parameters(0.1)
        expected[:2] = [torch.zeros_like(g) for g in expected[:2]]
    assert_same(list(net.parameters()), [b - 0.1 * g for b, g in zip(before, expected, strict=True)])
    stored = [p.grad.any() for p in net.parameters()]
    assert stored == ([True, True] if by == "the recurrent module alone" else [False, False]) + [False] * 6


def test_one_call_and_its_update() -> None:
    net = torchrnn.Sequential(nn.Linear(D, H)).double()
    x, g = torch.randn(N, D).double(), torch.randn(N, H).double()
    weight = net.get(0).weight.detach().clone()
    net.update_output(x)
    grad_x = net.backward_update(x, g, 0.1)
    torch.testing.assert_close(grad_x, g @ weight)
    torch.testing.assert_close(net.get(0).weight.detach(), weight - 0.1 * g.t() @ x)
    assert net.get(0).weight.grad is None
    net.zero_grad_parameters()
    net.update_output(x)
    net.backward(x, g, scale=2)
    torch.testing.assert_close(net.get(0).weight.grad, 2 * g.t() @ x)
    net.update_parameters(0.05)
    torch.testing.assert_close(net.get(0).weight.detach(), weight - 0.2 * g.t() @ x)


def test_results_are_detached_and_mirror_the_input() -> None:
    net = torchrnn.ParallelTable(nn.Linear(D, H), torchrnn.LookupTable(7, 2), nn.Identity())
    x = [torch.randn(N, D, requires_grad=True), torch.tensor([1, 2, 3]), torch.randn(2)]
    outputs = net.update_output(x)
    assert not any(y.requires_grad for y in outputs)
    grads = net.backward(x, [torch.ones_like(y) for y in outputs])
    assert isinstance(grads, list)
    assert [g.shape for g in grads] == [i.shape for i in x]
    assert not grads[1].any()
    assert isinstance(net.update_output(tuple(x)), list)
    assert isinstance(net.backward(tuple(x), outputs), tuple)


def test_frozen_parameters_get_no_gradient() -> None:
    net = torchrnn.Sequential(nn.Linear(D, H), nn.Linear(H, H))
    net.get(0).weight.requires_grad_(False)
    x = torch.randn(N, D)
    net.backward(x, net.update_output(x))
    assert net.get(0).weight.grad is None
    assert net.get(0).bias.grad is not None


def test_tied_parameters_count_once() -> None:
    linear = nn.Linear(D, D)
    net = torchrnn.Sequential(linear, nn.Tanh(), linear)
    values, _ = net.get_parameters()
    assert values.numel() == D * D + D
    values.zero_()
    assert not linear.weight.any()


def test_nothing_is_kept_where_it_would_pile_up() -> None:
    x = torch.randn(N, D)
    for net in (torchrnn.Sequential(nn.Linear(D, H)), torchrnn.Sequencer(torchrnn.GRU(D, H)), torchrnn.GRU(D, H)):
        x = torch.randn(2, N, D)
        x = x if isinstance(net, torchrnn.Sequencer) else x[0]
        net.evaluate()
        for _ in range(20):
            net.update_output(x)
        assert len(net._tape.kept) == 1
        net.train()
        for _ in range(20):
            net.backward(x, net.update_output(x))
        kept = 20 if net.is_recurrent else 0
        assert len(net._tape.kept) == kept
        for _ in range(5):
            net.update_grad_input(x, net.update_output(x))
        assert len(net._tape.kept) <= (25 if net.is_recurrent else 1)
        net.forget()
        assert net._tape.kept == []
    gru = torchrnn.GRU(D, H, rho=7)
    for _ in range(20):
        gru.update_output(x)
    assert len(gru._tape.kept) == len(gru.outputs) == 7
    gru.rho = 3
    gru.recycle()
    assert len(gru._tape.kept) == 3


@pytest.mark.parametrize("make", [lambda: torchrnn.GRU(D, H, rho=5), lambda: torchrnn.Recursor(torchrnn.GRU(D, H), 5)])
def test_the_graph_of_a_stream_does_not_grow_without_end(make: Make) -> None:
    """But in PyTorch's world, where it has to be ended by hand."""

    def graph_of(net: Module, world: str, steps: int) -> int:
        net.forget()
        for _ in range(steps):
            if world == "autograd, cut":
                net.detach_state()
            output = net.update_output(x) if world == "explicit" else net(x)
        roots = [output.grad_fn, *(leaf.grad_fn for leaf in tree_leaves(net.get_hidden_state()))]
        todo, seen = [root for root in roots if root is not None], set()
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += [node for node, _ in node.next_functions if node is not None]
        return len(seen)

    net, x = make(), torch.randn(N, D)
    for training in (True, False):
        net.train(training)
        for world in ("explicit", "autograd, cut"):
            assert 0 < graph_of(net, world, 40) == graph_of(net, world, 10)
        with torch.no_grad():
            for world in ("explicit", "autograd"):
                assert graph_of(net, world, 10) == 0
        assert len(net.outputs) == 5
        assert graph_of(net, "autograd", 20) > 3 * graph_of(net, "autograd", 5)


def test_no_grad_keeps_nothing() -> None:
    net, x = torchrnn.Sequential(nn.Linear(D, H)), torch.randn(N, D)
    with torch.no_grad():
        y = net.update_output(x)
    with pytest.raises(ValueError, match="call update_output first"):
        net.backward(x, y)


def stepped(calls: int) -> Module:
    net = torchrnn.Sequential(torchrnn.GRU(D, H)).double()
    for x in data()[0][:calls]:
        net.update_output(x)
    return net


X, G = data()
MISUSE: dict[str, tuple[Callable[[], object], str]] = {
    "backward before forward": (lambda: stepped(0).backward(X[0], G[0]), "call update_output first"),
    "the wrong input": (lambda: stepped(3).backward(X[0], G[0]), "input must be the one of call 3 of update_output"),
    "an input of another shape": (lambda: stepped(3).backward(X[0][:1], G[0]), r"\(3, 4\); got another .* \(1, 4\)"),
    "a table for a tensor": (lambda: stepped(3).backward([X[2], X[2]], G[2]), "got another input"),
    "grad_output of another shape": (lambda: stepped(1).backward(X[0], G[0][:1]), "structure and shapes of the output"),
    "grad_output missing": (lambda: stepped(1).backward(X[0], None), "got NoneType"),
    "parameters before the input": (
        lambda: stepped(2).acc_grad_parameters(X[1], G[1]),
        "update_grad_input comes first",
    ),
    "back once too often": (
        lambda: [(net := stepped(2)), *(net.backward(X[t], G[t]) for t in (1, 0, 0))],
        "no call of update_output left",
    ),
    "back after forget": (lambda: stepped(2).forget().backward(X[1], G[1]), "no call of update_output left"),
    "through time before forward": (lambda: stepped(0).backward_through_time(), "call update_output first"),
    "through time from a step that was not": (lambda: stepped(2).backward_through_time(step=7), "got step=7"),
    "through time without steps": (lambda: stepped(2).backward_through_time(rho=0), "rho at least 1"),
    "a mode that does not exist": (lambda: stepped(0).remember("always"), "mode must be 'both', 'train'"),
    "no steps to keep": (lambda: stepped(0).max_bptt_step(0), "rho must be at least 1"),
    "mixed dtypes": (
        lambda: torchrnn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()).get_parameters(),
        "one dtype and device",
    ),
    "another batch size in mid-stream": (lambda: stepped(1).update_output(X[0][:2]), "batch size must stay the same"),
    "a state that was used already": (lambda: stepped(2).get(0).set_hidden_state(1, X[0]), "must be 0 .* or 2"),
    "a state that is to come": (lambda: stepped(2).get(0).get_hidden_state(3), "between 0"),
    "a start state of another shape": (
        lambda: [(net := stepped(0)), net.get(0).set_hidden_state(0, X[0]), net.update_output(X[0])],
        r"must have the shapes \(3, 6\)",
    ),
    "too few states": (lambda: stepped(1).set_hidden_state(0, ()), "tuple of 1"),
    "a gradient that has not come back": (lambda: stepped(2).get(0).get_grad_hidden_state(1), "Call backward first"),
}


@pytest.mark.parametrize(("call", "message"), MISUSE.values(), ids=MISUSE.keys())
def test_misuse_raises(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        call()


def test_an_unwritten_cell_says_what_to_write() -> None:
    class Empty(torchrnn.AbstractRecurrent):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty must write initial_state"):
        Empty()(torch.zeros(2))


def test_a_failed_forward_leaves_the_calls_alone() -> None:
    net = stepped(2)
    with pytest.raises(RuntimeError):
        net.update_output(torch.randn(N, D + 1).double())
    net.backward(X[1], G[1])
    net.backward(X[0], G[0])


def test_gradients_end_where_a_state_was_set_or_cut() -> None:
    for cut in (lambda gru: gru.set_hidden_state(None, torch.zeros(N, H).double()), lambda gru: gru.detach_state()):
        gru = torchrnn.GRU(D, H).double().backward_online()
        gru.update_output(X[0])
        cut(gru)
        gru.update_output(X[1])
        gru.backward(X[1], G[1])
        assert not gru.backward(X[0], torch.zeros_like(G[0])).any()


def test_a_part_has_no_calls_of_its_own() -> None:
    net = torchrnn.Sequential(torchrnn.GRU(D, H), nn.Tanh()).double()
    net.update_output(X[0])
    with pytest.raises(ValueError, match="call update_output first"):
        net.get(0).backward(X[0], G[0])


def test_a_state_that_was_changed_in_place_is_noticed() -> None:
    gru = torchrnn.GRU(D, H).double()
    gru.update_output(X[0]).mul_(0)
    with pytest.raises(ValueError, match="changed in place"):
        gru.update_output(X[1])
    net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.GRU(D, H), nn.ReLU(inplace=True)))
    with pytest.raises(ValueError, match="changed in place"):
        net(torch.randn(3, N, D))


def test_names_of_lists_are_not_for_layers() -> None:
    class Cell(torchrnn.GRU):
        def __init__(self) -> None:
            super().__init__(D, H)
            self.inputs = nn.Linear(D, D)

    with pytest.raises(ValueError, match="'inputs' is the list of the inputs of all steps"):
        Cell()


def test_a_layer_may_be_called_output_and_training_is_a_bool() -> None:
    class Net(torchrnn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output = nn.Linear(D, H)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(self.output(x), 0.5, self.training)

    net = Net().double()
    assert net.backward(X[0], net.update_output(X[0])).shape == X[0].shape
    assert net.evaluate().training is False


def test_parameters_may_be_states() -> None:
    gru, start = torchrnn.GRU(D, H), nn.Parameter(torch.zeros(N, H))
    before = [name for name, _ in gru.named_parameters()]
    gru.set_hidden_state(0, start)
    gru(torch.randn(N, D)).sum().backward()
    assert start.grad is not None
    gru.set_hidden_state(None, nn.Parameter(torch.zeros(N, H)))
    gru(torch.randn(N, D))
    assert [name for name, _ in gru.named_parameters()] == before
    assert copy.deepcopy(gru)._start_state.requires_grad
    gru.double()(torch.randn(N, D).double())  # states move along


def test_flat_gradients_survive_zero_grad() -> None:
    net = torchrnn.Sequential(nn.Linear(D, H)).double()
    _, grads = net.get_parameters()
    net(X[0]).sum().backward()
    net.zero_grad()
    assert not grads.any()
    net(X[0]).sum().backward()
    assert grads.any()


def test_keeping_steps_costs_the_same_for_each() -> None:
    """Calls forward touch only the calls that were gone back through, however many are kept."""
    gru = torchrnn.GRU(D, H).double().backward_online()
    for _ in range(50):
        gru.update_output(X[0])
    assert gru._tape.reached == []
    gru.backward(X[0], G[0])
    gru.update_output(X[0])
    assert gru.grad_inputs == []


def test_copies_and_files_leave_the_calls_behind() -> None:
    net = stepped(2)
    twin = copy.deepcopy(net)
    torch.testing.assert_close(twin(X[2]), net.update_output(X[2]))
    with pytest.raises(ValueError, match="update_output first"):
        twin.backward(X[2], G[2])

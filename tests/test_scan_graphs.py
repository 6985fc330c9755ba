"""Sequences in the graphs of torch.compile and torch.export: one node, and the same numbers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from native_library import require_library
from test_scan_at_home import NETS, D, H, UsersCell
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import torchrnn
from torchrnn.scan import use

require_library()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what torch.compile imports
]


def container() -> nn.Module:
    return torchrnn.Sequencer(torchrnn.Sequential(torchrnn.LSTM(D, H), nn.Linear(H, D), torchrnn.GRU(D, H)))


class Structured(torchrnn.AbstractRecurrent):
    """With a tree of states and a tree of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D + H, H)
        self.register_buffer("scale", torch.tensor([0.5]))

    def initial_state(self, input: Tensor) -> Any:
        return {"h": input.new_zeros(len(input), H)}, [input.new_ones(len(input), 2)]

    def step(self, input: Tensor, state: Any) -> tuple[Any, Any]:
        h = torch.tanh(self.linear(torch.cat([input, state[0]["h"]], -1)))
        c = self.scale * state[1][0]
        return {"h": h, "parts": (c, h * h)}, ({"h": h}, [c])


class OneOutput(nn.Module):
    """All outputs of a net, side by side."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(torch.utils._pytree.tree_leaves(self.net(x)), -1)


ALL = {
    **{name: NETS[name] for name in ("FastLSTM", "SeqLSTM", "a user's cell")},
    "batch first": lambda: torchrnn.SeqGRU(D, H, batch_first=True),
    "a container": container,
    "trees": lambda: OneOutput(torchrnn.Sequencer(Structured())),
    "two layers": lambda: nn.Sequential(torchrnn.SeqLSTM(D, H), nn.Linear(H, D), torchrnn.Sequencer(UsersCell())),
    "both directions": lambda: torchrnn.SeqBLSTM(D, H),
}
N_NODES = {"two layers": 2, "both directions": 2}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def nodes(graph: Any) -> int:
    return sum("torchrnn.scan" in str(node.target) for node in graph.nodes)


def batch(T: int = 5, N: int = 3) -> Tensor:
    return torch.randn(T, N, D, requires_grad=True)


def results(net: Callable[[Tensor], Tensor], x: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    y = net(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]


def assert_compiled(
    net: nn.Module, backend: Any = "aot_eager", n_nodes: int | None = 1, x: Tensor | None = None
) -> Any:
    counter, x = CompileCounterWithBackend(backend), batch() if x is None else x
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    got, expected = (results(f, x, list(net.parameters())) for f in (compiled, net))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1
    assert n_nodes is None or nodes(counter.graphs[0].graph) == n_nodes
    return compiled


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_sequence_is_one_node(name: str, backend: str) -> None:
    assert_compiled(ALL[name](), backend, N_NODES.get(name, 1))


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", ["FastLSTM", "SeqLSTM", "a user's cell"])
def test_with_inductor(name: str) -> None:
    assert_compiled(ALL[name](), "inductor")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_sequence_is_one_node(name: str, strict: bool) -> None:
    net, x = ALL[name](), batch().detach()
    expected = net(x)
    program = torch.export.export(net, (x,), strict=strict)
    assert nodes(program.graph) == N_NODES.get(name, 1)
    torch.testing.assert_close(net(x), expected)  # it is as it was before
    del net
    torch.testing.assert_close(program.module()(x), expected)


def test_the_backward_is_a_node_too() -> None:
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.compilers import nop

    seen: list[Any] = []

    def look(graph: Any, inputs: Any) -> Any:
        seen.append(graph.graph)
        return nop(graph, inputs)

    net, x = NETS["FastLSTM"](), batch()
    torch.compile(net, backend=aot_autograd(fw_compiler=look, bw_compiler=look))(x).sum().backward()
    found = [[str(node.target) for node in graph.nodes if "torchrnn" in str(node.target)] for graph in seen]
    assert found == [["torchrnn.scan.default"], ["torchrnn.scan_backward.default"]]


@pytest.mark.parametrize("name", ["FastLSTM", "SeqLSTM", "a user's cell"])
def test_one_graph_serves_every_length_and_batch(name: str) -> None:
    net = ALL[name]()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, backend=counter, fullgraph=True, dynamic=True)
    for T, N in [(5, 3), (7, 3), (7, 2), (20, 9)]:
        x = batch(T, N)
        got, expected = (results(f, x, list(net.parameters())) for f in (compiled, net))
        torch.testing.assert_close(got, expected)
    assert counter.frame_count == 1


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_serves_every_length_and_batch(strict: bool) -> None:
    net = NETS["FastLSTM"]()
    dims = {0: torch.export.Dim("T"), 1: torch.export.Dim("N")}
    program = torch.export.export(net, (torch.randn(5, 3, D),), dynamic_shapes=(dims,), strict=strict)
    assert nodes(program.graph) == 1
    for T, N in [(7, 2), (2, 9)]:
        x = torch.randn(T, N, D)
        torch.testing.assert_close(program.module()(x), net(x))


def test_what_the_step_depends_on_is_guarded() -> None:
    class Flagged(UsersCell):
        sign = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.factor = 2.0

        def step(self, input: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            y, h = super().step(input, h)
            return (y if self.training else -y) * self.factor, h

    net, x = torchrnn.Sequencer(Flagged()), batch()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    expected = compiled(x)
    torch.testing.assert_close(expected, net(x))
    torch.testing.assert_close(compiled(x), expected)
    net.eval()
    torch.testing.assert_close(compiled(x), -expected)
    net.cell.factor = 6.0
    torch.testing.assert_close(compiled(x), -3 * expected)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(0.5)
        torch.testing.assert_close(compiled(x), net(x))


def test_the_choice_of_an_engine_holds_in_graphs() -> None:
    net, x = NETS["FastLSTM"](), batch()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    y = compiled(x)
    with use("reference"):
        torch.testing.assert_close(compiled(x), y)
    assert [nodes(graph.graph) for graph in counter.graphs] == [1, 0]
    parameters = list(net.parameters())
    expected = results(compiled, x, parameters)
    with use(memory="recompute"):
        assert all(map(torch.equal, results(compiled, x, parameters), expected))
    assert counter.frame_count == 3


def test_frozen_parameters() -> None:
    net, x = NETS["FastLSTM"](), batch().detach()
    net.cell.i2g.requires_grad_(False)
    torch.compile(net, backend="aot_eager", fullgraph=True)(x).sum().backward()
    got = net.cell.o2g.weight.grad
    net.zero_grad()
    net(x).sum().backward()
    torch.testing.assert_close(got, net.cell.o2g.weight.grad)
    assert net.cell.i2g.weight.grad is None


def test_sequences_that_the_reference_runs_in_graphs() -> None:
    dropout = NETS["with dropout"]()
    assert_compiled(dropout.eval())
    assert_compiled(
        torchrnn.Sequencer(torchrnn.FastLSTM(D, H)).double(), n_nodes=0, x=batch().detach().double().requires_grad_()
    )
    net, x = NETS["FastLSTM"](), batch()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    steps = list(x.detach().unbind())
    torch.testing.assert_close(compiled(steps), net(steps))
    lengths = torch.tensor([5, 2, 3])
    torch.testing.assert_close(torch.compile(net, backend="aot_eager")(x, lengths), net(x, lengths))


def test_what_must_be_native_is_not_traced() -> None:
    net, x = torchrnn.Sequencer(torchrnn.FastLSTM(D, H)), batch().detach()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    with use("native"):
        torch.testing.assert_close(compiled(x), net(x))
        with pytest.raises(RuntimeError, match="the native engine cannot run this sequence of a FastLSTM in a graph"):
            compiled(list(x.unbind()))


def test_a_remembered_state_goes_on_from_graph_to_graph() -> None:
    net = NETS["SeqLSTM"]().remember()
    compiled = torch.compile(net, backend="aot_eager")
    x = torch.randn(9, 3, D)
    with torch.no_grad():
        expected = [net(part) for part in x.split(3)]
        net.forget()
        got = [compiled(part) for part in x.split(3)]
    torch.testing.assert_close(got, expected)


def test_states_in_the_middle_are_not_listed() -> None:
    net, x = NETS["FastLSTM"](), batch()
    torch.compile(net, backend="aot_eager")(x)
    assert net.get_hidden_state().h.shape == (3, H)
    with pytest.raises(RuntimeError, match="a graph ran the sequence, and gave only its last state"):
        net.states  # noqa: B018


LOAD = """
import sys, torch, torchrnn, torchrnn.scan.operators
program = torch.export.load(sys.argv[1])
print(program.module()(torch.ones(5, 3, 4)).sum().item())
"""


def test_programs_in_files(tmp_path: Path) -> None:
    """Those of the reference are PyTorch alone; those with a node are for this process, and say so."""
    net, x = NETS["FastLSTM"](), torch.ones(5, 3, D)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "node.pt2")
    with use("reference"):
        torch.export.save(torch.export.export(net, (x,)), tmp_path / "plain.pt2")
    here = torch.export.load(tmp_path / "node.pt2").module()
    torch.testing.assert_close(here(x), net(x))
    plain = subprocess.run([sys.executable, "-c", LOAD, tmp_path / "plain.pt2"], capture_output=True, text=True)
    assert float(plain.stdout) == pytest.approx(net(x).sum().item(), rel=1e-4)
    node = subprocess.run([sys.executable, "-c", LOAD, tmp_path / "node.pt2"], capture_output=True, text=True)
    assert "this graph was made in another process" in node.stderr

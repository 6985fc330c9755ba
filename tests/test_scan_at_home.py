"""What users do with any module of PyTorch, on sequences that run natively: each result is that of the reference."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from native_library import require_library
from scan_cells import MinimalGated
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import torchrnn
from torchrnn.scan import explain, use

require_library()

D, H = 4, 6


class UsersCell(torchrnn.AbstractRecurrent):
    def __init__(self) -> None:
        super().__init__()
        self.cell = MinimalGated(D, H)

    def initial_state(self, input: Tensor) -> Tensor:
        return self.cell.initial_state(input)

    def step(self, input: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.cell.step(input, h)


def with_dropout() -> nn.Module:
    return torchrnn.Sequencer(torchrnn.Sequential(torchrnn.GRU(D, H), nn.Dropout(0.5), torchrnn.LSTM(H, H)))


NETS: dict[str, Callable[[], nn.Module]] = {
    "FastLSTM": lambda: torchrnn.Sequencer(torchrnn.FastLSTM(D, H)),
    "SeqLSTM": lambda: torchrnn.SeqLSTM(D, H),
    "a user's cell": lambda: torchrnn.Sequencer(UsersCell()),
    "with dropout": with_dropout,
}


def batch(T: int = 5, N: int = 3) -> Tensor:
    return torch.randn(T, N, D, requires_grad=True)


def results(run: Callable[[], Tensor], sources: list[Tensor], engine: str = "auto") -> list[Tensor]:
    torch.manual_seed(1)
    with use(engine):
        y = run()
        return [y, *torch.autograd.grad((y * torch.linspace(-1, 2, y.numel()).view_as(y)).sum(), sources)]


def assert_near(got: list[Tensor], expected: list[Tensor]) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoint(name: str, use_reentrant: bool) -> None:
    net, x = NETS[name](), batch()
    sources = [x, *net.parameters()]
    found: dict[str, list[Tensor]] = {}
    for engine in ("native", "reference"):
        torch.manual_seed(1)
        with use("reference" if engine == "reference" else "auto"):
            y = checkpoint(net, x, use_reentrant=use_reentrant)
            for source in sources:
                source.grad = None
            y.square().sum().backward()
        found[engine] = [y, *(source.grad for source in sources)]
    assert_near(found["native"], found["reference"])
    torch.manual_seed(1)
    y = net(x)
    assert_near([y, *torch.autograd.grad(y.square().sum(), sources)], found["native"])


def test_checkpoint_keeps_the_input_only() -> None:
    layers = [torchrnn.Sequencer(torchrnn.FastLSTM(D, D)) for _ in range(3)]
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    y = x = batch()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for layer in layers:
            y = checkpoint(layer, y, use_reentrant=False)
        assert type(y.grad_fn).__name__ == "NativeScanBackward"
    assert len(saved) == 3
    y.sum().backward()
    assert_near([x.grad], [torch.autograd.grad(nn.Sequential(*layers)(x).sum(), x)[0]])


@pytest.mark.parametrize("name", ["FastLSTM", "SeqLSTM", "a user's cell"])
def test_copies_and_files_of_a_used_module(name: str) -> None:
    net, x = NETS[name]().remember(), batch()
    net(x).sum().backward()
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    twins = [copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(file, weights_only=False)]
    expected = results(lambda: net(x), [x, *net.parameters()])
    for twin in twins:
        assert explain(twin, x) == "native"
        got = results(lambda twin=twin: twin(x), [x, *twin.parameters()])
        assert all(map(torch.equal, got, expected))  # the remembered state came along


@pytest.mark.parametrize("model_type", ["lstm", "gru", "rnn", "fastlstm"])
def test_copies_of_a_used_language_model(model_type: str) -> None:
    model = torchrnn.LanguageModel("abcdefg", model_type, wordvec_size=D, rnn_size=H)
    ids = torch.randint(7, (3, 5))
    model(ids).sum().backward()
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = model(ids)
    for twin in twins:
        assert torch.equal(twin(ids), expected)


@pytest.mark.parametrize("name", ["FastLSTM", "SeqLSTM", "a user's cell"])
def test_parameters_that_are_swapped(name: str) -> None:
    net, x = NETS[name](), batch()
    other = {key: torch.randn_like(p, requires_grad=True) for key, p in net.named_parameters()}

    def run() -> Tensor:
        return functional_call(net, {key: 0.5 * p for key, p in other.items()}, (x,))

    assert_near(results(run, [x, *other.values()]), results(run, [x, *other.values()], "reference"))


@pytest.mark.parametrize("name", ["FastLSTM", "SeqLSTM", "a user's cell"])
def test_parameters_that_are_frozen(name: str) -> None:
    net, x = NETS[name](), batch()
    weight, *others = net.parameters()
    weight.requires_grad_(False)
    assert_near(results(lambda: net(x), [x, *others]), results(lambda: net(x), [x, *others], "reference"))
    net(x).sum().backward()
    assert weight.grad is None
    net.requires_grad_(False)
    assert_near(results(lambda: net(x), [x]), results(lambda: net(x), [x], "reference"))
    assert not net(x.detach()).requires_grad


def test_layers_that_share_their_parameters() -> None:
    first, second = torchrnn.SeqLSTM(H, H), torchrnn.SeqLSTM(H, H)
    second.cell.weight = first.cell.weight
    net, x = nn.Sequential(first, second, first), torch.randn(5, 3, H, requires_grad=True)
    sources = [x, *net.parameters()]
    assert len(sources) == 4
    assert_near(results(lambda: net(x), sources), results(lambda: net(x), sources, "reference"))


def test_hooks_on_gradients() -> None:
    """On a parameter, on an output, and after a gradient was accumulated: all are called, and may change it."""
    found = []
    for engine in ("auto", "reference"):
        torch.manual_seed(1)
        net, x = NETS["FastLSTM"](), batch()
        weight = net.cell.i2g.weight
        seen: list[Tensor] = []
        weight.register_hook(lambda grad: 2 * grad)
        weight.register_post_accumulate_grad_hook(lambda p, seen=seen: seen.append(p.grad.clone()))
        x.register_hook(lambda grad, seen=seen: seen.append(grad))
        net.register_full_backward_hook(lambda module, given, got, seen=seen: seen.append(given[0]))
        with use(engine):
            y = net(x)
            y.register_hook(lambda grad: grad * 0.5)
            y.square().sum().backward()
        assert len(seen) == 3
        found.append([*seen, weight.grad])
    assert_near(*found)


def test_optimizers_that_fuse_and_gradients_that_are_sparse_or_none() -> None:
    net, x = NETS["SeqLSTM"](), torch.randn(5, 3, D)
    optimizer = torch.optim.Adam(net.parameters(), foreach=True)
    before = [p.detach().clone() for p in net.parameters()]
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        net(x).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
    assert not any(map(torch.equal, before, net.parameters()))


def train_apart(rank: int, world_size: int, file: str, x: Tensor, folder: str) -> None:
    """One process: a backward pass on its part of the batch; writes its gradients."""
    torch.set_num_threads(1)
    init_process_group("gloo", f"file://{file}", rank=rank, world_size=world_size)
    try:
        torch.manual_seed(1)
        net = DistributedDataParallel(nn.Sequential(*(NETS[name]() for name in ("FastLSTM",)), torchrnn.SeqLSTM(H, H)))
        part = x.chunk(world_size, 1)[rank]
        for _ in range(2):  # the second time in buckets that were made anew
            net.zero_grad()
            y = net(part)
            y.square().mean().backward()
        torch.save([p.grad for p in net.parameters()], Path(folder, f"{rank}.pt"))
    finally:
        destroy_process_group()


def gradients_of_all(x: Tensor) -> list[Tensor]:
    torch.manual_seed(1)
    net = nn.Sequential(NETS["FastLSTM"](), torchrnn.SeqLSTM(H, H))
    net(x).square().mean().backward()
    return [p.grad for p in net.parameters()]


def test_distributed_training_in_one_process(tmp_path: Path) -> None:
    x = torch.randn(5, 4, D)
    train_apart(0, 1, str(tmp_path / "store"), x, str(tmp_path))
    assert_near(torch.load(tmp_path / "0.pt"), gradients_of_all(x))


@pytest.mark.slow
def test_distributed_training_in_two_processes(tmp_path: Path) -> None:
    x = torch.randn(5, 4, D)
    arguments: Any = (2, str(tmp_path / "store"), x, str(tmp_path))
    torch.multiprocessing.spawn(train_apart, arguments, nprocs=2)
    for rank in range(2):
        assert_near(torch.load(tmp_path / f"{rank}.pt"), gradients_of_all(x))  # the mean over both

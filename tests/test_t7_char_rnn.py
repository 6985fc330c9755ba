"""Checkpoints of char-rnn.

None of the originals is at hand. The networks are put together call by call as the three model files of char-rnn do,
by what nngraph does in Lua (lua_nngraph.py); the numbers are compared with the equations of the cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lua_nngraph import Node, call, forward_and_backward, g_module
from torch import Tensor, nn

import torchrnn
from torchrnn import t7
from torchrnn.cli import main
from torchrnn.lm import LanguageModel
from torchrnn.lm.run import Run

V, H = 5, 6
TOKENS = ["a", "\n", "é", b"\xc3", "b"]


def made(name: str, **fields: Any) -> t7.TorchObject:
    return t7.TorchObject(f"nn.{name}", {"_type": "torch.DoubleTensor", "train": False, **fields})


class Parameters:
    """Views of one flat tensor, and of another for the gradients, as ``combine_all_parameters`` leaves them."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.flat = torch.rand(4000, dtype=torch.float64, generator=generator) - 0.5
        self.grads = torch.zeros(4000, dtype=torch.float64)
        self.used = 0

    def take(self, name: str, *size: int) -> dict[str, Tensor]:
        start, self.used = self.used, self.used + math.prod(size)
        value, grad = (memory[start : self.used].view(size) for memory in (self.flat, self.grads))
        return {name: value, "grad" + name.capitalize(): grad}

    def linear(self, n_in: int, n_out: int, bias: bool = True) -> t7.TorchObject:
        fields = self.take("weight", n_out, n_in)
        return made("Linear", **fields, **(self.take("bias", n_out) if bias else {}))


def one_hot() -> t7.TorchObject:
    """As it is once it has run: its matrix holds floats, whatever it gives."""
    return t7.TorchObject("OneHot", {"_type": "torch.DoubleTensor", "outputSize": V, "_eye": torch.eye(V)})


class Variant(NamedTuple):
    """How a version of char-rnn and of nngraph wires its network."""

    lists_inputs: bool = False
    """nngraph up to July 2013."""
    narrows: bool = False
    """The first version of char-rnn: its LSTM cut the gates out of one sum."""
    keeps_places: bool = False
    """A variant with recurrent batch normalisation, here switched off, that leaves identities in its place."""


class Network:
    """The network of one step, and its layers for the equations: pairs of linear maps."""

    def __init__(self, n_layers: int, dropout: float, variant: Variant) -> None:
        self.parameters = Parameters()
        self.n_layers, self.dropout, self.variant = n_layers, dropout, variant
        self.maps: list[list[tuple[t7.TorchObject, t7.TorchObject]]] = []
        self.inputs = [call(made("Identity"))]
        self.outputs: list[Node] = []

    def state(self) -> Node:
        self.inputs.append(call(made("Identity")))
        return self.inputs[-1]

    def layer_input(self, layer: int) -> Node:
        self.maps.append([])
        if layer == 0:
            return call(one_hot(), self.inputs[0])
        return call(made("Dropout", p=self.dropout), self.outputs[-1]) if self.dropout else self.outputs[-1]

    def sum(self, layer: int, size: int, x: Node, h: Node) -> Node:
        """The sum of two linear maps."""
        of_x = self.parameters.linear(H if layer else V, size)
        of_h = self.parameters.linear(H, size, not self.variant.keeps_places)
        self.maps[-1].append((of_x, of_h))
        terms = [call(of_x, x).annotate(f"i2h_{layer + 1}"), call(of_h, h).annotate(f"h2h_{layer + 1}")]
        if self.variant.keeps_places:
            terms = [call(made("Identity"), term) for term in terms]
        return call(made("CAddTable"), *terms)

    def finish(self) -> t7.TorchObject:
        top = self.outputs[-1]
        if self.dropout:
            top = call(made("Dropout", p=self.dropout), top)
        self.decoder = self.parameters.linear(H, V)
        scores = call(made("LogSoftMax"), call(self.decoder, top).annotate("decoder"))
        return g_module(self.inputs, [*self.outputs, scores], self.variant.lists_inputs)


class LSTM(Network):
    def build(self) -> t7.TorchObject:
        states = [(self.state(), self.state()) for _ in range(self.n_layers)]
        for layer, (c, h) in enumerate(states):
            x = self.layer_input(layer)
            sums = self.sum(layer, 4 * H, x, h)
            i, f, o, g = self.old_gates(sums) if self.variant.narrows else self.gates(sums)
            kept, new = call(made("CMulTable"), f, c), call(made("CMulTable"), i, g)
            next_c = call(made("CAddTable"), kept, new)
            seen = call(made("Identity"), next_c) if self.variant.keeps_places else next_c
            self.outputs += [next_c, call(made("CMulTable"), o, call(made("Tanh"), seen))]
        return self.finish()

    def gates(self, sums: Node) -> list[Node]:
        size = t7.Storage(torch.tensor([4, H]))
        reshaped = call(made("Reshape", size=size, nelement=4 * H, batchsize=size), sums)
        parts = call(made("SplitTable", dimension=2), reshaped).split(4)
        return [call(made("Tanh" if n == 3 else "Sigmoid"), part) for n, part in enumerate(parts)]

    def old_gates(self, sums: Node) -> list[Node]:
        def narrow(start: int, length: int, source: Node) -> Node:
            return call(made("Narrow", dimension=2, index=start + 1, length=length), source)

        chunk = call(made("Sigmoid"), narrow(0, 3 * H, sums))
        gates = [narrow(n * H, H, chunk) for n in range(3)]
        return [*gates, call(made("Tanh"), narrow(3 * H, H, sums))]

    def step(self, layer: int, x: Tensor, state: list[Tensor]) -> list[Tensor]:
        c, h = state
        ((of_x, of_h),) = self.maps[layer]
        i, f, o, g = (linear(of_x, x) + linear(of_h, h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return [c, o.sigmoid() * c.tanh()]


class GRU(Network):
    def build(self) -> t7.TorchObject:
        for layer, h in enumerate([self.state() for _ in range(self.n_layers)]):
            x = self.layer_input(layer)
            update = call(made("Sigmoid"), self.sum(layer, H, x, h))
            reset = call(made("Sigmoid"), self.sum(layer, H, x, h))
            candidate = call(made("Tanh"), self.sum(layer, H, x, call(made("CMulTable"), reset, h)))
            minus = call(made("MulConstant", constant_scalar=-1, inplace=False), update)
            rest = call(made("AddConstant", constant_scalar=1, inplace=False), minus)
            new, kept = call(made("CMulTable"), update, candidate), call(made("CMulTable"), rest, h)
            self.outputs.append(call(made("CAddTable"), new, kept))
        return self.finish()

    def step(self, layer: int, x: Tensor, state: list[Tensor]) -> list[Tensor]:
        (h,) = state
        (z_x, z_h), (r_x, r_h), (g_x, g_h) = self.maps[layer]
        z = (linear(z_x, x) + linear(z_h, h)).sigmoid()
        r = (linear(r_x, x) + linear(r_h, h)).sigmoid()
        g = (linear(g_x, x) + linear(g_h, r * h)).tanh()
        return [z * g + (1 - z) * h]


class RNN(Network):
    def build(self) -> t7.TorchObject:
        for layer, h in enumerate([self.state() for _ in range(self.n_layers)]):
            x = self.layer_input(layer)
            self.outputs.append(call(made("Tanh"), self.sum(layer, H, x, h)))
        return self.finish()

    def step(self, layer: int, x: Tensor, state: list[Tensor]) -> list[Tensor]:
        ((of_x, of_h),) = self.maps[layer]
        return [(linear(of_x, x) + linear(of_h, state[0])).tanh()]


def linear(map_: t7.TorchObject, x: Tensor) -> Tensor:
    return x @ map_.fields["weight"].t() + map_.fields.get("bias", 0)


KINDS: dict[str, type[Any]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
VARIANTS = {
    "": Variant(),
    "first char-rnn": Variant(narrows=True),
    "first nngraph": Variant(lists_inputs=True),
    "with places": Variant(keeps_places=True),
}


def checkpoint_of(network: Any, kind: str) -> dict[str, Any]:
    """What char-rnn's train.lua saves."""
    opt = {
        "data_dir": "data/tinyshakespeare",
        "rnn_size": H,
        "num_layers": network.n_layers,
        "model": kind,
        "learning_rate": 0.002,
        "learning_rate_decay": 0.97,
        "learning_rate_decay_after": 10,
        "decay_rate": 0.95,
        "dropout": network.dropout,
        "seq_length": 4,
        "batch_size": 3,
        "max_epochs": 50,
        "grad_clip": 5,
        "train_frac": 0.95,
        "val_frac": 0.05,
        "init_from": "",
        "seed": 123,
        "print_every": 1,
        "eval_val_every": 1000,
        "checkpoint_dir": "cv",
        "savefile": "lstm",
        "accurate_gpu_timing": 0,
        "gpuid": -1,
        "opencl": 0,
    }
    criterion = made("ClassNLLCriterion", sizeAverage=True, output=1.25, output_tensor=torch.zeros(1))
    return {
        "protos": {"rnn": network.build(), "criterion": criterion},
        "opt": opt,
        "train_losses": [4.0, 3.5, 3.0],
        "val_loss": 2.75,
        "val_losses": {2: 3.25, 3: 2.75},
        "i": 3,
        "epoch": 0.5,
        "vocab": {token: number for number, token in enumerate(TOKENS, 1)},
    }


def by_the_equations(network: Any, ids: Tensor) -> Tensor:
    """The log-probabilities (N, T, V)."""
    count = 2 if isinstance(network, LSTM) else 1
    states = [[torch.zeros(len(ids), H, dtype=torch.float64)] * count for _ in range(network.n_layers)]
    scores = []
    for x in torch.eye(V, dtype=torch.float64)[ids].unbind(1):
        for layer in range(network.n_layers):
            states[layer] = network.step(layer, x, states[layer])
            x = states[layer][-1]
        scores.append(linear(network.decoder, x).log_softmax(-1))
    return torch.stack(scores, 1)


def step_by_step(graph: Callable[..., Any], ids: Tensor, n_states: int) -> Tensor:
    """The same by a module of one step, which takes and gives the states."""
    states = [torch.zeros(len(ids), H, dtype=torch.float64)] * n_states
    scores = []
    for x in ids.unbind(1):
        *states, score = graph([x, *states])
        scores.append(score)
    return torch.stack(scores, 1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("n_layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_char_rnn_becomes_a_language_model(kind: str, n_layers: int, dropout: float, variant: str) -> None:
    network = KINDS[kind](n_layers, dropout, VARIANTS[variant])
    data = t7.dumps(checkpoint_of(network, kind))
    checkpoint = t7.loads(data)
    assert t7.dumps(checkpoint) == data
    model = t7.to_module(checkpoint)
    assert isinstance(model, LanguageModel)
    assert model.vocabulary.tokens == ("a", "\n", "é", "\udcc3", "b")
    assert model.config == {
        "model_type": kind,
        "wordvec_size": V,
        "rnn_size": H,
        "num_layers": n_layers,
        "dropout": dropout,
        "batchnorm": False,
    }
    ids = torch.randint(V, (2, 7))
    expected = by_the_equations(network, ids)
    torch.testing.assert_close(model.eval()(ids).log_softmax(-1), expected, rtol=0, atol=1e-12)
    graph = t7.to_module(checkpoint["protos"]["rnn"])
    assert isinstance(graph, t7.Graph)
    n_states = n_layers * (2 if kind == "lstm" else 1)
    assert graph.n_inputs == n_states + 1
    torch.testing.assert_close(step_by_step(graph, ids, n_states), expected, rtol=0, atol=1e-12)
    assert isinstance(t7.to_module(checkpoint["protos"]["criterion"]), torchrnn.ClassNLLCriterion)


def test_parameters_of_the_step_are_in_the_order_and_memory_of_the_file() -> None:
    network = LSTM(2, 0.0, Variant())
    rnn = network.build()
    graph = t7.to_module(rnn)
    start = network.parameters.flat.data_ptr()
    places = [(parameter.data_ptr() - start) // 8 for parameter in graph.parameters()]
    assert places[0] == 0
    assert places == sorted(places)
    assert sum(parameter.numel() for parameter in graph.parameters()) == network.parameters.used


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_runs_as_nngraph_runs_it(kind: str) -> None:
    """Forward and backward by the rules of nngraph since 2013, on the nodes of what it wrote and of what we write."""
    data = t7.dumps(KINDS[kind](2, 0.0, Variant()).build())
    graph = t7.to_module(t7.loads(data))
    x = torch.randint(V, (3,))
    inputs = [torch.randn(3, H, dtype=torch.float64).requires_grad_() for _ in range(4 if kind == "lstm" else 2)]
    outputs = graph([x, *inputs])
    grads = [torch.randn_like(output) for output in outputs]
    expected = torch.autograd.grad(outputs, inputs, grads)
    for file in (data, t7.dumps(t7.from_module(graph))):
        theirs, grad_input = forward_and_backward(t7.loads(file), [x, *inputs], grads)
        for ours, other in zip(outputs, theirs, strict=True):
            torch.testing.assert_close(other, ours, rtol=0, atol=1e-12)
        for number, grad in enumerate(expected, 2):
            torch.testing.assert_close(grad_input[number], grad, rtol=0, atol=1e-12)


def test_a_graph_of_one_input_is_written_as_nngraph_has_it() -> None:
    graph = t7.Graph([nn.Tanh(), nn.Sigmoid(), torchrnn.CMulTable()], [[-1], [-1], [0, 1]], [2], 1)
    x = torch.randn(2, 3).requires_grad_()
    output = graph(x)
    (expected,) = torch.autograd.grad(output, x, torch.ones(2, 3))
    (other,), grad = forward_and_backward(t7.loads(t7.dumps(t7.from_module(graph))), [x], [torch.ones(2, 3)])
    torch.testing.assert_close(other, output)
    torch.testing.assert_close(grad, expected)


def normalised(checkpoint: dict[str, Any]) -> None:
    x, h = call(made("Identity")), call(made("Identity"))
    norm = {"running_mean": torch.zeros(H), "running_var": torch.ones(H), "eps": 1e-5, "momentum": 0.1}
    out = call(made("BatchNormalization", **norm), call(made("CAddTable"), x, h))
    checkpoint["protos"]["rnn"] = g_module([x, h], [out])


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda c: c["protos"].pop("rnn"), "expected char-rnn's network"),
        (lambda c: c["vocab"].update(x=9), "the vocabulary has gaps"),
        (lambda c: c["vocab"].update({"xy": 6}), "a token must be one character; got 'xy'"),
        (lambda c: c["vocab"].update({"z": 6}), "with parameters of shapes"),
        (lambda c: c["protos"].update(rnn=t7.from_module(t7.Graph([nn.Tanh()], [[-1]], [0], 1))), "LogSoftMax"),
        (lambda c: c["protos"].update(rnn=t7.from_module(nn.Tanh())), "field innode"),
        (normalised, r"normalises over the batch.*t7\.to_module\(checkpoint\['protos'\]\['rnn'\]\)"),
    ],
)
def test_what_is_not_char_rnn(damage: Any, match: str) -> None:
    checkpoint = checkpoint_of(LSTM(1, 0.0, Variant()), "lstm")
    damage(checkpoint)
    with pytest.raises(t7.T7ConversionError, match=match):
        t7.to_module(checkpoint)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_convert_char_rnn(kind: str, encoding: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, directory = tmp_path / "lm_lstm_epoch0.50_2.7500.t7", tmp_path / "run"
    network = KINDS[kind](2, 0.25, Variant())
    t7.save(checkpoint, checkpoint_of(network, kind), encoding)
    assert main(["convert", str(checkpoint), str(directory)]) == 0
    assert f"{kind} with" in capsys.readouterr().out
    opened = Run.open(directory)
    assert opened.config.training.checkpoint_every == 1000
    assert opened.config.training.val_frac == 0.1
    assert opened.best() == {"iteration": 3, "val_loss": 2.75}
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 5
    model, ids = opened.load_model().eval(), torch.randint(V, (2, 4))
    expected = by_the_equations(network, ids)
    torch.testing.assert_close(model(ids).log_softmax(-1).double(), expected, rtol=0, atol=1e-5)
    assert main(["sample", str(directory), "--length", "20"]) == 0


def test_info_says_what_is_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lm.t7"
    t7.save(path, checkpoint_of(LSTM(2, 0.25, Variant()), "lstm"))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    for said in (
        "a table of 8",
        "rnn: nn.gModule (",
        f"nn.Linear (weight {4 * H} x {V} float64, bias {4 * H} float64",
        "OneHot (",
        "criterion: nn.ClassNLLCriterion",
        "model: 'lstm'",
        "val_losses: a table of 2",
        "vocab: a table of 5",
    ):
        assert said in out

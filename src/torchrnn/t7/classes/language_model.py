"""torch-rnn's language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torchrnn.cells import FastLSTM, RecLSTM, RecVanilla
from torchrnn.layers import BatchNormalization, View
from torchrnn.lm import LanguageModel
from torchrnn.sequence import SeqLSTM, VanillaRNN
from torchrnn.t7.classes.torch_rnn import sequence_object
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.importer import set_buffer
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports

MODEL_TYPES = {"lstm": "lstm", "rnn": "rnn", "fastlstm": "lstm"}
"""How the kinds of layers that torch-rnn has are called there."""


@imports("nn.LanguageModel")
def language_model(node: Node) -> nn.Module:
    if "net" not in node or "idx_to_token" not in node:
        raise node.error("is not torch-rnn's, which has the fields net and idx_to_token")
    tokens = tokens_in_order(node, node.get("idx_to_token", (list, dict)))
    net = node.node("net")
    parts = list(net.walk())
    rnns = [part for part in parts if part.object.class_name in ("nn.LSTM", "nn.VanillaRNN")]
    names = {part.object.class_name for part in rnns}
    if len(names) != 1:
        raise node.error(f"expected layers of one kind, LSTM or VanillaRNN; got {sorted(names) or 'none'}")
    norms = [part for part in parts if part.object.class_name == "nn.BatchNormalization"]
    drops = [part.number("p") for part in parts if part.object.class_name == "nn.Dropout"]
    model = LanguageModel(
        tokens,
        model_type="lstm" if names == {"nn.LSTM"} else "rnn",
        wordvec_size=parts[1].tensor("weight").shape[1],
        rnn_size=rnns[0].integer("hidden_dim"),
        num_layers=len(rnns),
        dropout=drops[0] if drops else 0.0,
        batchnorm=bool(norms),
    )
    node.importer.fill(model, node, net.parameters())
    ours = [layer for layer in model.layers if isinstance(layer, BatchNormalization)]
    for layer, norm in zip(ours, norms, strict=True):
        for name in ("running_mean", "running_var"):
            set_buffer(layer, name, norm.tensor(name), norm)
        layer.eps, layer.momentum = norm.number("eps", 1e-5), norm.number("momentum", 0.1)
    return model


def tokens_in_order(node: Node, idx_to_token: list[Any] | dict[Any, Any]) -> list[str]:
    """The characters by their numbers, which must be 1 to V."""
    by_number = dict(enumerate(idx_to_token, 1)) if isinstance(idx_to_token, list) else idx_to_token
    if sorted(by_number, key=str) != sorted(range(1, len(by_number) + 1), key=str):
        raise node.error("the vocabulary has gaps: expected the numbers 1 to its size")
    return [as_character(node, by_number[number]) for number in range(1, len(by_number) + 1)]


def as_character(node: Node, token: Any) -> str:
    """A token as one character; a byte that is no character by itself stands for itself (``surrogateescape``)."""
    text = token.decode("utf-8", "surrogateescape") if isinstance(token, bytes) else token
    if not isinstance(text, str) or len(text) != 1:
        raise node.error(f"a token must be one character; got {token!r}")
    return text


@exports(LanguageModel)
def _language_model(exporter: Exporter, module: LanguageModel) -> TorchObject:
    config = {**module.config, "model_type": MODEL_TYPES.get(module.config["model_type"])}
    if config["model_type"] is None:
        raise exporter.error(
            module,
            f"torch-rnn knew the layers 'lstm' and 'rnn', and no {module.config['model_type']!r}; write the modules "
            "inside one by one (its lookup, layers and linear), which have counterparts in nn and rnn",
        )
    inside = [exporter.module(module.lookup, "lookup")]
    rnns: list[TorchObject] = []
    views: dict[str, list[TorchObject]] = {"bn_view_in": [], "bn_view_out": []}
    for layer in module.layers:
        if isinstance(layer, RecLSTM | RecVanilla | FastLSTM):
            rnns.append(_over_sequences(exporter, _in_order(layer) if isinstance(layer, FastLSTM) else layer))
            inside.append(rnns[-1])
        elif isinstance(layer, BatchNormalization):
            views["bn_view_in"].append(_view(exporter, 1, 1, -1))
            views["bn_view_out"].append(_view(exporter, 1, -1))
            inside += [views["bn_view_in"][-1], exporter.module(layer, "layers"), views["bn_view_out"][-1]]
        else:
            inside.append(exporter.module(layer, "layers"))
    view1, view2 = _view(exporter, 1, 1, -1), _view(exporter, 1, -1)
    inside += [view1, exporter.module(module.linear, "linear"), view2]
    tokens = [token.encode("utf-8", "surrogateescape") for token in module.vocabulary.tokens]
    return exporter.object(
        "nn.LanguageModel",
        module,
        net=exporter.container("nn.Sequential", inside),
        rnns=rnns,
        view1=view1,
        view2=view2,
        **views,
        idx_to_token=[_text(token) for token in tokens],
        token_to_idx={_text(token): number for number, token in enumerate(tokens, 1)},
        model_type=config["model_type"],
        wordvec_dim=config["wordvec_size"],
        rnn_size=config["rnn_size"],
        num_layers=config["num_layers"],
        dropout=config["dropout"],
        batchnorm=int(config["batchnorm"]),
        vocab_size=len(tokens),
    )


def _in_order(cell: FastLSTM) -> RecLSTM:
    """The same function of input and state, with the gates in the order of torch-rnn."""

    def by_gate(name: str) -> Tensor:
        i, g, f, o = cell.get_parameter(name).detach().chunk(4)
        return torch.cat([i, f, o, g])

    made = RecLSTM(cell.input_size, cell.hidden_size).train(bool(cell.training))
    made.weight = nn.Parameter(torch.cat([by_gate("i2g.weight").t(), by_gate("o2g.weight").t()]))
    made.bias = nn.Parameter(by_gate("i2g.bias"))
    return made


def _over_sequences(exporter: Exporter, cell: RecLSTM | RecVanilla) -> TorchObject:
    """torch-rnn's sequence module around a cell of ours, with its states remembered."""
    is_lstm = isinstance(cell, RecLSTM)
    module = (SeqLSTM if is_lstm else VanillaRNN)(cell.input_size, cell.hidden_size, batch_first=True)
    module.cell = cell
    module.remember_states = True
    return sequence_object(exporter, "nn.LSTM" if is_lstm else "nn.VanillaRNN", module)


def _view(exporter: Exporter, *size: int) -> TorchObject:
    return exporter.module(View(*size, n_input_dims=3 if len(size) == 3 else 2))


def _text(token: bytes) -> str | bytes:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return token

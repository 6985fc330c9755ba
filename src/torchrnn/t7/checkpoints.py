"""The checkpoints of char-rnn, which hold one step of a network as a graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchrnn.lm import LanguageModel
from torchrnn.recurrent import AbstractRecurrent
from torchrnn.t7.classes.language_model import tokens_in_order
from torchrnn.t7.classes.nngraph import GraphNode, graph_nodes
from torchrnn.t7.errors import T7ConversionError
from torchrnn.t7.importer import Importer
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject

LinearMap = tuple[Tensor, Tensor]
"""A matrix (in, out) and a bias (out,), as our cells have them."""


def is_char_rnn(obj: Any) -> bool:
    """Whether this is the table that char-rnn saves: a network in ``protos.rnn``, a ``vocab``, options."""
    return isinstance(obj, dict) and isinstance(obj.get("protos"), dict) and isinstance(obj.get("vocab"), dict)


def char_rnn_model(checkpoint: dict[Any, Any]) -> LanguageModel:
    """The `LanguageModel` that computes the same scores as char-rnn's network.

    char-rnn has no vectors for its characters: a character is the one 1 among zeros, and so the model's lookup table
    is the identity matrix, of the size of the vocabulary. The two biases of each pair of linear maps are one here.
    """
    rnn = checkpoint["protos"].get("rnn")
    if not isinstance(rnn, TorchObject):
        raise T7ConversionError("expected char-rnn's network", "dict", "protos.rnn")
    node = Node(rnn, "protos.rnn", Importer())
    try:
        return _converted(node, checkpoint["vocab"])
    except T7ConversionError:
        raise
    except (ValueError, TypeError, RuntimeError, LookupError) as error:
        raise node.error(f"is not char-rnn's network: {error}") from error


def _converted(node: Node, vocabulary: dict[Any, Any]) -> LanguageModel:
    tokens = tokens_in_order(node, {number: token for token, number in vocabulary.items()})
    *inner, out = graph_nodes(node)
    if any(_is(part, "nn.BatchNormalization") for part in inner):
        raise node.error(
            "normalises over the batch, which the layers of a LanguageModel do not; its step is a module by itself: "
            "t7.to_module(checkpoint['protos']['rnn'])"
        )
    decoder = _source(node, _source(node, out, -1, "nn.LogSoftMax"), 0, "nn.Linear")
    kind, layers = _layers(node, inner)
    drops = [part.module.number("p") for part in inner if part.module is not None and _is(part, "nn.Dropout")]
    rnn_size = _linear(decoder)[0].shape[1]
    model = LanguageModel(
        tokens,
        kind,
        wordvec_size=len(tokens),
        rnn_size=rnn_size,
        num_layers=len(layers),
        dropout=drops[0] if drops else 0.0,
    ).to(_linear(decoder)[0])
    _copy(node, model, [torch.eye(len(tokens)), *(value for layer in layers for value in layer), *_linear(decoder)])
    return model


def _copy(node: Node, model: LanguageModel, values: list[Tensor]) -> None:
    cells = [layer for layer in model.layers if isinstance(layer, AbstractRecurrent)]
    inside = [parameter for cell in cells for parameter in cell.parameters()]
    parameters = [model.lookup.weight, *inside, model.linear.weight, model.linear.bias]
    shapes = [tuple(parameter.shape) for parameter in parameters]
    if [tuple(value.shape) for value in values] != shapes:
        raise node.error(
            f"expected char-rnn's network with parameters of shapes {shapes}; got {[tuple(v.shape) for v in values]}"
        )
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _layers(node: Node, inner: list[GraphNode]) -> tuple[str, list[LinearMap]]:
    """The kind of the layers, and the linear map of each, in their order.

    Every sum of two linear maps is ``W x + V h``; what ``h`` is there tells the layer and the gate. In a GRU
    one of the three sums of a layer takes the state behind the reset gate.
    """
    sums = [part for part in inner if _is(part, "nn.CAddTable") and all(_is(s, "nn.Linear") for s in _terms(part))]
    if not sums or any(len(part.sources) != 2 for part in sums):
        raise node.error("expected char-rnn's network, with sums of two linear maps")
    of_state = {part: _terms(part)[1].sources[0] for part in sums}
    candidates = [part for part, state in of_state.items() if _is(state, "nn.CMulTable")]
    if not candidates:
        in_order = sorted(sums, key=lambda part: _input(node, of_state[part]))
        maps = [_joined(part) for part in in_order]
        return ("lstm" if len(maps[0][1]) == 4 * _hidden(in_order[0]) else "rnn"), maps
    layers: dict[int, LinearMap] = {}
    for candidate in candidates:
        reset, state = of_state[candidate].sources
        updates = [part for part in sums if of_state[part] is state and part not in reset.sources]
        if not _is(reset, "nn.Sigmoid") or len(updates) != 1:
            raise node.error("expected a reset and an update gate in each layer of char-rnn's GRU")
        layers[_input(node, state)] = _gru_map(reset.sources[0], updates[0], candidate)
    return "gru", [layers[number] for number in sorted(layers)]


def _gru_map(reset: GraphNode, update: GraphNode, candidate: GraphNode) -> LinearMap:
    """``u`` here is one minus char-rnn's update gate, so what goes into that changes its sign."""
    (w_r, b_r), (w_u, b_u), (w_g, b_g) = (_joined(part) for part in (reset, update, candidate))
    return torch.cat([w_r, -w_u, w_g], dim=1), torch.cat([b_r, -b_u, b_g])


def _joined(part: GraphNode) -> LinearMap:
    """Two linear maps as one of ``[x, h]``."""
    (w_x, b_x), (w_h, b_h) = (_linear(term) for term in _terms(part))
    return torch.cat([w_x.t(), w_h.t()]), b_x + b_h


def _hidden(part: GraphNode) -> int:
    return _linear(_terms(part)[1])[0].shape[1]


def _terms(part: GraphNode) -> list[GraphNode]:
    """What is summed up, behind the places that a variant of char-rnn keeps for a normalisation."""
    return [source.sources[0] if _is(source, "nn.Identity") and source.sources else source for source in part.sources]


def _input(node: Node, part: GraphNode) -> int:
    if part.input is None:
        raise node.error("expected the layers of char-rnn's network to take their states as inputs")
    return part.input


def _source(node: Node, part: GraphNode, position: int, class_name: str) -> GraphNode:
    if not part.sources or not _is(part.sources[position], class_name):
        raise node.error(f"expected char-rnn's network, with a {class_name} before its output")
    return part.sources[position]


def _is(part: GraphNode, class_name: str) -> bool:
    return part.module is not None and part.module.object.class_name == class_name


def _linear(part: GraphNode) -> tuple[Tensor, Tensor]:
    """A matrix (out, in) and a bias (out,)."""
    assert part.module is not None
    weight = part.module.tensor("weight")
    return weight, part.module.tensor("bias") if "bias" in part.module else weight.new_zeros(len(weight))

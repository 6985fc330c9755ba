"""To the recurrent operators of ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from torchrnn.layouts.gates import Gates, gates_of
from torchrnn.layouts.layer import Layer, layer_of

if TYPE_CHECKING:
    import onnx

OPSET = 17
ORDER = {"LSTM": "iofg", "GRU": "zrg", "RNN": "h"}
"""The order of the gates in ONNX."""
PEEPHOLES = "iof"


def to_onnx(module: nn.Module, states: bool = False, lengths: bool = False) -> onnx.ModelProto:
    """A layer as an ONNX model around one operator ``LSTM``, ``GRU`` or ``RNN``, in evaluation; needs onnx.

    Arguments:
        module: a cell (`LSTM`, `FastLSTM`, `RecLSTM`, `GRU`, `RecGRU`, `ResetAfterGRU`, `RecVanilla`), a sequence
            module (`SeqLSTM`, `SeqGRU`, `VanillaRNN`) or a `Sequencer` around a cell, or both directions of such
            (`BiSequencer`, `SeqBRNN`, `SeqBLSTM`, `SeqBGRU`), joined along the features or added.
        states: the model takes the initial states, too: ``h_0`` and, for an LSTM, ``c_0``; else they are zeros.
        lengths: the model takes the ``lengths`` of the rows of a ragged batch, int32 (N,).

    Shapes: the model takes ``x``, (T, N, D) or, with ``batch_first``, (N, T, D), and gives ``y``, (T, N, H), and the
    final states ``h_n`` and ``c_n``, (1, N, H), or (2, N, H) for both directions, as ``h_0`` and ``c_0`` are.

    Raises ``TypeError`` or ``ValueError`` for what the operators do not have: projections, normalised or wrapped cells.

    >>> import torchrnn
    >>> model = torchrnn.layouts.to_onnx(torchrnn.SeqLSTM(4, 6))
    >>> [node.op_type for node in model.graph.node]
    ['LSTM', 'Squeeze']
    """
    from onnx import TensorProto, helper

    layer = layer_of(module)
    directions = [gates_of(cell) for cell in layer.cells]
    kind = directions[0].kind
    _check(directions)
    weights = _weights(directions)
    n_directions, _, input_size = weights["W"].shape
    hidden_size = weights["R"].shape[2]
    names = ["h", "c"] if kind == "LSTM" else ["h"]
    inputs = ["time_first" if layer.batch_first else "x", "W", "R", "B", "lengths" if lengths else ""]
    inputs += [f"{name}_0" if states else "" for name in names] + ["P"] * ("P" in weights)
    recurrence = helper.make_node(
        kind,
        inputs,
        ["Y", *(f"{name}_n" for name in names)],
        hidden_size=hidden_size,
        direction="bidirectional" if n_directions == 2 else "forward",
    )
    if kind == "GRU":
        recurrence.attribute.append(helper.make_attribute("linear_before_reset", int(directions[0].resets_after)))
    before = [_transpose("x", "time_first", [1, 0, 2])] if layer.batch_first else []
    after, constants = _merged(layer, hidden_size)
    value = helper.make_tensor_value_info
    dtype = TensorProto.DOUBLE if weights["W"].dtype == torch.float64 else TensorProto.FLOAT
    sequence: list[str | int] = ["N", "T"] if layer.batch_first else ["T", "N"]
    state: list[str | int] = [n_directions, "N", hidden_size]
    n_features = hidden_size * (1 if layer.is_sum else n_directions)
    graph = helper.make_graph(
        [*before, recurrence, *after],
        type(module).__name__,
        [value("x", dtype, [*sequence, input_size])]
        + [value("lengths", TensorProto.INT32, ["N"])] * lengths
        + [value(f"{name}_0", dtype, state) for name in names] * states,
        [value("y", dtype, [*sequence, n_features]), *(value(f"{name}_n", dtype, state) for name in names)],
        [_constant(name, tensor) for name, tensor in {**weights, **constants}.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=helper.find_min_ir_version_for([opset]))


def _check(directions: list[Gates]) -> None:
    if any(gates.projection is not None for gates in directions):
        raise ValueError("to_onnx: the operator LSTM of ONNX has no projection; this LSTM has one.")
    if any(gates.traits != directions[0].traits for gates in directions):
        raise ValueError("to_onnx: both directions must be of the same kind and size.")


def _weights(directions: list[Gates]) -> dict[str, Tensor]:
    """What the operators call W, R, B and P, each (directions, ...), in single precision unless they are double."""
    order = ORDER[directions[0].kind]
    weights: dict[str, list[Tensor]] = {"W": [], "R": [], "B": []}
    for gates in directions:
        weights["W"].append(torch.cat([gates.of_x[gate] for gate in order]))
        weights["R"].append(torch.cat([gates.of_h[gate] for gate in order]))
        of_x = torch.cat([gates.bias[gate] for gate in order])
        of_h = torch.cat([gates.bias_of_h[gate] for gate in order]) if gates.bias_of_h else torch.zeros_like(of_x)
        weights["B"].append(torch.cat([of_x, of_h]))
        if gates.peepholes:
            weights.setdefault("P", []).append(torch.cat([gates.peepholes[gate] for gate in PEEPHOLES]))
    dtype = torch.float64 if weights["W"][0].dtype == torch.float64 else torch.float32
    return {name: torch.stack(parts).to(dtype) for name, parts in weights.items()}


def _merged(layer: Layer, hidden_size: int) -> tuple[list[onnx.NodeProto], dict[str, Tensor]]:
    """What makes ``y`` of the operator's Y, (T, directions, N, H); and the constants that it takes."""
    from onnx import helper

    output = "merged" if layer.batch_first else "y"
    if len(layer.cells) == 1:
        nodes, constants = [helper.make_node("Squeeze", ["Y", "axis"], [output])], {"axis": torch.tensor([1])}
    elif layer.is_sum:
        nodes, constants = (
            [helper.make_node("ReduceSum", ["Y", "axis"], [output], keepdims=0)],
            {"axis": torch.tensor([1])},
        )
    else:
        joined = helper.make_node("Reshape", ["by_row", "sizes"], [output])
        nodes = [_transpose("Y", "by_row", [0, 2, 1, 3]), joined]
        constants = {"sizes": torch.tensor([0, 0, 2 * hidden_size])}  # 0 leaves T and N as they are
    return [*nodes, _transpose("merged", "y", [1, 0, 2])] if layer.batch_first else nodes, constants


def _transpose(source: str, target: str, order: list[int]) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node("Transpose", [source], [target], perm=order)


def _constant(name: str, tensor: Tensor) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(tensor.cpu().contiguous().numpy(), name)

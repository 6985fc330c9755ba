"""Another opinion: each cell as an operator of ONNX, run by onnxruntime, agrees with ours to 1e-5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import torchrnn
from torchrnn import BiSequencer, Sequencer
from torchrnn.layouts import from_torch, to_onnx

onnx = pytest.importorskip("onnx", reason="needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

Make = Callable[[int, int], torchrnn.Module]

LAYERS: dict[str, Make] = {
    "LSTM": lambda D, H: Sequencer(torchrnn.LSTM(D, H)),
    "LSTM without peepholes": lambda D, H: Sequencer(torchrnn.LSTM(D, H, cell2gate=False)),
    "LSTM with dropout": lambda D, H: Sequencer(torchrnn.LSTM(D, H, dropout=0.5)).eval(),
    "FastLSTM": lambda D, H: Sequencer(torchrnn.FastLSTM(D, H)),
    "FastLSTM with dropout": lambda D, H: Sequencer(torchrnn.FastLSTM(D, H, dropout=0.5)).eval(),
    "RecLSTM": lambda D, H: Sequencer(torchrnn.RecLSTM(D, H)),
    "SeqLSTM": torchrnn.SeqLSTM,
    "GRU": lambda D, H: Sequencer(torchrnn.GRU(D, H)),
    "GRU with dropout": lambda D, H: Sequencer(torchrnn.GRU(D, H, dropout=0.5)).eval(),
    "RecGRU": lambda D, H: Sequencer(torchrnn.RecGRU(D, H)),
    "SeqGRU": torchrnn.SeqGRU,
    "ResetAfterGRU": lambda D, H: Sequencer(torchrnn.ResetAfterGRU(D, H)),
    "torch.nn.GRU": lambda D, H: from_torch(nn.GRU(D, H)),
    "VanillaRNN": lambda D, H: torchrnn.VanillaRNN(D, H, batch_first=False),
    "BiSequencer of an LSTM": lambda D, H: BiSequencer(torchrnn.LSTM(D, H)),
    "BiSequencer of two kinds": lambda D, H: BiSequencer(torchrnn.RecGRU(D, H), torchrnn.GRU(D, H)),
    "BiSequencer of a ResetAfterGRU": lambda D, H: BiSequencer(torchrnn.ResetAfterGRU(D, H)),
    "BiSequencer that adds": lambda D, H: BiSequencer(torchrnn.RecVanilla(D, H), merge=torchrnn.CAddTable()),
    "SeqBRNN": torchrnn.SeqBRNN,
    "SeqBLSTM": lambda D, H: torchrnn.SeqBLSTM(D, H, merge=torchrnn.JoinTable(2)),
    "SeqBGRU": torchrnn.SeqBGRU,
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
ONE_DIRECTION = {name: make for name, make in LAYERS.items() if "Bi" not in name and "SeqB" not in name}
one_direction = pytest.mark.parametrize("make", ONE_DIRECTION.values(), ids=ONE_DIRECTION.keys())
sizes = st.integers(1, 7)


def run(model: Any, **inputs: Tensor) -> dict[str, Tensor]:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: np.ascontiguousarray(x.detach().numpy()) for name, x in inputs.items()})
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, outputs), strict=True))


def assert_close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@every_layer
@settings(max_examples=5)
@given(D=sizes, H=sizes, T=sizes, N=sizes)
def test_outputs_agree(make: Make, D: int, H: int, T: int, N: int) -> None:
    layer, x = make(D, H), torch.randn(T, N, D)
    assert_close(run(to_onnx(layer), x=x)["y"], layer(x))


@pytest.mark.slow
@every_layer
@settings(max_examples=3)
@given(D=sizes, H=sizes, lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_ragged_batches_agree(make: Make, D: int, H: int, lengths: list[int]) -> None:
    layer, x = make(D, H), torch.randn(6, len(lengths), D)
    outputs = run(to_onnx(layer, lengths=True), x=x, lengths=torch.tensor(lengths).int())
    assert_close(outputs["y"], layer(x, lengths))


@one_direction
@settings(max_examples=5)
@given(D=sizes, H=sizes, T=sizes, N=sizes)
def test_states_agree(make: Make, D: int, H: int, T: int, N: int) -> None:
    """From a state that is given to the final one, in two pieces: what a stream needs."""
    layer, x = make(D, H), torch.randn(2 * T, N, D)
    cell, model = layer.cell, to_onnx(layer, states=True)
    is_lstm = isinstance(cell.initial_state(x[0]), torchrnn.LSTMState)
    names = ["h", "c"] if is_lstm else ["h"]
    given = {name: torch.randn(1, N, H) for name in names}
    state = torchrnn.LSTMState(given["h"][0], given["c"][0]) if is_lstm else given["h"][0]
    expected, final = cell.sequence(x, state)
    outputs = []
    for piece in x.split(T):
        got = run(model, x=piece, **{f"{name}_0": given[name] for name in names})
        given = {name: got[f"{name}_n"] for name in names}
        outputs.append(got["y"])
    assert_close(torch.cat(outputs), expected)
    for name in names:
        assert_close(given[name][0], getattr(final, name) if is_lstm else final)


@pytest.mark.parametrize(
    "layer",
    [torchrnn.SeqLSTM(4, 6, batch_first=True), torchrnn.VanillaRNN(4, 6), torchrnn.SeqBRNN(4, 6, batch_first=True)],
)
def test_batch_first(layer: torchrnn.Module) -> None:
    x = torch.randn(3, 5, 4)
    assert_close(run(to_onnx(layer), x=x)["y"], layer(x))


def test_a_cell_is_its_layer_and_precision_is_kept() -> None:
    cell = torchrnn.RecLSTM(4, 6).double()
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    assert to_onnx(cell).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    assert_close(run(to_onnx(cell.bfloat16()), x=x.float())["y"], cell.float().sequence(x.float())[0])


@pytest.mark.parametrize(
    ("layer", "reset"), [(torchrnn.GRU(4, 6), 0), (torchrnn.SeqGRU(4, 6), 0), (torchrnn.ResetAfterGRU(4, 6), 1)]
)
def test_where_a_gru_resets(layer: torchrnn.Module, reset: int) -> None:
    (node,) = [node for node in to_onnx(layer).graph.node if node.op_type == "GRU"]
    assert {a.name: a.i for a in node.attribute}["linear_before_reset"] == reset


def test_where_an_lstm_has_peepholes() -> None:
    for layer, n_inputs in ((torchrnn.LSTM(4, 6), 8), (torchrnn.LSTM(4, 6, cell2gate=False), 7)):
        assert len(to_onnx(layer).graph.node[0].input) == n_inputs


ERRORS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a projection": (lambda: to_onnx(torchrnn.SeqLSTMP(4, 6, 2)), ValueError, "LSTM of ONNX has no projection"),
    "layer normalisation": (lambda: to_onnx(torchrnn.LayerNormGRU(4, 6)), TypeError, "LayerNormGRU cannot be"),
    "two kinds of GRU": (
        lambda: to_onnx(BiSequencer(torchrnn.GRU(4, 6), torchrnn.ResetAfterGRU(4, 6))),
        ValueError,
        "of the same kind and size",
    ),
    "a linear layer": (lambda: to_onnx(nn.Linear(4, 6)), TypeError, "Linear cannot be converted"),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_say_what_to_do(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

"""Conversions to and from the layers of `torch.nn`, whose own code is the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import torchrnn
from torchrnn import BiSequencer, Sequencer
from torchrnn.layouts import from_torch, to_torch

D, H, P, T, N = 4, 6, 3, 5, 2


def assert_close(got: object, expected: object) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


THEIRS: dict[str, Callable[[], nn.RNNBase]] = {
    "LSTM": lambda: nn.LSTM(D, H),
    "LSTM without biases": lambda: nn.LSTM(D, H, bias=False),
    "LSTM, batch first": lambda: nn.LSTM(D, H, batch_first=True),
    "projected LSTM": lambda: nn.LSTM(D, H, proj_size=P),
    "projected LSTM in both directions": lambda: nn.LSTM(D, H, 2, bidirectional=True, proj_size=P),
    "three layers with dropout": lambda: nn.LSTM(D, H, 3, dropout=0.5).eval(),
    "GRU": lambda: nn.GRU(D, H),
    "GRU, all at once": lambda: nn.GRU(D, H, 2, bidirectional=True, batch_first=True, dropout=0.5).eval(),
    "RNN": lambda: nn.RNN(D, H, bias=False),
    "RNN in both directions": lambda: nn.RNN(D, H, 2, bidirectional=True),
}


@pytest.mark.parametrize("make", THEIRS.values(), ids=THEIRS.keys())
def test_layers_of_torch_keep_their_outputs_and_gradients(make: Callable[[], nn.RNNBase]) -> None:
    theirs = make().double()
    ours = from_torch(theirs)
    x = torch.randn(*((N, T) if theirs.batch_first else (T, N)), D, dtype=torch.float64)
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    outputs = ours(leaves[0]), theirs(leaves[1])[0]
    assert_close(*outputs)
    for output in outputs:
        (output * torch.cos(output.detach())).sum().backward()
    assert_close(leaves[0].grad, leaves[1].grad)
    assert ours.training == theirs.training


OURS: dict[str, Callable[[], torchrnn.Module]] = {
    "LSTM without peepholes": lambda: torchrnn.LSTM(D, H, cell2gate=False),
    "FastLSTM": lambda: Sequencer(torchrnn.FastLSTM(D, H)),
    "FastLSTM with dropout": lambda: Sequencer(torchrnn.FastLSTM(D, H, dropout=0.5)).eval(),
    "SeqLSTM": lambda: torchrnn.SeqLSTM(D, H),
    "SeqLSTMP": lambda: torchrnn.SeqLSTMP(D, H, P, batch_first=True),
    "ResetAfterGRU": lambda: Sequencer(torchrnn.ResetAfterGRU(D, H)),
    "VanillaRNN": lambda: torchrnn.VanillaRNN(D, H),
    "BiSequencer": lambda: BiSequencer(torchrnn.FastLSTM(D, H), torchrnn.RecLSTM(D, H)),
    "SeqBLSTM": lambda: torchrnn.SeqBLSTM(D, H, P, merge=torchrnn.JoinTable(2)),
}


@pytest.mark.parametrize("make", OURS.values(), ids=OURS.keys())
def test_our_layers_in_torch(make: Callable[[], torchrnn.Module]) -> None:
    ours = make().double()
    theirs = to_torch(ours)
    sequencer = Sequencer(ours) if isinstance(ours, torchrnn.AbstractRecurrent) else ours
    x = torch.randn(*((N, T) if theirs.batch_first else (T, N)), D, dtype=torch.float64)
    output, state = theirs(x)
    assert_close(sequencer(x), output)
    if not theirs.bidirectional:
        ours_state = sequencer.get_hidden_state()
        if isinstance(ours_state, torchrnn.LSTMState):
            assert_close(ours_state.c, state[1][0])
        assert_close(ours_state[0] if isinstance(ours_state, tuple) else ours_state, output[:, -1] if theirs.batch_first
                     else output[-1])  # fmt: skip
    again = from_torch(theirs)
    assert_close(again(x), output)


ERRORS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "peepholes": (lambda: to_torch(torchrnn.LSTM(D, H)), ValueError, "torch.nn.LSTM has no peepholes"),
    "reset before": (lambda: to_torch(torchrnn.SeqGRU(D, H)), ValueError, "resets after the product"),
    "a sum": (lambda: to_torch(torchrnn.SeqBRNN(D, H)), ValueError, "this layer adds them"),
    "another merge": (
        lambda: to_torch(BiSequencer(torchrnn.RecLSTM(D, H), merge=torchrnn.CMulTable())),
        ValueError,
        "joined along the features, or added",
    ),
    "unlike directions": (
        lambda: to_torch(BiSequencer(torchrnn.RecLSTM(D, H), torchrnn.RecVanilla(D, H))),
        ValueError,
        "of the same kind and size",
    ),
    "batch normalisation": (
        lambda: to_torch(torchrnn.FastLSTM(D, H, batch_norm=True)),
        TypeError,
        "FastLSTM cannot be converted",
    ),
    "a cell around a cell": (
        lambda: to_torch(torchrnn.Zoneout(torchrnn.FastLSTM(D, H))),
        TypeError,
        "Zoneout cannot be converted",
    ),
    "a stack": (
        lambda: to_torch(torchrnn.Sequential(torchrnn.SeqLSTM(D, H))),
        TypeError,
        "Convert the layers of a stack one by one",
    ),
    "directions that are stacks": (
        lambda: to_torch(BiSequencer(torchrnn.SeqLSTM(D, H, batch_first=True))),
        ValueError,
        "each direction is a cell",
    ),
    "a relu": (lambda: from_torch(nn.RNN(D, H, nonlinearity="relu")), ValueError, "must be 'tanh'"),
    "a linear layer": (lambda: from_torch(nn.Linear(D, H)), TypeError, "got Linear"),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_say_what_to_do(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

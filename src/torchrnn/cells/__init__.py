"""The cells: each is the mathematics of one time step."""

from torchrnn.cells.fast_lstm import FastLSTM
from torchrnn.cells.gru import GRU
from torchrnn.cells.lstm import LSTM
from torchrnn.cells.lstm_state import LSTMState
from torchrnn.cells.mufuru import MuFuRu
from torchrnn.cells.norm_stabilizer import NormStabilizer
from torchrnn.cells.rec_gru import RecGRU
from torchrnn.cells.rec_lstm import RecLSTM
from torchrnn.cells.rec_vanilla import RecVanilla
from torchrnn.cells.step_modules import StepGRU, StepLSTM

__all__ = [
    "GRU",
    "LSTM",
    "FastLSTM",
    "LSTMState",
    "MuFuRu",
    "NormStabilizer",
    "RecGRU",
    "RecLSTM",
    "RecVanilla",
    "StepGRU",
    "StepLSTM",
]

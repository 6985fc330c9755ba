"""The cells: each is the mathematics of one time step."""

from torchrnn.cells.fast_lstm import FastLSTM
from torchrnn.cells.gru import GRU
from torchrnn.cells.layer_norm_gru import LayerNormGRU
from torchrnn.cells.layer_norm_lstm import LayerNormLSTM
from torchrnn.cells.learned_start import LearnedStart
from torchrnn.cells.lstm import LSTM
from torchrnn.cells.lstm_state import LSTMState
from torchrnn.cells.mufuru import MuFuRu
from torchrnn.cells.norm_stabilizer import NormStabilizer
from torchrnn.cells.rec_gru import RecGRU
from torchrnn.cells.rec_lstm import RecLSTM
from torchrnn.cells.rec_vanilla import RecVanilla
from torchrnn.cells.reset_after_gru import ResetAfterGRU
from torchrnn.cells.step_modules import StepGRU, StepLSTM
from torchrnn.cells.weight_dropout import WeightDropout
from torchrnn.cells.zoneout import Zoneout

__all__ = [
    "GRU",
    "LSTM",
    "FastLSTM",
    "LSTMState",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LearnedStart",
    "MuFuRu",
    "NormStabilizer",
    "RecGRU",
    "RecLSTM",
    "RecVanilla",
    "ResetAfterGRU",
    "StepGRU",
    "StepLSTM",
    "WeightDropout",
    "Zoneout",
]

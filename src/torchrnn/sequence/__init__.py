"""Modules that take a whole sequence in one call."""

from torchrnn.sequence.abstract_sequencer import AbstractSequencer
from torchrnn.sequence.bidirectional import BiSequencer, BiSequencerLM
from torchrnn.sequence.both_directions import SeqBGRU, SeqBLSTM, SeqBRNN
from torchrnn.sequence.repeater import Repeater
from torchrnn.sequence.reverse import ReverseSequence, ReverseUnreverse, SeqReverseSequence
from torchrnn.sequence.sequencer import Sequencer
from torchrnn.sequence.variable_length import VariableLength
from torchrnn.sequence.whole_sequence import SeqGRU, SeqLSTM, SeqLSTMP, VanillaRNN

__all__ = [
    "AbstractSequencer",
    "BiSequencer",
    "BiSequencerLM",
    "Repeater",
    "ReverseSequence",
    "ReverseUnreverse",
    "SeqBGRU",
    "SeqBLSTM",
    "SeqBRNN",
    "SeqGRU",
    "SeqLSTM",
    "SeqLSTMP",
    "SeqReverseSequence",
    "Sequencer",
    "VanillaRNN",
    "VariableLength",
]

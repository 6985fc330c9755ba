"""Language models: text, batches, model, training, sampling, and the directory that holds a run.

The directory and its files (`torchrnn.lm.run`, `torchrnn.lm.files`) are for whoever imports them.
"""

from torchrnn.lm.batches import Batches
from torchrnn.lm.corpus import TextError, built_in_text, read_text, split_text
from torchrnn.lm.model import LanguageModel
from torchrnn.lm.settings import TrainingSettings
from torchrnn.lm.trainer import Trainer, TrainingDiverged, evaluate
from torchrnn.lm.vocabulary import Vocabulary

__all__ = [
    "Batches",
    "LanguageModel",
    "TextError",
    "Trainer",
    "TrainingDiverged",
    "TrainingSettings",
    "Vocabulary",
    "built_in_text",
    "evaluate",
    "read_text",
    "split_text",
]

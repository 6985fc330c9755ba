"""Recurrent networks for PyTorch: any module becomes recurrent, step by step or over whole sequences."""

from torchrnn import cells, layers, layouts, recurrent, reinforce, scan, sequence, t7
from torchrnn.cells import *  # noqa: F403
from torchrnn.layers import *  # noqa: F403
from torchrnn.lm import LanguageModel, Vocabulary
from torchrnn.masks import padding_mask, zero_rows
from torchrnn.measure import bleu, rouge_n, rouge_s
from torchrnn.module import Module
from torchrnn.nce import AliasMultinomial, NCECriterion, NCEModule
from torchrnn.recurrent import *  # noqa: F403
from torchrnn.reinforce import *  # noqa: F403
from torchrnn.sequence import *  # noqa: F403
from torchrnn.t7 import load_t7
from torchrnn.updates import (
    check_parameters,
    grad_param_clip,
    max_param_norm,
    momentum_grad_parameters,
    update_grad_parameters,
    weight_decay,
)

__version__ = "0.1.0"

__all__ = [
    "AliasMultinomial",
    "LanguageModel",
    "Module",
    "NCECriterion",
    "NCEModule",
    "Vocabulary",
    "bleu",
    "check_parameters",
    "grad_param_clip",
    "layouts",
    "load_t7",
    "max_param_norm",
    "momentum_grad_parameters",
    "padding_mask",
    "rouge_n",
    "rouge_s",
    "scan",
    "t7",
    "update_grad_parameters",
    "weight_decay",
    "zero_rows",
]
__all__ += cells.__all__ + layers.__all__ + recurrent.__all__ + reinforce.__all__ + sequence.__all__

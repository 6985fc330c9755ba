"""Recurrent networks for PyTorch: any module becomes recurrent, step by step or over whole sequences."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchrnn import cells, layers, layouts, recurrent, reinforce, scan, sequence
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
from torchrnn.updates import (
    check_parameters,
    grad_param_clip,
    max_param_norm,
    momentum_grad_parameters,
    update_grad_parameters,
    weight_decay,
)

if TYPE_CHECKING:
    from torchrnn import t7
    from torchrnn.t7 import load_t7

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


def __getattr__(name: str) -> Any:
    """What reads files of Torch7 is half of the package, and is imported when it is asked for."""
    if name not in ("load_t7", "t7"):
        raise AttributeError(f"module 'torchrnn' has no attribute {name!r}")
    module = import_module("torchrnn.t7")
    return module if name == "t7" else module.load_t7

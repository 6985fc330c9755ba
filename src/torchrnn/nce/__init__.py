"""Noise-contrastive estimation: training with a large vocabulary at the cost of a small one."""

from torchrnn.nce.alias import AliasMultinomial
from torchrnn.nce.criterion import NCECriterion
from torchrnn.nce.module import NCEModule

__all__ = ["AliasMultinomial", "NCECriterion", "NCEModule"]

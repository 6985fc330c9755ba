"""Units that draw samples, the rewards that teach them, and attention that decides where to look next."""

from torchrnn.reinforce.bernoulli import ReinforceBernoulli
from torchrnn.reinforce.categorical import ReinforceCategorical
from torchrnn.reinforce.gamma import ReinforceGamma
from torchrnn.reinforce.normal import ReinforceNormal
from torchrnn.reinforce.recurrent_attention import RecurrentAttention
from torchrnn.reinforce.rewards import BinaryClassReward, VRClassReward
from torchrnn.reinforce.spatial_glimpse import SpatialGlimpse
from torchrnn.reinforce.stochastic import Reinforce

__all__ = [
    "BinaryClassReward",
    "RecurrentAttention",
    "Reinforce",
    "ReinforceBernoulli",
    "ReinforceCategorical",
    "ReinforceGamma",
    "ReinforceNormal",
    "SpatialGlimpse",
    "VRClassReward",
]

"""Memory across steps: what turns one step of mathematics into a recurrent network."""

from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.recurrent.recurrence import Recurrence
from torchrnn.recurrent.recurrent import Recurrent
from torchrnn.recurrent.recursor import Recursor

__all__ = ["AbstractRecurrent", "Recurrence", "Recurrent", "Recursor"]

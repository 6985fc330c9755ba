"""Memory across steps: what turns one step of mathematics into a recurrent network."""

from torchrnn.recurrent.abstract import AbstractRecurrent
from torchrnn.recurrent.recurrence import Recurrence
from torchrnn.recurrent.recurrent import Recurrent
from torchrnn.recurrent.recursor import Recursor
from torchrnn.recurrent.simple import LinearRNN, LookupRNN

__all__ = ["AbstractRecurrent", "LinearRNN", "LookupRNN", "Recurrence", "Recurrent", "Recursor"]

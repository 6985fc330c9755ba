"""The engine: it runs the step of a recurrent module over a whole sequence."""

from torchrnn.scan.choice import use
from torchrnn.scan.engine import explain, scan
from torchrnn.scan.reference import unstacked
from torchrnn.scan.stepper import Stepper

__all__ = ["Stepper", "explain", "scan", "unstacked", "use"]

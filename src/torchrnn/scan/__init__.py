"""The engine: it runs the step of a recurrent module over a whole sequence."""

from torchrnn.scan.reference import scan

__all__ = ["scan"]

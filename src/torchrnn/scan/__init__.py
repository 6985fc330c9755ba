"""The engine: it runs the step of a recurrent module over a whole sequence."""

from torchrnn.scan.reference import scan, unstacked

__all__ = ["scan", "unstacked"]

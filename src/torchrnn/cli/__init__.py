"""The commands ``torchrnn train``, ``torchrnn sample`` and ``torchrnn eval``."""

from torchrnn.cli.main import main

__all__ = ["main"]

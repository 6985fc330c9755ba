"""Conversions of cells and layers into other layouts: those of `torch.nn` and of ONNX.

>>> import torch, torchrnn
>>> lstm = torchrnn.layouts.from_torch(torch.nn.LSTM(4, 6))
>>> torchrnn.layouts.to_torch(lstm)
LSTM(4, 6)
"""

from torchrnn.layouts.from_torch import from_torch
from torchrnn.layouts.to_onnx import to_onnx
from torchrnn.layouts.to_torch import to_torch

__all__ = ["from_torch", "to_onnx", "to_torch"]

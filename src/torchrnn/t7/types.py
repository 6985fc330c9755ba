"""The names of Torch7's number types, and what they are here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

TYPE_NAMES: dict[str, torch.dtype] = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
}

# A GPU's own default type has no name of its own: torch.CudaTensor and torch.ClTensor hold floats.
DEVICE_TYPE_NAMES = {
    f"{device}{name}": dtype for device in ("Cuda", "Cl") for name, dtype in {"": torch.float32, **TYPE_NAMES}.items()
}

TENSOR_TYPES = {f"torch.{name}Tensor": dtype for name, dtype in {**TYPE_NAMES, **DEVICE_TYPE_NAMES}.items()}
STORAGE_TYPES = {f"torch.{name}Storage": dtype for name, dtype in {**TYPE_NAMES, **DEVICE_TYPE_NAMES}.items()}

NUMPY_TYPES: dict[torch.dtype, Any] = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.int16: np.int16,
    torch.int8: np.int8,
    torch.uint8: np.uint8,
}

NAME_OF_TYPE = {dtype: name for name, dtype in TYPE_NAMES.items()}
"""The name under which a type is written."""

"""The binary encoding: ints of 4 bytes, longs of 8 or 4, doubles of 8, nothing between them."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from torchrnn.t7.errors import T7FormatError, T7TruncatedError
from torchrnn.t7.types import NUMPY_TYPES


class BinaryScanner:
    """Reads a binary file of ``size`` bytes in the given byte order (``'<'`` or ``'>'``) and size of longs."""

    def __init__(self, stream: BinaryIO, size: int, byte_order: str, long_size: int) -> None:
        self._stream = stream
        self._size = size
        self.offset = 0
        self._native_order = byte_order == "<" if np.little_endian else byte_order == ">"
        self._integer = struct.Struct(f"{byte_order}i")
        self._number = struct.Struct(f"{byte_order}d")
        self._long_size = long_size
        self._long_format = byte_order, "q" if long_size == 8 else "i"

    def at_end(self) -> bool:
        return self.offset >= self._size

    def integer(self) -> int:
        value: int = self._integer.unpack(self.raw(4))[0]
        return value

    def longs(self, count: int) -> list[int]:
        order, letter = self._long_format
        data = self.raw(self._require(count, self._long_size, "longs"))
        return list(struct.unpack(f"{order}{count}{letter}", data))

    def number(self) -> float:
        value: float = self._number.unpack(self.raw(8))[0]
        return value

    def raw(self, count: int) -> bytes:
        data = self._stream.read(self._require(count, 1, "bytes"))
        if len(data) < count:
            raise T7TruncatedError(f"expected {count} bytes, but the file ends", self.offset)
        self.offset += count
        return data

    def values(self, dtype: torch.dtype, count: int) -> Tensor:
        stored = torch.int32 if dtype == torch.int64 and self._long_size == 4 else dtype
        size = self._require(count, stored.itemsize, "numbers")
        # NumPy asks for large pages, without which half of the time goes into giving out small ones.
        array = np.empty(count, dtype=NUMPY_TYPES[stored])
        if size and self._stream.readinto(array.view(np.uint8)) != size:  # type: ignore[attr-defined]
            raise T7TruncatedError(f"expected {count} numbers, but the file ends", self.offset)
        self.offset += size
        if not self._native_order:
            array.byteswap(inplace=True)
        return torch.from_numpy(array).to(dtype)

    def _require(self, count: int, size: int, what: str) -> int:
        """The size in bytes of so many things, which must be there before memory is asked for."""
        if count < 0:
            raise T7FormatError(f"expected a number of {what}, got {count}", self.offset)
        if count * size > self._size - self.offset:
            raise T7TruncatedError(f"expected {count} {what}, {self._size - self.offset} bytes are left", self.offset)
        return count * size


class BinaryPrinter:
    """Writes little-endian with longs of 8 bytes, as Torch7 does on today's machines."""

    def __init__(self, stream: BinaryIO) -> None:
        self._write = stream.write

    def integer(self, value: int) -> None:
        self._write(struct.pack("<i", value))

    def longs(self, values: list[int]) -> None:
        self._write(struct.pack(f"<{len(values)}q", *values))

    def number(self, value: float) -> None:
        self._write(struct.pack("<d", value))

    def raw(self, value: bytes) -> None:
        self._write(value)

    def values(self, data: Tensor) -> None:
        array = data.numpy()
        self._write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)

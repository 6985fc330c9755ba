"""Torch7 files for the tests: those that the original wrote, and the primitives to write others by hand."""

from __future__ import annotations

import functools
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "data" / "t7" / "recorded.tar.xz"


@functools.cache
def recorded() -> dict[str, bytes]:
    """The recorded files, by LIBRARY/NAME."""
    with tarfile.open(RECORDED) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}


def vectors() -> dict[str, Any]:
    """The records of the serialisation vectors, by name."""
    paths = [path for path in recorded() if path.startswith("t7-format/") and path.endswith(".json")]
    return {Path(path).stem: json.loads(recorded()[path]) for path in paths}


class Binary:
    """Primitives of a binary file, in one byte order and with one size of longs."""

    def __init__(self, order: str = "<", long_size: int = 8) -> None:
        self.order = order
        self.long_letter = {8: "q", 4: "i"}[long_size]

    def ints(self, *values: int) -> bytes:
        return struct.pack(f"{self.order}{len(values)}i", *values)

    def longs(self, *values: int) -> bytes:
        return struct.pack(f"{self.order}{len(values)}{self.long_letter}", *values)

    def number(self, value: float) -> bytes:
        return self.ints(1) + struct.pack(f"{self.order}d", value)

    def raw_string(self, text: bytes) -> bytes:
        return self.ints(len(text)) + text

    def string(self, text: bytes) -> bytes:
        return self.ints(2) + self.raw_string(text)

    def table(self, index: int, *pairs: bytes) -> bytes:
        return self.ints(3, index, len(pairs) // 2) + b"".join(pairs)

    def torch(self, index: int, name: bytes, content: bytes = b"", version: bytes = b"V 1") -> bytes:
        head = self.raw_string(version) if version else b""
        return self.ints(4, index) + head + self.raw_string(name) + content

    def storage(self, index: int, name: bytes, letter: str, values: list[float], **options: bytes) -> bytes:
        letter = self.long_letter if letter == "q" else letter
        data = struct.pack(f"{self.order}{len(values)}{letter}", *values)
        return self.torch(index, b"torch." + name + b"Storage", self.longs(len(values)) + data, **options)

    def view(self, index: int, name: bytes, size: list[int], stride: list[int], offset: int, storage: bytes) -> bytes:
        content = self.ints(len(size)) + self.longs(*size) + self.longs(*stride) + self.longs(offset) + storage
        return self.torch(index, b"torch." + name + b"Tensor", content)


NIL = struct.pack("<i", 0)

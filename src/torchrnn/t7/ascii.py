"""The ascii encoding: a line for each primitive, numbers as C prints them, strings as they are."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from torchrnn.t7.errors import T7Error, T7FormatError, T7TruncatedError

WORD = re.compile(rb"\s*(\S{1,32})")
LONGEST_WORD = 32
DIGITS = {torch.float64: "%.17g", torch.float32: "%.9g", torch.float16: "%.9g"}
"""As many as bring the same number back."""
RAW = (torch.uint8, torch.int8)
"""Written as bytes, not as numbers."""


class AsciiScanner:
    """Reads the text of an ascii file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def at_end(self) -> bool:
        return not re.compile(rb"\S").search(self._data, self.offset)

    def integer(self) -> int:
        word = self._word("an integer")
        try:
            value = int(word)
        except ValueError:
            raise self._misfit("an integer", word) from None
        self._end_line()
        return value

    def longs(self, count: int) -> list[int]:
        self._require(count, 2, "integers")
        values = []
        for _ in range(count):
            word = self._word("an integer")
            try:
                values.append(int(word))
            except ValueError:
                raise self._misfit("an integer", word) from None
        if count:
            self._end_line()
        return values

    def number(self) -> float:
        word = self._word("a number")
        try:
            value = float(word)
        except ValueError:
            raise self._misfit("a number", word) from None
        self._end_line()
        return value

    def raw(self, count: int) -> bytes:
        self._require(count, 1, "bytes")
        data = self._data[self.offset : self.offset + count]
        self.offset += count
        if count:
            self._end_line()
        return data

    def values(self, dtype: torch.dtype, count: int) -> Tensor:
        if dtype in RAW:
            return torch.from_numpy(np.frombuffer(self.raw(count), np.uint8).copy()).view(dtype)
        self._require(count, 2, "numbers")
        if not count:
            return torch.empty(0, dtype=dtype)
        start = self.offset
        end = self._data.find(b"\n", start)
        end = len(self._data) if end < 0 else end
        words = self._data[start:end].split()
        if len(words) != count:
            is_cut = len(words) < count and end == len(self._data)
            kind = T7TruncatedError if is_cut else T7FormatError
            raise kind(f"expected a line of {count} numbers, got one of {len(words)}", start)
        if max(map(len, words)) > LONGEST_WORD or b"_" in self._data[start:end]:
            raise T7FormatError(f"expected a line of {count} numbers, got other words in it", start)
        try:
            array = np.array(words).astype(np.float64 if dtype.is_floating_point else np.int64)
        except (ValueError, OverflowError):
            raise T7FormatError(f"expected a line of {count} numbers, got other words in it", start) from None
        data = torch.from_numpy(array)
        if not dtype.is_floating_point and not bool((data.to(dtype) == data).all()):
            raise T7FormatError(f"expected a line of {count} integers that {dtype} can hold", start)
        self.offset = end
        self._end_line()
        return data.to(dtype)

    def _word(self, expected: str) -> bytes:
        match = WORD.match(self._data, self.offset)
        if match is None:
            raise T7TruncatedError(f"expected {expected}, but the file ends", self.offset)
        word = match[1]
        if b"_" in word:
            raise self._misfit(expected, word)
        self.offset = match.end()
        return word

    def _end_line(self) -> None:
        """One line end belongs to what stands before it; a string may begin with another."""
        if self._data[self.offset : self.offset + 1] == b"\n":
            self.offset += 1

    def _misfit(self, expected: str, word: bytes) -> T7Error:
        return T7FormatError(f"expected {expected}, got {word.decode('ascii', 'replace')!r}", self.offset)

    def _require(self, count: int, size: int, what: str) -> None:
        """So many things of at least ``size`` bytes, of which the last may lack a separator, must be there."""
        left = len(self._data) - self.offset
        if count < 0:
            raise T7FormatError(f"expected a number of {what}, got {count}", self.offset)
        if count * size > left + size - 1:
            raise T7TruncatedError(f"expected {count} {what}, {left} bytes are left", self.offset)


class AsciiPrinter:
    """Writes what C's ``fprintf`` writes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._write = stream.write

    def integer(self, value: int) -> None:
        self._write(b"%d\n" % value)

    def longs(self, values: list[int]) -> None:
        if values:
            self._write(b" ".join(b"%d" % value for value in values) + b"\n")

    def number(self, value: float) -> None:
        self.values(torch.tensor([value], dtype=torch.float64))

    def raw(self, value: bytes) -> None:
        if value:
            self._write(value + b"\n")

    def values(self, data: Tensor) -> None:
        if data.dtype in RAW:
            self.raw(data.numpy().tobytes())
            return
        words = [DIGITS.get(data.dtype, "%d") % value for value in data.tolist()]
        if data.is_floating_point():
            # Python does not print the sign of NaN, C does.
            for position in (data.isnan() & data.signbit()).nonzero().flatten().tolist():
                words[position] = "-nan"
        if words:
            self._write(" ".join(words).encode() + b"\n")

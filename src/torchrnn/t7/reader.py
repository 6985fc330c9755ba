"""From the primitives of a file to its objects."""

from __future__ import annotations

import math
import re
from typing import Any

from torchrnn.t7.errors import T7FormatError, T7LimitError
from torchrnn.t7.frames import FieldsFrame, Frame, TableFrame, UpvaluesFrame, VectorFrame
from torchrnn.t7.limits import Limits
from torchrnn.t7.objects import LuaFunction, Storage, TorchObject
from torchrnn.t7.scanner import Scanner
from torchrnn.t7.tables import OpenTable, close, closed
from torchrnn.t7.tensors import View
from torchrnn.t7.types import STORAGE_TYPES, TENSOR_TYPES

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN, FUNCTION, LEGACY_FUNCTION, RECURSIVE_FUNCTION = range(9)
"""The tags: what kind of object follows."""

EXACT = 2**53
"""Below it a double holds every integer."""
LONGEST_NAME = 1000


class Reader:
    """Reads objects one after the other; what several of them refer to is one object.

    The objects within objects wait on a list of our own, so that no nesting is too deep for Python's stack.
    """

    def __init__(self, scanner: Scanner, limits: Limits) -> None:
        self.scanner = scanner
        self.limits = limits
        self._seen: dict[int, tuple[int, Any]] = {}
        self._tables: list[OpenTable] = []
        self._holders: list[TorchObject | LuaFunction] = []
        self._frames: list[Frame] = []
        self._objects = 0
        self._bytes = 0

    def read_all(self) -> list[Any]:
        """Every object of the file."""
        objects = [self._read()]
        while not self.scanner.at_end():
            objects.append(self._read())
        close(self._tables, self._holders)
        return [closed(made) for made in objects]

    def _read(self) -> Any:
        """One object with all that is inside."""
        frames = self._frames
        value = self._begin()
        while frames:
            frame = frames[-1]
            if frame.parts:
                depth = len(frames)
                value = self._begin()
                if len(frames) == depth:
                    frame.take(value)
            else:
                frames.pop()
                value = frame.value
                if frames:
                    frames[-1].take(value)
        return value

    def _begin(self) -> Any:
        """The next object; one with parts is put on the frames, to be finished there."""
        scanner = self.scanner
        offset = scanner.offset
        self._objects += 1
        if self._objects > self.limits.objects:
            raise T7LimitError(f"more than {self.limits.objects} objects", offset)
        tag = scanner.integer()
        if tag == NUMBER:
            return _as_number(scanner.number())
        if tag == STRING:
            return _as_text(scanner.raw(scanner.integer()))
        if tag == NIL:
            return None
        if tag == BOOLEAN:
            return self._boolean(offset)
        if tag == FUNCTION:
            return self._function(tag, None)
        if tag not in (TABLE, TORCH, LEGACY_FUNCTION, RECURSIVE_FUNCTION):
            raise T7FormatError(f"expected the tag of an object, 0 to 8, got {tag}", offset)
        index = scanner.integer()
        if index in self._seen:
            seen_tag, made = self._seen[index]
            if seen_tag != tag:
                raise T7FormatError(f"object {index} is referred to with tag {tag}, but has {seen_tag}", offset)
            return made
        if tag == TABLE:
            return self._table(index)
        return self._torch(index, offset) if tag == TORCH else self._function(tag, index)

    def _boolean(self, offset: int) -> bool:
        value = self.scanner.integer()
        if value not in (0, 1):
            raise T7FormatError(f"expected 0 or 1 for a boolean, got {value}", offset)
        return value == 1

    def _table(self, index: int) -> OpenTable:
        table = self._new_table()
        count = self.scanner.integer()
        self._seen[index] = TABLE, table
        self._push(TableFrame(table, table, self._checked(count, table.offset)))
        return table

    def _function(self, tag: int, index: int | None) -> LuaFunction:
        function = LuaFunction(self.scanner.raw(self.scanner.integer()), tag=tag)
        if index is not None:
            self._seen[index] = tag, function
        self._holders.append(function)
        self._push(UpvaluesFrame(function))
        return function

    def _torch(self, index: int, offset: int) -> Any:
        scanner = self.scanner
        version, name = self._class()
        if name in TENSOR_TYPES:
            view = View(scanner)
            tensor = view.of(self._storage(), TENSOR_TYPES[name], self.limits)
            self._seen[index] = TORCH, tensor
            return tensor
        if name in STORAGE_TYPES:
            return self._new_storage(index, name)
        made = TorchObject(name, version=version)
        self._seen[index] = TORCH, made
        self._holders.append(made)
        if name not in ("tds.Hash", "tds.Vec"):
            self._push(FieldsFrame(made, offset))
            return made
        table = self._new_table()
        made.fields = table  # type: ignore[assignment]
        count = self._checked(scanner.longs(1)[0], table.offset)
        self._push((TableFrame if name == "tds.Hash" else VectorFrame)(made, table, count))
        return made

    def _class(self) -> tuple[int | None, str]:
        """The version and name of a class; in old files the name alone."""
        first = self._name()
        match = re.fullmatch(r"V (\d+)", first)
        return (int(match[1]), self._name()) if match else (None, first)

    def _name(self) -> str:
        offset = self.scanner.offset
        count = self.scanner.integer()
        if not 0 < count <= LONGEST_NAME:
            raise T7FormatError(f"expected the length of the name of a class, got {count}", offset)
        name = self.scanner.raw(count)
        if not name.isascii() or not name.decode().isprintable():
            raise T7FormatError(f"expected the name of a class, got {name[:40]!r}", offset)
        return name.decode()

    def _storage(self) -> Storage | None:
        """The storage of a tensor: new, one that was there before, or none."""
        offset = self.scanner.offset
        tag = self.scanner.integer()
        if tag == NIL:
            return None
        if tag == TORCH:
            index = self.scanner.integer()
            if index not in self._seen:
                name = self._class()[1]
                if name in STORAGE_TYPES:
                    return self._new_storage(index, name)
            elif isinstance(self._seen[index][1], Storage):
                storage: Storage = self._seen[index][1]
                return storage
        raise T7FormatError("expected the storage of a tensor, got another object", offset)

    def _new_storage(self, index: int, name: str) -> Storage:
        dtype = STORAGE_TYPES[name]
        offset = self.scanner.offset
        count = self.scanner.longs(1)[0]
        self._bytes += max(count, 0) * dtype.itemsize
        if self._bytes > self.limits.bytes:
            raise T7LimitError(f"storages of more than {self.limits.bytes} bytes", offset)
        storage = Storage(self.scanner.values(dtype, count))
        self._seen[index] = TORCH, storage
        return storage

    def _new_table(self) -> OpenTable:
        table = OpenTable(self.scanner.offset)
        self._tables.append(table)
        return table

    def _checked(self, count: int, offset: int) -> int:
        if count < 0:
            raise T7FormatError(f"expected the size of a table, got {count}", offset)
        return count

    def _push(self, frame: Frame) -> None:
        if len(self._frames) >= self.limits.depth:
            raise T7LimitError(f"objects more than {self.limits.depth} deep", self.scanner.offset)
        self._frames.append(frame)


def _as_number(value: float) -> int | float:
    """A number of Lua: an int if it is whole."""
    if -EXACT <= value <= EXACT and value.is_integer() and (value or math.copysign(1, value) > 0):
        return int(value)
    return value


def _as_text(value: bytes) -> str | bytes:
    """A string of Lua: text if it is UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value

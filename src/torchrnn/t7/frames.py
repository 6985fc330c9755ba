"""Objects of which parts are still to be read."""

from __future__ import annotations

from typing import Any

from torchrnn.t7.errors import T7FormatError
from torchrnn.t7.objects import LuaFunction, TorchObject
from torchrnn.t7.tables import OpenTable


class TableFrame:
    """Keys and values in turn; ``value`` is what is complete with them: the table, or the object around it."""

    __slots__ = ("_table", "parts", "value")

    def __init__(self, value: Any, table: OpenTable, pairs: int) -> None:
        self.value = value
        self.parts = 2 * pairs
        self._table = table

    def take(self, part: Any) -> None:
        (self._table.values if self.parts % 2 else self._table.keys).append(part)
        self.parts -= 1


class VectorFrame:
    """Values without keys."""

    __slots__ = ("_table", "parts", "value")

    def __init__(self, value: Any, table: OpenTable, length: int) -> None:
        self.value = value
        self.parts = length
        self._table = table

    def take(self, part: Any) -> None:
        self._table.keys.append(len(self._table.keys) + 1)
        self._table.values.append(part)
        self.parts -= 1


class FieldsFrame:
    """The one table that holds the fields of an object."""

    __slots__ = ("_offset", "parts", "value")

    def __init__(self, value: TorchObject, offset: int) -> None:
        self.value = value
        self.parts = 1
        self._offset = offset

    def take(self, part: Any) -> None:
        if not isinstance(part, OpenTable):
            raise T7FormatError(f"expected the fields of a {self.value.class_name}, got no table", self._offset)
        self.value.fields = part  # type: ignore[assignment]
        self.parts = 0


class UpvaluesFrame:
    """The variables that a function closes over."""

    __slots__ = ("parts", "value")

    def __init__(self, value: LuaFunction) -> None:
        self.value = value
        self.parts = 1

    def take(self, part: Any) -> None:
        self.value.upvalues = part
        self.parts = 0


Frame = TableFrame | VectorFrame | FieldsFrame | UpvaluesFrame

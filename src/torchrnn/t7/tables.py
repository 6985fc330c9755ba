"""Which tables are lists, which are dicts, and which are neither."""

from __future__ import annotations

from typing import Any

from torchrnn.t7.errors import T7FormatError
from torchrnn.t7.objects import LuaFunction, LuaTable, TorchObject, is_plain_key


class OpenTable:
    """A table while its file is read: what it becomes shows only when all its keys are known."""

    __slots__ = ("final", "keys", "offset", "values")

    def __init__(self, offset: int) -> None:
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.final: list[Any] | dict[Any, Any] | LuaTable | None = None
        self.offset = offset


def close(tables: list[OpenTable], objects: list[TorchObject | LuaFunction]) -> None:
    """Make lists, dicts and `LuaTable`s of all tables of a file, and put them in their places.

    A table with the keys 1 to n, in any order, is a list, and so is an empty one. Another with numbers, strings and
    booleans as keys, no two of which Python takes for the same, is a dict. The fields of an object are always a dict.
    """
    owners = {id(made.fields): made.class_name for made in objects if isinstance(made, TorchObject)}
    for table in tables:
        if id(table) in owners:
            if not _fits_dict(table.keys):
                raise T7FormatError(f"the fields of a {owners[id(table)]} must have names", table.offset)
            table.final = {}
        elif _is_array(table.keys):
            table.final = []
        else:
            table.final = {} if _fits_dict(table.keys) else LuaTable([])
    for table in tables:
        values = [closed(value) for value in table.values]
        if isinstance(table.final, list):
            in_order = sorted(zip(table.keys, values, strict=True), key=lambda pair: pair[0])
            table.final.extend(value for _, value in in_order)
        elif isinstance(table.final, dict):
            table.final.update(zip(table.keys, values, strict=True))
        elif isinstance(table.final, LuaTable):
            table.final.pairs.extend(zip(map(closed, table.keys), values, strict=True))
    for made in objects:
        if isinstance(made, TorchObject):
            made.fields = closed(made.fields)
        else:
            made.upvalues = closed(made.upvalues)


def closed(value: Any) -> Any:
    """What a table became; anything else is what it is."""
    return value.final if type(value) is OpenTable else value


def _is_array(keys: list[Any]) -> bool:
    return set(map(type, keys)) <= {int} and sorted(keys) == list(range(1, len(keys) + 1))


def _fits_dict(keys: list[Any]) -> bool:
    return all(map(is_plain_key, keys)) and len(set(keys)) == len(keys)

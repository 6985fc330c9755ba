"""What is inside an object, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from torchrnn.t7.objects import LuaFunction, LuaTable, Storage, TorchObject

DEEPEST = 30
LONGEST_TEXT = 60
FEW = 8
"""Tables of plain values of up to so many entries are written out."""
PLAIN = (int, float, str, bytes, type(None))
INDENT = "  "


class Description:
    """Lines that say which classes, tensors, options and histories an object holds.

    Buffers, gradients and empty fields are left out; what was described before is only named.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def lines(self, value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
        """The lines for a value of this name."""
        lead = INDENT * depth + (f"{name}: " if name else "")
        if isinstance(value, TorchObject | LuaTable | list | dict) and id(value) in self._seen:
            yield lead + f"{_title(value)}, described before"
        elif depth > DEEPEST:
            yield lead + "..."
        elif isinstance(value, TorchObject):
            yield from self._object(value, lead, depth)
        elif isinstance(value, LuaTable):
            yield lead + f"a table of {len(value)} pairs"
        elif isinstance(value, list | dict):
            yield from self._table(value, lead, depth)
        else:
            yield lead + _plain(value)

    def _object(self, made: TorchObject, lead: str, depth: int) -> Iterator[str]:
        self._seen.add(id(made))
        tensors = {k: v for k, v in made.fields.items() if isinstance(v, Tensor) and v.numel() and not _is_buffer(k)}
        settings = {k: v for k, v in made.fields.items() if isinstance(v, PLAIN) and not str(k).startswith("_")}
        said = [f"{name} {_tensor(tensor)}" for name, tensor in tensors.items()]
        said += [f"{name} {_plain(setting)}" for name, setting in settings.items() if name not in ("train", "step")]
        yield lead + made.class_name + (f" ({', '.join(said)})" if said else "")
        for name, value in made.fields.items():
            if isinstance(value, TorchObject) or (isinstance(value, list | dict) and value and not _is_buffer(name)):
                yield from self.lines(value, str(name), depth + 1)

    def _table(self, table: list[Any] | dict[Any, Any], lead: str, depth: int) -> Iterator[str]:
        self._seen.add(id(table))
        entries = list(table.items()) if isinstance(table, dict) else list(enumerate(table, 1))
        if entries and all(isinstance(value, int | float) for _, value in entries) and len(entries) > FEW:
            numbers = [value for _, value in entries]
            yield lead + f"{len(numbers)} numbers, {numbers[0]:.6g} to {numbers[-1]:.6g}, {min(numbers):.6g} at least"
        elif isinstance(table, list) and all(isinstance(value, PLAIN) for value in table):
            shown = ", ".join(_plain(value) for value in table[:FEW])
            more = f", ... {len(table)} in all" if len(table) > FEW else ""
            yield lead + (f"{shown}{more}" if table else "an empty table")
        else:
            yield lead + f"a table of {len(entries)}"
            shown_entries = entries if len(entries) <= 64 else entries[:FEW]
            for key, value in shown_entries:
                yield from self.lines(value, _name(key), depth + 1)
            if len(shown_entries) < len(entries):
                yield INDENT * (depth + 1) + f"... and {len(entries) - len(shown_entries)} more"


def _name(key: Any) -> str:
    return key if isinstance(key, str) and key.isprintable() else _plain(key)


def _is_buffer(name: Any) -> bool:
    return str(name).startswith(("_", "grad", "buffer", "output", "noise", "dpnn_"))


def _title(value: Any) -> str:
    return value.class_name if isinstance(value, TorchObject) else "a table"


def _tensor(tensor: Tensor) -> str:
    return f"{' x '.join(map(str, tensor.shape))} {str(tensor.dtype).removeprefix('torch.')}"


def _plain(value: Any) -> str:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, Storage):
        return f"a storage of {len(value)} {str(value.data.dtype).removeprefix('torch.')}"
    if isinstance(value, LuaFunction):
        return f"a function of {len(value.code)} bytes, which is not run"
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]!r}..."
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)

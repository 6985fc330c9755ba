"""From objects to the primitives of a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchrnn.t7.objects import LuaFunction, LuaTable, Storage, TorchObject, storage_of
from torchrnn.t7.reader import BOOLEAN, EXACT, FUNCTION, NIL, NUMBER, STRING, TABLE, TORCH
from torchrnn.t7.scanner import Printer
from torchrnn.t7.types import NAME_OF_TYPE

Parts = Iterator[Any]
NOTHING: tuple[Any, ...] = ()


class StorageOf:
    """The storage of a tensor as a part that is still to be written."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Writer:
    """Writes objects one after the other; what was written before is referred to, whether it holds itself or not."""

    def __init__(self, printer: Printer) -> None:
        self.printer = printer
        self._written: dict[Any, int] = {}
        self._kept: list[Any] = []

    def write(self, value: Any) -> None:
        """One object with all that is inside."""
        waiting: list[Parts] = [iter((value,))]
        while waiting:
            for part in waiting[-1]:
                waiting.append(self._begin(part))
                break
            else:
                waiting.pop()

    def _begin(self, value: Any) -> Parts:
        """Write what an object begins with; gives the parts that are to follow."""
        printer = self.printer
        if value is None:
            printer.integer(NIL)
        elif isinstance(value, bool | np.bool_):
            printer.integer(BOOLEAN)
            printer.integer(int(value))
        elif isinstance(value, int | float | np.integer | np.floating):
            printer.integer(NUMBER)
            printer.number(_as_double(value))
        elif isinstance(value, str | bytes):
            printer.integer(STRING)
            self._string(value.encode("utf-8") if isinstance(value, str) else value)
        elif isinstance(value, list | tuple | dict | LuaTable):
            return self._table(value)
        elif isinstance(value, LuaFunction):
            return self._function(value)
        elif isinstance(value, TorchObject):
            return self._object(value)
        elif isinstance(value, np.ndarray):
            return self._tensor(value, torch.from_numpy(value))
        elif isinstance(value, Tensor):
            return self._tensor(value, value)
        elif isinstance(value, StorageOf):
            return self._storage(value.tensor)
        elif isinstance(value, Storage):
            return self._storage(value.data)
        else:
            raise TypeError(
                f"a {type(value).__name__} cannot be written to a Torch7 file; expected numbers, strings, booleans, "
                f"None, lists, dicts, tensors or TorchObject. Modules are turned into objects by t7.from_module."
            )
        return iter(NOTHING)

    def _table(self, table: list[Any] | tuple[Any, ...] | dict[Any, Any] | LuaTable) -> Parts:
        self.printer.integer(TABLE)
        if not self._is_new(id(table), table):
            return iter(NOTHING)
        self.printer.integer(len(table))
        if isinstance(table, LuaTable):
            return chain.from_iterable(table.pairs)
        return chain.from_iterable(table.items() if isinstance(table, dict) else enumerate(table, 1))

    def _function(self, function: LuaFunction) -> Parts:
        self.printer.integer(function.tag)
        if function.tag != FUNCTION and not self._is_new(id(function), function):
            return iter(NOTHING)
        self._string(function.code)
        return iter((function.upvalues,))

    def _object(self, made: TorchObject) -> Parts:
        if not self._begin_torch(made.class_name, made.version, id(made), made):
            return iter(NOTHING)
        if made.class_name not in ("tds.Hash", "tds.Vec"):
            return iter((made.fields,))
        self.printer.longs([len(made.fields)])
        return chain.from_iterable(made.fields.items()) if made.class_name == "tds.Hash" else iter(made.fields.values())

    def _tensor(self, value: Any, tensor: Tensor) -> Parts:
        tensor = _as_plain(tensor)
        if not self._begin_torch(f"torch.{NAME_OF_TYPE[tensor.dtype]}Tensor", 1, id(value), value):
            return iter(NOTHING)
        size, stride = list(tensor.shape), list(tensor.stride())
        if not tensor.numel():
            size, stride = [], []
        elif not size:
            size, stride = [1], [1]
        self.printer.integer(len(size))
        self.printer.longs(size)
        self.printer.longs(stride)
        has_storage = tensor.untyped_storage().nbytes() > 0
        self.printer.longs([int(tensor.storage_offset()) + 1 if has_storage else 1])
        return iter((StorageOf(tensor) if has_storage else None,))

    def _storage(self, tensor: Tensor) -> Parts:
        data = storage_of(_as_plain(tensor))
        memory = data.untyped_storage()
        key = (memory.data_ptr(), memory.nbytes(), data.dtype, data.device) if len(data) else id(tensor)
        if self._begin_torch(f"torch.{NAME_OF_TYPE[data.dtype]}Storage", 1, key, (tensor, data)):
            self.printer.longs([len(data)])
            self.printer.values(data.cpu())
        return iter(NOTHING)

    def _begin_torch(self, class_name: str, version: int | None, key: Any, kept: Any) -> bool:
        self.printer.integer(TORCH)
        if not self._is_new(key, kept):
            return False
        if version is not None:
            self._string(b"V %d" % version)
        self._string(class_name.encode())
        return True

    def _is_new(self, key: Any, kept: Any) -> bool:
        """Write the number of an object; whether the object itself must follow.

        What was written is kept, so that no other object comes to lie where it lay, under the same key.
        """
        is_new = key not in self._written
        if is_new:
            self._written[key] = len(self._written) + 1
            self._kept.append(kept)
        self.printer.integer(self._written[key])
        return is_new

    def _string(self, value: bytes) -> None:
        self.printer.integer(len(value))
        self.printer.raw(value)


def _as_double(value: Any) -> float:
    if isinstance(value, int | np.integer) and abs(int(value)) > EXACT:
        raise ValueError(f"{value} cannot be written to a Torch7 file: Lua's numbers are exact up to 2^53 only.")
    return float(value) if not math.isnan(value) else value


def _as_plain(tensor: Tensor) -> Tensor:
    """A tensor as Torch7 knows them: dense, of one of its types; booleans are bytes."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise TypeError(f"a tensor of layout {tensor.layout} on {tensor.device} cannot be written; make it dense.")
    if tensor.dtype == torch.bool:
        return tensor.detach().to(torch.uint8)
    if tensor.dtype not in NAME_OF_TYPE:
        raise TypeError(f"Torch7 has no tensors of {tensor.dtype}; convert it, for example with .float().")
    return tensor.detach().resolve_neg()

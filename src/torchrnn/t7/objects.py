"""What stands for the Torch7 objects that Python and PyTorch have no type of their own for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class TorchObject:
    """An object of a Torch class: its name and its fields.

    Arguments:
        class_name: such as ``"nn.Linear"``.
        fields: the table of its fields; those of ``tds.Hash`` and ``tds.Vec`` are their entries.
        version: of the class, ``None`` in files from before there were versions.

    Two of them are equal only if they are one and the same.

    >>> from torchrnn import t7
    >>> tanh = t7.TorchObject("nn.Tanh", {"_type": "torch.DoubleTensor"})
    >>> t7.loads(t7.dumps(tanh)).fields
    {'_type': 'torch.DoubleTensor'}
    """

    __slots__ = ("class_name", "fields", "version")

    def __init__(self, class_name: str, fields: dict[Any, Any] | None = None, version: int | None = 1) -> None:
        self.class_name = class_name
        self.fields = {} if fields is None else fields
        self.version = version

    def __repr__(self) -> str:
        return f"<{self.class_name} with {', '.join(map(str, self.fields)) or 'no fields'}>"


class Storage:
    """The memory of tensors as an object of its own, such as ``torch.LongStorage``.

    Arguments:
        data: the numbers: all of a piece of memory, as a one-dimensional tensor. Tensors that are views of it share it.

    >>> from torchrnn import t7
    >>> t7.loads(t7.dumps(t7.Storage(torch.tensor([2, 3])))).data
    tensor([2, 3])
    """

    __slots__ = ("data",)

    def __init__(self, data: Tensor) -> None:
        if data.dim() != 1 or not data.is_contiguous() or data.untyped_storage().nbytes() != data.nbytes:
            raise ValueError(
                f"Storage: data must be all of its memory, in one dimension; got {tuple(data.shape)} with strides "
                f"{data.stride()} in {data.untyped_storage().nbytes()} bytes. Use .flatten().clone()."
            )
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Storage({self.data})"


class LuaFunction:
    r"""A Lua function as it stands in a file: bytes that are kept, and never run.

    Arguments:
        code: the compiled function.
        upvalues: the table of the variables that it closes over.
        tag: how it is written: 8, or 6 and 7 in old files.

    >>> from torchrnn import t7
    >>> t7.loads(t7.dumps(t7.LuaFunction(b"\x1bLJ...")))
    <LuaFunction of 6 bytes>
    """

    __slots__ = ("code", "tag", "upvalues")

    def __init__(self, code: bytes, upvalues: Any = None, tag: int = 8) -> None:
        if tag not in (6, 7, 8):
            raise ValueError(f"LuaFunction: tag must be 6, 7 or 8; got {tag}.")
        self.code = code
        self.upvalues: Any = [] if upvalues is None else upvalues
        self.tag = tag

    def __repr__(self) -> str:
        return f"<LuaFunction of {len(self.code)} bytes>"


class LuaTable:
    """A table that no list and no dict can be: its keys are tables or objects, or such as Python takes for the same.

    Arguments:
        pairs: keys and values, in the order of the file.

    `array` is the part with the keys 1 to n. A value is looked up by ``table[key]``; tables and objects are keys by
    identity, ``True`` and ``1`` are different keys.

    >>> from torchrnn import t7
    >>> table = t7.LuaTable([(1, "number"), (True, "boolean")])
    >>> table[True], table.array
    ('boolean', ['number'])
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self.pairs = pairs

    def __getitem__(self, key: Any) -> Any:
        for candidate, value in self.pairs:
            if candidate is key or (is_plain_key(key) and same_key(candidate, key)):
                return value
        raise KeyError(key)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self.pairs)

    @property
    def array(self) -> list[Any]:
        """The values of the keys 1, 2, ... up to the first that is missing."""
        numbered = {key: value for key, value in self.pairs if is_number(key)}
        values: list[Any] = []
        while len(values) + 1 in numbered:
            values.append(numbered[len(values) + 1])
        return values

    def __repr__(self) -> str:
        return f"<LuaTable of {len(self.pairs)} pairs>"


def is_number(key: Any) -> bool:
    return isinstance(key, int | float) and not isinstance(key, bool)


def is_plain_key(key: Any) -> bool:
    """Whether a key can be one of a dict: a number other than NaN, a string or a boolean."""
    return isinstance(key, int | float | str | bytes) and key == key


def same_key(left: Any, right: Any) -> bool:
    """Whether two keys are one in Lua, where ``True`` is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and is_plain_key(left) and bool(left == right)


def storage_of(tensor: Tensor) -> Tensor:
    """The whole memory that a tensor is a view of, as a one-dimensional tensor of its type."""
    memory = tensor.untyped_storage()
    count = memory.nbytes() // tensor.element_size()
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(memory, 0, (count,), (1,))

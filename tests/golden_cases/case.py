"""Recorded cases: a directory of JSON files a library, or the same packed into one file a library."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

DTYPES = {"double": torch.float64, "float": torch.float32, "long": torch.int64, "byte": torch.uint8}
NOT_COMPARED = {
    "paramNames",
    "gates",
    "bnRunningPerClone",
    "defaultTensorType",
    "seed",
    "nextUniform",
    "flat0",
    "packedInput",
    "packedMask",
    "indexes",
    "mappedLengths",
}
"""What a packed case leaves out: names inside the original, its buffers, its random generator, its batches."""


@dataclass(frozen=True)
class Case:
    """One recorded run of an original module: its JSON record, with tensors for tensors."""

    record: dict[str, Any]
    load: Callable[[], nn.Module] | None = None
    """Where the module comes from, if it is not to be constructed."""

    @property
    def library(self) -> str:
        return str(self.record["library"])

    @property
    def name(self) -> str:
        return str(self.record["case"])

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def path(self) -> str:
        return f"{self.library}/{self.name}"

    def __getitem__(self, key: str) -> Any:
        return self.record[key]

    def __contains__(self, key: str) -> bool:
        return key in self.record

    def get(self, key: str, default: Any = None) -> Any:
        return self.record.get(key, default)

    @property
    def parameters(self) -> list[torch.Tensor] | None:
        """What the parameters were at the start."""
        return self.get("params", self.get("params0"))


def read(directory: Path) -> Iterator[Case]:
    """The cases in `directory`, which is one library or holds several, by name."""
    for path in sorted([*directory.glob("*.json"), *directory.glob("*/*.json")]):
        record = json.loads(path.read_text(encoding="utf-8"))
        yield Case(record if record["kind"] == "t7" else _tree(record, _tensor))
    for path in sorted([*directory.glob("*.npz"), *directory.glob("*/*.npz")]):
        yield from _unpack(path)


def pack(path: Path, cases: Iterable[Case]) -> None:
    """Write cases into one file; the bytes of the doubles lie in planes, which compress better."""
    doubles: list[np.ndarray] = []
    position = 0

    def put(value: Any) -> Any:
        nonlocal position
        if isinstance(value, dict):
            return {key: put(part) for key, part in value.items()}
        if isinstance(value, list):
            return [put(part) for part in value]
        if not isinstance(value, torch.Tensor):
            return value
        shape, dtype = list(value.shape), next(name for name, dtype in DTYPES.items() if dtype == value.dtype)
        if dtype != "double":
            return {"dtype": dtype, "shape": shape, "data": value.tolist()}
        doubles.append(value.numpy().astype("<f8").ravel())
        position += value.numel()
        return {"dtype": dtype, "shape": shape, "data": position - value.numel()}

    records = [{key: v for key, v in case.record.items() if key not in NOT_COMPARED} for case in cases]
    index = json.dumps(put(records), separators=(",", ":")).encode()
    planes = np.concatenate(doubles).view(np.uint8).reshape(-1, 8).T
    np.savez_compressed(path, index=np.frombuffer(index, np.uint8), planes=np.ascontiguousarray(planes))


def _unpack(path: Path) -> Iterator[Case]:
    with np.load(path) as packed:
        index = json.loads(packed["index"].tobytes())
        doubles = np.ascontiguousarray(packed["planes"].T).view("<f8").ravel()

    def take(record: dict[str, Any]) -> torch.Tensor:
        if record["dtype"] != "double":
            return _tensor(record)
        start, shape = record["data"], record["shape"]
        return torch.from_numpy(doubles[start : start + math.prod(shape)].copy()).reshape(shape)

    for record in index:
        yield Case(_tree(record, take))


def _tensor(record: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(record["data"], dtype=DTYPES[record["dtype"]]).reshape(record["shape"] or [0])


def _tree(value: Any, tensor: Any) -> Any:
    """A JSON value with `tensor` applied to each tensor in it."""
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "data"}:
            return tensor(value)
        return {key: _tree(part, tensor) for key, part in value.items()}
    if isinstance(value, list):
        return [_tree(part, tensor) for part in value]
    return value

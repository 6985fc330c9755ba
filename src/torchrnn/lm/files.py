"""Files that are either whole or not there: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save


class RunError(ValueError):
    """A directory that is no run, or a file in it that is damaged."""


def partial(path: Path) -> Path:
    """Where the new content of a file stands until it is complete."""
    return path.with_name(f".{path.name}.partial")


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that at every moment, power cuts included, ``path`` holds either the old or the new content."""
    beside = partial(path)
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises ``RunError`` for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object")
    return value


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Writes tensors, and with them a few facts that JSON can hold, to a safetensors file."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # One entry of metadata: safetensors writes several in random order, and equal runs should be equal files.
    written = json.dumps({**facts, "crc32": _checksum(tensors, facts)})
    write_whole(path, save(tensors, {"facts": written}))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and facts of `write_tensors`.

    A file that is cut short, changed or of another kind raises ``RunError``. Weights written by others, without facts
    and checksum, are read as they are.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        facts = _facts(file)
    if facts.pop("crc32", None) not in (None, _checksum(tensors, facts)):
        raise RunError(f"{path} is damaged: its checksum does not match its content")
    return tensors, facts


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, without the work of reading the tensors."""
    with _opened(path) as file:
        facts = _facts(file)
    facts.pop("crc32", None)
    return facts


def _facts(file: Any) -> dict[str, Any]:
    facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    if not isinstance(facts, dict):
        raise ValueError("its metadata is not that of torchrnn")
    return facts


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise RunError(f"{path} is damaged: {error}") from error


def _checksum(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> int:
    value = zlib.crc32(json.dumps(facts).encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().tobytes(), value)
    return value

"""The data that torch-rnn trains on: numbers of characters in HDF5, and the characters in JSON beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from torchrnn.lm.corpus import TextError

PARTS = ("train", "val", "test")


def read_h5(path: Path) -> str:
    """The text in ``NAME.h5`` and ``NAME.json``: training, validation and test part, one after the other.

    Raises ``TextError`` for files of another kind, and where h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise TextError(f"{path}: reading HDF5 needs h5py: pip install 'torchrnn[h5]'") from None
    vocabulary = path.with_suffix(".json")
    try:
        tokens = _tokens(json.loads(vocabulary.read_text(encoding="utf-8")))
    except OSError as error:
        raise TextError(
            f"{vocabulary}, which must stand beside {path.name}, cannot be read: {error.strerror}"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise TextError(f"{vocabulary} is not a vocabulary of torch-rnn: {error}") from error
    try:
        with h5py.File(path) as file:
            ids = np.concatenate([np.asarray(file[part], dtype=np.int64) for part in PARTS])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise TextError(f"{path} is not data of torch-rnn, with {', '.join(PARTS)}: {error}") from error
    if ids.size and not (ids.min() >= 1 and ids.max() < len(tokens)):
        raise TextError(
            f"{path} has numbers of characters outside 1 to {len(tokens) - 1}, which {vocabulary.name} names"
        )
    return "".join(tokens[ids].tolist())


def _tokens(vocabulary: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.str_]]:
    """The characters by their numbers, which begin at 1."""
    characters = {int(number): token for number, token in vocabulary["idx_to_token"].items()}
    if set(characters) != set(range(1, len(characters) + 1)):
        raise ValueError("the numbers of idx_to_token must be 1 to their count")
    wrong = [token for token in characters.values() if not isinstance(token, str) or len(token) != 1]
    if wrong:
        raise ValueError(f"expected single characters; got {wrong[0]!r}")
    return np.array(["", *(characters[number] for number in range(1, len(characters) + 1))], dtype="U1")

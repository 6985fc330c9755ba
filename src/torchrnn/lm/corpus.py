"""Where the text of a language model comes from, and how it is divided."""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path


class TextError(ValueError):
    """A text that cannot be used: missing, empty, not UTF-8, or not the one that was meant."""


def built_in_text() -> str:
    """The reference manual that CPython carries for ``help()``: about 460,000 characters, no download needed."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TextError("this Python comes without its manual, the built-in text: give a text file") from None
    return "\n".join(topics.values())


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, line ends kept as they are, a byte order mark dropped; or of torch-rnn's ``.h5`` data.

    Raises ``TextError`` for a file that is missing, unreadable, empty or not UTF-8.
    """
    path = Path(path)
    if path.suffix == ".h5":
        from torchrnn.lm.h5 import read_h5

        return read_h5(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TextError(f"{path}: no such file; give the path of a text file in UTF-8") from None
    except OSError as error:
        raise TextError(f"{path}: cannot be read: {error.strerror}") from error
    start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        text = data[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        raise TextError(
            f"{path}: not UTF-8 text: byte 0x{data[offset]:02x} at offset {offset} cannot be decoded; "
            f"convert the file, for instance with: iconv -f latin1 -t utf-8 {path}"
        ) from None
    if not text:
        raise TextError(f"{path}: the file is empty; give a file with text")
    return text


@dataclass(frozen=True)
class Source:
    """Which text a run belongs to, so that it can be found again, and told from another.

    Arguments:
        path: the file, ``None`` for the built-in text.
        sha256: of the text in UTF-8.
        characters: its length.
    """

    path: str | None
    sha256: str
    characters: int

    def read(self) -> str:
        """The text once more; raises ``TextError`` if it is not the same any longer."""
        text, source = read_source(self.path)
        if source.sha256 != self.sha256:
            name = self.path or "the built-in text (another Python brings another)"
            raise TextError(
                f"{name} has changed since the run was started: it had {self.characters} characters with SHA-256 "
                f"{self.sha256[:12]}, now {source.characters} with {source.sha256[:12]}; bring the old text back, or "
                f"start a new run with --init-from"
            )
        return text


def read_source(path: str | Path | None) -> tuple[str, Source]:
    """The text of a file, or the built-in text, and what identifies it."""
    text = built_in_text() if path is None else read_text(path)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return text, Source(None if path is None else str(Path(path).absolute()), digest, len(text))


def split_text(text: str, val_frac: float = 0.1, test_frac: float = 0.1) -> dict[str, str]:
    """Divides ``text``, in this order, into ``train``, ``val`` and ``test``, in the proportions of torch-rnn.

    ``val`` has ``int(val_frac * n)`` of the ``n`` characters, ``test`` ``int(test_frac * n)``, ``train`` the rest.

    >>> split_text("twenty characters ok")
    {'train': 'twenty character', 'val': 's ', 'test': 'ok'}
    """
    for name, fraction in ("val_frac", val_frac), ("test_frac", test_frac):
        if not 0 <= fraction < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {fraction}")
    if val_frac + test_frac >= 1:
        raise ValueError(f"val_frac {val_frac} and test_frac {test_frac} leave nothing to train on")
    val, test = int(val_frac * len(text)), int(test_frac * len(text))
    train = len(text) - val - test
    return {"train": text[:train], "val": text[train : train + val], "test": text[train + val :]}

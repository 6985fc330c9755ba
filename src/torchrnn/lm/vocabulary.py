"""The characters a language model knows, and their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch


class Vocabulary:
    """The characters of a language model; the id of a character is its position, from 0.

    A character is one Unicode code point, never a byte: ``é``, ``中`` and ``🙂`` are one token each, and a combining
    accent is a token of its own. Any text made of the tokens survives ``decode(encode(text))`` unchanged.

    Arguments:
        tokens: the characters, all different, as a string or as an iterable of one-character strings.

    Raises ``ValueError`` for no tokens, repeated tokens and tokens that are not one character.

    >>> vocabulary = Vocabulary("abc ")
    >>> vocabulary.encode("a cab").tolist()
    [0, 3, 2, 0, 1]
    >>> vocabulary.decode([2, 0, 1])
    'cab'
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        if not isinstance(tokens, Iterable):
            raise TypeError(f"tokens must be a string or an iterable of characters; got {tokens!r}")
        self.tokens = tuple(tokens)
        if not self.tokens:
            raise ValueError("a vocabulary needs at least one token, but tokens is empty")
        for position, token in enumerate(self.tokens):
            if not isinstance(token, str):
                raise TypeError(f"token {position} is {token!r}: expected a string of one character")
            if len(token) != 1:
                raise ValueError(f"token {position} is {token!r}: expected exactly one character")
        if len(set(self.tokens)) < len(self.tokens):
            repeated = next(t for t in self.tokens if self.tokens.count(t) > 1)
            raise ValueError(f"token {repeated!r} stands more than once in the vocabulary: tokens must differ")
        code_points = np.array([ord(token) for token in self.tokens])
        self._id_of_code_point = np.full(code_points.max() + 1, -1, dtype=np.int64)
        self._id_of_code_point[code_points] = np.arange(len(self.tokens))

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The characters of ``text``, in order of first appearance."""
        if not text:
            raise ValueError("text is empty: a vocabulary needs at least one character")
        return cls(dict.fromkeys(text))

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({''.join(self.tokens)!r})"

    def encode(self, text: str) -> torch.Tensor:
        """The ids of the characters of ``text``: an int64 tensor of shape ``(len(text),)``.

        Raises ``ValueError`` that names the characters outside the vocabulary.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        known = code_points < len(self._id_of_code_point)
        ids = np.where(known, self._id_of_code_point[np.where(known, code_points, 0)], -1)
        if (ids < 0).any():
            raise ValueError(self._outside(text, np.flatnonzero(ids < 0)))
        return torch.from_numpy(ids)

    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        """The text of a one-dimensional tensor or sequence of ids."""
        positions = ids.tolist() if isinstance(ids, torch.Tensor) else list(ids)
        if not isinstance(positions, list) or not all(isinstance(i, int) for i in positions):
            raise TypeError("ids must be a one-dimensional integer tensor or a sequence of integers")
        for position in positions:
            if not 0 <= position < len(self.tokens):
                raise ValueError(f"id {position} is outside the vocabulary of {len(self.tokens)} tokens")
        return "".join(self.tokens[position] for position in positions)

    def _outside(self, text: str, positions: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
        characters = list(dict.fromkeys(text[position] for position in positions))
        named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in characters[:8])
        more = f" and {len(characters) - 8} more" if len(characters) > 8 else ""
        return (
            f"the text holds characters outside the vocabulary: {named}{more}, first at position {positions[0]}; "
            f"leave them out, or train on a text that has them"
        )

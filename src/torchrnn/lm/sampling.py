"""Text from a language model, one character after the other."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchrnn.lm.model import LanguageModel


def choose(scores: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One id, of shape (), drawn with probabilities ``softmax(scores / temperature)``, scores of shape (V,).

    ``top_k`` leaves only the ``k`` highest scores; temperature 0 takes the highest, the first of equals.
    """
    if temperature == 0:
        return scores.argmax()
    # Less the maximum before the division: the smallest temperatures then give 0 and -inf, never inf / inf.
    logits = (scores.double() - scores.max()) / temperature
    if top_k is not None and top_k < len(logits):
        logits[logits.argsort(descending=True)[top_k:]] = -math.inf
    return torch.multinomial(logits.softmax(0), 1, generator=generator)[0]


def stream(
    model: LanguageModel,
    length: int,
    start_text: str,
    temperature: float,
    sample: bool,
    top_k: int | None,
    stop: str | None,
    generator: torch.Generator | None,
) -> Iterator[str]:
    """The pieces of `LanguageModel.sample`: ``start_text``, then single characters."""
    if length < len(start_text):
        raise ValueError(f"length {length} includes start_text, which has {len(start_text)} characters already")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be 0 (always the likeliest character) or above, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if stop is not None and not stop:
        raise ValueError("stop must be a text of at least one character, or None")
    start = model.encode(start_text)
    # The copy has a state and a mode of its own, and shares the weights.
    reader: LanguageModel = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    reader.eval()
    reader.reset_states()
    return _characters(reader, start_text, start, length, temperature if sample else 0.0, top_k, stop, generator)


def _characters(
    reader: LanguageModel,
    start_text: str,
    start: Tensor,
    length: int,
    temperature: float,
    top_k: int | None,
    stop: str | None,
    generator: torch.Generator | None,
) -> Iterator[str]:
    if start_text:
        yield start_text
    unread = start
    # Before anything is read, every character is as likely as any other.
    scores = reader.linear.weight.new_zeros(len(reader.vocabulary))
    written = ""
    for _ in range(length - len(start)):
        if len(unread):
            with torch.no_grad():
                scores = reader(unread[None])[0, -1]
        unread = choose(scores, temperature, top_k, generator)[None]
        character = reader.decode(unread)
        yield character
        if stop is not None:
            written = (written + character)[-len(stop) :]
            if written == stop:
                return

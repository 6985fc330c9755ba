"""Text from a language model, one character after the other."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchrnn.lm.native_writer import NOT_FINITE, native_writer

if TYPE_CHECKING:
    from torchrnn.lm.model import LanguageModel

BLOCK = 256
"""Characters that are written in one go where nobody looks at single ones."""


def choose(scores: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One id, of shape (), drawn with probabilities ``softmax(scores / temperature)``, scores of shape (V,).

    | ``w = exp((scores - max(scores)) / temperature)`` in double precision,
    | 0 for all but the ``top_k`` highest scores, where of equal ones the first come first;
    | one number ``u`` from [0, 1), in double precision, is drawn from ``generator``;
    | the id is the first with ``w[0] + ... + w[id] > u * sum(w)``.

    Temperature 0 takes the highest score, the first of equals, and draws nothing. Raises ``ValueError`` if the highest
    score is not finite.
    """
    highest = scores.max()
    if not highest.isfinite():
        raise ValueError(NOT_FINITE)
    if temperature == 0:
        return scores.argmax()
    # Less the maximum before the division: the smallest temperatures then give 0 and -inf, never inf / inf.
    weights = ((scores.double() - highest) / temperature).exp()
    if top_k is not None:
        weights[scores.argsort(descending=True, stable=True)[top_k:]] = 0
    sums = weights.cumsum(0)
    uniform = torch.rand((), dtype=torch.float64, device=scores.device, generator=generator)
    return torch.searchsorted(sums, uniform * sums[-1], right=True)


def stream(
    model: LanguageModel,
    length: int,
    start_text: str,
    temperature: float,
    top_k: int | None,
    stop: str | None,
    generator: torch.Generator | None,
    block: int,
) -> Iterator[str]:
    """The pieces of `LanguageModel.sample`: ``start_text``, then ``block`` characters at a time."""
    if length < len(start_text):
        raise ValueError(f"length {length} includes start_text, which has {len(start_text)} characters already")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be 0 (always the likeliest character) or above, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if stop is not None and not stop:
        raise ValueError("stop must be a text of at least one character, or None")
    start = model.encode(start_text)
    # The copy has a state, a mode and weights of its own: whatever becomes of the model, one model writes the text.
    reader = copy.deepcopy(model)
    reader.eval()
    reader.reset_states()
    ids = _ids(model, reader, start, length - len(start), temperature, top_k, generator, block)
    return _characters(reader, start_text, ids, stop)


def _characters(reader: LanguageModel, start_text: str, ids: Iterator[list[int]], stop: str | None) -> Iterator[str]:
    if start_text:
        yield start_text
    written = ""
    for block in ids:
        characters = reader.decode(block)
        yield characters
        if stop is not None:
            written = (written + characters)[-len(stop) :]
            if written == stop:
                return


def _ids(
    model: LanguageModel,
    reader: LanguageModel,
    start: Tensor,
    n: int,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator | None,
    block: int,
) -> Iterator[list[int]]:
    """The ``n`` ids after those of ``start``: one by one, or ``block`` at a time where they are written natively."""
    unread = start.tolist()
    if n and not unread:
        # Before anything is read, every character is as likely as any other.
        scores = reader.linear.weight.new_zeros(len(reader.vocabulary))
        unread = [int(choose(scores, temperature, None, generator))]
        yield unread
        n -= 1
    writer = native_writer(model, reader, unread[0], temperature, top_k) if n else None
    while n:
        if writer is None:
            with torch.no_grad():
                scores = reader(torch.tensor([unread]))[0, -1]
            ids = [int(choose(scores, temperature, top_k, generator))]
        else:
            ids = writer.write(unread, _uniforms(min(block, n), temperature, generator))
        yield ids
        unread = ids[-1:]
        n -= len(ids)


def _uniforms(n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
    """The random numbers of the next ``n`` characters: those that `choose` would draw one by one."""
    if temperature == 0:
        return torch.zeros(n, dtype=torch.float64)
    return torch.rand(n, dtype=torch.float64, generator=generator)

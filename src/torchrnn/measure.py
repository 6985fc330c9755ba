"""How much a text has in common with a reference: BLEU and ROUGE of one sentence against one other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from torch import Tensor

from torchrnn.checks import require_count, require_number

Tokens = Sequence[Hashable] | Tensor
"""Words or ids: a list or tuple of them, or a tensor (n,)."""


def bleu(candidate: Tokens, reference: Tokens, n: int = 4) -> float:
    """BLEU of a sentence: how many of its n-grams stand in the reference, with a penalty for being short.

    ``(p_1 ... p_n)^(1/n) exp(1 - max(1, |reference| / |candidate|))``, where p_i is the share of the candidate's
    i-grams that the reference has, each counted as often as there at most. The j-th order without any match counts
    as if 1 / 2^j of an i-gram had matched; orders longer than the candidate are left out.

    Arguments:
        candidate: the sentence, as tokens, which are compared by equality.
        reference: the tokens of what it should be.
        n: the longest n-grams.

    Returns a number from 0 to 1; an empty candidate has 0. Raises ``ValueError`` for an empty reference.

    Differs from the original: nothing. For whole corpora with several references take sacrebleu. Source: Papineni,
    Roukos, Ward, Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002.

    >>> from torchrnn import bleu
    >>> round(bleu("the cat sat on the mat".split(), "the cat sat on a mat".split()), 4)
    0.5373
    """
    words, model = _tokens("bleu", candidate, reference)
    require_count("bleu", n, "n")
    if not words:
        return 0.0
    product = smallest_match = 1.0
    for order in range(1, min(n, len(words)) + 1):
        mine, theirs = _ngrams(words, order), _ngrams(model, order)
        matches: float = (mine & theirs).total()
        if matches == 0:
            matches = smallest_match = smallest_match / 2
        product *= matches / mine.total()
    return math.pow(product, 1 / n) * math.exp(1 - max(1.0, len(model) / len(words)))


def rouge_n(candidate: Tokens, reference: Tokens, n: int = 4, weights: Sequence[float] | None = None) -> float:
    """ROUGE-N of a sentence: the share of the reference's n-grams that it has.

    Arguments:
        candidate: the sentence, as tokens, which are compared by equality.
        reference: the tokens of what it should be.
        n: the longest n-grams.
        weights: one for each order from 1 to n, for a weighted mean over the orders; without them only order n counts.

    Returns a number from 0 to 1. Raises ``ValueError`` if the reference is too short to have n-grams that count.

    Differs from the original: that gives NaN for a reference that is too short. Source: Lin, "ROUGE: A Package for
    Automatic Evaluation of Summaries", 2004.

    >>> from torchrnn import rouge_n
    >>> rouge_n([1, 2, 3, 4, 5], [1, 2, 3, 9, 5], n=2)
    0.5
    """
    words, model = _tokens("rouge_n", candidate, reference)
    require_count("rouge_n", n, "n")
    weights = [0.0] * (n - 1) + [1.0] if weights is None else weights
    if len(weights) != n or min(weights) < 0 or sum(weights) == 0:
        raise ValueError(
            f"rouge_n: weights must be {n} numbers, one for each order, not negative, not all 0; got {list(weights)}."
        )
    total = 0.0
    for order, weight in enumerate(weights, 1):
        theirs = _ngrams(model, order)
        if weight and not theirs:
            raise ValueError(
                f"rouge_n: the reference must have at least {order} tokens, the order that counts; got {len(model)}."
            )
        if weight:
            total += weight * (theirs & _ngrams(words, order)).total() / theirs.total()
    return total / sum(weights)


def rouge_s(candidate: Tokens, reference: Tokens, beta: float = 1.0, window: int | None = None) -> float:
    """ROUGE-S of a sentence: how many pairs of words it has in the order in which the reference has them.

    ``(1 + beta²) r p / (r + beta² p)``, where r is the share of the reference's pairs that the candidate has, and p
    the share of the candidate's that the reference has. Pairs that occur several times count as often.

    Arguments:
        candidate: the sentence, as tokens, which are compared by equality.
        reference: the tokens of what it should be.
        beta: above 1 weights r more, below 1 weights p more.
        window: both words of a pair lie within so many tokens; without it they may be any distance apart.

    Returns a number from 0 to 1. Raises ``ValueError`` for a reference of fewer than 2 tokens.

    Differs from the original: that calls r what is p, so that its beta works the other way round; counts a pair that
    occurs twice once; takes the candidate's length as the window of both; and does not take tensors. Source: Lin,
    "ROUGE: A Package for Automatic Evaluation of Summaries", 2004.

    >>> from torchrnn import rouge_s
    >>> round(rouge_s([1, 2, 3, 4, 5], [1, 2, 3, 9, 5], window=3), 4)
    0.5714
    """
    words, model = _tokens("rouge_s", candidate, reference)
    if not require_number("rouge_s", beta, "beta") > 0:
        raise ValueError(f"rouge_s: beta must be positive; got {beta}.")
    if window is not None and require_count("rouge_s", window, "window") < 2:
        raise ValueError(f"rouge_s: window must be at least 2 tokens, which a pair takes; got {window}.")
    if len(model) < 2:
        raise ValueError(f"rouge_s: the reference must have at least 2 tokens; got {len(model)}.")
    mine, theirs = _skip_bigrams(words, window), _skip_bigrams(model, window)
    matches = (mine & theirs).total()
    if matches == 0:
        return 0.0
    recall, precision = matches / theirs.total(), matches / mine.total()
    return (1 + beta**2) * recall * precision / (recall + beta**2 * precision)


def _tokens(measure: str, candidate: Tokens, reference: Tokens) -> tuple[list[Hashable], list[Hashable]]:
    lists = []
    for name, tokens in ("candidate", candidate), ("reference", reference):
        if isinstance(tokens, str) or not isinstance(tokens, Sequence | Tensor):
            raise TypeError(
                f"{measure}: {name} must be a list or tuple of tokens, or a tensor (n,); got {type(tokens).__name__}. "
                "Split a text into words first."
            )
        if isinstance(tokens, Tensor) and tokens.dim() != 1:
            raise ValueError(f"{measure}: {name} must be one sentence, (n,); got shape {tuple(tokens.shape)}.")
        lists.append(tokens.tolist() if isinstance(tokens, Tensor) else list(tokens))
    if not lists[1]:
        raise ValueError(f"{measure}: the reference must have at least one token; it is empty.")
    return lists[0], lists[1]


def _ngrams(words: list[Hashable], order: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _skip_bigrams(words: list[Hashable], window: int | None) -> Counter[tuple[Hashable, Hashable]]:
    reach = len(words) if window is None else window
    return Counter((first, second) for i, first in enumerate(words) for second in words[i + 1 : i + reach])

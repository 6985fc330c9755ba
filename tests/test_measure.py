"""BLEU and ROUGE: the values of the original, hand-made cases, properties, errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchrnn import bleu, rouge_n, rouge_s

CANDIDATE, REFERENCE = [1, 2, 3, 4, 5], [1, 2, 3, 9, 5]
CAT, MAT = ["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "is", "on", "the", "mat"]

# What it is called, the measure, its arguments, its value. The first three are what torch/rnn 2.7 gives.
CASES = [
    ("recorded BLEU-4", bleu, (CANDIDATE, REFERENCE), 0.42728700639623),
    ("recorded ROUGE-2", rouge_n, (CANDIDATE, REFERENCE, 2), 0.5),
    ("recorded ROUGE-S", rouge_s, (CANDIDATE, REFERENCE, 1, 3), 0.571428571428),
    ("BLEU-2", bleu, (CAT, MAT, 2), math.sqrt(5 / 6 * 3 / 5)),
    ("BLEU counts what is repeated as often as the reference", bleu, (["the"] * 4, MAT, 1), 2 / 4 * math.exp(-0.5)),
    ("BLEU halves a match for each order without any", bleu, ([1, 2, 3], [1, 9, 2], 3), (2 / 3 / 4 / 4) ** (1 / 3)),
    ("BLEU leaves out orders that the candidate has not", bleu, ([1, 2], [1, 2]), 1.0),
    ("BLEU is less for what is short", bleu, ([1], [1, 2, 3], 1), math.exp(-2)),
    ("BLEU does not mind what is long by itself", bleu, ([1, 2, 3], [1], 1), 1 / 3),
    ("BLEU of nothing", bleu, ([], [1]), 0.0),
    ("ROUGE-1", rouge_n, (["cat", "cat"], MAT, 1), 1 / 6),
    ("ROUGE-1 of a repeated word", rouge_n, (["the", "the", "the"], MAT, 1), 2 / 6),
    ("ROUGE with weights", rouge_n, (CAT, MAT, 2, [1, 3]), (5 / 6 + 3 * 3 / 5) / 4),
    ("ROUGE leaves out orders of no weight", rouge_n, ([1], [1], 3, [1, 0, 0]), 1.0),
    ("ROUGE of nothing", rouge_n, ([], [1, 2], 2), 0.0),
    ("ROUGE-S", rouge_s, ([1, 2, 3], [1, 3, 2]), 2 / 3),
    ("ROUGE-S weighs recall by beta", rouge_s, ([1, 2], [1, 2, 3], 2), 5 * (1 / 3) / (1 / 3 + 4)),
    ("ROUGE-S counts repeated pairs", rouge_s, ([1, 1, 2], [1, 1, 2]), 1.0),
    ("ROUGE-S counts them as often as the reference", rouge_s, ([1, 1, 2], [1, 2]), 2 * (1 / 3) / (4 / 3)),
    ("ROUGE-S without a match", rouge_s, ([2, 1], [1, 2]), 0.0),
    ("ROUGE-S of one word", rouge_s, ([1], [1, 2]), 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("measure", "arguments", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_values(measure, arguments, expected):
    assert measure(*arguments) == pytest.approx(expected, abs=1e-12)


sentences = st.lists(st.integers(0, 5), min_size=4, max_size=12)
MEASURES = [bleu, rouge_n, rouge_s]


@pytest.mark.parametrize("measure", MEASURES)
@given(sentences, sentences)
def test_from_0_to_1_and_1_for_the_reference_itself(measure, candidate, reference):
    assert 0 <= measure(candidate, reference) <= 1 + 1e-12
    assert measure(reference, reference) == pytest.approx(1)


@pytest.mark.parametrize("measure", MEASURES)
@given(sentences, sentences)
def test_tensors_tuples_and_words_are_the_same(measure, candidate, reference):
    expected = measure(candidate, reference)
    assert measure(torch.tensor(candidate), tuple(reference)) == expected
    assert measure([f"w{i}" for i in candidate], [f"w{i}" for i in reference]) == expected


@given(sentences, sentences, st.integers(2, 13))
def test_with_equal_weights_rouge_s_is_the_same_both_ways(candidate, reference, window):
    assert rouge_s(candidate, reference, 1, window) == pytest.approx(rouge_s(reference, candidate, 1, window))


ERRORS = [
    (lambda: bleu("a b", ["a"]), TypeError, "bleu: candidate must be a list or tuple of tokens.*got str. Split"),
    (lambda: rouge_n(["a"], 3), TypeError, "rouge_n: reference must be a list or tuple of tokens"),
    (lambda: rouge_s(torch.ones(2, 2), [1, 2]), ValueError, r"one sentence, \(n,\); got shape \(2, 2\)"),
    (lambda: bleu([1], []), ValueError, "the reference must have at least one token"),
    (lambda: bleu([1], [1], 0), ValueError, "bleu: n must be at least 1; got 0"),
    (lambda: bleu([1], [1], 1.5), TypeError, "bleu: n must be an integer"),
    (lambda: rouge_n([1], [1, 2, 3]), ValueError, "at least 4 tokens, the order that counts; got 3"),
    (lambda: rouge_n([1], [1, 2], 2, [1]), ValueError, r"weights must be 2 numbers.*got \[1\]"),
    (lambda: rouge_n([1], [1, 2], 2, [0, 0]), ValueError, "not all 0"),
    (lambda: rouge_n([1], [1, 2], 2, [2, -1]), ValueError, "not negative"),
    (lambda: rouge_s([1], [1]), ValueError, "at least 2 tokens; got 1"),
    (lambda: rouge_s([1], [1, 2], beta=0), ValueError, "beta must be positive; got 0"),
    (lambda: rouge_s([1], [1, 2], window=1), ValueError, "window must be at least 2"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchrnn.lm import Vocabulary

ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1)


@given(ANY_TEXT)
def test_any_text_survives_encode_and_decode(text):
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),)
    assert ids.dtype == torch.int64
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(ids.tolist()) == text


@pytest.mark.parametrize(
    "text",
    ["🙂🙃", "中文字符", "e\u0301 and é", "👩\u200d👩\u200d👧", "\x00\n\r\t\u2028", "𝔘𝔫𝔦", "אבג", "\U0010ffff"],
)
def test_a_character_is_one_code_point(text):
    vocabulary = Vocabulary.from_text(text)
    assert len(vocabulary.encode(text)) == len(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_ids_are_positions_in_order_of_first_appearance():
    vocabulary = Vocabulary.from_text("hello")
    assert vocabulary.tokens == ("h", "e", "l", "o")
    assert vocabulary.encode("hole").tolist() == [0, 3, 2, 1]
    assert len(vocabulary) == 4


def test_tokens_as_string_list_and_vocabulary_are_the_same():
    assert Vocabulary("abc") == Vocabulary(["a", "b", "c"]) == Vocabulary(Vocabulary("abc").tokens)
    assert Vocabulary("abc") != Vocabulary("cab")


def test_the_empty_text_is_a_text():
    assert Vocabulary("ab").encode("").shape == (0,)
    assert Vocabulary("ab").decode([]) == ""


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Vocabulary(""), ValueError, "at least one token"),
        (lambda: Vocabulary.from_text(""), ValueError, "text is empty"),
        (lambda: Vocabulary("aba"), ValueError, "'a' stands more than once"),
        (lambda: Vocabulary(["a", "the"]), ValueError, "token 1 is 'the': expected exactly one character"),
        (lambda: Vocabulary(["a", ""]), ValueError, "token 1 is '': expected exactly one character"),
        (lambda: Vocabulary([1, 2]), TypeError, "token 0 is 1: expected a string"),
        (
            lambda: Vocabulary("ab").encode("aéb中é"),
            ValueError,
            r"'é' \(U\+00E9\), '中' \(U\+4E2D\), first at position 1",
        ),
        (lambda: Vocabulary("a").encode("bcdefghijklm"), ValueError, "and 4 more, first at position 0"),
        (lambda: Vocabulary("ab").encode(b"ab"), TypeError, "must be a string, got bytes"),
        (lambda: Vocabulary("ab").decode([0, 2]), ValueError, "id 2 is outside the vocabulary of 2 tokens"),
        (lambda: Vocabulary("ab").decode([-1]), ValueError, "id -1 is outside"),
        (lambda: Vocabulary("ab").decode(torch.tensor([0.5])), TypeError, "one-dimensional integer tensor"),
        (lambda: Vocabulary("ab").decode(torch.tensor([[0]])), TypeError, "one-dimensional integer tensor"),
        (lambda: Vocabulary("ab").decode(torch.tensor(0)), TypeError, "one-dimensional integer tensor"),
    ],
)
def test_what_is_no_vocabulary_or_not_in_it_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()

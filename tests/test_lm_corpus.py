from __future__ import annotations

import dataclasses
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchrnn.lm import TextError, built_in_text, read_text, split_text
from torchrnn.lm.corpus import read_source

FRACTIONS = st.floats(0, 0.49)


def test_the_built_in_text_is_long_enough_to_learn_from():
    text = built_in_text()
    assert len(text) > 300_000
    assert "for" in text.split()
    assert "the" in text.split()


@pytest.mark.parametrize("text", ["plain\n", "dos\r\nlines\r\n", "中文 🙂 e\u0301", "\x00"])
def test_a_file_is_read_as_it_is(tmp_path, text):
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    assert read_text(path) == text
    assert read_text(str(path)) == text


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("text".encode("utf-8-sig"))
    assert read_text(path) == "text"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"caf\xe9!", "byte 0xe9 at offset 3"),
        (b"\xef\xbb\xbfcaf\xe9!", "byte 0xe9 at offset 6"),
        (b"half a character: \xe4\xb8", "byte 0xe4 at offset 18"),
    ],
)
def test_a_file_that_is_no_text_raises_and_names_it(tmp_path, content, message):
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TextError, match=f"text: .*{message}"):
        read_text(path)


def test_a_directory_is_no_text(tmp_path):
    with pytest.raises(TextError, match="cannot be read"):
        read_text(tmp_path)


@given(st.text(), FRACTIONS, FRACTIONS)
def test_the_parts_of_a_text_make_up_the_text(text, val_frac, test_frac):
    parts = split_text(text, val_frac, test_frac)
    assert parts["train"] + parts["val"] + parts["test"] == text
    assert (len(parts["val"]), len(parts["test"])) == (int(val_frac * len(text)), int(test_frac * len(text)))


@pytest.mark.parametrize(
    ("val_frac", "test_frac", "message"),
    [
        (-0.1, 0.1, "val_frac"),
        (0.1, 1.0, "test_frac"),
        (0.5, 0.5, "nothing to train on"),
        (float("nan"), 0, "val_frac"),
    ],
)
def test_fractions_out_of_range_raise(val_frac, test_frac, message):
    with pytest.raises(ValueError, match=message):
        split_text("text", val_frac, test_frac)


def test_a_source_finds_its_text_again_and_tells_it_from_another(tmp_path):
    path = tmp_path / "text"
    path.write_text("the text")
    text, source = read_source(path)
    assert (text, source.read(), source.characters) == ("the text", "the text", 8)
    path.write_text("another text")
    with pytest.raises(TextError, match="has changed since the run was started: it had 8 characters"):
        source.read()


def test_the_built_in_text_is_a_source(monkeypatch):
    text, source = read_source(None)
    assert source.read() == text
    other = dataclasses.replace(source, sha256="0" * 64)
    with pytest.raises(TextError, match="another Python brings another"):
        other.read()


def test_the_built_in_text_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(TextError, match="this Python comes without"):
        built_in_text()

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from torchrnn.lm import LanguageModel
from torchrnn.lm.sampling import choose

SCORES = torch.tensor([0.0, 2.0, 1.0, -1.0, 2.0])


@pytest.fixture
def model():
    return LanguageModel("abcé中🙂 ", wordvec_size=4, rnn_size=6)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_sample_has_the_length_asked_for_start_text_included(model):
    for length, start_text in itertools.product((3, 4, 20), ("", "ab", "中é🙂")):
        text = model.sample(length, start_text)
        assert len(text) == length
        assert text.startswith(start_text)
        assert set(text) <= set(model.vocabulary.tokens)
    assert model.sample(0) == ""


def test_the_same_seed_gives_the_same_text_and_another_another(model):
    one, same, other = (model.sample(50, generator=seeded(seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_without_sampling_the_likeliest_character_is_taken(model):
    text = model.sample(20, "ab", sample=False)
    assert text == model.sample(20, "ab", temperature=0) == model.sample(20, "ab", top_k=1)
    model.reset_states()
    model.eval()
    following = model(model.encode(text)[None])[0].argmax(-1)
    assert model.decode(following[1:-1]) == text[2:]


def test_without_start_text_the_first_character_is_uniform(model):
    first = torch.tensor([model.encode(model.sample(1, generator=seeded(i))).item() for i in range(1400)])
    # 200 of each are expected, with a standard deviation of 13.
    assert (first.bincount(minlength=7) - 200).abs().max() < 65
    assert model.sample(1, sample=False) == "a"


def test_sampling_leaves_the_model_and_the_random_numbers_alone():
    model = LanguageModel("abc", rnn_size=6, dropout=0.5, batchnorm=True)
    ids = torch.randint(3, (2, 5, 4))
    model(ids[0])
    untouched = copy.deepcopy(model)
    random = torch.get_rng_state()
    expected = untouched(ids[1])
    torch.set_rng_state(random)
    pieces = model.stream(20, "ab", generator=seeded())
    next(pieces)
    next(pieces)
    torch.testing.assert_close(model(ids[1]), expected, rtol=0, atol=0)
    assert len("".join(pieces)) == 17
    assert model.training
    for ours, theirs in zip(model.get_states(), untouched.get_states(), strict=True):
        assert torch.equal(ours, theirs)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, untouched.get_buffer(name)), name


def test_a_stream_gives_the_start_text_then_single_characters(model):
    pieces = list(model.stream(5, "abc", generator=seeded()))
    assert pieces[0] == "abc"
    assert [len(piece) for piece in pieces[1:]] == [1, 1]
    assert "".join(pieces) == model.sample(5, "abc", generator=seeded())


def test_stop_ends_the_text_once_it_was_written(model):
    whole = model.sample(400, generator=seeded())
    for stop in "a", "中", whole[40:42]:
        assert model.sample(400, stop=stop, generator=seeded()) == whole[: whole.index(stop) + len(stop)]
    assert len(model.sample(4, "aaaa", stop="a")) == 4


def test_temperature_moves_the_probabilities():
    def share_of_the_second(temperature):
        generator = seeded()
        return sum(choose(SCORES[:3], temperature, None, generator).item() == 1 for _ in range(500)) / 500

    for temperature in 0.5, 1.0, 2.0:
        expected = (SCORES[:3] / temperature).softmax(0)[1].item()
        assert share_of_the_second(temperature) == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e300])
def test_extreme_temperatures_stay_finite(temperature):
    drawn = {choose(SCORES, temperature, None, seeded(seed)).item() for seed in range(60)}
    assert drawn == ({1, 4} if temperature < 1 else set(range(5)))


def test_top_k_leaves_the_k_likeliest():
    for k, allowed in (1, 1), (2, 2), (3, 3), (5, 5), (100, 5):
        drawn = {choose(SCORES, 5.0, k, seeded(seed)).item() for seed in range(200)}
        assert len(drawn) == allowed
        assert drawn <= set(SCORES.argsort(descending=True, stable=True)[:k].tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1, "start_text": "abc"}, "length 1 includes start_text, which has 3"),
        ({"length": -1}, "length -1"),
        ({"start_text": "xa"}, r"'x' \(U\+0078\)"),
        ({"temperature": -1.0}, "temperature must be 0 .* or above, got -1.0"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": math.inf}, "temperature must be"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"stop": ""}, "stop must be a text of at least one character"),
    ],
)
def test_options_out_of_range_raise_before_anything_is_written(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.stream(**options)

"""Text written natively: the same as the reference writes under the same seed, and nothing else is touched."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from native_library import require_library
from torch import Tensor, nn

import torchrnn
from torchrnn.lm import LanguageModel, native_writer, sampling
from torchrnn.scan import native, use

require_library()

pytestmark = pytest.mark.slow

TEXT = "abcdefghij é中🙂\n"
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "start text": {"start_text": "cab é"},
    "greedy": {"temperature": 0, "start_text": "b"},
    "greedy without start text": {"sample": False},
    "cold": {"temperature": 0.5},
    "hot": {"temperature": 5.0, "start_text": "a"},
    "coldest": {"temperature": 1e-300},
    "hottest": {"temperature": 1e300},
    "top 1": {"top_k": 1},
    "top 3": {"top_k": 3, "temperature": 2.0},
    "top V": {"top_k": len(TEXT)},
    "top V - 1": {"top_k": len(TEXT) - 1, "temperature": 5.0},
    "top of more": {"top_k": 1000},
    "stop": {"stop": "a", "temperature": 3.0},
    "stop at two": {"stop": "ih", "temperature": 3.0},
}


def model(model_type: str = "lstm", num_layers: int = 2, **options: Any) -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(TEXT, model_type, wordvec_size=5, rnn_size=24, num_layers=num_layers, **options)
    nn.init.normal_(made.linear.weight)  # so that scores differ as those of a trained model do
    made(torch.randint(len(TEXT), (3, 20)))  # a state, and running averages
    return made


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def written(made: LanguageModel, engine: str, length: int = 300, **options: Any) -> tuple[str, Tensor]:
    """A text, and the state of the random numbers after it."""
    generator = seeded()
    with use(engine):
        text = made.sample(length, generator=generator, **options)
    return text, generator.get_state()


def assert_same_text(made: LanguageModel, length: int = 300, **options: Any) -> str:
    got, random = written(made, "native", length, **options)
    expected, expected_random = written(made, "reference", length, **options)
    assert got == expected
    assert torch.equal(random, expected_random)
    return got


@pytest.mark.parametrize("batchnorm", [False, True], ids=["", "batchnorm"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("model_type", ["lstm", "rnn", "gru", "fastlstm"])
def test_every_model_writes_the_same_text(model_type: str, num_layers: int, batchnorm: bool) -> None:
    made = model(model_type, num_layers, batchnorm=batchnorm, dropout=0.3 if num_layers == 2 else 0.0)
    assert len(assert_same_text(made)) == 300


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_gives_the_same_text(name: str) -> None:
    text = assert_same_text(model(), **OPTIONS[name])
    stop = OPTIONS[name].get("stop")
    assert text.endswith(stop) if stop else len(text) == 300


@pytest.mark.parametrize("length", [0, 1, 2, 3, 255, 256, 257, 258, 259, 514])
def test_every_length(length: int) -> None:
    assert len(assert_same_text(model(num_layers=1), length)) == length
    assert len(assert_same_text(model(num_layers=1), length + 3, start_text="abc")) == length + 3


def test_the_default_generator() -> None:
    made = model()
    results = []
    for engine in ("native", "reference"):
        torch.manual_seed(7)
        with use(engine):
            results.append((made.sample(200), torch.rand(1).item()))
    assert results[0] == results[1]


def test_other_sizes_of_vocabulary() -> None:
    for V in (1, 2, 16, 17, 300):
        tokens = [chr(0x4E00 + i) for i in range(V)]
        made = LanguageModel(tokens, wordvec_size=3, rnn_size=8, num_layers=1)
        for options in ({}, {"top_k": 5}, {"temperature": 0}):
            assert_same_text(made, 100, **options)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_stream_takes_its_random_numbers_when_it_writes(engine: str) -> None:
    made, generator = model(), seeded()
    with use(engine):
        pieces = made.stream(30, "ab", generator=generator)
        assert torch.equal(generator.get_state(), seeded().get_state())
        written = ""
        for n in range(29):
            written += next(pieces)
            expected = seeded()
            torch.rand(n, dtype=torch.float64, generator=expected)
            assert torch.equal(generator.get_state(), expected.get_state())
        assert written == made.sample(30, "ab", generator=seeded())
        with pytest.raises(StopIteration):
            next(pieces)


def test_random_numbers_that_others_draw_in_between() -> None:
    made, texts = model(), []
    for engine in ("native", "reference"):
        with use(engine):
            torch.manual_seed(0)
            texts.append("".join(piece for piece in made.stream(100) if torch.rand(3) is not None))
    assert texts[0] == texts[1] != made.sample(100, generator=seeded(0))


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_streams_do_not_disturb_one_another(engine: str) -> None:
    made = model()
    with use(engine):
        alone = [made.sample(50, generator=seeded(i)) for i in range(3)]
        streams = [made.stream(50, generator=seeded(i)) for i in range(3)]
        together = ["".join(pieces) for pieces in zip(*itertools.chain(zip(*streams, strict=True)), strict=True)]
    assert together == alone


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_model_stays_as_it_is(engine: str) -> None:
    made = model(batchnorm=True, dropout=0.5)
    untouched = copy.deepcopy(made)
    with use(engine):
        made.sample(300, "abc", generator=seeded())
    assert made.training
    for ours, theirs in zip(made.get_states(), untouched.get_states(), strict=True):
        assert torch.equal(ours, theirs)
    for name, tensor in [*made.named_parameters(), *made.named_buffers()]:
        assert torch.equal(tensor, dict([*untouched.named_parameters(), *untouched.named_buffers()])[name])
        assert tensor.grad is None


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_stream_is_by_the_model_as_it_was_when_it_began(engine: str) -> None:
    made = model()
    expected, _ = written(made, engine)
    with use(engine):
        pieces = made.stream(300, generator=seeded())
        first = "".join(next(pieces) for _ in range(10))
        with torch.no_grad():
            made.linear.weight.zero_()
        made.lookup.weight.data.zero_()
        assert first + "".join(pieces) == expected


CHANGES: dict[str, Any] = {
    "in place": lambda made: nn.init.normal_(made.linear.weight, std=3.0),
    "uncounted": lambda made: made.layers[0].weight.data.normal_(),
    "vectors": lambda made: made.lookup.weight.data.normal_(std=3.0),
    "another parameter": lambda made: setattr(made.linear, "weight", nn.Parameter(torch.randn(len(TEXT), 24))),
    "another layer": lambda made: made.layers.__setitem__(1, torchrnn.RecGRU(24, 24)),
    "evaluation": lambda made: made.eval(),
    "to double and back": lambda made: made.double().float(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_between_two_samples_are_noticed(change: str) -> None:
    made = model()
    before = assert_same_text(made)
    CHANGES[change](made)
    after = assert_same_text(made)
    assert (before == after) == (change in ("evaluation", "to double and back"))


def test_running_averages_count() -> None:
    made = model(batchnorm=True)
    before = assert_same_text(made)
    made.layers[1].running_mean.normal_()
    assert assert_same_text(made) != before


class Reversed(LanguageModel):
    def forward(self, ids: Tensor) -> Tensor:
        return -super().forward(ids)


def spoilt(how: str) -> LanguageModel:
    made = model()
    if how == "forward of its own":
        made = Reversed(TEXT, rnn_size=6)
    elif how == "the model has hooks":
        made.register_forward_hook(lambda module, args, output: -output)
    elif how == "has hooks":
        made.linear.register_forward_hook(lambda module, args, output: -output)
    elif how == "float64":
        made = made.double()
    elif how == "not rows of a table":
        made.lookup = torchrnn.LookupTable(len(TEXT), 5, max_norm=1.0)
    elif how == "more than step after step":
        made.layers[0].mask_zero(1)
    elif how == "a Tanh between the layers":
        made.layers.insert(1, nn.Tanh())
    return made


REFUSED = [
    "forward of its own",
    "the model has hooks",
    "has hooks",
    "float64",
    "not rows of a table",
    "more than step after step",
    "a Tanh between the layers",
]


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_refused_is_written_by_the_reference(how: str) -> None:
    made, generator = spoilt(how), seeded()
    text = made.sample(100, generator=generator)
    assert (text, generator.get_state().tolist()) == tuple(
        part if isinstance(part, str) else part.tolist() for part in written(made, "reference", 100)
    )
    with use("native"), pytest.raises(RuntimeError, match=f"the native engine cannot .*{how}"):
        made.sample(100)


def test_autocast_is_left_to_the_reference() -> None:
    made = model()
    with torch.autocast("cpu", torch.bfloat16):
        assert len(made.sample(20)) == 20
        with use("native"), pytest.raises(RuntimeError, match="autocast"):
            made.sample(20)


def test_the_native_engine_writes_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    made, calls = model(), []
    write = native_writer.NativeWriter.write

    def counted(self: Any, given: list[int], uniforms: Tensor) -> list[int]:
        calls.append((len(given), len(uniforms)))
        return write(self, given, uniforms)

    monkeypatch.setattr(native_writer.NativeWriter, "write", counted)
    made.sample(600)
    assert calls == [(1, 256), (1, 256), (1, 87)]
    calls.clear()
    made.sample(300, "abc")
    assert calls == [(3, 256), (1, 41)]
    calls.clear()
    list(made.stream(10))
    made.sample(10, "ab", stop="x")
    assert calls == [(1, 1)] * 9 + [(2, 1)] + [(1, 1)] * 7
    calls.clear()
    with use("reference"):
        made.sample(10)
    assert not calls


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    made = model()
    expected = written(made, "native")[0]
    native.library.cache_clear()
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    try:
        assert made.sample(300, generator=seeded()) == expected
        with use("native"), pytest.raises(RuntimeError, match="the native library was not built"):
            made.sample(20)
    finally:
        native.library.cache_clear()


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_raise(engine: str, temperature: float, value: float) -> None:
    made = model()
    with torch.no_grad():
        made.linear.bias.fill_(value)
    with use(engine), pytest.raises(ValueError, match="the model's scores are not finite"):
        made.sample(20, temperature=temperature)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_characters_ruled_out_are_never_written(engine: str) -> None:
    made = model()
    with torch.no_grad():
        made.linear.bias[2:] = -math.inf
    with use(engine):
        assert set(made.sample(300, "ab", temperature=100.0)) == {"a", "b"}


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_one_character_may_make_the_scores_infinite(engine: str) -> None:
    made = LanguageModel("ab", wordvec_size=2, rnn_size=2, num_layers=1)
    with torch.no_grad():
        made.lookup.weight[1] = math.nan
        made.linear.bias.copy_(torch.tensor([8.0, 0.0]))
    with use(engine):
        pieces = made.stream(5000, "a", generator=seeded())
        text = ""
        with pytest.raises(ValueError, match="not finite"):
            for piece in pieces:
                text += piece
    assert text.index("b") == len(text) - 1
    assert text.startswith("aa")


def test_ties_are_settled_by_the_order_of_the_vocabulary() -> None:
    made = LanguageModel("abcd", wordvec_size=2, rnn_size=2, num_layers=1)
    with torch.no_grad():
        made.linear.weight.zero_()
        made.linear.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert set(assert_same_text(made, 100, start_text="b", temperature=0)) == {"b"}
    assert set(assert_same_text(made, 100, start_text="b", top_k=2)) == {"b", "d"}
    assert set(assert_same_text(made, 300, start_text="b", top_k=3)) == {"a", "b", "d"}


def test_blocks_of_random_numbers_are_single_ones() -> None:
    for n in (1, 2, 7, 16, 255, 256):
        one, other = seeded(), seeded()
        singles = [torch.rand((), dtype=torch.float64, generator=one).item() for _ in range(n)]
        assert sampling._uniforms(n, 1.0, other).tolist() == singles
        assert torch.equal(one.get_state(), other.get_state())


def test_scores_are_those_of_the_whole_text() -> None:
    made = model(batchnorm=True).eval()
    writer = native_writer.native_writer(made, copy.deepcopy(made), 3, 1.0, None)
    assert writer is not None
    ids = unread = [3, 1, 4]
    for n in (1, 2, 256, 5):
        new = writer.write(unread, torch.rand(n, dtype=torch.float64))
        ids, unread = ids + new, new[-1:]
        made.reset_states()
        expected = made(torch.tensor([ids[:-1]]))[0, -1]
        torch.testing.assert_close(writer._stepping.only_output()[0], expected, rtol=1e-5, atol=1e-5)

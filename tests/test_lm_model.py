from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from torchrnn.lm import LanguageModel, Vocabulary

TYPES = ["lstm", "rnn", "gru", "fastlstm"]
LETTERS = "abcdefg"


def make(model_type="lstm", **options):
    return LanguageModel(LETTERS, model_type, **{"wordvec_size": 4, "rnn_size": 6, **options})


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("batchnorm", [False, True])
def test_shapes_and_the_order_of_parameters(model_type, batchnorm):
    model = make(model_type, num_layers=2, dropout=0.5, batchnorm=batchnorm)
    assert model(torch.randint(7, (3, 5))).shape == (3, 5, 7)
    columns = {"lstm": 24, "rnn": 6, "gru": 18}
    if model_type in columns:
        norm = [(6,), (6,)] if batchnorm else []
        k = columns[model_type]
        expected = [(7, 4), (10, k), (k,), *norm, (12, k), (k,), *norm, (7, 6), (7,)]
        assert [tuple(p.shape) for p in model.parameters()] == expected


@pytest.mark.parametrize("vocabulary", [LETTERS, list(LETTERS), Vocabulary(LETTERS)])
def test_the_vocabulary_in_every_form(vocabulary):
    model = LanguageModel(vocabulary, rnn_size=6)
    assert model.vocabulary == Vocabulary(LETTERS)
    assert model.decode(model.encode("cab")) == "cab"


@pytest.mark.parametrize("model_type", TYPES)
def test_a_text_in_pieces_is_read_as_in_one_go(model_type):
    model = make(model_type)
    ids = torch.randint(7, (3, 10))
    whole = model(ids)
    model.reset_states()
    pieces = torch.cat([model(piece) for piece in ids.split([4, 1, 0, 5], dim=1)], dim=1)
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(model(ids)[:, 0] == whole[:, 0], torch.zeros(3, 7, dtype=torch.bool))
    model.reset_states()
    torch.testing.assert_close(model(ids), whole)


@pytest.mark.parametrize("model_type", TYPES)
def test_states_can_be_taken_and_given_back(model_type):
    model = make(model_type)
    ids = torch.randint(7, (2, 3, 5))
    model(ids[0])
    states = model.get_states()
    expected = model(ids[1])
    other = copy.deepcopy(model)
    other.reset_states()
    other.set_states(states)
    torch.testing.assert_close(other(ids[1]), expected, rtol=0, atol=0)
    other.set_states([])
    assert other.get_states() == []


def test_forget_and_a_switch_of_mode_reset_the_states():
    model = make()
    for reset in model.forget, model.eval, model.train, model.reset_states:
        model(torch.randint(7, (3, 5)))
        assert model.get_states()
        reset()
        assert not model.get_states()


@pytest.mark.parametrize("model_type", TYPES)
def test_the_explicit_protocol_gives_the_gradients_of_autograd(model_type):
    model = make(model_type).double()
    x, y = torch.randint(7, (2, 3, 5))
    cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.reset_states()
    model.zero_grad_parameters()
    scores = model.update_output(x).requires_grad_()
    (grad,) = torch.autograd.grad(cross_entropy(scores.flatten(0, 1), y.flatten()), scores)
    grad_input = model.backward(x, grad)
    assert torch.equal(grad_input, torch.zeros_like(x))
    for p, e in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, e)


def test_gradients_end_at_the_call():
    model = make()
    model(torch.randint(7, (3, 5))).sum().backward()
    model(torch.randint(7, (3, 5))).sum().backward()
    assert not any(state.requires_grad for state in model.get_states())


def test_no_texts_and_no_time():
    assert make()(torch.empty(0, 5, dtype=torch.long)).shape == (0, 5, 7)
    assert make()(torch.empty(3, 0, dtype=torch.long)).shape == (3, 0, 7)


def two_batch_sizes():
    model = make()
    model(torch.randint(7, (3, 5)))
    model(torch.randint(7, (2, 5)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make("gpt"), ValueError, "model_type must be one of lstm, rnn, gru, fastlstm; got 'gpt'"),
        (lambda: make(rnn_size=0), ValueError, "rnn_size must be at least 1; got 0"),
        (lambda: make(wordvec_size=-3), ValueError, "wordvec_size must be at least 1; got -3"),
        (lambda: make(num_layers=0), ValueError, "num_layers must be at least 1; got 0"),
        (lambda: make(num_layers=1.5), TypeError, "num_layers must be an integer"),
        (lambda: make(dropout=1.0), ValueError, "dropout must be at least 0 and below 1; got 1.0"),
        (lambda: make(batchnorm=2), ValueError, "batchnorm must be true or false; got 2"),
        (lambda: LanguageModel(""), ValueError, "at least one token"),
        (lambda: make()(torch.tensor([1, 2])), ValueError, r"ids must be \(N, T\); got \(2,\)"),
        (lambda: make()([[1, 2]]), TypeError, "ids must be a tensor"),
        (lambda: make()(torch.rand(2, 3)), TypeError, "integer ids"),
        (lambda: make()(torch.tensor([[7]])), ValueError, "ids must be 0 to 6; got 7 to 7"),
        (lambda: make()(torch.tensor([[-1]])), ValueError, "ids must be 0 to 6"),
        (two_batch_sizes, ValueError, r"3 rows, the ids have 2; call reset_states\(\)"),
        (lambda: make().encode("abz"), ValueError, "'z'"),
        (lambda: make().set_states([torch.zeros(3, 5)] * 4), ValueError, "do not fit this model"),
        (lambda: make().set_states([torch.zeros(3, 6)] * 3), ValueError, "do not fit this model"),
        (lambda: make().set_states([torch.zeros(3, 6)] * 5), ValueError, "5 states are 1 too many"),
    ],
)
def test_what_a_language_model_cannot_take_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()

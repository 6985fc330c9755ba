from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from torchrnn.lm import Batches, LanguageModel, Trainer, TrainingDiverged, TrainingSettings, evaluate

TEXT = "the quick brown fox jumps over the lazy dog. " * 12


def make(text=TEXT, val=True, dropout=0.0, **settings):
    torch.manual_seed(0)
    settings = TrainingSettings(**{"batch_size": 2, "seq_length": 10, "max_epochs": 3, **settings})
    model = LanguageModel("".join(dict.fromkeys(text)), wordvec_size=6, rnn_size=8, dropout=dropout)
    batches = Batches(model.encode(text), settings.batch_size, settings.seq_length)
    return Trainer(model, batches, batches if val else None, settings)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_training_learns():
    trainer = make(learning_rate=0.01, max_epochs=20)
    first = trainer.step()
    assert first.loss == pytest.approx(math.log(len(trainer.model.vocabulary)), abs=0.3)
    assert first.iteration == 1
    for _ in range(300):
        last = trainer.step()
    assert last.loss < first.loss / 2
    assert last.epoch == 301 / len(trainer.train)


def test_the_state_is_carried_within_an_epoch_and_starts_anew_with_the_next():
    trainer = make()
    seen = []
    forward = trainer.model.forward
    trainer.model.forward = lambda ids: (seen.append(bool(trainer.model.get_states())), forward(ids))[1]
    for _ in range(2 * len(trainer.train)):
        trainer.step()
    assert seen == ([False] + [True] * (len(trainer.train) - 1)) * 2


def test_the_learning_rate_decays_by_epochs():
    trainer = make(lr_decay_every=2, lr_decay_factor=0.1, max_epochs=5)
    rates = [trainer.step().learning_rate for _ in range(trainer.total_iterations)]
    n = len(trainer.train)
    assert rates == [0.002] * 2 * n + [0.002 * 0.1] * 2 * n + [0.002 * 0.1**2] * n


@pytest.mark.parametrize("clip", ["value", "norm"])
def test_the_gradient_is_clipped(clip):
    bound = 0.01
    trainer = make(grad_clip=bound, clip=clip)
    done = trainer.step()
    gradients = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert done.gradient_norm > bound
    size = gradients.abs().max() if clip == "value" else gradients.norm()
    assert size.item() == pytest.approx(bound, rel=1e-4)


def test_without_clipping_the_gradient_stays():
    trainer = make(grad_clip=0.0)
    done = trainer.step()
    gradients = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert gradients.norm().item() == pytest.approx(done.gradient_norm, rel=1e-5)


def test_evaluation_is_the_mean_loss_and_leaves_the_weights_and_the_mode():
    trainer = make(dropout=0.5)
    before = weights(trainer)
    loss = evaluate(trainer.model, trainer.val)
    assert trainer.model.training
    assert not trainer.model.get_states()
    assert torch.equal(weights(trainer), before)
    trainer.model.eval()
    x = torch.cat([x for x, _ in trainer.val], dim=1)
    y = torch.cat([y for _, y in trainer.val], dim=1)
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(trainer.model(x).flatten(0, 1), y.flatten())
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert evaluate(trainer.model, trainer.val) == loss
    assert not trainer.model.training


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("iterations", [0, 1, 7, 26, 30])
def test_a_trainer_with_the_state_of_another_goes_on_bit_for_bit(dropout, iterations):
    one = make(dropout=dropout)
    for _ in range(iterations):
        one.step()
    state = {name: tensor.clone() for name, tensor in one.state().items()}
    other = make(dropout=dropout)
    torch.manual_seed(99)
    other.load_state(state, iterations)
    random = torch.get_rng_state()
    expected = [other.step() for _ in range(30)]
    torch.set_rng_state(random)
    assert [one.step() for _ in range(30)] == expected
    assert torch.equal(weights(one), weights(other))


def test_an_exploding_loss_stops_before_the_weights_are_spoilt():
    trainer = make(learning_rate=1e4, grad_clip=0.0)
    with pytest.raises(TrainingDiverged, match=r"diverged in iteration \d+: the loss is \S+, while guessing has 3"):
        for _ in range(100):
            trainer.step()
    assert weights(trainer).isfinite().all()


def test_a_loss_that_is_no_number_stops():
    trainer = make()
    trainer.step()
    before = weights(trainer)
    with torch.no_grad():
        trainer.model.linear.bias[0] = math.nan
    with pytest.raises(TrainingDiverged, match="iteration 2: the loss is nan"):
        trainer.step()
    assert trainer.iteration == 1
    assert torch.equal(weights(trainer)[:-30], before[:-30])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seq_length": 2.5}, "seq_length must be an integer, got 2.5"),
        ({"max_epochs": 0}, "max_epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a positive number, got nan"),
        ({"grad_clip": -1.0}, "grad_clip must be a positive number, or 0 for none, got -1.0"),
        ({"clip": "both"}, "clip must be 'value' or 'norm', got 'both'"),
        ({"lr_decay_every": 0}, "lr_decay_every must be at least 1, got 0"),
        ({"lr_decay_factor": -0.5}, "lr_decay_factor must be a positive number, got -0.5"),
        ({"checkpoint_every": -1}, "checkpoint_every must be at least 0, got -1"),
        ({"val_frac": 1.0}, "val_frac must be at least 0 and below 1, got 1.0"),
        ({"val_frac": 0.5, "test_frac": 0.5}, "val_frac must be such that with test_frac it stays below 1"),
    ],
)
def test_settings_out_of_range_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**settings)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingSettings().batch_size = 3

"""A training run of torch-rnn, repeated: its first weights, its text, its settings, and then its losses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from torchrnn.lm import Batches, LanguageModel, Trainer, TrainingSettings, evaluate, read_text, split_text


@pytest.fixture
def recorded(shared):
    return json.loads((shared / "torch-rnn-run" / "checkpoint_600.json").read_text())


@pytest.fixture
def trainer(recorded, shared):
    opt = recorded["opt"]
    same_name = set(TrainingSettings.__dataclass_fields__) & set(opt)
    settings = TrainingSettings(**{name: opt[name] for name in same_name})
    token_to_idx = json.loads((shared / "torch-rnn-run" / "tiny-shakespeare.json").read_text())["token_to_idx"]
    model = LanguageModel(
        sorted(token_to_idx, key=token_to_idx.__getitem__),
        **{
            name: opt[name] for name in ("model_type", "wordvec_size", "rnn_size", "num_layers", "dropout", "batchnorm")
        },
    )
    values, _ = model.get_parameters()
    initial = np.fromfile(shared / "torch-rnn-run" / "init_params.f32", dtype=np.float32)
    assert values.shape == initial.shape
    values.copy_(torch.from_numpy(initial))
    parts = split_text(read_text(shared / "data" / "tiny-shakespeare.txt"), settings.val_frac, settings.test_frac)
    train, val = (
        Batches(model.encode(parts[part]), settings.batch_size, settings.seq_length) for part in ("train", "val")
    )
    return Trainer(model, train, val, settings)


@pytest.mark.slow
def test_the_first_100_losses(recorded, trainer):
    losses = [trainer.step().loss for _ in range(100)]
    # Within 1e-5 where this was written; with the eps of PyTorch's Adam it is 5e-4.
    assert losses == pytest.approx(recorded["train_loss_history"][:100], abs=1e-4)


@pytest.mark.slow
def test_the_validation_losses_up_to_iteration_600(recorded, trainer):
    val_losses = []
    for _ in range(600):
        done = trainer.step()
        if done.iteration % recorded["opt"]["checkpoint_every"] == 0:
            val_losses.append(evaluate(trainer.model, trainer.val))
    assert recorded["val_loss_history_it"] == [300, 600]
    assert val_losses == pytest.approx(recorded["val_loss_history"], abs=0.01)

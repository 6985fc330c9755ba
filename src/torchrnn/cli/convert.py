"""Turn a checkpoint of torch-rnn or char-rnn into a run."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from torchrnn import t7
from torchrnn.cli.train import make_trainer
from torchrnn.lm.batches import Batches
from torchrnn.lm.corpus import Source, read_source
from torchrnn.lm.files import write_whole
from torchrnn.lm.model import LanguageModel
from torchrnn.lm.run import METRICS, Run, RunConfig, require_room
from torchrnn.lm.settings import TrainingSettings
from torchrnn.lm.trainer import Trainer

USAGE = "torchrnn convert CHECKPOINT.t7 RUN [--text TEXT] [--overwrite]"
OF_CHAR_RNN = {"eval_val_every": "checkpoint_every"}
"""What char-rnn calls otherwise than torch-rnn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT.t7", help="what torch-rnn or char-rnn saved")
    add("run", metavar="RUN", help="the directory to write")
    add("--text", metavar="TEXT", help="the text it was trained on, for eval without a text and train --resume")
    add("--overwrite", action="store_true", help="replace the run in RUN")


def run(options: argparse.Namespace) -> int:
    given = vars(options)
    path, directory = Path(options.checkpoint), Path(options.run)
    require_room(directory, "overwrite" in given)
    checkpoint = t7.load(path)
    loaded = t7.to_module(checkpoint)
    if not isinstance(loaded, LanguageModel):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not a language model; read it with torchrnn.load_t7")
    checkpoint = checkpoint if isinstance(checkpoint, dict) else {}
    # A model of its own: that of the file is views of one piece of memory, in whatever precision.
    model = LanguageModel(loaded.vocabulary, **loaded.config)
    model.load_state_dict(loaded.state_dict())
    settings = settings_of(checkpoint)
    if "text" in given:
        text, source = read_source(given["text"])
        trainer = make_trainer(model, text, settings)
    else:
        source = Source(f"the text of {path.name} (convert it with --text TEXT)", "", 0)
        nothing = torch.zeros(settings.batch_size * settings.seq_length + 1, dtype=torch.long)
        trainer = Trainer(model, Batches(nothing, settings.batch_size, settings.seq_length), None, settings)
    train_losses, val_losses = history_of(checkpoint)
    trainer.iteration = _whole(checkpoint.get("i")) or max([*train_losses, *val_losses], default=0)
    config = RunConfig(model.config, settings, source, 0, torch.get_num_threads())
    run = Run.create(directory, config, trainer, "overwrite" in given)
    last_loss = val_losses[max(val_losses)] if val_losses else None
    run.keep_best(model, trainer.iteration, last_loss)
    _write_metrics(directory / METRICS, train_losses, val_losses)
    weights = sum(parameter.numel() for parameter in model.parameters())
    loss = "" if last_loss is None else f", validation loss {last_loss:.4f}"
    print(
        f"{directory}: {model.config['model_type']} with {weights:,} weights, {len(model.vocabulary)} different "
        f"characters, {trainer.iteration:,} iterations{loss}"
    )
    print(f"write text with: torchrnn sample {directory}")
    return 0


def settings_of(checkpoint: dict[Any, Any]) -> TrainingSettings:
    """The settings of training that a checkpoint holds, and the defaults for the rest."""
    opt = checkpoint.get("opt")
    opt = opt if isinstance(opt, dict) else {}
    named: dict[Any, Any] = {
        OF_CHAR_RNN.get(name, name): value for name, value in opt.items() if isinstance(value, int | float)
    }
    return TrainingSettings(
        **{
            field.name: named[field.name]
            for field in dataclasses.fields(TrainingSettings)
            # char-rnn divides the text otherwise, and its val_frac would say something else here.
            if field.name in named and field.name not in ("val_frac", "test_frac")
        }
    )


def history_of(checkpoint: dict[Any, Any]) -> tuple[dict[int, float], dict[int, float]]:
    """Losses in training and validation by iteration, as torch-rnn or char-rnn keeps them."""
    train = _by_number(checkpoint.get("train_loss_history", checkpoint.get("train_losses")))
    losses, iterations = checkpoint.get("val_loss_history"), checkpoint.get("val_loss_history_it")
    if isinstance(losses, list) and isinstance(iterations, list):
        pairs = zip(iterations, losses, strict=False)
        return train, {it: float(loss) for it, loss in pairs if _whole(it) and isinstance(loss, int | float)}
    return train, _by_number(checkpoint.get("val_losses"))


def _by_number(table: Any) -> dict[int, float]:
    entries = enumerate(table, 1) if isinstance(table, list) else table.items() if isinstance(table, dict) else ()
    return {n: float(value) for n, value in entries if _whole(n) and isinstance(value, int | float)}


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _write_metrics(path: Path, train: dict[int, float], val: dict[int, float]) -> None:
    records = [{"iteration": it, "loss": loss} for it, loss in train.items()]
    records += [{"iteration": it, "val_loss": loss} for it, loss in val.items()]
    lines = [json.dumps(record) + "\n" for record in sorted(records, key=lambda record: record["iteration"])]
    write_whole(path, "".join(lines).encode())

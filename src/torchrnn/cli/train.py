"""Train a language model on a text file, or on the built-in text."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from torchrnn.cli.progress import training_report
from torchrnn.cli.signals import stop_on_signal
from torchrnn.cli.train_options import MODEL_HELP, TRAINING_HELP, add_arguments
from torchrnn.lm.batches import Batches
from torchrnn.lm.corpus import read_source, split_text
from torchrnn.lm.model import LanguageModel
from torchrnn.lm.run import Run, RunConfig, require_room
from torchrnn.lm.settings import TrainingSettings
from torchrnn.lm.trainer import Trainer, TrainingDiverged
from torchrnn.lm.vocabulary import Vocabulary

__all__ = ["USAGE", "add_arguments", "run"]

USAGE = "torchrnn train [TEXT] [options]"
FIXED = (*MODEL_HELP, "batch_size", "seq_length", "val_frac", "test_frac", "seed", "init_from")
"""What a resumed run keeps: its model, and what its place in the text depends on."""


def run(options: argparse.Namespace) -> int:
    given = vars(options)
    for name, minimum in ("max_minutes", 0.0), ("save_seconds", 0.0), ("threads", 1), ("print_every", 1):
        if not given.get(name, minimum) >= minimum:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {minimum:g}, got {given[name]:g}")
    directory = Path(given.get("output") or Path("runs") / Path(given.get("text", "python-docs")).stem)
    deadline = time.monotonic() + 60 * given["max_minutes"] if "max_minutes" in given else None
    run, trainer = (resume if "resume" in given else start)(directory, given)
    if trainer.iteration == trainer.total_iterations:
        print(f"{directory} is finished; to go on, give --max-epochs above {run.config.training.max_epochs}")
        return 0
    print(f"{directory}: {describe(trainer)}", flush=True)
    with stop_on_signal() as signals, training_report(run, trainer, given.get("print_every"), deadline) as report:
        try:
            trainer.run(
                run,
                report,
                should_stop=lambda: bool(signals) or (deadline is not None and time.monotonic() >= deadline),
                save_seconds=given.get("save_seconds", 30.0),
            )
            finished = trainer.iteration == trainer.total_iterations
            if not finished and not signals:
                trainer.evaluate(run, report)
        except TrainingDiverged as error:
            print(f"torchrnn train: {error}. {advice(run)}", file=sys.stderr)
            return 1
    where = shlex.quote(str(directory))
    if not finished:
        print(f"saved after iteration {trainer.iteration}; go on with: torchrnn train --resume --output {where}")
    print(f"write text with: torchrnn sample {where}")
    return 128 + signals[0] if signals else 0


def start(directory: Path, given: dict[str, Any]) -> tuple[Run, Trainer]:
    """A new run in ``directory``."""
    overwrite = "overwrite" in given
    require_room(directory, overwrite)
    settings = TrainingSettings(**{name: given[name] for name in TRAINING_HELP if name in given})
    text, source = read_source(given.get("text"))
    shape = {name: given[name] for name in MODEL_HELP if name in given}
    threads = given.get("threads", torch.get_num_threads())
    torch.set_num_threads(threads)
    torch.manual_seed(given.get("seed", 0))
    if "init_from" in given:
        if shape:
            raise ValueError(f"--init-from keeps the shape of the model: leave out {', '.join(shape)}")
        model = Run.open(Path(given["init_from"])).load_model()
    else:
        model = LanguageModel(Vocabulary.from_text(text), **shape)
    trainer = make_trainer(model, text, settings)
    config = RunConfig(model.config, settings, source, given.get("seed", 0), threads)
    return Run.create(directory, config, trainer, overwrite), trainer


def resume(directory: Path, given: dict[str, Any]) -> tuple[Run, Trainer]:
    """The run in ``directory``, where its newest checkpoint stands; settings given now hold from here on."""
    if "overwrite" in given:
        raise ValueError("--resume and --overwrite exclude each other")
    run = Run.open(directory)
    kept = {**run.config.model, **dataclasses.asdict(run.config.training), "seed": run.config.seed}
    for name in FIXED:
        if name in given and given[name] != kept.get(name):
            raise ValueError(
                f"--{name.replace('_', '-')} {given[name]} cannot be given with --resume: the run in {directory} "
                f"keeps its model and its place in the text; start a new run instead"
            )
    text = run.config.text.read()
    if "text" in given and read_source(given["text"])[1].sha256 != run.config.text.sha256:
        raise ValueError(f"{given['text']} is not the text that the run in {directory} was started with; leave it out")
    changed = {name: given[name] for name in TRAINING_HELP if name in given}
    settings = dataclasses.replace(run.config.training, **changed)
    threads = given.get("threads", run.config.threads)
    torch.set_num_threads(threads)
    trainer = make_trainer(run.new_model(), text, settings)
    run.resume(trainer)
    run.config = dataclasses.replace(run.config, training=settings, threads=threads)
    run.save_config()
    return run, trainer


def make_trainer(model: LanguageModel, text: str, settings: TrainingSettings) -> Trainer:
    """A trainer for the training and validation parts of ``text``."""
    parts = split_text(text, settings.val_frac, settings.test_frac)
    train = Batches(model.encode(parts["train"]), settings.batch_size, settings.seq_length)
    if not settings.val_frac:
        return Trainer(model, train, None, settings)
    if len(parts["val"]) < 2:
        raise ValueError(
            f"val_frac {settings.val_frac} of the text is {len(parts['val'])} characters, too few to validate on; "
            f"give a longer text, a larger --val-frac, or --val-frac 0 to do without"
        )
    val = Batches.fitting(model.encode(parts["val"]), settings.batch_size, settings.seq_length)
    return Trainer(model, train, val, settings)


def describe(trainer: Trainer) -> str:
    """One line on the model, the text and where training begins."""
    weights = sum(p.numel() for p in trainer.model.parameters())
    val = trainer.val
    validation = "no validation" if val is None else f"validation on {val.characters:,} in {val.batch_size} streams"
    return (
        f"{weights:,} weights, {len(trainer.model.vocabulary)} different characters; "
        f"training on {trainer.train.characters:,} characters, {validation}; "
        f"iterations {trainer.iteration + 1} to {trainer.total_iterations:,}"
    )


def advice(run: Run) -> str:
    """What to do after training diverged."""
    settings, directory, best = run.config.training, run.directory, run.best()
    kept = f"the newest checkpoint stays in {directory}"
    again = "Start again with"
    if best is not None:
        kept = f"the best weights, of iteration {best['iteration']}, stay in {directory}"
        again = f"Begin from them with --init-from {directory} and"
    clip = "a --grad-clip such as 1" if settings.grad_clip == 0 else f"a --grad-clip below {settings.grad_clip:g}"
    return (
        f"Nothing was saved since; {kept}. {again} a lower --learning-rate, such as "
        f"{settings.learning_rate / 4:g}, or {clip}."
    )

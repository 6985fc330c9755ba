"""A run: the directory that holds one model, how it was trained, and where its training stands."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchrnn.lm.corpus import Source
from torchrnn.lm.files import (
    RunError,
    partial,
    read_facts,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
    write_whole,
)
from torchrnn.lm.model import LanguageModel
from torchrnn.lm.settings import TrainingSettings
from torchrnn.lm.trainer import Iteration, Trainer
from torchrnn.lm.vocabulary import Vocabulary

FORMAT = "torchrnn language model 1"
CONFIG, VOCABULARY, BEST, LAST, METRICS = FILES = (
    "config.json",
    "vocabulary.json",
    "model.safetensors",
    "last.safetensors",
    "metrics.jsonl",
)


@dataclass(frozen=True)
class RunConfig:
    """What a run was started with.

    Arguments:
        model: the keyword arguments of `LanguageModel`.
        training: the settings of the trainer.
        text: where the text came from.
        seed: of the initial weights and of dropout.
        threads: of PyTorch; bit for bit the same result needs the same number.
    """

    model: dict[str, Any]
    training: TrainingSettings
    text: Source
    seed: int
    threads: int

    def __post_init__(self) -> None:
        if not isinstance(self.threads, int) or self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads!r}")


class Run:
    """One directory, one model.

    ============================  ==================================================================
    ``config.json``               what the run was started with (see `RunConfig`)
    ``vocabulary.json``           the characters, in the order of their ids
    ``model.safetensors``         the weights that did best on the validation text
    ``last.safetensors``          the newest checkpoint: weights, optimizer, hidden and random state
    ``metrics.jsonl``             one line per iteration, one per evaluation
    ============================  ==================================================================

    Every file but the last is replaced as a whole, so a run that is killed at any moment can be resumed. Everything
    that is wrong with a directory raises `RunError`.
    """

    def __init__(self, directory: Path, config: RunConfig, vocabulary: Vocabulary) -> None:
        self.directory, self.config, self.vocabulary = directory, config, vocabulary

    @classmethod
    def create(cls, directory: Path, config: RunConfig, trainer: Trainer, overwrite: bool = False) -> Run:
        """Starts a run in a directory that is new, empty, or with ``overwrite`` a run that it replaces."""
        require_room(directory, overwrite)
        directory.mkdir(parents=True, exist_ok=True)
        for name in FILES:  # config.json first: without it, what is left is no run
            (directory / name).unlink(missing_ok=True)
        run = cls(directory, config, trainer.model.vocabulary)
        write_json(directory / VOCABULARY, {"tokens": list(run.vocabulary.tokens)})
        run.save_last(trainer)
        run.save_config()
        return run

    @classmethod
    def open(cls, directory: Path) -> Run:
        """Opens the run in ``directory``."""
        if not directory.exists():
            raise RunError(f"{directory}: no such directory; give the directory of a run of torchrnn train")
        if not directory.is_dir():
            raise RunError(f"{directory} is a file; give the directory of a run of torchrnn train")
        if not (directory / CONFIG).is_file():
            raise RunError(f"{directory} is no run of torchrnn train: it has no {CONFIG}")
        config = read_json(directory / CONFIG)
        if config.pop("format", None) != FORMAT:
            raise RunError(f"{directory / CONFIG} is no configuration of torchrnn train, format {FORMAT!r}")
        try:
            training, text = TrainingSettings(**config.pop("training")), Source(**config.pop("text"))
            vocabulary = Vocabulary(read_json(directory / VOCABULARY)["tokens"])
            run = cls(directory, RunConfig(training=training, text=text, **config), vocabulary)
            run.new_model()
        except RunError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{directory}: {CONFIG} or {VOCABULARY} is damaged: {error}") from error
        return run

    def save_config(self) -> None:
        write_json(self.directory / CONFIG, {"format": FORMAT, **dataclasses.asdict(self.config)})

    def new_model(self) -> LanguageModel:
        """A model of the run's shape, its weights drawn afresh."""
        return LanguageModel(self.vocabulary, **self.config.model)

    def load_model(self) -> LanguageModel:
        """The best model so far, in evaluation mode; the newest one where none was evaluated yet."""
        best = self.directory / BEST
        path = best if best.exists() else self.directory / LAST
        tensors, _ = read_tensors(path)
        prefix = "" if path == best else "model."
        weights = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        model = self.new_model()
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"{path} does not fit {CONFIG}: {error}") from error
        model.eval()
        return model

    def best(self) -> dict[str, Any] | None:
        """Iteration and validation loss of the best weights, if any were evaluated yet."""
        path = self.directory / BEST
        return read_facts(path) if path.exists() else None

    def keep_best(self, model: LanguageModel, iteration: int, val_loss: float | None) -> None:
        """Keeps the weights of ``model`` unless earlier ones had a lower validation loss."""
        best = self.best()
        if not best or val_loss is None or val_loss < best["val_loss"]:
            write_tensors(self.directory / BEST, model.state_dict(), {"iteration": iteration, "val_loss": val_loss})

    def save_last(self, trainer: Trainer) -> None:
        """Saves all that `resume` needs, as one file."""
        write_tensors(self.directory / LAST, trainer.state(), {"iteration": trainer.iteration})

    def resume(self, trainer: Trainer) -> None:
        """Brings a new trainer to where the newest checkpoint stands, and the metrics back to it."""
        path = self.directory / LAST
        tensors, facts = read_tensors(path)
        try:
            trainer.load_state(tensors, facts["iteration"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise RunError(f"{path} does not fit {CONFIG}: {error}") from error
        self._cut_metrics(trainer.iteration)
        for name in FILES:
            partial(self.directory / name).unlink(missing_ok=True)

    def log(self, done: Iteration) -> None:
        self._append(dataclasses.asdict(done))

    def log_evaluation(self, iteration: int, val_loss: float | None) -> None:
        self._append({"iteration": iteration, "val_loss": val_loss})

    def _append(self, record: dict[str, Any]) -> None:
        with (self.directory / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _cut_metrics(self, iteration: int) -> None:
        path = self.directory / METRICS
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        # A process that was killed may leave half a line at the end.
        whole = [line for line in lines if line.endswith("\n")]
        try:
            kept = [line for line in whole if json.loads(line)["iteration"] <= iteration]
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} is damaged: {error}; training goes on without it, so move it away") from error
        write_whole(path, "".join(kept).encode())


def require_room(directory: Path, overwrite: bool) -> None:
    """Raises `RunError` unless a new run may be written to ``directory``."""
    if directory.exists() and not directory.is_dir():
        raise RunError(f"{directory} is a file: give another directory with --output")
    if (directory / CONFIG).exists() and not overwrite:
        raise RunError(
            f"{directory} already holds a run: --resume goes on with it, --overwrite replaces it, "
            f"--output DIR writes elsewhere"
        )
    own = {path for name in FILES for path in (directory / name, partial(directory / name))}
    if directory.exists() and not own.issuperset(directory.iterdir()):
        raise RunError(f"{directory} holds other files than those of a run: give another directory with --output")

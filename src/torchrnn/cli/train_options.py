"""The options of ``torchrnn train``."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from typing import Any

from torchrnn.cli.options import NO_GPU, add_torch_rnn_flags
from torchrnn.lm.model import LanguageModel
from torchrnn.lm.settings import TrainingSettings

MODEL_HELP = {
    "model_type": "lstm, rnn, gru or fastlstm",
    "wordvec_size": "size of the vector that stands for a character",
    "rnn_size": "hidden units of a layer",
    "num_layers": "recurrent layers",
    "dropout": "part of the outputs of each layer that is dropped in training",
    "batchnorm": "1 for batch normalization after each layer, 0 for none",
}
TRAINING_HELP = {
    "batch_size": "streams of text read in parallel",
    "seq_length": "characters per stream and iteration",
    "val_frac": "part of the text for validation",
    "test_frac": "part of the text for test",
    "max_epochs": "how often the text is read",
    "learning_rate": "of Adam",
    "grad_clip": "bound on the gradient, 0 for none",
    "clip": "what is bounded: each value, or the norm",
    "lr_decay_every": "epochs after which the learning rate is multiplied",
    "lr_decay_factor": "by this",
    "checkpoint_every": "iterations from one evaluation and sample to the next, 0 for none before the end",
}
DEFAULTS: dict[str, Any] = {
    **{name: inspect.signature(LanguageModel).parameters[name].default for name in MODEL_HELP},
    **{field.name: field.default for field in dataclasses.fields(TrainingSettings)},
}
RUN_OPTIONS: dict[str, dict[str, Any]] = {
    "output": {"metavar": "DIR", "help": "directory of the run (default: runs/NAME, with the name of the text)"},
    "resume": {"action": "store_true", "help": "go on with the run in DIR, bit for bit"},
    "overwrite": {"action": "store_true", "help": "replace the run in DIR"},
    "init_from": {"metavar": "RUN", "help": "begin with the weights, shape and vocabulary of another run"},
    "max_minutes": {"type": float, "metavar": "X", "help": "stop after this time; --resume goes on"},
    "seed": {"type": int, "metavar": "N", "help": "of the first weights and of dropout (default: 0)"},
    "threads": {"type": int, "metavar": "N", "help": "processor cores to use (default: all)"},
    "print_every": {"type": int, "metavar": "N", "help": "print a line every N iterations instead of a bar"},
    "save_seconds": {"type": float, "metavar": "X", "help": "time between checkpoints (default: 30)"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="?", metavar="TEXT", help="a text file in UTF-8 (default: the manual that Python carries)"
    )
    run = parser.add_argument_group("run")
    for name, keywords in RUN_OPTIONS.items():
        run.add_argument(_option(name), **keywords)
    run.add_argument("--checkpoint-name", dest="output", help=argparse.SUPPRESS)
    for title, texts in ("model", MODEL_HELP), ("training", TRAINING_HELP):
        group = parser.add_argument_group(title)
        for name, text in texts.items():
            kind = int if name == "batchnorm" else type(DEFAULTS[name])
            metavar = {int: "N", float: "X", str: "KIND"}[kind]
            text = f"{text} (default: {kind(DEFAULTS[name])})"
            group.add_argument(_option(name), type=kind, metavar=metavar, help=text)
    give_text = ("", "torchrnn reads the text itself, as in: torchrnn train TEXT")
    flags = {
        **NO_GPU,
        "input-h5": give_text,
        "input-json": give_text,
        "reset-iterations": ("1", "to go on with a run, use --resume"),
        "speed-benchmark": ("0", "there is no benchmark mode; the progress shows characters per second"),
        "memory-benchmark": ("0", "there is no benchmark mode"),
    }
    add_torch_rnn_flags(parser, flags)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"

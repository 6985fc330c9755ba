"""Measure how well a trained model predicts a text."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from torchrnn.cli.options import NO_GPU, add_run_argument, add_torch_rnn_flags
from torchrnn.lm.batches import Batches
from torchrnn.lm.corpus import read_text, split_text
from torchrnn.lm.run import Run
from torchrnn.lm.trainer import evaluate

USAGE = "torchrnn eval RUN [TEXT] [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_argument(parser)
    parser.add_argument("text", nargs="?", metavar="TEXT", help="a text file in UTF-8 (default: the text of the run)")
    parser.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="the part of the text to measure on (default: val, of a TEXT that is given: all)",
    )
    add_torch_rnn_flags(parser, NO_GPU)


def run(options: argparse.Namespace) -> int:
    given = vars(options)
    run = Run.open(Path(options.run))
    training = run.config.training
    text = read_text(options.text) if "text" in given else run.config.text.read()
    split = given.get("split", "all" if "text" in given else "val")
    part = {"all": text, **split_text(text, training.val_frac, training.test_frac)}[split]
    model = run.load_model()
    torch.set_num_threads(run.config.threads)
    batches = Batches.fitting(model.encode(part), training.batch_size, training.seq_length)
    loss = evaluate(model, batches)
    print(
        f"{split}: loss {loss:.4f} nats = {loss / math.log(2):.4f} bits a character, perplexity {math.exp(loss):.3f}, "
        f"over {batches.characters:,} of {len(part):,} characters"
    )
    return 0

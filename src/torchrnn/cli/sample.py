"""Write text with a trained model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from torchrnn.cli.options import NO_GPU, add_run_argument, add_torch_rnn_flags
from torchrnn.lm.run import Run

USAGE = "torchrnn sample RUN [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_argument(parser)
    add = parser.add_argument
    add("--length", type=int, metavar="N", help="characters, start text included (default: 2000)")
    add("--start-text", metavar="TEXT", help="how the text begins")
    add("--sample", type=int, choices=(0, 1), help="0 for the likeliest character every time (default: 1)")
    add("--temperature", type=float, metavar="X", help="below 1 safer, above 1 bolder (default: 1)")
    add("--top-k", type=int, metavar="K", help="draw from the K likeliest characters only")
    add("--stop", metavar="TEXT", help="stop once this has been written")
    add("--seed", type=int, metavar="N", help="for the same text every time")
    add("--verbose", type=int, choices=(0, 1), help="1 to say what the text is begun with (default: 0)")
    add_torch_rnn_flags(parser, NO_GPU)


def run(options: argparse.Namespace) -> int:
    given = vars(options)
    model = Run.open(Path(options.run)).load_model()
    generator = torch.Generator()
    if "seed" in given:
        generator.manual_seed(options.seed)
    else:
        generator.seed()
    if given.get("verbose"):
        start = given.get("start_text")
        print(f"beginning with {start!r}" if start else "beginning with any character", file=sys.stderr)
    names = ("start_text", "temperature", "top_k", "stop")
    pieces = model.stream(
        given.get("length", 2000),
        sample=bool(given.get("sample", 1)),
        generator=generator,
        **{name: given[name] for name in names if name in given},
    )
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0

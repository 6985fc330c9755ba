"""Print what is inside a Torch7 file, without building anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from torchrnn import t7
from torchrnn.t7.description import Description

USAGE = "torchrnn info FILE.t7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.t7", help="a file that torch.save of Lua wrote")


def run(options: argparse.Namespace) -> int:
    path = Path(options.file)
    objects = t7.load_all(path)
    count = f", {len(objects)} objects" if len(objects) > 1 else ""
    print(f"{path}: Torch7, {path.stat().st_size:,} bytes{count}")
    description = Description()
    for made in objects:
        for line in description.lines(made):
            print(line)
    return 0

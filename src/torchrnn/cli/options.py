"""Options shared by the commands, and the spellings and flags of torch-rnn."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]+)(=.*)?", re.DOTALL)


def canonical(arguments: Sequence[str]) -> list[str]:
    """``-rnn_size`` and ``--rnn_size`` as ``--rnn-size``; values and what follows ``--`` stay as they are.

    >>> canonical(["-rnn_size", "128", "--start_text=a_b"])
    ['--rnn-size', '128', '--start-text=a_b']
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    matches = [OPTION.fullmatch(argument) for argument in arguments[:end]]
    options = [m and f"--{m[1].replace('_', '-')}{m[2] or ''}" for m in matches]
    return [
        *(option or argument for option, argument in zip(options, arguments, strict=False)),
        *arguments[end:],
    ]


class Parser(argparse.ArgumentParser):
    """Keeps to what was typed: no abbreviations, and an option that was not given is not in the result."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, argument_default=argparse.SUPPRESS, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def only(accepted: str, remedy: str) -> Callable[[str], str]:
    """The type of a torch-rnn flag that makes sense with some values only."""

    def check(value: str) -> str:
        if value not in accepted.split():
            raise argparse.ArgumentTypeError(f"{value}: {remedy}")
        return value

    return check


def add_torch_rnn_flags(parser: argparse.ArgumentParser, flags: dict[str, tuple[str, str]]) -> None:
    """Understands flags of torch-rnn that have nothing to set here: name -> (accepted values, remedy for others)."""
    for name, (accepted, remedy) in flags.items():
        parser.add_argument(f"--{name}", type=only(accepted, remedy), help=argparse.SUPPRESS)


NO_GPU = {
    "gpu": ("-1", "torchrnn runs on the CPU; leave the flag out or give -gpu -1"),
    "gpu-backend": ("cuda opencl", "torchrnn runs on the CPU; leave the flag out"),
}


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """RUN, also in torch-rnn's form ``-checkpoint RUN``."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("run", nargs="?", metavar="RUN", help="the directory of a run of torchrnn train")
    where.add_argument("--checkpoint", dest="run", metavar="RUN", help=argparse.SUPPRESS)

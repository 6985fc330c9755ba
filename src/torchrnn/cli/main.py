"""The command line: one parser, and one line for whatever goes wrong."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import torchrnn
from torchrnn.cli import convert as convert_command
from torchrnn.cli import eval as eval_command
from torchrnn.cli import info as info_command
from torchrnn.cli import sample as sample_command
from torchrnn.cli import train as train_command
from torchrnn.cli.options import Parser, canonical

COMMANDS = {
    "train": train_command,
    "sample": sample_command,
    "eval": eval_command,
    "convert": convert_command,
    "info": info_command,
}


def build_parser() -> Parser:
    parser = Parser(prog="torchrnn", description="Train language models on text, and write text with them.")
    parser.add_argument("--version", action="version", version=f"torchrnn {torchrnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").partition("\n")[0]
        command.add_arguments(commands.add_parser(name, usage=command.USAGE, help=summary, description=summary))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status, which is 2 for bad input."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack the characters of a text
    options = build_parser().parse_args(canonical(sys.argv[1:] if arguments is None else arguments))
    try:
        status: int = COMMANDS[options.command].run(options)
        return status
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _fail(options.command, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ValueError as error:
        return _fail(options.command, str(error))
    except KeyboardInterrupt:
        return 130


def _fail(command: str, message: str) -> int:
    print(f"torchrnn {command}: {' '.join(message.split())}", file=sys.stderr)
    return 2

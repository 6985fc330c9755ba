"""Kill `torchrnn train` again and again, resume it, and compare with a run that was left alone.

`python tests/kill_and_resume.py [--kills N] [--seed N]`: SIGKILL at random moments, the first ones possibly before
there is anything to resume. In the end the weights, the state of training and the metrics must be the same, bit for
bit. Status 1 if they are not.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
TEXT = "".join(f"{n} bottles of beer on the wall, {n} bottles of beer. Take one down: {n - 1} left.\n" for n in range(99, 0, -1))
OPTIONS = (
    "--rnn-size 12 --wordvec-size 6 --batch-size 4 --seq-length 8 --dropout 0.3 --batchnorm 1 --threads 1 "
    "--checkpoint-every 45 --lr-decay-every 1 --lr-decay-factor 0.8 --learning-rate 0.01 --max-epochs"
).split()
FILES = ("model.safetensors", "last.safetensors", "vocabulary.json", "metrics.jsonl")


def train(text: Path, directory: Path, epochs: int, *options: str) -> subprocess.Popen[str]:
    """Start training; a directory that already is a run goes on."""
    resume = ["--resume"] if (directory / "config.json").exists() else [*OPTIONS, str(epochs)]
    command = [sys.executable, "-m", "torchrnn", "train", str(text), "--output", str(directory), *resume, *options]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"training ended with status {process.returncode}:\n{output}")


def kill_and_resume(directory: Path, kills: int, epochs: int, seed: int = 0) -> list[str]:
    """What differs between a run that was killed `kills` times and one that was not: nothing, it is hoped."""
    moments = random.Random(seed)
    text = directory / "bottles.txt"
    text.write_text(TEXT)

    begun = time.monotonic()
    alone = train(text, directory / "alone", epochs)
    assert alone.stdout is not None
    alone.stdout.readline()
    startup = time.monotonic() - begun
    finish(alone)
    training = time.monotonic() - begun - startup

    done = 0
    while done < kills:
        # Checkpoints now and then, or after every iteration, so that the writing of one is interrupted, too.
        process = train(text, directory / "killed", epochs, "--save-seconds", moments.choice(["0", "0.1", "30"]))
        time.sleep(moments.uniform(0.5 * startup, startup + training / kills))
        if process.poll() is not None:
            raise RuntimeError(f"training ended before kill {done + 1} of {kills}: give it more epochs")
        process.kill()
        process.communicate()
        done += 1
        print(f"kill {done}: {where(directory / 'killed')}", flush=True)
    finish(train(text, directory / "killed", epochs))
    return [
        name for name in FILES if (directory / "alone" / name).read_bytes() != (directory / "killed" / name).read_bytes()
    ]


def where(run: Path) -> str:
    """How far a run has come, for the log."""
    metrics = run / "metrics.jsonl"
    if not (run / "config.json").exists():
        return "nothing to resume yet"
    return f"{len(metrics.read_text().splitlines()) if metrics.exists() else 0} lines of metrics"


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill torchrnn train, resume it, compare with a run left alone.")
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--epochs", type=int, default=40, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        different = kill_and_resume(Path(directory), options.kills, options.epochs, options.seed)
    print(f"different after {options.kills} kills: {', '.join(different)}" if different else f"{options.kills} kills, bit for bit the same")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

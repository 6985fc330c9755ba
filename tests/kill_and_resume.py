"""Kill `torchrnn train` again and again, resume it, and compare with a run that was left alone.

`python tests/kill_and_resume.py [--kills N] [--seed N]`: SIGKILL at random moments, the first ones possibly before
there is anything to resume. In the end the weights, the state of training and the metrics must be the same, bit for
bit. Status 1 if they are not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = "".join(
    f"{n} bottles of beer on the wall, {n} bottles of beer. Take one down: {n - 1} left.\n" for n in range(99, 0, -1)
)
OPTIONS = [
    *("--rnn-size=12", "--wordvec-size=6", "--batch-size=4", "--seq-length=8", "--dropout=0.3", "--batchnorm=1"),
    *("--checkpoint-every=45", "--lr-decay-every=1", "--lr-decay-factor=0.8", "--learning-rate=0.01", "--threads=1"),
]
FILES = ("model.safetensors", "last.safetensors", "vocabulary.json", "metrics.jsonl")


def train(text: Path, directory: Path, epochs: int, *options: str) -> subprocess.Popen[str]:
    """Start training; a directory that already is a run goes on."""
    resume = ["--resume"] if (directory / "config.json").exists() else [*OPTIONS, f"--max-epochs={epochs}"]
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

    finish(train(text, directory / "alone", epochs))
    targets = sorted(moments.randrange(lines(directory / "alone")) for _ in range(kills))

    run = directory / "killed"
    for kill, target in enumerate(targets, start=1):
        # Checkpoints now and then, or after every iteration, so that the writing of one is interrupted, too.
        process = train(text, run, epochs, "--save-seconds", moments.choice(["0", "0.1", "30"]))
        if moments.random() < 0.2:
            time.sleep(moments.uniform(0, 3))
        else:
            while lines(run) < target and process.poll() is None:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.02))
        process.kill()
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"training ended by itself, with status {process.returncode}, before kill {kill}")
        print(f"kill {kill}: {lines(run)} lines of metrics", flush=True)
    finish(train(text, directory / "killed", epochs))
    return [
        name
        for name in FILES
        if (directory / "alone" / name).read_bytes() != (directory / "killed" / name).read_bytes()
    ]


def lines(run: Path) -> int:
    """How many lines of metrics there are, which tells how far training has come."""
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill torchrnn train, resume it, compare with a run left alone.")
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--epochs", type=int, default=15, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        different = kill_and_resume(Path(directory), options.kills, options.epochs, options.seed)
    print(
        f"different after {options.kills} kills: {', '.join(different)}"
        if different
        else f"{options.kills} kills, bit for bit the same"
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

"""Read many damaged Torch7 files: `python tests/fuzz_t7.py [--count 200000]`.

Every file must be read, or end in a typed error, within the time and the memory allowed. What is read is written again
and turned into a module, or ends in a typed error there.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import test_t7_char_rnn
import test_t7_images
import test_t7_plain
from t7_data import recorded
from t7_mutate import mutated

from torchrnn import t7

MEBIBYTE = 2**20


class TooSlowError(Exception):
    """A file took longer than it may."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Read many damaged Torch7 files; all must end in a typed error.")
    parser.add_argument("--count", type=int, default=200_000, metavar="N", help="files (default: 200000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the damages (default: 0)")
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB", help="beyond the start (default: 1024)")
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="for one file (default: 10)")
    parser.add_argument(
        "--largest", type=int, default=100_000, metavar="BYTES", help="files to damage (default: 100000)"
    )
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz"), metavar="DIR", help="where files that fail are written"
    )
    options = parser.parse_args()
    faulthandler.enable()
    files = [data for path, data in sorted(recorded().items()) if path.endswith(".t7")]
    corpus = [data for data in (*files, *made_by_hand()) if len(data) <= options.largest]
    warm_up(corpus)
    limit = address_space() + options.memory * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, too_slow)

    outcomes: Counter[str] = Counter()
    slowest, failures, started = 0.0, 0, time.monotonic()
    for number in range(options.count):
        data = mutated(random.Random(f"{options.seed}/{number}").choice(corpus), random.Random(options.seed + number))
        begun = time.monotonic()
        signal.alarm(options.seconds)
        try:
            outcome = read_and_convert(data)
        except (Exception, MemoryError) as error:
            signal.alarm(0)
            outcome = f"FAILED: {type(error).__name__}"
            failures += 1
            options.keep.mkdir(exist_ok=True)
            (options.keep / f"{number}.t7").write_bytes(data)
            print(f"file {number} ({options.keep}/{number}.t7): {type(error).__name__}: {error}", flush=True)
        signal.alarm(0)
        outcomes[outcome] += 1
        slowest = max(slowest, time.monotonic() - begun)
        if (number + 1) % 20_000 == 0:
            print(f"{number + 1} files, {time.monotonic() - started:.0f} s, {failures} failures", flush=True)
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.count} files, {failures} failures, slowest {slowest:.2f} s, peak {peak:.0f} MiB in all")
    return 1 if failures else 0


def made_by_hand() -> Iterator[bytes]:
    """Files of what no recorded one holds: networks of images, plain layers and losses, checkpoints of char-rnn."""
    objects: list[Any] = [case.object for case in test_t7_images.CASES.values()]
    objects += [case[0] for case in test_t7_plain.ALL]
    for kind, network in test_t7_char_rnn.KINDS.items():
        for variant in test_t7_char_rnn.VARIANTS.values():
            objects.append(test_t7_char_rnn.checkpoint_of(network(1, 0.5, variant), kind))
    for made in objects:
        yield t7.dumps(made)
        yield t7.dumps(made, "ascii")


def read_and_convert(data: bytes) -> str:
    """What became of a file."""
    try:
        loaded = t7.loads_all(data)
    except t7.T7Error as error:
        return type(error).__name__
    t7.dumps(loaded)
    try:
        module = t7.to_module(loaded[0])
    except t7.T7ConversionError:
        return "read, no module"
    try:
        t7.from_module(module)
    except t7.T7ConversionError:
        return "read and a module, not to be written"
    return "read and a module"


def warm_up(corpus: list[bytes]) -> None:
    """What is imported and cached on first use is not the files' memory."""
    for data in corpus:
        read_and_convert(data)


def address_space() -> int:
    """The address space in use, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlowError("took too long")


if __name__ == "__main__":
    sys.exit(main())

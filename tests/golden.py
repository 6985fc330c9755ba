"""Run recorded cases of the original Lua libraries on torchrnn: `python tests/golden.py DIR [--only GLOB]`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from golden_cases.case import Case, pack, read
from golden_cases.compare import TOLERANCE
from golden_cases.run import run
from torch import nn

from torchrnn import t7

T7_FILES = {"binary": ".module.t7", "ascii": ".module.ascii.t7", "again": ".module.t7"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare torchrnn with recorded cases of the original libraries, in double precision. "
        f"The norm is max|ours - theirs| / max(1, max|theirs|), which may be {TOLERANCE:g}.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="one library, or what holds several")
    parser.add_argument(
        "--only", action="append", metavar="GLOB", help="only cases whose NAME or LIBRARY/NAME matches; again for more"
    )
    parser.add_argument("--verbose", action="store_true", help="print what passed and what was skipped, too")
    parser.add_argument(
        "--from-t7",
        nargs="?",
        choices=T7_FILES,
        const="binary",
        help="only cases with a Torch7 file beside them, whose module is loaded instead of constructed: from the "
        "binary file, the ascii one, or from the binary one after it was written and read once more",
    )
    parser.add_argument("--pack", type=Path, metavar="OUT", help="write the cases to OUT/LIBRARY.npz instead")
    options = parser.parse_args(arguments)
    cases = [case for case in read(options.directory) if is_wanted(case, options.only)]
    if options.from_t7:
        cases = [loaded for case in cases if (loaded := from_t7(case, options.directory, options.from_t7))]
    if not cases:
        print(f"golden.py: no cases to run in {options.directory}", file=sys.stderr)
        return 2
    if options.pack:
        pack_libraries(cases, options.pack)
        return 0

    verdicts: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for case in cases:
        outcome = run(case)
        verdicts[outcome.verdict] += 1
        if outcome.verdict == "skipped":
            skipped[outcome.reasons[0]] += 1
        if outcome.verdict == "failed" or options.verbose:
            print(f"{outcome.verdict.upper()} {case.path} ({case.kind}): {case.get('constructor', '')}")
            for reason in outcome.reasons[:8]:
                print(f"    {reason}")
            if len(outcome.reasons) > 8:
                print(f"    and {len(outcome.reasons) - 8} smaller differences")
    for reason, count in skipped.most_common():
        print(f"{count} skipped: {reason}")
    print(f"{verdicts['passed']} passed, {verdicts['failed']} failed, {verdicts['skipped']} skipped")
    return 1 if verdicts["failed"] else 0


def from_t7(case: Case, directory: Path, which: str) -> Case | None:
    """The case with its module loaded from the file in ``directory``, if there is one."""
    for folder in (directory, directory / case.library):
        path = folder / f"{case.name}{T7_FILES[which]}"
        if path.exists():
            return dataclasses.replace(case, load=loader(path, which == "again"))
    return None


def loader(path: Path, again: bool) -> Callable[[], nn.Module]:
    def load() -> nn.Module:
        module = t7.load_t7(path)
        return t7.to_module(t7.loads(t7.dumps(t7.from_module(module)))) if again else module

    return load


def is_wanted(case: Case, only: list[str] | None) -> bool:
    return only is None or any(fnmatchcase(case.name, glob) or fnmatchcase(case.path, glob) for glob in only)


def pack_libraries(cases: list[Case], out: Path) -> None:
    """One file a library, of the cases that run."""
    libraries: dict[str, list[Case]] = {}
    for case in cases:
        if run(case).verdict != "skipped":
            libraries.setdefault(case.library, []).append(case)
    out.mkdir(parents=True, exist_ok=True)
    for library, kept in libraries.items():
        pack(out / f"{library}.npz", kept)


if __name__ == "__main__":
    sys.exit(main())

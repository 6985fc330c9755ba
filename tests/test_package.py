"""The package as a whole: its version, what its import brings along, and the names in the documentation."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torchrnn
from torchrnn.cli.main import build_parser
from torchrnn.cli.options import canonical

COMMANDS = {"train": [], "sample": ["RUN"], "eval": ["RUN"]}
"""The commands, with what they cannot do without."""


def test_version_is_the_same_everywhere(root: Path) -> None:
    pyproject = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    citation = re.search(r"^version: (.+)$", (root / "CITATION.cff").read_text(), re.MULTILINE)
    changelog = re.search(r"^## \[(.+)\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {pyproject[1], citation[1], changelog[1]} == {torchrnn.__version__}


def test_import_brings_nothing_along_but_torch() -> None:
    """What the commands, files and extras need is imported by them."""
    script = (
        "import sys, torch; before = set(sys.modules); import torchrnn; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    new = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    brought = set(new.split()) - set(sys.stdlib_module_names)
    assert brought == {"torchrnn"}


def test_all_public_names_are_there_once_and_in_order() -> None:
    assert len(set(torchrnn.__all__)) == len(torchrnn.__all__)
    for name in torchrnn.__all__:
        assert hasattr(torchrnn, name)


class Row(NamedTuple):
    """One line of a table in docs/from-lua.md."""

    line: int
    lua: list[str]
    planned: bool
    names: list[str]
    note: str


def rows(root: Path) -> Iterator[Row]:
    in_table = False
    text = (root / "docs" / "from-lua.md").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        in_table = line.startswith("| Lua | Python |") or (in_table and line.startswith("|"))
        if in_table and "`" in line:
            lua, python, note = (cell.strip() for cell in line.strip("|").split("|"))
            code = re.findall(r"`([^`]+)`", python)
            yield Row(number, re.findall(r"`([^`]+)`", lua), python.startswith("planned:"), code, note)


def find(name: str) -> Any:
    """What a name of the table stands for; raises AttributeError or ImportError if there is none."""
    if name.startswith(("torch.", "copy.")):
        top, *parts = name.split(".")
        thing = importlib.import_module(top)
    elif re.match(r"[a-z]\w*\.", name):  # a module that torchrnn itself need not have imported
        top, *parts = name.split(".")
        thing = importlib.import_module(f"torchrnn.{top}")
    else:
        thing, parts = torchrnn, (f"Module{name}" if name.startswith(".") else name).split(".")
    for part in parts:
        thing = None if is_annotated(thing, part) else getattr(thing, part)
    return thing


def is_annotated(thing: Any, name: str) -> bool:
    """Whether the instances of a class have an attribute that the class itself has not."""
    classes = thing.__mro__ if inspect.isclass(thing) else []
    return not hasattr(thing, name) and any(name in vars(c).get("__annotations__", {}) for c in classes)


def has_flag(flag: str) -> bool:
    """Whether some command has a flag, and shows it in its help."""
    commands = next(action for action in build_parser()._actions if action.dest == "command").choices
    return any(flag in command.format_help().split() for command in commands.values())


def arguments_of(thing: Any) -> set[str]:
    return {name for name in inspect.signature(thing).parameters if name != "self"}


def test_names_that_the_lua_table_gives_exist(root: Path) -> None:
    wrong = []
    checked = 0
    for row in rows(root):
        for code in [] if row.planned else row.names:
            checked += 1
            name, _, arguments = code.partition("(")
            try:
                if name.startswith("--"):
                    assert has_flag(name), "no command has this flag"
                elif name.startswith("torchrnn "):
                    command = name.split()[1]
                    build_parser().parse_args([command, *COMMANDS[command]])
                else:
                    thing = find(name)
                    named = set(re.findall(r"\w+", arguments))
                    assert not named or named <= arguments_of(thing), f"takes {sorted(arguments_of(thing))}"
            except (AttributeError, ImportError, AssertionError, KeyError, SystemExit) as error:
                wrong.append(f"line {row.line}: {code}: {error}")
    assert not wrong, "\n".join(wrong)
    assert checked > 150


def test_planned_names_are_not_there_yet(root: Path) -> None:
    """A name that has come to exist is no longer planned."""
    stale = [f"line {row.line}: {name}" for row in rows(root) if row.planned for name in row.names if exists(name)]
    assert not stale, "\n".join(stale)


def exists(name: str) -> bool:
    try:
        find(name)
    except (AttributeError, ImportError):
        return False
    return True


def test_names_without_a_counterpart_have_a_reason(root: Path) -> None:
    for row in rows(root):
        assert row.names or row.note, f"line {row.line}"


def test_old_spellings_of_flags_are_understood(root: Path) -> None:
    """A flag as torch-rnn writes it becomes the flag that stands beside it in the table."""
    for row in rows(root):
        if row.names and row.names[0].startswith("--") and row.names[0] not in ("--output", "--resume"):
            assert canonical([f"-{flag.lstrip('-')}" for flag in row.lua]) == row.names


def test_every_recorded_class_is_in_the_lua_table(root: Path, shared: Path) -> None:
    recorded = set(re.findall(r"\bnn\.([A-Z]\w+)\(", (shared / "golden" / "INDEX.md").read_text(encoding="utf-8")))
    written = {name for row in rows(root) for code in row.lua for name in re.findall(r"\w+", code)}
    assert recorded - written == set()
    assert len(recorded) > 50

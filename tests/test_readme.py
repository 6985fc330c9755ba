"""The README and the tutorial do what they say: their Python runs, the commands and their flags exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from torchrnn.cli.main import build_parser
from torchrnn.cli.options import canonical

SAID = re.compile(r".*\S  # (?P<value>.+)")


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The blocks of a page in one language, each with the number of the line before it."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_python_blocks_run_in_order_and_give_what_their_comments_say(root: Path, page: str) -> None:
    namespace: dict[str, Any] = {}
    compared = 0
    for before, block in blocks(root / page, "python"):
        lines = block.splitlines()
        for statement in ast.parse(block).body:
            ast.increment_lineno(statement, before)
            said = SAID.fullmatch(lines[statement.end_lineno - 1 - before])
            if isinstance(statement, ast.Expr) and said:
                value = eval(compile(ast.Expression(statement.value), page, "eval"), namespace)
                assert repr(value) == said["value"], f"{page}, line {statement.lineno}"
                compared += 1
            else:
                exec(compile(ast.Module([statement], []), page, "exec"), namespace)
    assert compared > 10


def test_a_wrong_comment_would_be_found() -> None:
    assert SAID.fullmatch("net(x).shape  # torch.Size([2])")["value"] == "torch.Size([2])"


def test_commands_exist_with_their_flags(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    programs = []
    for before, block in blocks(root / "README.md", "sh"):
        for number, line in enumerate(block.splitlines(), before + 1):
            program, *arguments = shlex.split(line, comments=True)
            programs.append(program)
            if program == "make":
                assert set(arguments) <= set(targets), f"README.md, line {number}"
            elif program == "torchrnn":
                try:
                    build_parser().parse_args(canonical(arguments))
                except SystemExit:
                    pytest.fail(f"README.md, line {number}: {capsys.readouterr().err}")
            else:
                pytest.fail(f"README.md, line {number}: no check for {program}")
    assert {"make", "torchrnn"} == set(programs)


def test_links_lead_somewhere(root: Path) -> None:
    pages = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith("http"):
                continue
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors(linked), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The names that a page's headings go by in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

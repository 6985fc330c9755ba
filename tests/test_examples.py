"""Every script in examples/ runs in its reduced size and prints a result that shows that it learned."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Example(NamedTuple):
    """A script, the numbers in what it prints, what they must show, and whether it can draw a figure."""

    name: str
    prints: str
    shows: Callable[..., bool]
    draws: bool = False


EXAMPLES = [
    Example("bidirectional_tagger", r"both directions: ([\d.]+)", lambda f1: f1 > 0.65),
    Example(
        "encoder_decoder",
        r"gradients: True.*pairs learned: (\d+) of (\d+)",
        lambda right, pairs: right > 0.9 * pairs > 0,
    ),
    Example(
        "nce_language_model",
        r"unigrams: +perplexity ([\d.]+).*softmax: +perplexity ([\d.]+).*NCE: +perplexity ([\d.]+)",
        lambda unigrams, full, nce: nce < 1.1 * full and nce < 0.95 * unigrams,
    ),
    Example("nested_recurrence", r"third digit on.*: ([\d.]+)%", lambda right: right > 80),
    Example("own_cell", r"mean ([\d.]+),.*own cell: ([\d.]+)", lambda mean, own: own < mean / 3),
    Example("recurrent_language_model", r"best: perplexity ([\d.]+)", lambda perplexity: perplexity < 200, draws=True),
    Example("sequence_to_one", r"not seen: ([\d.]+)%", lambda right: right > 80),
    Example("time_series", r"straight on (\S+), network (\S+)", lambda straight, own: own < straight / 2, draws=True),
    Example("visual_attention", r"held-out.*: ([\d.]+)%", lambda right: right > 30, draws=True),
]
QUICK = {"own_cell", "sequence_to_one"}
"""Those that take no more than a second."""


def main_of(root: Path, name: str) -> Callable[[list[str]], Any]:
    return runpy.run_path(str(root / "examples" / f"{name}.py"))["main"]


def test_every_script_is_listed(root: Path) -> None:
    assert [example.name for example in EXAMPLES] == sorted(path.stem for path in root.glob("examples/*.py"))


@pytest.mark.parametrize(
    "example",
    [pytest.param(e, id=e.name, marks=[] if e.name in QUICK else pytest.mark.slow) for e in EXAMPLES],
)
def test_it_learns(
    example: Example, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    figure = tmp_path / "figure.png"
    main_of(root, example.name)(["--quick", *(["--figure", str(figure)] if example.draws else [])])
    printed = capsys.readouterr().out
    said = re.search(example.prints, printed, re.DOTALL)
    assert said, printed
    assert example.shows(*map(float, said.groups())), printed
    assert figure.exists() == example.draws


@pytest.mark.slow
def test_each_says_how_it_is_called(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in root.glob("examples/*.py"):
        usage = re.search(rf"^    python examples/{path.name} (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        with pytest.raises(SystemExit):
            main_of(root, path.stem)(["--help"])
        flags = set(re.findall(r"--\w+", capsys.readouterr().out)) - {"--help"}
        assert set(re.findall(r"--\w+", usage[1])) == flags, path.name


@pytest.mark.slow
def test_as_a_command_and_without_matplotlib(root: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    command = [sys.executable, "-W", "error", root / "examples" / "time_series.py", "--quick", "--figure", "figure.png"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True, text=True
    )
    assert "no figure: matplotlib is not installed" in done.stdout
    assert "mean squared error of one step" in done.stdout
    assert not (tmp_path / "figure.png").exists()

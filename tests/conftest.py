"""What all tests share."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile(
    "torchrnn", max_examples=25, deadline=None, print_blob=True, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("torchrnn")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The example of what needs onnx is skipped without it."""
    for item in items:
        if find_spec("onnx") is None and "layouts/to_onnx.py" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason="needs onnx"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The recordings beside the repository, which not every checkout has."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the recordings in {path}")
    return path


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers in every run."""
    torch.manual_seed(0)

"""Default initialisations follow the laws of the original's, in the original's layout."""

from pathlib import Path

import pytest
import torch
from golden_cases.case import Case, read
from golden_cases.compare import Comparison
from golden_cases.initialisation import Exactly, Normal, Uniform, holds
from golden_cases.run import run

PACKED = Path(__file__).parent / "data" / "golden"
CASES = [case for case in read(PACKED) if case.kind == "init"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_default_initialisation(case: Case) -> None:
    outcome = run(case)
    assert outcome.verdict == "passed", "\n".join(outcome.reasons)


@pytest.mark.parametrize(
    ("values", "law"),
    [
        (torch.rand(1000) * 2 - 1, Uniform(-0.9, 0.9)),
        (torch.rand(1000) - 0.5, Uniform(-0.7, 0.7)),
        (torch.randn(1000) * 1.3, Normal(1.0)),
        (torch.randn(1000) + 0.3, Normal(1.0)),
        (torch.zeros(6), Exactly(2, 4)),
        (torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]), Exactly()),
    ],
)
def test_another_law_is_noticed(values: torch.Tensor, law: Uniform | Normal | Exactly) -> None:
    check = Comparison()
    holds(check, "these", [values], [law])
    assert check.differences

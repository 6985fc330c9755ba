"""Default initialisations: the same layout and the same distribution as the original's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .build import build, build_larger
from .case import Case
from .compare import Comparison
from .models import language_model_like
from .nce import nce_module_like
from .skips import left_out

LARGE = 600
"""How large the largest dimension is of the modules whose distribution is looked at."""
SIGMAS = 6.0
"""How far mean and standard deviation of a sample may lie from those of its law, in their own deviations."""


@dataclass(frozen=True)
class Uniform:
    low: float
    high: float
    excess = 1.8  # fourth moment over squared variance

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    @property
    def deviation(self) -> float:
        return (self.high - self.low) / math.sqrt(12)


@dataclass(frozen=True)
class Normal:
    deviation: float
    low = -math.inf
    high = math.inf
    mean = 0.0
    excess = 3.0


@dataclass(frozen=True)
class Exactly:
    """A constant, with ones from `start` to `stop`: the bias of forget or update gates."""

    start: int = 0
    stop: int = 0
    constant: float = 0.0


Law = Uniform | Normal | Exactly


def run_initialisation(case: Case, check: Comparison) -> None:
    torch.manual_seed(0)
    factor = max(1, LARGE // max(max(value.shape) for value in case["params"]))
    if case["type"] == "nn.LanguageModel":
        ours, larger = language_model_like(case["params"]), language_model_like(case["params"], factor)
    elif case["type"] == "nn.NCEModule":
        like = case["params"], 4, torch.ones(len(case["params"][0]))
        ours, larger = nce_module_like(*like), nce_module_like(*like, factor=factor)
    else:
        ours, larger = build(case), build_larger(case, factor)
    check("shapes", [list(p.shape) for p in ours.parameters()], [list(p.shape) for p in case["params"]])
    if not left_out(case.path, "params"):
        holds(check, "the original's", case["params"], _laws(case, case["params"]))
    values = [parameter.detach() for parameter in larger.parameters()]
    holds(check, "ours", values, _laws(case, values))


def holds(check: Comparison, whose: str, values: list[Tensor], laws: list[Law]) -> None:
    for index, (value, law) in enumerate(zip(values, laws, strict=True)):
        what = f"{whose} parameter {index} {tuple(value.shape)}"
        check.compared += 1
        if isinstance(law, Exactly):
            expected = torch.full_like(value, law.constant)
            expected[law.start : law.stop] = 1
            if not torch.equal(value, expected):
                check.differs(what, f"expected {law.constant}, with ones from {law.start} to {law.stop}")
            continue
        n = value.numel()
        mean_error = abs(value.mean().item() - law.mean) / (law.deviation / math.sqrt(n))
        deviation_error = abs(value.std().item() / law.deviation - 1) / math.sqrt((law.excess - 1) / (4 * n))
        rounding = 1e-6 * law.deviation
        if not (law.low - rounding <= value.min() and value.max() <= law.high + rounding):
            check.differs(what, f"leaves {law}: {value.min():.4g} to {value.max():.4g}")
        if mean_error > SIGMAS or deviation_error > SIGMAS:
            check.differs(what, f"mean {value.mean():.4g} and deviation {value.std():.4g} are not those of {law}")


def _laws(case: Case, values: list[Tensor]) -> list[Law]:
    """What each parameter is drawn from."""
    shapes = [tuple(value.shape) for value in values]
    name = case["type"].removeprefix("nn.")
    if name.startswith("Lookup"):
        return [Normal(1.0), *(_linears(shapes[1:]) if name == "LookupRNN" else ())]
    if name == "BatchNormalization":
        return [Uniform(0.0, 1.0), Exactly()]
    if name == "NCEModule":
        return [*_linears(shapes[:1]), Exactly(constant=-math.log(shapes[0][0]))]
    if name == "LanguageModel":
        return [Normal(1.0), *_gates_in_one_matrix(shapes[1:-2], gates=4), *_linears(shapes[-2:])]
    if name == "VanillaRNN":
        return list(_gates_in_one_matrix(shapes, gates=1))
    if (name.startswith(("Seq", "Rec")) and name != "Recurrent") or case.library == "init-torch-rnn":
        return list(_gates_in_one_matrix(shapes, gates=3 if "GRU" in name else 4))
    return list(_linears(shapes))


def _linears(shapes: list[tuple[int, ...]]) -> Iterator[Law]:
    """Uniform, bounded by 1 / sqrt(fan in); what has one dimension shares the fan in of the matrix before it."""
    fan_in = shapes[0][-1]
    for shape in shapes:
        if len(shape) > 1:
            fan_in = shape[1]
        yield Uniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def _gates_in_one_matrix(shapes: list[tuple[int, ...]], gates: int) -> Iterator[Law]:
    """Weights (D + R, gates H), biases with ones at the second of several gates, projections (H, R)."""
    for index, shape in enumerate(shapes):
        if len(shape) == 1:
            H = shape[0] // gates
            yield Exactly(H, 2 * H) if gates > 1 else Exactly()
        elif index + 1 < len(shapes) and len(shapes[index + 1]) == 1:
            yield Normal(1 / math.sqrt(shape[0]))
        else:
            yield Normal(1 / math.sqrt(sum(shape)))

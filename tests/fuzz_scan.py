"""Random step functions, run natively and by the reference: ``python tests/fuzz_scan.py 0 200 [rows columns]``.

``--bfloat16`` runs them under autocast, against the definition of products in bfloat16.

Every seed draws a cell out of the operations of the instruction set, with states of several widths, slices,
concatenations, products, reductions and broadcasts, and a sequence. Memory is filled with NaN before each run, so that
whatever is read before it is written shows.
"""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from rounded_products import RoundedProducts
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.scan import Stepper, execute, explain, scan, unstacked, use
from torchrnn.scan.arena import arena

TOLERANCE = 1e-5
WITH_PARTS = 100_000
"""Seeds from here on draw steps that use weights in parts, too; those below are the same as before there were such."""
AMPLIFIED = 30
"""Random functions amplify rounding: so often may the error be the reference's, both against double precision."""


class RandomCell(nn.Module):
    """A step function that is drawn from ``seed``; it makes its parameters when it runs for the first time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.seed = seed
        self.operations = OPERATIONS if seed < WITH_PARTS else OPERATIONS + 2 * PARTS
        self.input_size = draw.choice([1, 3, 8, 16])
        self.state_sizes = [draw.choice([1, 5, 16, 24, 33]) for _ in range(draw.choice([1, 1, 2, 3]))]
        self.has_mask = draw.random() < 0.3
        self.weights = nn.ParameterList()
        self.is_complete = False
        torch.manual_seed(seed)
        with torch.no_grad():
            self.step(self.inputs(7), tuple(torch.randn(7, size) for size in self.state_sizes))
        self.is_complete = True

    def inputs(self, *batch: int) -> object:
        x = torch.randn(*batch, self.input_size)
        return (x, torch.rand(*batch, 1) > 0.3) if self.has_mask else x

    def parameter(self, *shape: int) -> Tensor:
        if not self.is_complete:
            scale = 0.5 / shape[0] ** 0.5 if len(shape) == 2 and shape[0] > 1 else 0.3
            self.weights.append(nn.Parameter(torch.randn(*shape) * scale))
        self.n_used += 1
        return self.weights[self.n_used - 1]

    def as_wide(self, v: Tensor, width: int) -> Tensor:
        return v if v.shape[1] == width else v @ self.parameter(v.shape[1], width)

    def step(self, input: object, state: tuple[Tensor, ...]) -> tuple[object, tuple[Tensor, ...]]:
        draw = random.Random(self.seed + 1)
        self.n_used = 0
        x, mask = input if self.has_mask else (input, None)
        values = [x, *state]
        for _ in range(draw.randint(3, 14)):
            v, u = draw.choice(values[-6:] + values[:3]), draw.choice(values)
            values.append(draw.choice(self.operations)(self, draw, v, u))
        new = []
        for old in state:
            v = self.as_wide(draw.choice(values), old.shape[1])
            rules = [torch.tanh(v), torch.tanh(v + old), 0.5 * old + 0.5 * torch.sin(v), old, v.clamp(-1, 1)]
            candidate = draw.choice(rules)
            new.append(candidate if mask is None else torch.where(mask, candidate, old))
        outputs = [draw.choice(values + new) for _ in range(draw.choice([1, 1, 2]))]
        return outputs[0] if len(outputs) == 1 else tuple(outputs), tuple(new)


def _slice(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    start = draw.randint(0, v.shape[1] - 1)
    return v[:, start : draw.randint(start + 1, v.shape[1])]


def _halves(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    if v.shape[1] < 2:
        return torch.relu(v)
    a, b = v.split([v.shape[1] // 2, v.shape[1] - v.shape[1] // 2], 1)
    return a * torch.sigmoid(cell.as_wide(b, a.shape[1]))


def _grouped(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    grouped = v.unflatten(1, (draw.choice([k for k in (1, 2, 3, 4, 8) if v.shape[1] % k == 0]), -1))
    dim = draw.choice([1, 2])
    return (grouped.softmax(dim) * (grouped - grouped.mean(dim, keepdim=True))).flatten(1)


def _norm(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    scale = torch.rsqrt(v.var(1, keepdim=True, unbiased=False) + 1e-2)
    return (v - v.mean(1, keepdim=True)) * scale


def _blend(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    gate = torch.sigmoid(v)
    return gate * cell.as_wide(u, v.shape[1]) + (1 - gate) * v


def _rows_of_a_weight(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    """Like a product of both with one weight, but in two."""
    weight, n = cell.parameter(v.shape[1] + u.shape[1], draw.choice([5, 16, 20])), v.shape[1]
    return v @ weight[:n] + u @ (weight[n:] if draw.random() < 0.5 else weight[-u.shape[1] :])


def _columns_of_a_weight(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    """Both sides of a weight, of which a part may be used twice or not at all."""
    weight = cell.parameter(v.shape[1], 24)
    here, there = draw.choice([(8, 8), (16, 16), (5, 5), (20, 12), (4, 8)])
    left, right = v @ weight[:, :here], torch.sin(v) @ weight[:, there - 24 :]
    return torch.cat([left, right], 1)


def _joined_weights(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    parts = [cell.parameter(v.shape[1], draw.choice([3, 16])) for _ in range(2)]
    bias = torch.cat([cell.parameter(parts[0].shape[1]), cell.parameter(parts[1].shape[1], 2)[:, 1]])
    return v @ torch.cat(parts, 1) + bias


def _transposed_weight(cell: RandomCell, draw: random.Random, v: Tensor, u: Tensor) -> Tensor:
    weight = cell.parameter(v.shape[1], v.shape[1])
    return v @ (weight + weight.t()) + v @ weight.t() * cell.parameter(3, v.shape[1])[1]


PARTS = [_rows_of_a_weight, _columns_of_a_weight, _joined_weights, _transposed_weight]
OPERATIONS: list[Callable[[RandomCell, random.Random, Tensor, Tensor], Tensor]] = [
    lambda c, d, v, u: nn.functional.linear(v, c.parameter(d.choice([1, 5, 16, 20, 32]), v.shape[1])),
    lambda c, d, v, u: v @ c.parameter(v.shape[1], 16) + c.parameter(16),
    lambda c, d, v, u: torch.sigmoid(v),
    lambda c, d, v, u: torch.tanh(v),
    lambda c, d, v, u: v * c.as_wide(u, v.shape[1]),
    lambda c, d, v, u: v + c.as_wide(u, v.shape[1]),
    lambda c, d, v, u: torch.cat([v, u], 1) if v.shape[1] + u.shape[1] < 80 else v - c.as_wide(u, v.shape[1]),
    lambda c, d, v, u: torch.where(v > 0, v, 0.1 * c.as_wide(u, v.shape[1])),
    lambda c, d, v, u: v * c.parameter(v.shape[1]) + c.parameter(1, v.shape[1]),
    lambda c, d, v, u: torch.softmax(v, -1),
    lambda c, d, v, u: torch.relu(v) - 0.5 * v,
    lambda c, d, v, u: v * c.parameter(1) + torch.exp(-v * v),
    lambda c, d, v, u: v * torch.sigmoid(v[:, :1]) + u.sum(1, keepdim=True) * 0.05,
    lambda c, d, v, u: torch.maximum(v, torch.minimum(c.as_wide(u, v.shape[1]), v.abs())),
    lambda c, d, v, u: nn.functional.silu(v) - nn.functional.softplus(v),
    lambda c, d, v, u: nn.functional.layer_norm(v, v.shape[1:], c.parameter(v.shape[1]), c.parameter(v.shape[1]), 1e-2),
    lambda c, d, v, u: v.new_zeros(v.shape[0], v.shape[1]) if d.random() < 0.2 else torch.cos(v),
    _slice,
    _halves,
    _grouped,
    _norm,
    _blend,
]


def results(
    cell: RandomCell, inputs: object, states: tuple[Tensor, ...], engine: str, seed: int
) -> list[Tensor | None]:
    """Outputs, final states and the gradients of everything."""
    with use(engine):
        made = tree_leaves(scan(cell, inputs, states))
    torch.manual_seed(seed)
    flow = [(m, torch.randn(m.shape).to(m.dtype)) for m in made]
    flow = [(m, g) for m, g in flow if m.requires_grad]
    sources = [*(leaf for leaf in tree_leaves(inputs) if leaf.requires_grad), *states, *cell.parameters()]
    if not flow:
        return [*made, *[None] * len(sources)]
    outs, weights = zip(*flow, strict=True)
    return [*(m.detach() for m in made), *torch.autograd.grad(outs, sources, weights, allow_unused=True)]


def stepped(cell: RandomCell, inputs: object, states: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs and final states, by steps that come one by one."""
    stepper = Stepper(cell, states)
    outputs = zip(*(tree_leaves(stepper(x)) for x in unstacked(inputs)), strict=True)
    return [*map(torch.stack, outputs), *tree_leaves(stepper.state)]


def error(got: list[Tensor | None], expected: list[Tensor | None]) -> float:
    """The largest difference, relative to the largest value of each tensor, or to a tenth of the largest of all.

    A gradient that cancels out, such as that of a bias before a softmax, is not exactly zero in either engine.
    """
    worst = 0.0
    least = 0.1 * max((float(b.detach().abs().max()) for b in expected if b is not None and b.numel()), default=0.0)
    for a, b in zip(got, expected, strict=True):
        if a is None and b is None:
            continue
        b = torch.zeros_like(a) if b is None else b
        a = torch.zeros_like(b) if a is None else a.to(b.dtype)
        difference = ((a - b).abs().max() / b.abs().max().clamp_min(max(least, 1e-3))).item()
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def drawn(seed: int) -> tuple[RandomCell, object, tuple[Tensor, ...]]:
    """The cell of a seed, a sequence and states."""
    cell, draw = RandomCell(seed), random.Random(seed)
    N, T = draw.choice([1, 3, 9, 20]), draw.choice([1, 2, 5])
    inputs = cell.inputs(T, N)
    tree_leaves(inputs)[0].requires_grad_()
    return cell, inputs, tuple(torch.randn(N, size).mul_(0.5).requires_grad_() for size in cell.state_sizes)


def run_seed(seed: int) -> tuple[str, float, float]:
    """What `explain` says of the cell of a seed, and the errors of both engines against double precision."""
    cell, inputs, states = drawn(seed)
    with use("native"):
        how = explain(cell, inputs, states)
    engine = "native" if how == "native" else "auto"
    native, expected = results(cell, inputs, states, engine, seed), results(cell, inputs, states, "reference", seed)
    with torch.no_grad(), use(engine):
        made = tree_leaves(scan(cell, inputs, states))
    steps = stepped(cell, inputs, states)
    exact = results(copy.deepcopy(cell).double(), *_double((inputs, states)), "reference", seed)
    errors = [error(native, exact), *(error(forward, exact[: len(made)]) for forward in (made, steps))]
    return how, max(errors), error(expected, exact)


def run_seed_in_bfloat16(seed: int) -> tuple[str, float, float]:
    """What `explain` says of the cell of a seed, the error of its products in bfloat16, and how large that may be.

    A number on the border of two is rounded to either of them, and random functions amplify that: but to round a few
    numbers in another way is less than not to round any.
    """
    cell, inputs, states = drawn(seed)
    wide, arguments = copy.deepcopy(cell).double(), _double((inputs, states))
    with RoundedProducts():
        expected = results(cell, inputs, states, "reference", seed)
        exact = results(wide, *arguments, "reference", seed)
    plain = results(cell, inputs, states, "reference", seed)
    with torch.autocast("cpu", torch.bfloat16):
        with use("native"):
            how = explain(cell, inputs, states)
        made = results(cell, inputs, states, "native" if how == "native" else "auto", seed)
    eager, unrounded = error(expected, exact), error(plain, exact)
    return how, error(made, exact), max(1e-2, 0.5 * unrounded, AMPLIFIED * eager)


def _double(tree: object) -> object:
    def double(x: Tensor) -> Tensor:
        return x.detach().double().requires_grad_(x.requires_grad) if x.is_floating_point() else x

    return tree_map(double, tree)


@contextlib.contextmanager
def poisoned(grid: tuple[int, int] | None = None) -> Iterator[None]:
    """Memory full of NaN, and a grid of threads of one's choice."""
    choose_grid = execute.choose_grid
    vars(arena)["empty"] = lambda *shape: torch.full(shape, float("nan"))
    if grid is not None:
        execute.choose_grid = lambda N, n_weights: grid
    try:
        yield
    finally:
        execute.choose_grid = choose_grid
        del vars(arena)["empty"]


def main(first: int, last: int, *grid: int, in_bfloat16: bool = False) -> int:
    reasons: Counter[str] = Counter()
    bad = 0
    with poisoned(grid[:2] if grid else None):
        for seed in range(first, last):
            if in_bfloat16:
                how, native, allowed = run_seed_in_bfloat16(seed)
            else:
                how, native, eager = run_seed(seed)
                allowed = max(TOLERANCE, AMPLIFIED * eager)
            reasons[how] += 1
            if "tracing failed" in how or not native < allowed:
                bad += 1
                print(f"seed {seed}: {how}, error {native:.1e}, allowed {allowed:.1e}", flush=True)
    print(f"{last - first} seeds, {bad} wrong:", dict(reasons))
    return bad


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument != "--bfloat16"]
    sys.exit(bool(main(*numbers, in_bfloat16="--bfloat16" in sys.argv)))

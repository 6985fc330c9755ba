"""Training time of recurrent layers: ours, those of torch.nn, eager loops, and jax.lax.scan if JAX is installed.

``make bench`` runs it. All contestants of a size take turns in one process, so that a slow minute of the machine
meets each of them; what counts is the first quartile, and ratios of first quartiles. It writes ``results.json`` and,
with matplotlib, ``results.svg`` into the folder ``--output``, and prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cells import DeepTransition, LayerNormLSTM, Masked, MinimalGated
from single_steps import sampling, single_steps
from torch import Tensor, nn

import torchrnn
from torchrnn.scan import native, use

SIZES = [
    (50, 50, 128, 128),
    (16, 50, 256, 256),
    (64, 50, 256, 256),
    (64, 50, 512, 512),
    (32, 35, 650, 650),
    (1, 50, 128, 128),
    (8, 100, 64, 64),
]
"""(N, T, D, H)"""
OWN_CELLS: dict[str, Callable[[int, int], torchrnn.AbstractRecurrent]] = {
    "layer-norm LSTM": LayerNormLSTM,
    "minimal gated unit": MinimalGated,
    "deep transition": DeepTransition,
}
FLOPS = {"layer-norm LSTM": 1.0, "minimal gated unit": 0.5, "deep transition": 0.5, "GRU": 0.75, "SeqGRU": 0.75}
"""Floating-point operations of the matrix products at D = H, as a part of those of an LSTM."""

Run = Callable[[], None]


def training(module: nn.Module, x: Tensor) -> Run:
    """One forward and backward."""

    def run() -> None:
        output = module(x)
        output = output[0] if isinstance(output, tuple) else output
        output.backward(torch.ones_like(output))

    return run


def eagerly(run: Run) -> Run:
    def reference() -> None:
        with use("reference"):
            run()

    return reference


def autocast(run: Run) -> Run:
    def cast() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            run()

    return cast


def contestants(N: int, T: int, D: int, H: int) -> dict[str, Run]:
    x = torch.randn(T, N, D, requires_grad=True)
    modules: dict[str, nn.Module] = {
        "nn.LSTM": nn.LSTM(D, H),
        "nn.GRU": nn.GRU(D, H),
        "nn.RNN": nn.RNN(D, H),
        "SeqLSTM": torchrnn.SeqLSTM(D, H),
        "FastLSTM": torchrnn.Sequencer(torchrnn.FastLSTM(D, H)),
        "LSTM": torchrnn.Sequencer(torchrnn.LSTM(D, H)),
        "GRU": torchrnn.Sequencer(torchrnn.GRU(D, H)),
        "SeqGRU": torchrnn.SeqGRU(D, H),
        "VanillaRNN": torchrnn.VanillaRNN(D, H, batch_first=False),
        "masked FastLSTM": Masked(torchrnn.FastLSTM(D, H), torch.rand(T, N, 1) > 0.3),
    }
    runs = {name: training(module, x) for name, module in modules.items()}
    for name, cell in {**OWN_CELLS, "FastLSTM": torchrnn.FastLSTM}.items():
        runs.setdefault(name, training(torchrnn.Sequencer(cell(D, H)), x))
        # Modules of their own: a sequence lets go of the one before it, and the graph of a loop takes long to go.
        runs[f"{name}, eager"] = eagerly(training(torchrnn.Sequencer(cell(D, H)), x))
    runs["FastLSTM, bfloat16"] = autocast(training(torchrnn.Sequencer(torchrnn.FastLSTM(D, H)), x))
    return runs | jax_contestants(N, T, D, H)


def jax_contestants(N: int, T: int, D: int, H: int) -> dict[str, Run]:
    """An LSTM, a GRU and a simple network by ``jax.lax.scan`` under ``jit``, if there is JAX."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return {}

    def lstm(weights: Any, state: Any, x: Any) -> Any:
        h, c = state
        i, f, o, g = jnp.split(x @ weights[0] + h @ weights[1], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(weights: Any, state: Any, x: Any) -> Any:
        (h,) = state
        (r, z, n), (r_h, z_h, n_h) = jnp.split(x @ weights[0], 3, axis=-1), jnp.split(h @ weights[1], 3, axis=-1)
        z = jax.nn.sigmoid(z + z_h)
        h = (1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + r_h) * n_h) + z * h
        return (h,), h

    def rnn(weights: Any, state: Any, x: Any) -> Any:
        h = jnp.tanh(x @ weights[0] + state[0] @ weights[1])
        return (h,), h

    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    x = jax.random.normal(keys[0], (T, N, D))

    def contestant(step: Any, gates: int, n_states: int) -> Run:
        weights = tuple(jax.random.normal(key, (n, gates * H)) * 0.1 for key, n in zip(keys[1:], (D, H), strict=True))

        def loss(weights: Any, x: Any) -> Any:
            start = tuple(jnp.zeros((N, H)) for _ in range(n_states))
            return jax.lax.scan(lambda state, x: step(weights, state, x), start, x)[1].sum()

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
        return lambda: jax.block_until_ready(gradient(weights, x))

    kinds = {"LSTM": (lstm, 4, 2), "GRU": (gru, 3, 1), "RNN": (rnn, 1, 1)}
    return {f"jax.lax.scan {name}": contestant(*kind) for name, kind in kinds.items()}


def measure(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every round; the first round warms up. Each round has an order of its own: what a contestant
    finds in the caches depends on the one before it."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(0)
    for round_number in range(rounds + 1):
        for name in order.sample(list(runs), len(runs)):
            start = time.perf_counter()
            runs[name]()
            if round_number:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def first_quartile(times: list[float]) -> float:
    return sorted(times)[len(times) // 4]


def ratios(quartiles: dict[str, float], N: int, H: int) -> dict[str, float]:
    """The rows of the table, for one size."""
    q = quartiles
    rows = {f"{name} / nn.LSTM": q[name] / q["nn.LSTM"] for name in ("SeqLSTM", "FastLSTM", "LSTM")}
    rows |= {f"{name} / nn.GRU": q[name] / q["nn.GRU"] for name in ("GRU", "SeqGRU")}
    rows["VanillaRNN / nn.RNN"] = q["VanillaRNN"] / q["nn.RNN"]
    for name in OWN_CELLS:
        rows[f"{name} / eager"] = q[name] / q[f"{name}, eager"]
    if N * H >= 2000:
        for name, part in FLOPS.items():
            rows[f"{name} / FastLSTM, per flop"] = q[name] / q["FastLSTM"] / part
    rows["masked FastLSTM / FastLSTM"] = q["masked FastLSTM"] / q["FastLSTM"]
    rows["FastLSTM in bfloat16 / FastLSTM"] = q["FastLSTM, bfloat16"] / q["FastLSTM"]
    for name, peer in (("FastLSTM", "LSTM"), ("GRU", "GRU"), ("VanillaRNN", "RNN")):
        if f"jax.lax.scan {peer}" in q:
            rows[f"{name} / jax.lax.scan"] = q[name] / q[f"jax.lax.scan {peer}"]
    return rows


def kept_memory() -> dict[str, float]:
    """Floats kept for backward beyond input and output, in N T H."""
    from torchrnn.scan.call import prepare

    T, N, D, H = 50, 16, 128, 128
    kept = {}
    x = torch.randn(T, N, D, requires_grad=True)
    for make in (torchrnn.FastLSTM, torchrnn.LSTM, torchrnn.GRU):
        cell = make(D, H)
        kept[make.__name__] = prepare(cell, x, cell.initial_state(x[0])).plan.kept_size(T, N) / (N * T * H)
    return kept


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row for each ratio, its geometric mean and its worst size."""
    names = dict.fromkeys(name for result in results for name in result["ratios"])
    lines = ["| ratio | geometric mean | worst | " + " | ".join(str(tuple(r["size"])) for r in results) + " |"]
    lines.append("|---" * (len(results) + 3) + "|")
    for name in names:
        values = [result["ratios"].get(name) for result in results]
        known = [value for value in values if value is not None]
        mean = math.exp(sum(map(math.log, known)) / len(known))
        cells = ["–" if value is None else f"{value:.2f}" for value in values]
        lines.append(f"| {name} | {mean:.2f} | {max(known):.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(results: list[dict[str, Any]], path: Path) -> None:
    """Times of ours and of torch.nn at every size."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    names = ["nn.LSTM", "SeqLSTM", "FastLSTM", "LSTM", "nn.GRU", "GRU", "nn.RNN", "VanillaRNN", *OWN_CELLS]
    figure, axes = pyplot.subplots(1, len(results), figsize=(3 * len(results), 4), sharey=True, squeeze=False)
    for axis, result in zip(axes[0], results, strict=True):
        times = [result["first_quartile_ms"][name] for name in names]
        colours = ["0.7" if name.startswith("nn.") else "tab:blue" for name in names]
        axis.barh(names[::-1], times[::-1], color=colours[::-1])
        axis.set_title("N, T, D, H = " + ", ".join(map(str, result["size"])), fontsize=8)
        axis.set_xlabel("ms")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="only the first so many sizes")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    results = []
    for size in SIZES[: options.sizes]:
        times = measure(contestants(*size), options.rounds)
        quartiles = {name: first_quartile(values) for name, values in times.items()}
        results.append({"size": size, "first_quartile_ms": quartiles, "ratios": ratios(quartiles, size[0], size[3])})
        print(size, {name: round(value, 2) for name, value in quartiles.items()}, flush=True)
    report = {
        "machine": platform.processor() or platform.machine(),
        "instruction_set": native.variants()[0],
        "torch": torch.__version__,
        "threads": options.threads,
        "rounds": options.rounds,
        "kept_floats_per_NTH": kept_memory(),
        "characters_a_second": sampling(),
        "microseconds_a_step": single_steps(),
        "results": results,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    picture(results, options.output / "results.svg")
    print(table(results))
    print("\n2 x 128 LSTM language model, characters a second, one thread:", report["characters_a_second"])
    print("a step of an LSTM, N = 1, D = H = 128, microseconds, one thread:", report["microseconds_a_step"])


if __name__ == "__main__":
    main()

"""One step at a time, at N = 1 and on one thread: the sampling of a language model, and single steps of an LSTM."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

import torchrnn
from torchrnn.scan import Stepper, use

ROUNDS = 9


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def first_quartiles(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each run; they take turns, and the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: sorted(values[1:])[ROUNDS // 4] for name, values in times.items()}


def by(engine: str, run: Callable[[], object]) -> Callable[[], object]:
    def with_engine() -> object:
        with use(engine):
            return run()

    return with_engine


def sampling(n: int = 4000, n_reference: int = 300) -> dict[str, int]:
    """Characters a second of a 2 x 128 LSTM language model with 65 characters."""
    model = torchrnn.LanguageModel([chr(32 + i) for i in range(65)], rnn_size=128, num_layers=2)
    with one_thread():
        seconds = first_quartiles(
            {
                "sample": by("native", lambda: model.sample(n)),
                "stream": by("native", lambda: list(model.stream(n))),
                "reference": by("reference", lambda: model.sample(n_reference)),
            }
        )
    return {name: round((n_reference if name == "reference" else n) / took) for name, took in seconds.items()}


def single_steps(n: int = 200) -> dict[str, float]:
    """Microseconds of one step, D = H = 128."""
    x, cell = torch.randn(1, 128), torchrnn.RecLSTM(128, 128)
    native, reference, theirs = Stepper(cell), Stepper(cell), nn.LSTMCell(128, 128)
    state = torch.zeros(1, 128), torch.zeros(1, 128)

    def run_theirs() -> None:
        nonlocal state
        with torch.no_grad():
            for _ in range(n):
                state = theirs(x, state)

    with one_thread():
        seconds = first_quartiles(
            {
                "Stepper": by("native", lambda: [native(x) for _ in range(n)]),
                "Stepper, reference": by("reference", lambda: [reference(x) for _ in range(n)]),
                "nn.LSTMCell": run_theirs,
            }
        )
    return {name: round(1e6 * took / n, 1) for name, took in seconds.items()}


if __name__ == "__main__":
    print("characters a second:", sampling())
    print("microseconds a step:", single_steps())

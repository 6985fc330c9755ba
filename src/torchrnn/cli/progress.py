"""What is shown while a model is trained: a bar on a terminal, one plain line every so often elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from torchrnn.lm.run import Run
from torchrnn.lm.trainer import Iteration, Trainer

SECONDS_BETWEEN_LINES = 10.0
SAMPLE_LENGTH = 200


class TrainingReport:
    """Tells how training goes, and shows a short sample after every evaluation.

    Arguments:
        run, trainer: what is trained.
        console: where to.
        bar: the progress bar, if there is one.
        print_every: without a bar, iterations from line to line; ``None`` for a line every few seconds.
        deadline: when training will be stopped, on the monotonic clock.
    """

    def __init__(
        self,
        run: Run,
        trainer: Trainer,
        console: Console,
        bar: Progress | None = None,
        print_every: int | None = None,
        deadline: float | None = None,
    ) -> None:
        self.run, self.trainer, self.console, self.bar = run, trainer, console, bar
        self.print_every, self.deadline = print_every, deadline
        self.first = trainer.iteration
        self.begun = self.last_iteration = self.last_line = time.monotonic()
        self.loss = self.seconds = 0.0
        if bar is not None:
            self.task = bar.add_task("", total=1.0, figures="")

    def iteration(self, done: Iteration) -> None:
        now = time.monotonic()
        # A mean at first, an exponential average later.
        weight = max(0.05, 1 / (done.iteration - self.first))
        self.loss += weight * (done.loss - self.loss)
        self.seconds += weight * (now - self.last_iteration - self.seconds)
        self.last_iteration = now
        if self.bar is not None:
            self.bar.update(self.task, completed=self.part_done(done, now), figures=self.figures(done, now))
        elif self.line_is_due(done, now):
            self.last_line = now
            self.show(self.figures(done, now))

    def line_is_due(self, done: Iteration, now: float) -> bool:
        if self.print_every is not None:
            return done.iteration % self.print_every == 0
        return now - self.last_line >= SECONDS_BETWEEN_LINES

    def evaluation(self, iteration: int, val_loss: float | None) -> None:
        if val_loss is not None:
            best = self.run.best()
            remark = ", the best so far" if best is not None and best["iteration"] == iteration else ""
            self.show(f"iteration {iteration:,}: validation loss {nats_and_bits(val_loss)}{remark}")
        self.show("-" * 20 + f" a sample\n{self.sample(iteration)}\n" + "-" * 20)
        self.last_iteration = time.monotonic()

    def figures(self, done: Iteration, now: float) -> str:
        trainer = self.trainer
        speed = trainer.train.batch_size * trainer.train.seq_length / self.seconds
        left = (trainer.total_iterations - done.iteration) * self.seconds
        if self.deadline is not None:
            left = min(left, max(0.0, self.deadline - now))
        return (
            f"{done.iteration:,}/{trainer.total_iterations:,}  epoch {done.epoch:.1f}/{trainer.settings.max_epochs}  "
            f"loss {nats_and_bits(self.loss)}  {speed:,.0f} characters/s  {clock(left)} left"
        )

    def part_done(self, done: Iteration, now: float) -> float:
        part = done.iteration / self.trainer.total_iterations
        if self.deadline is None:
            return part
        return max(part, (now - self.begun) / (self.deadline - self.begun))

    def sample(self, seed: int) -> str:
        """What the model writes at the beginning of a line, where there are lines."""
        model = self.trainer.model
        start_text = "\n" if "\n" in model.vocabulary.tokens else ""
        generator = torch.Generator().manual_seed(seed)
        return model.sample(SAMPLE_LENGTH, start_text, temperature=0.8, generator=generator).strip("\n")

    def show(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def nats_and_bits(loss: float) -> str:
    """A loss per character in both units.

    >>> nats_and_bits(1.0)
    '1.000 nats (1.443 bits)'
    """
    return f"{loss:.3f} nats ({loss / math.log(2):.3f} bits)"


def clock(seconds: float) -> str:
    """A duration.

    >>> clock(75), clock(7200)
    ('1:15', '2:00:00')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def training_report(
    run: Run, trainer: Trainer, print_every: int | None, deadline: float | None
) -> Iterator[TrainingReport]:
    """A `TrainingReport` for standard output."""
    console = Console(file=sys.stdout)
    if print_every or not sys.stdout.isatty():
        yield TrainingReport(run, trainer, console, None, print_every, deadline)
        return
    columns = BarColumn(bar_width=20), TextColumn("{task.fields[figures]}")
    with Progress(*columns, console=console) as bar:
        yield TrainingReport(run, trainer, console, bar, None, deadline)

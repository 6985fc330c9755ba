"""What a training run is told: one frozen record, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainingSettings:
    """How a language model is trained; the defaults are torch-rnn's.

    Arguments:
        batch_size: streams of text read in parallel, ``N``.
        seq_length: characters of a stream per iteration, ``T``; gradients reach back this far.
        val_frac, test_frac: the parts of the text kept for validation and test. Without validation
            (``val_frac=0``) the newest weights count as the best.
        max_epochs: how often the training text is read.
        learning_rate: of Adam.
        grad_clip: bound on the gradient, 0 for none.
        clip: ``'value'`` bounds each element of the gradient, ``'norm'`` the norm of all of it.
        lr_decay_every: epochs after which the learning rate is multiplied by ``lr_decay_factor``.
        lr_decay_factor: see there.
        checkpoint_every: iterations from one evaluation and checkpoint to the next; 0 for the end of training only.

    Raises ``ValueError`` that names the setting.
    """

    batch_size: int = 50
    seq_length: int = 50
    val_frac: float = 0.1
    test_frac: float = 0.1
    max_epochs: int = 50
    learning_rate: float = 2e-3
    grad_clip: float = 5.0
    clip: Literal["value", "norm"] = "value"
    lr_decay_every: int = 5
    lr_decay_factor: float = 0.5
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name in "batch_size", "seq_length", "max_epochs", "lr_decay_every", "checkpoint_every":
            self._require(name, isinstance(getattr(self, name), int), "an integer")
        for name in "batch_size", "seq_length", "max_epochs", "lr_decay_every":
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in "val_frac", "test_frac":
            self._require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name in "learning_rate", "lr_decay_factor":
            self._require(name, 0 < getattr(self, name) < math.inf, "a positive number")
        self._require("grad_clip", 0 <= self.grad_clip < math.inf, "a positive number, or 0 for none")
        self._require("checkpoint_every", self.checkpoint_every >= 0, "at least 0")
        self._require("clip", self.clip in ("value", "norm"), "'value' or 'norm'")
        self._require("val_frac", self.val_frac + self.test_frac < 1, "such that with test_frac it stays below 1")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0.

        >>> [TrainingSettings(lr_decay_every=2).learning_rate_in(epoch) for epoch in range(5)]
        [0.002, 0.002, 0.001, 0.001, 0.0005]
        """
        return self.learning_rate * self.lr_decay_factor ** (epoch // self.lr_decay_every)

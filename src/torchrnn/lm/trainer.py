"""The training loop of a language model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm

from torchrnn.lm.batches import Batches
from torchrnn.lm.model import LanguageModel
from torchrnn.lm.settings import TrainingSettings

if TYPE_CHECKING:
    from torchrnn.lm.run import Run


class TrainingDiverged(RuntimeError):
    """The loss or its gradient is no longer finite, or the loss is far above that of guessing."""


@dataclass(frozen=True)
class Iteration:
    """What one iteration did: its number (from 1), the epoch as a fraction, and the loss in nats per character."""

    iteration: int
    epoch: float
    loss: float
    gradient_norm: float
    learning_rate: float


class Report(Protocol):
    """Who is told how training goes."""

    def iteration(self, done: Iteration) -> None: ...

    def evaluation(self, iteration: int, val_loss: float | None) -> None: ...


@torch.no_grad()
def evaluate(model: LanguageModel, batches: Batches) -> float:
    """The mean loss of ``batches`` in nats per character, read from a fresh state, which is dropped at the end."""
    was_training = model.training
    model.eval()
    model.reset_states()
    losses = [cross_entropy(model(x).flatten(0, 1), y.flatten()).item() for x, y in batches]
    model.reset_states()
    model.train(was_training)
    return math.fsum(losses) / len(losses)


class Trainer:
    """Trains a language model with Adam and truncated backpropagation through time, as torch-rnn does.

    The state is carried from batch to batch, and starts anew with every epoch and after every evaluation. Everything
    that training depends on is a function of the settings, the text and what `state` returns; so a trainer that was
    given the state of another with `load_state` goes on bit for bit as the other would have.

    Arguments:
        model: the model, in training mode from now on.
        train: the batches to train on.
        val: the batches to evaluate on, if any.
        settings: see `TrainingSettings`.
    """

    def __init__(self, model: LanguageModel, train: Batches, val: Batches | None, settings: TrainingSettings) -> None:
        self.model, self.train, self.val, self.settings = model, train, val, settings
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        self.iteration = 0
        self.total_iterations = settings.max_epochs * len(train)
        model.train()
        model.reset_states()

    def step(self) -> Iteration:
        """One iteration: a batch forward and back, the gradient clipped, the weights moved.

        Raises `TrainingDiverged` before it would spoil the weights.
        """
        epoch, position = divmod(self.iteration, len(self.train))
        if position == 0:
            self.model.reset_states()
        x, y = self.train[position]
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(x).flatten(0, 1), y.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = get_total_norm(gradients).item()
        self._require_convergence(loss.item(), norm)
        if self.settings.grad_clip > 0:
            clip = clip_grad_value_ if self.settings.clip == "value" else clip_grad_norm_
            clip(self.model.parameters(), self.settings.grad_clip)
        self.iteration += 1
        learning_rate = self.settings.learning_rate_in(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
            # Torch7 adds its 1e-8 before the second moment is corrected for its start at zero, PyTorch after.
            group["eps"] = 1e-8 / math.sqrt(1 - group["betas"][1] ** self.iteration)
        self.optimizer.step()
        return Iteration(self.iteration, self.iteration / len(self.train), loss.item(), norm, learning_rate)

    def _require_convergence(self, loss: float, norm: float) -> None:
        guessing = math.log(len(self.model.vocabulary))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the loss is {loss:.4g} and the norm of its gradient {norm:.4g}"
        elif loss > 3 * max(guessing, 1.0):
            what = f"the loss is {loss:.4g}, while guessing has {guessing:.4g}"
        else:
            return
        raise TrainingDiverged(f"training diverged in iteration {self.iteration + 1}: {what}")

    def run(
        self,
        run: Run,
        report: Report,
        should_stop: Callable[[], bool] = lambda: False,
        save_seconds: float = 30.0,
    ) -> None:
        """Trains until all epochs are done or ``should_stop()``, which is asked after every iteration.

        Every ``checkpoint_every`` iterations, and at the end, the model is evaluated, the best weights are kept, and
        a checkpoint is saved. Between these, a checkpoint is saved every ``save_seconds`` and on a stop; that leaves
        no trace in the result.
        """
        saved = time.monotonic()
        while self.iteration < self.total_iterations:
            done = self.step()
            run.log(done)
            report.iteration(done)
            every = self.settings.checkpoint_every
            if done.iteration == self.total_iterations or (every and done.iteration % every == 0):
                self.evaluate(run, report)
                run.save_last(self)
                saved = time.monotonic()
            elif should_stop():
                run.save_last(self)
                return
            elif time.monotonic() - saved > save_seconds:
                run.save_last(self)
                saved = time.monotonic()

    def evaluate(self, run: Run, report: Report) -> None:
        """Evaluates the model on the validation text and keeps its weights if they are the best so far."""
        val_loss = evaluate(self.model, self.val) if self.val else None
        if val_loss is not None and not math.isfinite(val_loss):
            raise TrainingDiverged(f"the validation loss is {val_loss} after iteration {self.iteration}")
        run.log_evaluation(self.iteration, val_loss)
        run.keep_best(self.model, self.iteration, val_loss)
        report.evaluation(self.iteration, val_loss)

    def state(self) -> dict[str, torch.Tensor]:
        """Weights, moments of the optimizer, hidden state and random state, as named tensors."""
        moments = self.optimizer.state_dict()["state"]
        return {
            **{f"model.{name}": tensor for name, tensor in self.model.state_dict().items()},
            **{f"optimizer.{i}.{name}": tensor for i in moments for name, tensor in moments[i].items()},
            **{f"hidden.{i}": tensor for i, tensor in enumerate(self.model.get_states())},
            "random": torch.get_rng_state(),
        }

    def load_state(self, tensors: dict[str, torch.Tensor], iteration: int) -> None:
        """Goes on from what `state` returned after ``iteration`` iterations."""
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        prefix = "model."
        weights = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        self.model.load_state_dict(weights)
        hidden = sum(name.startswith("hidden.") for name in tensors)
        self.model.set_states([tensors[f"hidden.{i}"] for i in range(hidden)])
        torch.set_rng_state(tensors["random"])
        self.iteration = iteration

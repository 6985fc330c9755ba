"""Runs one case and says how it went."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from .case import Case
from .compare import Comparison
from .encoder_decoder import run_encoder_decoder
from .initialisation import run_initialisation
from .models import run_language_model, run_training
from .nce import run_nce
from .reinforce import run_recurrent_attention, run_reinforce, run_reward
from .skips import skip_reason
from .stepwise import (
    run_backward_online,
    run_forget,
    run_hidden_state,
    run_lazy_dropout,
    run_steps,
    run_tbptt_online,
)
from .utils import run_utils
from .whole import run_calls, run_conversion, run_criterion, run_module, run_start_state

KINDS: dict[str, Callable[[Case, Comparison], None]] = {
    "module": run_module,
    "calls": run_calls,
    "mode_switch": run_calls,
    "criterion": run_criterion,
    "convert": run_conversion,
    "steps": run_steps,
    "backward_online": run_backward_online,
    "tbptt_online": run_tbptt_online,
    "hiddenstate": run_hidden_state,
    "startstate": run_start_state,
    "encoder_decoder": run_encoder_decoder,
    "forget": run_forget,
    "dropout_lazy": run_lazy_dropout,
    "language_model": run_language_model,
    "training": run_training,
    "init": run_initialisation,
    "nce": run_nce,
    "utils": run_utils,
    "reinforce": run_reinforce,
    "reward": run_reward,
    "recurrent_attention": run_recurrent_attention,
}


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `passed`, `failed` or `skipped`, with the reasons."""

    verdict: str
    reasons: list[str]


def run(case: Case) -> Outcome:
    if reason := skip_reason(case.path):
        return Outcome("skipped", [reason])
    if case.kind not in KINDS:
        return Outcome("failed", [f"no way is known to run a case of kind {case.kind!r}"])
    check = Comparison()
    try:
        KINDS[case.kind](case, check)
    except Exception as error:
        return Outcome("failed", [*check.reasons(), _told(error)])
    if not check.compared:
        return Outcome("failed", ["nothing was compared"])
    return Outcome("failed" if check.differences else "passed", check.reasons())


def _told(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"

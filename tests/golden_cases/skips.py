"""The cases and values that are not compared, each with its reason. Nothing else is skipped."""

from __future__ import annotations

from fnmatch import fnmatchcase

SKIPS: list[tuple[str, str]] = [
    ("nn/optim_*", "torch.optim is PyTorch's; the training of torch-rnn has its own case"),
    ("init-nn/rng", "the random numbers of Torch7's generator are not reproduced"),
    ("t7-format/*", "Torch7 files are not read by this runner"),
]
"""(pattern of LIBRARY/CASE, reason)."""

FORGET_BIAS = (
    "a mistake of the original: with a projection its forget bias of 1 stands at P + 1 to 2 P instead of H + 1 to 2 H"
)
LEFT_OUT: list[tuple[str, str, str]] = [
    ("init-er-rnn/SeqLSTMP", "params", FORGET_BIAS),
    ("init-torch-rnn-v2/*LSTM_P", "params", FORGET_BIAS),
    (
        "*/NormStabilizer_steps",
        "loss",
        "a mistake of the original: updateLoss adds the norms of neighbouring steps, its gradient (which is compared) "
        "subtracts them",
    ),
]
"""(pattern of LIBRARY/CASE, key, reason): values of a case that are not compared."""


def skip_reason(path: str) -> str | None:
    return next((reason for pattern, reason in SKIPS if fnmatchcase(path, pattern)), None)


def left_out(path: str, key: str) -> bool:
    return any(fnmatchcase(path, pattern) and key == name for pattern, name, _ in LEFT_OUT)

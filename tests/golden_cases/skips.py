"""The cases and values that are not compared, each with its reason. Nothing else is skipped."""

from __future__ import annotations

from fnmatch import fnmatchcase

NEXT = "belongs to the next milestone: "
SKIPS: list[tuple[str, str]] = [
    ("nn/optim_*", "torch.optim is PyTorch's; the training of torch-rnn has its own case"),
    ("init-nn/rng", "the random numbers of Torch7's generator are not reproduced"),
    ("t7-format/*", "Torch7 files are not read by this runner"),
    ("*/*[mM]ask[zZ]ero*", NEXT + "masks"),
    ("*/*setZeroMask*", NEXT + "masks"),
    ("*/*_zeroMask", NEXT + "masks"),
    ("*/*[tT]rimZero*", NEXT + "masks"),
    ("er-rnn/*_maskzero_*", NEXT + "masks"),
    ("*/getZeroMask", NEXT + "masks"),
    ("*/encoder_decoder_*", NEXT + "masks"),
    ("*/VariableLength_*", NEXT + "masks"),
    ("er-rnn/Reinforce*", NEXT + "reinforcement"),
    ("er-rnn/*ClassReward*", NEXT + "reinforcement"),
    ("er-rnn/RecurrentAttention_*", NEXT + "attention"),
    ("er-rnn/SpatialGlimpse_*", NEXT + "glimpses"),
    ("*/NCEModule*", NEXT + "noise-contrastive estimation"),
    ("er-rnn/dpnn_module_utils", NEXT + "clipping, norms, decay and momentum of dpnn"),
    (
        "torch-rnn-v2/*_startstate",
        "a mistake of the original: setHiddenState(0, ...) has no effect on its sequence modules; on ours it has",
    ),
]
"""(pattern of LIBRARY/CASE, reason)."""

MAY_LACK = ["torch-rnn-v2/*", "init-torch-rnn-v2/*"]
"""Where a class that torchrnn does not have yet is a reason to skip; elsewhere it is a failure."""

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


def may_lack_classes(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in MAY_LACK)


def left_out(path: str, key: str) -> bool:
    return any(fnmatchcase(path, pattern) and key == name for pattern, name, _ in LEFT_OUT)

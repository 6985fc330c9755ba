"""What dpnn does to gradients and parameters around an update, and torch/rnn's masks of zero rows."""

from __future__ import annotations

import re

import torch
from torch import nn

import torchrnn

from .build import load_parameters
from .case import Case
from .compare import Comparison
from .trees import grad_parameters

LEARNING_RATE = 0.1
DAMPING = 0.2
"""Which the text of the case does not give."""


def run_utils(case: Case, check: Comparison) -> None:
    (run_zero_masks if "maskSequence" in case else run_updates)(case, check)


def run_zero_masks(case: Case, check: Comparison) -> None:
    """Which rows of a batch, of a sequence of vectors or of indices are zeros."""
    for key, n_input_dims in (("sequence", 1), ("indexSequence", 0), ("batch", 1)):
        mask = torchrnn.zero_rows(case[key], n_input_dims)
        check(key, mask.to(torch.uint8), case[f"mask{key[0].upper()}{key[1:]}"])


def run_updates(case: Case, check: Comparison) -> None:
    """Each helper on the same parameters and gradients; momentum three times in a row."""
    cutoff, bound, decay, momentum = (
        float(re.search(rf"{name}\D*([\d.]+)", case["description"])[1])
        for name in ("gradParamClip", "maxParamNorm", "weightDecay", "updateGradParameters")
    )
    for key, module_local in ("gradParamClip", False), ("gradParamClip_local", True):
        net = network(case)
        check(f"{key}_norm", torchrnn.grad_param_clip(net, cutoff, module_local), case[f"{key}_norm"])
        check(key, grad_parameters(net), case[key])

    net = network(case)
    torchrnn.weight_decay(net, decay)
    check("weightDecay", grad_parameters(net), case["weightDecay"])

    for update, key in (
        (lambda net: torchrnn.max_param_norm(net, bound), "maxParamNorm"),
        (lambda net: net.update_parameters(LEARNING_RATE), "updateParameters"),
    ):
        net = network(case)
        update(net)
        check(key, list(net.parameters()), case[key])

    for suffix, damping, nesterov in ("", 0.0, False), ("_damp", DAMPING, False), ("_nesterov", 0.0, True):
        net = network(case)
        for index, expected in enumerate(case[f"updateGradParameters{suffix}"]):
            torchrnn.update_grad_parameters(net, momentum, damping, nesterov)
            check(f"updateGradParameters{suffix}[{index}]", grad_parameters(net), expected)


def network(case: Case) -> nn.Module:
    """A perceptron with the recorded parameters and gradients."""
    (H, D), _, (V, _), _ = (value.shape for value in case["params0"])
    net = torchrnn.Sequential(nn.Linear(D, H), nn.Tanh(), nn.Linear(H, V)).double()
    load_parameters(net, case["params0"])
    for parameter, grad in zip(net.parameters(), case["gradParams0"], strict=True):
        parameter.grad = grad.clone()
    return net

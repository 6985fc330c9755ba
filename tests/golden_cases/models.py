"""Cases of torch-rnn's language model: scores, gradients, samples, training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import torchrnn
from torchrnn.lm import LanguageModel

from .build import load, load_parameters
from .case import Case
from .compare import Comparison
from .trees import grad_parameters, tensors, zero_based


def run_language_model(case: Case, check: Comparison) -> None:
    """Training on chunks with carried states, evaluation, greedy samples, single characters."""
    options = {**case["kwargs"], "batchnorm": bool(case["kwargs"]["batchnorm"])}
    if case.load is not None:
        explicit = load(case)
    else:
        explicit = LanguageModel(case["idx_to_token"], **options).double()
        load_parameters(explicit, case["params"])
    differentiated = copy.deepcopy(explicit)
    criterion = torchrnn.CrossEntropyCriterion()
    for index, chunk in enumerate(case["chunks"]):
        of_chunk = check.within(f"B: chunk {index}")
        x, y = zero_based(chunk["x"]), zero_based(chunk["y"])
        explicit.zero_grad_parameters()
        scores = explicit.update_output(x)
        of_chunk("scores", scores, chunk["scores"])
        rows = scores.flatten(0, 1)
        of_chunk("loss", criterion.update_output(rows, y.flatten()), chunk["loss"])
        grad_scores = criterion.backward(rows, y.flatten()).view_as(scores)
        of_chunk("gradScores", grad_scores, chunk["gradScores"])
        explicit.backward(x, grad_scores)
        of_chunk("gradParams", grad_parameters(explicit), chunk["gradParams"])

        differentiated.zero_grad()
        criterion(differentiated(x).flatten(0, 1), y.flatten()).backward()
        check(f"A: chunk {index}: gradParams", grad_parameters(differentiated), chunk["gradParams"])

    statistics = [buffer for name, buffer in explicit.named_buffers() if "running" in name]
    check("running statistics", statistics, tensors(case["bnRunning"]))
    explicit.eval()
    explicit.reset_states()
    for index, chunk in enumerate(case["eval"]):
        with torch.no_grad():
            check(f"evaluation of chunk {index}", explicit(zero_based(chunk["x"])), chunk["scores"])
    for sample in case["samples"]:
        text = explicit.sample(length=sample["length"], start_text=sample["start_text"], sample=bool(sample["sample"]))
        check(f"sample from {sample['start_text']!r}", text, sample["text"])
    explicit.reset_states()
    for index, step in enumerate(case["stepwise"]):
        with torch.no_grad():
            check(f"character {index}", explicit(torch.tensor([[step["token"] - 1]])), step["scores"])


def run_training(case: Case, check: Comparison) -> None:
    """The loop of torch-rnn's train.lua: element-wise clamp, Adam, states carried on."""
    for world in "BA":
        model = language_model_like(case["params0"])
        load_parameters(model, case["params0"])
        state = [(torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()]
        for index, iteration in enumerate(case["iters"]):
            x, y = zero_based(iteration["x"]), zero_based(iteration["y"]).flatten()
            loss = (_gradients_explicitly if world == "B" else _gradients_by_autograd)(model, x, y)
            check(f"{world}: loss {index}", loss, iteration["loss"])
            _adam(model, state, index + 1, case["learningRate"], case["gradClip"])
        check(f"{world}: final parameters", list(model.parameters()), case["paramsEnd"])


def _gradients_explicitly(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    criterion = torchrnn.CrossEntropyCriterion()
    model.zero_grad_parameters()
    scores = model.update_output(x)
    rows = scores.flatten(0, 1)
    loss = criterion.update_output(rows, y)
    model.backward(x, criterion.backward(rows, y).view_as(scores))
    return loss


def _gradients_by_autograd(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    model.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y)
    loss.backward()
    return loss


def _adam(
    model: nn.Module,
    state: list[tuple[Tensor, Tensor]],
    step: int,
    lr: float,
    clip: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> None:
    """Torch7's Adam. It adds eps to the root before the correction of the moments, torch.optim.Adam after it:
    for gradients near 1e-6 that makes the first steps differ, and moves the losses of this case by up to 3e-5.
    """
    rate = lr * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
    with torch.no_grad():
        for parameter, (m, v) in zip(model.parameters(), state, strict=True):
            grad = parameter.grad.clamp(-clip, clip)
            m.mul_(beta1).add_(grad, alpha=1 - beta1)
            v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            parameter.addcdiv_(m, v.sqrt().add_(eps), value=-rate)


def language_model_like(parameters: list[Tensor], factor: int = 1) -> nn.Module:
    """A language model of the sizes of these parameters (lookup, weight and bias a layer, linear), or larger ones."""
    (V, wordvec_size), (_, H) = parameters[0].shape, parameters[-2].shape
    return LanguageModel(
        [chr(ord("a") + index) for index in range(V * factor)],
        model_type={1: "rnn", 3: "gru", 4: "lstm"}[parameters[1].shape[1] // H],
        wordvec_size=wordvec_size * factor,
        rnn_size=H * factor,
        num_layers=(len(parameters) - 3) // 2,
    ).double()

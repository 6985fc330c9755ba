"""Noise-contrastive estimation, with the recorded noise words."""

from __future__ import annotations

import copy

from torch import Tensor, nn

import torchrnn

from . import lua
from .build import load_parameters
from .case import Case
from .compare import Comparison
from .trees import grad_parameters, gradients, wanting_gradients, zero_based


def run_nce(case: Case, check: Comparison) -> None:
    """One step of training in both worlds, then the softmax over all words in evaluation."""
    unigrams = case["unigramsRaw"].clone()
    explicit = nce_module_like(case["params"], case["k"], unigrams, _normaliser(case), case["batchnoise"]).double()
    load_parameters(explicit, case["params"])
    noise = zero_based(case["noise"])
    explicit.noise = lambda target: noise
    differentiated = copy.deepcopy(explicit)
    criterion = torchrnn.NCECriterion()
    check("unigramsRaw", unigrams, case["unigramsRaw"])
    check("unigrams", explicit.unigrams, case["unigrams"])

    x = [case["input"], zero_based(case["target"])]
    explicit.zero_grad_parameters()
    output = explicit.update_output(x)
    check("B: output", output, case["output"])
    check("B: loss", criterion.update_output(output, None), case["loss"])
    grad_output = criterion.backward(output, None)
    check("B: criterionGradInput", grad_output, case["criterionGradInput"])
    check("B: gradInput", explicit.backward(x, grad_output), case["gradInput"])
    check("B: gradParams", grad_parameters(explicit), case["gradParams"])
    check("B: Z", explicit.Z.reshape(1), case["Z"])

    x = wanting_gradients(x)
    loss = criterion(differentiated(x))
    check("A: loss", loss, case["loss"])
    loss.backward()
    check("A: gradInput", gradients(x), case["gradInput"])
    check("A: gradParams", grad_parameters(differentiated), case["gradParams"])

    explicit.evaluate()
    explicit.normalized = True
    check("evalNormalized", explicit.update_output(x), case["evalNormalized"])
    explicit.log_softmax = True
    check("evalNormalizedLog", explicit.update_output(x), case["evalNormalizedLog"])


def nce_module_like(
    parameters: list[Tensor], k: int, unigrams: Tensor, Z: float = -1, batch_noise: bool = True, factor: int = 1
) -> nn.Module:
    """An NCEModule of the sizes of these parameters, or larger ones."""
    V, D = (factor * size for size in parameters[0].shape)
    return torchrnn.NCEModule(D, V, k, unigrams.repeat(factor), Z, batch_noise)


def _normaliser(case: Case) -> float:
    """Z as the constructor was given it; -1 where it is left out."""
    made, *_ = lua.parse(case["constructor"])
    return made.arguments[4].value if len(made.arguments) > 4 else -1.0

"""Cases of stochastic units, with the recorded samples in place of drawn ones, and of what rewards them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

import torchrnn

from . import lua
from .build import Evaluation, build, load_parameters
from .case import Case
from .compare import Comparison
from .trees import autograd_backward, grad_parameters, gradients, wanting_gradients, zero_based


def run_reinforce(case: Case, check: Comparison) -> None:
    """One sample, one reward; whatever comes back to the sample is ignored."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    for world, ours in (("B", explicit), ("A", differentiated)):
        inject_samples(ours, [case["output"]])
        x = case["input"] if world == "B" else wanting_gradients(case["input"])
        output = ours.update_output(x) if world == "B" else ours(x)
        check(f"{world}: output", output, case["output"])
        if "gradInput" not in case:
            continue
        ours.reinforce(case["reward"])
        ignored = torch.ones_like(output)
        if world == "B":
            check("B: gradInput", ours.backward(x, ignored), case["gradInput"])
        else:
            output.backward(ignored)
            check("A: gradInput", gradients(x), case["gradInput"])


def run_reward(case: Case, check: Comparison) -> None:
    """The loss, its gradients, and the reward that it gives to the module."""
    module = _Rewarded()
    criterion = Evaluation(case.library, {"module": module}).run(lua.parse(case["constructor"]))
    x, target = case["input"], zero_based(case["target"])
    check("B: loss", criterion.update_output(x, target), case["loss"])
    check("B: gradInput", criterion.backward(x, target), case["gradInput"])
    check("B: reward", criterion.reward, case["reward"])
    check("B: reward of the module", module.reward, case["reinforceReward"])
    module.reward = None
    x = wanting_gradients(x)
    loss = criterion(x, target)
    check("A: loss", loss, case["loss"])
    check("A: reward of the module", module.reward, case["reinforceReward"])
    loss.backward()
    check("A: gradInput", gradients(x), case["gradInput"])


def run_recurrent_attention(case: Case, check: Comparison) -> None:
    """Glances at an image, rewarded."""
    explicit = attention_like(case)
    differentiated = copy.deepcopy(explicit)
    # In evaluation the original writes every step into one buffer, so that all of them are recorded as the last.
    recorded = slice(None) if case["mode"] == "train" else slice(-1, None)
    explicit.zero_grad_parameters()
    for world, ours in (("B", explicit), ("A", differentiated)):
        inject_samples(ours, case["samples"])
        x = case["input"] if world == "B" else wanting_gradients(case["input"])
        outputs = ours.update_output(x) if world == "B" else ours(x)
        check(f"{world}: output", outputs[recorded], case["output"][recorded])
        check(f"{world}: actions", ours.actions[recorded], case["actions"][recorded])
        if "gradInput" not in case:
            continue
        ours.reinforce(case["reward"])
        if world == "B":
            check("B: gradInput", ours.backward(x, case["gradOutput"]), case["gradInput"])
        else:
            autograd_backward(outputs, case["gradOutput"])
            check("A: gradInput", gradients(x), case["gradInput"])
        check(f"{world}: gradParams", grad_parameters(ours), case["gradParams"])


def attention_like(case: Case) -> Any:
    """The network of the recorder, in the sizes of the parameters: what it sees and where, then a recurrence."""
    shapes = [value.shape for value in case["params"]]
    (place, dims), (seen, pixels), (H, joined) = shapes[0], shapes[2], shapes[4]
    size, depth = _glimpse_of(pixels, case["input"].shape[1])
    where = torchrnn.Sequential(torchrnn.SelectTable(1), nn.Linear(dims, place), nn.ReLU())
    what = torchrnn.Sequential(torchrnn.SpatialGlimpse(size, depth), nn.Flatten(), nn.Linear(pixels, seen), nn.ReLU())
    sensor = torchrnn.Sequential(
        torchrnn.ConcatTable(where, what), torchrnn.JoinTable(0, 1), nn.Linear(joined, H), nn.ReLU()
    )
    step = torchrnn.Sequential(torchrnn.ParallelTable(sensor, nn.Linear(H, H)), torchrnn.CAddTable(), nn.ReLU())
    locator = torchrnn.Sequential(
        nn.Linear(H, dims),
        nn.Hardtanh(),
        torchrnn.ReinforceNormal(case["stdev"]),
        nn.Hardtanh(),
        torchrnn.MulConstant(0.9),
    )
    attention = torchrnn.RecurrentAttention(torchrnn.Recurrence(step, H, 3), locator, case["nStep"], H).double()
    load_parameters(attention, case["params"])
    return attention.train(case["mode"] == "train")


def inject_samples(module: nn.Module, samples: Iterable[Tensor]) -> None:
    """Let stochastic units draw the recorded samples, each once."""
    recorded = iter(samples)
    for part in module.modules():
        if isinstance(part, torchrnn.Reinforce):
            part.draw = lambda distribution: next(recorded)


class _Rewarded(torchrnn.Module):
    """Keeps the reward that it is given."""

    reward: Tensor | None = None

    def reinforce(self, reward: Any) -> None:
        self.reward = reward


def _glimpse_of(pixels: int, channels: int) -> tuple[int, int]:
    """The size and depth of a square glimpse of so many numbers; of depth 2 if it can be."""
    for depth in (2, 1, 3, 4):
        size = round((pixels / depth / channels) ** 0.5)
        if depth * channels * size**2 == pixels:
            return size, depth
    raise ValueError(f"no square glimpse of {channels} channels has {pixels} numbers")

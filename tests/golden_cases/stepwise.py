"""Cases that take one time step after the other."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .build import build
from .case import Case
from .compare import Comparison
from .skips import left_out
from .trees import autograd_backward, grad_parameters, gradients, indices_of, tensors, wanting_gradients
from .whole import inject_noise


def run_steps(case: Case, check: Comparison) -> None:
    """T steps forward, then the last `backwardSteps` of them backward."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    xs = indices_of(case)(case["inputs"])
    grads = {record["t"] - 1: record["gradInput"] for record in case.get("gradInputs", [])}
    window = range(len(xs) - case.get("backwardSteps", len(xs)), len(xs))

    explicit.backward_online().zero_grad_parameters()
    check("B: outputs", [explicit.update_output(x) for x in xs], case["outputs"])
    if "cells" in case:
        check("B: cells", list(explicit.cells), case["cells"][-len(explicit.cells) :])
    if "hiddenStateT" in case:
        check("B: hidden state", tensors(explicit.get_hidden_state()), tensors(case["hiddenStateT"]))
    if "bnRunning" in case:
        check("B: running statistics", _running_statistics(explicit), tensors(case["bnRunning"]))
    if grads:
        for t in reversed(window):
            check(f"B: gradInput of step {t}", explicit.backward(xs[t], case["gradOutputs"][t]), grads[t])
        check("B: gradParams", grad_parameters(explicit), case["gradParams"])
    if "gradHiddenState0" in case:
        theirs = tensors(case["gradHiddenState0"])
        check("B: gradHiddenState0", tensors(explicit.get_grad_hidden_state(0)), theirs)
    if "loss" in case and not left_out(case.path, "loss"):
        check("B: loss", explicit.update_loss(), case["loss"])

    leaves, outputs = _steps_in_autograd(differentiated, xs, window)
    check("A: outputs", outputs, case["outputs"])
    if grads:
        autograd_backward([outputs[t] for t in window], [case["gradOutputs"][t] for t in window])
        check("A: gradInputs", [gradients(leaves[t]) for t in window], [grads[t] for t in window])
        check("A: gradParams", grad_parameters(differentiated), case["gradParams"])


def run_backward_online(case: Case, check: Comparison) -> None:
    """updateGradInput, then accGradParameters with a scale, step by step in reverse."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    xs, grad_outputs, scale = case["inputs"], case["gradOutputs"], case["accScale"]
    explicit.backward_online().zero_grad_parameters()
    check("B: outputs", [explicit.update_output(x) for x in xs], case["outputs"])
    for done, t in enumerate(reversed(range(len(xs)))):
        check(f"B: gradInputs[{t}]", explicit.update_grad_input(xs[t], grad_outputs[t]), case["gradInputs"][t])
        explicit.acc_grad_parameters(xs[t], grad_outputs[t], scale)
        check(f"B: gradParams after step {t}", grad_parameters(explicit), case["gradParamsAfterStep"][done])

    leaves, outputs = _steps_in_autograd(differentiated, xs, range(len(xs)))
    autograd_backward(outputs, grad_outputs)
    check("A: gradInputs", gradients(leaves), case["gradInputs"])
    scaled = [scale * grad for grad in grad_parameters(differentiated)]
    check("A: gradParams", scaled, case["gradParamsAfterStep"][-1])


def run_tbptt_online(case: Case, check: Comparison) -> None:
    """Backward through the last steps and an update every so often, without forgetting."""
    explicit = build(case)
    steps, interval = case["steps"], case["updateInterval"]
    explicit.backward_online().zero_grad_parameters()
    for start, update in zip(range(0, len(steps), interval), case["updates"], strict=True):
        window = steps[start : start + interval]
        ys = [explicit.update_output(step["input"]) for step in window]
        check(f"B: outputs from step {start}", ys, [step["output"] for step in window])
        grads = [explicit.backward(step["input"], step["gradOutput"]) for step in reversed(window)]
        check(f"B: gradInputs from step {start}", grads[::-1], update["gradInputs"])
        check(f"B: gradParams from step {start}", grad_parameters(explicit), update["gradParams"])
        explicit.update_parameters(case["learningRate"])
        check(f"B: params from step {start}", list(explicit.parameters()), update["params"])
        explicit.zero_grad_parameters()

    differentiated = build(case)
    optimizer = torch.optim.SGD(differentiated.parameters(), lr=case["learningRate"])
    for start, update in zip(range(0, len(steps), interval), case["updates"], strict=True):
        window = steps[start : start + interval]
        leaves = wanting_gradients([step["input"] for step in window])
        autograd_backward([differentiated(x) for x in leaves], [step["gradOutput"] for step in window])
        check(f"A: gradInputs from step {start}", gradients(leaves), update["gradInputs"])
        check(f"A: gradParams from step {start}", grad_parameters(differentiated), update["gradParams"])
        optimizer.step()
        check(f"A: params from step {start}", list(differentiated.parameters()), update["params"])
        optimizer.zero_grad()
        differentiated.detach_state()


def run_hidden_state(case: Case, check: Comparison) -> None:
    """A given initial state, and a given gradient of the last state."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    xs, T = case["inputs"], len(case["inputs"])
    explicit.backward_online().zero_grad_parameters()
    explicit.set_hidden_state(0, _state(case, "h0", "c0"))
    check("B: outputs", [explicit.update_output(x) for x in xs], case["outputs"])
    if "hidden" in case:
        hidden = [tensors(explicit.get_hidden_state(t + 1)) for t in range(T)]
        check("B: hidden states", hidden, [tensors(state) for state in case["hidden"]])
    explicit.set_grad_hidden_state(T, _state(case, "gradHT", "gradCT"))
    grads = [explicit.backward(xs[t], case["gradOutputs"][t]) for t in reversed(range(T))]
    check("B: gradInputs", grads[::-1], case["gradInputs"])
    check("B: gradParams", grad_parameters(explicit), case["gradParams"])
    grad_hidden = case.get("gradHidden") or [case["gradHidden0"]]
    for t, theirs in enumerate(grad_hidden):
        check(f"B: gradient of hidden state {t}", tensors(explicit.get_grad_hidden_state(t)), tensors(theirs))
    if "afterForgetOutput" in case:
        explicit.forget()
        check("B: output after forget", explicit.update_output(xs[0]), case["afterForgetOutput"])

    start = wanting_gradients(_state(case, "h0", "c0"))
    differentiated.set_hidden_state(0, tuple(start) if isinstance(start, list) else start)
    leaves, outputs = _steps_in_autograd(differentiated, xs, range(T))
    final = tensors(differentiated.get_hidden_state())
    autograd_backward([outputs, final], [case["gradOutputs"], tensors(_state(case, "gradHT", "gradCT"))])
    check("A: gradInputs", gradients(leaves), case["gradInputs"])
    check("A: gradParams", grad_parameters(differentiated), case["gradParams"])
    check("A: gradient of the start", tensors(gradients(start)), tensors(grad_hidden[0]))


def run_forget(case: Case, check: Comparison) -> None:
    """Some steps, forget(), as many steps again."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    xs = case["x"]
    for world, ours, step in (
        ("B", explicit, explicit.update_output),
        ("A", differentiated, differentiated),
    ):
        outputs = []
        for t, x in enumerate(xs):
            if t == len(xs) // 2:
                ours.forget()
            outputs.append(step(x))
        check(f"{world}: outputs", outputs, case["outputs"])


def run_lazy_dropout(case: Case, check: Comparison) -> None:
    """The mask stays until a gradient came back through it."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    masks = _without_repeats([step["noise"] for step in case["steps"]])
    inject_noise(explicit, masks)
    inject_noise(differentiated, masks)
    for t, step in enumerate(case["steps"]):
        check(f"B: output of step {t}", explicit.update_output(step["input"]), step["output"])
        x = step["input"].clone().requires_grad_()
        output = differentiated(x)
        check(f"A: output of step {t}", output, step["output"])
        if step["backward"]:
            check(
                f"B: gradInput of step {t}",
                explicit.backward(step["input"], step["gradOutput"]),
                step["gradInput"],
            )
            output.backward(step["gradOutput"])
            check(f"A: gradInput of step {t}", x.grad, step["gradInput"])


def _steps_in_autograd(module: nn.Module, xs: list[Any], window: range) -> tuple[list[Any], list[Any]]:
    """Call a module on each step; the graph begins with the window."""
    leaves = wanting_gradients(xs)
    with torch.no_grad():
        outputs = [module(x) for x in leaves[: window.start]]
    return leaves, outputs + [module(x) for x in leaves[window.start :]]


def _state(case: Case, h: str, c: str) -> Any:
    """A state as torchrnn takes it: (h, c), or h alone."""
    return (case[h], case[c]) if c in case else case[h]


def _running_statistics(module: nn.Module) -> list[Tensor]:
    return [buffer for name, buffer in module.named_buffers() if "running" in name]


def _without_repeats(masks: list[Tensor]) -> list[Tensor]:
    """Each mask once: one that is the same as the one before was not drawn again."""
    return [mask for t, mask in enumerate(masks) if t == 0 or not torch.equal(mask, masks[t - 1])]

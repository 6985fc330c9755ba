"""Cases of one or more calls on a whole input: layers, sequence modules, criterions, conversions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import torchrnn

from .build import build, build_conversion, build_criterion
from .case import Case
from .compare import Comparison
from .trees import autograd_backward, grad_parameters, gradients, indices_of, wanting_gradients, zero_based

BEFORE = {"forget()": "forget", "resetStates()": "reset_states"}
Record = Case | Mapping[str, Any]
Indices = Callable[[Any], Any]


def run_module(case: Case, check: Comparison) -> None:
    """One forward and one backward."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    explicit.zero_grad_parameters()
    for world, ours, call in (("B", explicit, explicit_call), ("A", differentiated, autograd_call)):
        if "noise" in case:
            inject_noise(ours, [case["noise"]])
        if case["mode"] == "eval" and "running_mean" in case:
            for key in ("running_mean", "running_var"):
                _buffer(ours, key).copy_(case[key])
        call(ours, case, check.within(world), indices_of(case))
        if "gradParams" in case:
            # The original's MapTable lists the parameters of its one module again for each element.
            again = len(case["gradParams"]) // len(case["params"]) if case["params"] else 1
            grads = again * grad_parameters(ours)
            if case["constructor"].startswith("nn.MaskZero("):
                grads = [grad + theirs for grad, theirs in zip(grads, _gradients_of_masked_rows(case), strict=True)]
            check(f"{world}: gradParams", grads, case["gradParams"])
        if "paramsAfterForward" in case:
            check(f"{world}: paramsAfterForward", list(ours.parameters()), case["paramsAfterForward"])
        if case["mode"] == "train" and "running_mean" in case:
            for key in ("running_mean", "running_var"):
                check(f"{world}: {key}", _buffer(ours, key), case[key])
    if "grad_h0" in case and not isinstance(case["input"], list):
        _gradients_of_zero_states(case, check)


def run_calls(case: Case, check: Comparison) -> None:
    """Calls in a row: states are carried where the module remembers, gradients of parameters add up."""
    explicit = build(case)
    differentiated = copy.deepcopy(explicit)
    explicit.zero_grad_parameters()
    for world, ours, call in (("B", explicit, explicit_call), ("A", differentiated, autograd_call)):
        for index, record in enumerate(case["calls"]):
            of_call = check.within(f"{world}: call {index}")
            if "mode" in record:
                ours.train(record["mode"] == "train")
            if "before" in record:
                getattr(ours, BEFORE[record["before"]])()
            call(ours, record, of_call, indices_of(case))
            if "gradParamsAccumulated" in record:
                of_call("gradParams", grad_parameters(ours), record["gradParamsAccumulated"])


def run_start_state(case: Case, check: Comparison) -> None:
    """The original's sequence modules ignore setHiddenState(0, ...): they begin from zeros or from what they remember.

    Sequences of ours that begin there are compared with those; a start state, which survives `forget`, with the same
    state in the input.
    """
    x = case["input"]
    ours = build(case).remember()
    check("outputNeither", ours.update_output(x), case["outputNeither"])
    check("outputRemember", ours.update_output(x), case["outputRemember"])
    names = ("h0", "c0") if isinstance(ours.get_hidden_state(), tuple) else ("h0",)
    state = tuple(case[name] for name in names)
    expected = build(case)((*state[::-1], x)).detach()
    ours.set_hidden_state(0, state if len(state) > 1 else state[0])
    for world, call in (("B", ours.update_output), ("A", ours)):
        ours.forget()
        check(f"{world}: output from the start state", call(x), expected)


def run_criterion(case: Case, check: Comparison) -> None:
    criterion = build_criterion(case)
    x, target = case["input"], zero_based(case["target"])
    check("B: loss", criterion.update_output(x, target), case["loss"])
    check("B: gradInput", criterion.backward(x, target), case["gradInput"])
    x = wanting_gradients(x)
    loss = criterion(x, target)
    check("A: loss", loss, case["loss"])
    loss.backward()
    check("A: gradInput", gradients(x), case["gradInput"])


def run_conversion(case: Case, check: Comparison) -> None:
    """A sequence module turned into the module that takes the same steps."""
    source, convert = build_conversion(case)
    check("output", source.update_output(case["input"]), case["output"])
    converted = convert()
    if "converted" in case:
        check("converted parameters", list(converted.parameters()), case["converted"])
    sequencer = torchrnn.Sequencer(converted)
    check("B: outputConverted", sequencer.update_output(case["input"]), case["outputConverted"])
    check("A: outputConverted", sequencer(case["input"]), case["outputConverted"])


def explicit_call(ours: nn.Module, record: Record, check: Callable[[str, Any, Any], None], indices: Indices) -> None:
    """World B: update_output, then backward."""
    x = indices(record["input"])
    check("output", ours.update_output(x), indices(record["output"]))
    if "cell" in record:
        check("cell", cells_of(ours), record["cell"])
    if "gradOutput" in record:
        check("gradInput", ours.backward(x, record["gradOutput"]), record["gradInput"])


def autograd_call(ours: nn.Module, record: Record, check: Callable[[str, Any, Any], None], indices: Indices) -> None:
    """World A: the module is called, and autograd goes back."""
    x = wanting_gradients(indices(record["input"]))
    output = ours(x)
    check("output", output, indices(record["output"]))
    if "gradOutput" in record:
        autograd_backward(output, record["gradOutput"])
        check("gradInput", gradients(x), record["gradInput"])


def cells_of(sequence: nn.Module) -> Tensor:
    """The cell states of a sequence module, in the layout of its output."""
    cells = torch.stack(sequence.cell.cells)
    return cells.transpose(0, 1) if sequence.batch_first else cells


def inject_noise(module: nn.Module, masks: Iterable[Tensor]) -> None:
    """Let dropout draw the recorded masks, each once."""
    recorded = iter(masks)
    for part in module.modules():
        if isinstance(part, torchrnn.Dropout):
            part.noise = lambda input: next(recorded)


def _buffer(module: nn.Module, name: str) -> Tensor:
    """The running statistics of the one batch normalisation in a module."""
    (found,) = (buffer for path, buffer in module.named_buffers() if path.rpartition(".")[2] == name)
    return found


def _gradients_of_masked_rows(case: Case) -> list[Tensor]:
    """What the original's MaskZero adds to gradients of parameters by mistake: masked outputs do not depend on them."""
    masked = build(case)
    x = case.get("inputAfter", case["input"])
    rows = masked.mask_of(x)
    module = masked.module
    module(x[rows]).backward(case["gradOutput"][rows])
    return grad_parameters(module)


def _gradients_of_zero_states(case: Case, check: Comparison) -> None:
    """A plain input starts from zeros; given as input, they get the gradients that the original kept."""
    names = [name for name in ("grad_c0", "grad_h0") if name in case]
    module = build(case)
    x = (*(torch.zeros_like(case[name]) for name in names), case["input"])
    module.update_output(x)
    grads = module.backward(x, case["gradOutput"])
    check("B: gradients of the initial states", grads[:-1], [case[name] for name in names])

"""Recurrent modules made of modules, and masks."""

from __future__ import annotations

from typing import Any

from torch import nn

from torchrnn.cells import NormStabilizer, RecGRU, RecLSTM, StepGRU, StepLSTM
from torchrnn.layers import CopyGrad, MaskZero, Sequential, TrimZero
from torchrnn.recurrent import AbstractRecurrent, LinearRNN, LookupRNN, Recurrence, Recurrent, Recursor
from torchrnn.t7.classes.cells import mask_dims, masked, recurrent_object, rho_of, step_of
from torchrnn.t7.classes.sizes import gru_sizes, lstm_sizes
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import Storage, TorchObject
from torchrnn.t7.registry import exports, imports

PARTS = {"start": "startModule", "input": "inputModule", "feedback": "feedbackModule", "transfer": "transferModule"}


@imports("nn.Recurrent")
def recurrent(node: Node) -> nn.Module:
    parts: dict[str, Any] = {ours: node.module(theirs) for ours, theirs in PARTS.items()}
    merge = node.module("mergeModule") if "mergeModule" in node else None
    cell = Recurrent(**parts, merge=merge, rho=rho_of(node))
    return masked(node, cell, node.node("recurrentModule")) if "recurrentModule" in node else cell


@exports(Recurrent)
def _recurrent(exporter: Exporter, module: Recurrent) -> TorchObject:
    parts = {theirs: exporter.module(getattr(module, ours), ours) for ours, theirs in PARTS.items()}
    merge = exporter.module(module.merge, "merge")
    both = exporter.container("nn.ParallelTable", [parts["inputModule"], parts["feedbackModule"]])
    step = exporter.container("nn.Sequential", [both, merge, parts["transferModule"]])
    # The first step has modules of its own, with the same parameters: its input and output must not be overwritten.
    apart = Exporter(exporter.dtype, exporter)
    inside = [apart.module(module.input), parts["startModule"], apart.module(module.transfer)]
    made = recurrent_object(exporter, "Recurrent", module, step, **parts, mergeModule=merge)
    made.fields["initialModule"] = exporter.container("nn.Sequential", inside)
    order = ("startModule", "inputModule", "feedbackModule", "transferModule")
    made.fields["modules"] = [*(parts[name] for name in order), merge]
    made.fields["sharedClones"] = {2: made.fields["sharedClones"][0]}
    return made


@imports("nn.Recurrence")
def recurrence(node: Node) -> nn.Module:
    step = node.only_node()
    inside = step.only_node() if step.object.class_name in ("nn.MaskZero", "nn.TrimZero") else step
    sizes = _output_size(node, node.get("outputSize", (list, Storage, int)))
    cell = Recurrence(node.importer.module(inside), sizes, node.get("nInputDim", int), rho_of(node))
    return masked(node, cell)


def _output_size(node: Node, size: Any) -> Any:
    """A size, or a list of sizes, out of numbers, tables and LongStorages."""
    if isinstance(size, Storage):
        return tuple(size.data.tolist())
    if isinstance(size, list):
        return tuple(size) if all(type(n) is int for n in size) else [_output_size(node, part) for part in size]
    if type(size) is int:
        return (size,)
    raise node.error(f"field outputSize must hold sizes; got {size!r}")


@exports(Recurrence)
def _recurrence(exporter: Exporter, module: Recurrence) -> TorchObject:
    step = exporter.module(module.module, "module")
    made = recurrent_object(exporter, "Recurrence", module, step, **_recurrence_fields(exporter, module))
    return TorchObject(made.class_name, {**made.fields, "module": step})


def _recurrence_fields(exporter: Exporter, module: Recurrence) -> dict[str, Any]:
    def as_table(size: Any) -> Any:
        return [as_table(part) if isinstance(part, tuple | list) else part for part in size]

    sizes = as_table(module.output_size)
    return {"outputSize": sizes, "nInputDim": module.n_input_dims, "typeTensor": exporter.empty()}


@imports("nn.LinearRNN")
def linear_rnn(node: Node) -> nn.Module:
    _, linear, transfer = _parts(node, step_of(node), 3)
    sizes = node.integer("inputsize"), node.integer("outputsize")
    cell = LinearRNN(*sizes, node.importer.module(transfer), rho_of(node))
    node.importer.fill(cell, node, linear.parameters() + transfer.parameters())
    return masked(node, cell)


@exports(LinearRNN)
def _linear_rnn(exporter: Exporter, module: LinearRNN) -> TorchObject:
    assert isinstance(module.module, Sequential)
    linear: Any = module.module.get(1)
    step = exporter.module(module.module, "module")
    sizes = {"inputsize": linear.in_features - linear.out_features, "outputsize": linear.out_features}
    return recurrent_object(
        exporter, "LinearRNN", module, step, **_recurrence_fields(exporter, module), **sizes, seqlen=module.rho
    )


@imports("nn.LookupRNN")
def lookup_rnn(node: Node) -> nn.Module:
    both, merge, transfer = _parts(node, step_of(node), 3)
    inside = {"transfer": node.importer.module(transfer), "merge": node.importer.module(merge)}
    cell = LookupRNN(node.integer("nindex"), node.integer("outputsize"), **inside, rho=rho_of(node))
    node.importer.fill(cell, node, both.parameters() + merge.parameters() + transfer.parameters())
    return masked(node, cell)


@exports(LookupRNN)
def _lookup_rnn(exporter: Exporter, module: LookupRNN) -> TorchObject:
    assert isinstance(module.module, Sequential)
    lookup: Any = module.module[0][0]
    step = exporter.module(module.module, "module")
    sizes = {"nindex": lookup.n_index - 1, "outputsize": lookup.n_output}
    return recurrent_object(
        exporter, "LookupRNN", module, step, **_recurrence_fields(exporter, module), **sizes, seqlen=module.rho
    )


def _parts(node: Node, step: Node, count: int) -> list[Node]:
    if step.object.class_name in ("nn.MaskZero", "nn.TrimZero"):
        step = step.only_node()
    nodes = step.nodes()
    if len(nodes) != count:
        raise node.error(f"expected a step of {count} modules; got {len(nodes)}")
    return nodes


@imports("nn.Recursor")
def recursor(node: Node) -> nn.Module:
    return Recursor(node.only_module(), rho_of(node))


@exports(Recursor)
def _recursor(exporter: Exporter, module: Recursor) -> TorchObject:
    step = exporter.module(module.module, "module")
    made = recurrent_object(exporter, "Recursor", module, step)
    return TorchObject(made.class_name, {**made.fields, "module": step})


@imports("nn.NormStabilizer")
def norm_stabilizer(node: Node) -> nn.Module:
    return NormStabilizer(node.number("beta", 1), rho_of(node))


@exports(NormStabilizer)
def _norm_stabilizer(exporter: Exporter, module: NormStabilizer) -> TorchObject:
    step = exporter.module(CopyGrad())
    return recurrent_object(exporter, "NormStabilizer", module, step, beta=module.beta)


@imports("nn.MaskZero", "nn.TrimZero")
def mask_zero(node: Node) -> nn.Module:
    kind = MaskZero if node.object.class_name == "nn.MaskZero" else TrimZero
    return kind(node.only_module(), mask_dims(node))


@exports(MaskZero, TrimZero)
def _mask_zero(exporter: Exporter, module: MaskZero) -> TorchObject:
    inside = exporter.module(module.module, "module")
    return exporter.object(f"nn.{type(module).__name__}", module, modules=[inside], **mask_fields(module.n_input_dims))


def mask_fields(n_input_dims: int | None) -> dict[str, Any]:
    """The fields of a mask that looks for rows of zeros, or is told which they are."""
    return {"v2": True} if n_input_dims is None else {"nInputDim": n_input_dims}


# ---------------------------------------------------------------------- torch/rnn's cells with one weight


@imports("nn.StepLSTM", "nn.StepGRU")
def step_module(node: Node) -> nn.Module:
    module = StepLSTM(*lstm_sizes(node)) if _is_lstm(node) else StepGRU(*gru_sizes(node))
    node.importer.fill(module, node, node.parameters())
    _mask_step(node, module.cell)
    return module


@imports("nn.RecLSTM", "nn.RecGRU")
def rec_module(node: Node) -> nn.Module:
    step = step_of(node)
    rho = rho_of(node)
    cell = RecLSTM(*lstm_sizes(step), rho) if _is_lstm(node) else RecGRU(*gru_sizes(step), rho)
    node.importer.fill(cell, node, step.parameters())
    _mask_step(step, cell)
    return cell


def _is_lstm(node: Node) -> bool:
    return node.object.class_name.endswith("LSTM")


def _mask_step(step: Node, cell: AbstractRecurrent) -> None:
    if step.flag("maskzero"):
        cell.mask_zero(mask_dims(step))


@exports(StepLSTM, StepGRU)
def _step_module(exporter: Exporter, module: StepLSTM | StepGRU) -> TorchObject:
    return step_object(exporter, f"nn.{type(module).__name__}", module.cell)


@exports(RecLSTM, RecGRU)
def _rec_module(exporter: Exporter, cell: RecLSTM | RecGRU) -> TorchObject:
    step = step_object(exporter, "nn.StepLSTM" if isinstance(cell, RecLSTM) else "nn.StepGRU", cell)
    names = ("inputsize", "outputsize", "hiddensize")
    sizes = {name: step.fields[name] for name in names if name in step.fields}
    tables: dict[str, Any] = {"cells": [], "gradCells": [], "zeroCell": exporter.empty()} if len(sizes) == 3 else {}
    for name in ("outputs", "gradOutputs", "gradInputs", "_gradOutputs"):
        tables[name] = []
    return exporter.object(
        f"nn.{type(cell).__name__}",
        cell,
        modules=[step],
        sharedClones=[step],
        seqlen=cell.rho,
        step=1,
        zeroOutput=exporter.empty(),
        **sizes,
        **tables,
    )


def step_object(exporter: Exporter, name: str, cell: RecLSTM | RecGRU, **fields: Any) -> TorchObject:
    """An object with the parameters and sizes of such a cell."""
    own: dict[str, Any] = {"outputsize": cell.hidden_size}
    if isinstance(cell, RecLSTM):
        own = {"outputsize": cell.output_size, "hiddensize": cell.hidden_size}
        own |= exporter.values(weightO=cell.weight_o)
    return exporter.object(
        name,
        cell,
        inputsize=cell.input_size,
        maskzero=cell._masks,
        v2=cell._mask_input_dims is None,
        gates=exporter.empty(),
        **own,
        **fields,
        **exporter.values(weight=cell.weight, bias=cell.bias),
    )

"""Criterions of nn, rnn and torch-rnn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torchrnn.layers import (
    BCECriterion,
    ClassNLLCriterion,
    CrossEntropyCriterion,
    DistKLDivCriterion,
    MaskZeroCriterion,
    ModuleCriterion,
    MSECriterion,
    MultiCriterion,
    ParallelCriterion,
    RepeaterCriterion,
    SequencerCriterion,
    TemporalCrossEntropyCriterion,
)
from torchrnn.nce import NCECriterion
from torchrnn.t7.classes.cells import mask_dims
from torchrnn.t7.classes.recurrent import mask_fields
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports

NONE_IGNORED = -100


def criterion_object(exporter: Exporter, name: str, **fields: Any) -> TorchObject:
    made = exporter.object(name, **fields)
    made.fields["output"] = 0
    del made.fields["train"]
    return made


def class_weights(node: Node) -> Tensor | None:
    # Made at once, on the CPU: it is a buffer that is computed from what is given.
    return node.tensor("weights").to("cpu") if "weights" in node else None


def _ignored(node: Node) -> int:
    ignored: int = node.position("ignoreIndex", NONE_IGNORED)
    return ignored


@imports("nn.ClassNLLCriterion")
def class_nll(node: Node) -> nn.Module:
    with torch.device("cpu"):
        return ClassNLLCriterion(class_weights(node), node.flag("sizeAverage", default=True), _ignored(node))


@exports(ClassNLLCriterion)
def _class_nll(exporter: Exporter, module: ClassNLLCriterion) -> TorchObject:
    ignored = module.ignore_index + 1 if module.ignore_index >= 0 else module.ignore_index
    return criterion_object(
        exporter,
        "nn.ClassNLLCriterion",
        weights=module.weights,
        sizeAverage=module.size_average,
        ignoreIndex=ignored,
        output_tensor=torch.zeros(1, dtype=exporter.dtype),
        total_weight_tensor=torch.ones(1, dtype=exporter.dtype),
        target=torch.zeros(1, dtype=torch.int64),
    )


@imports("nn.CrossEntropyCriterion")
def cross_entropy(node: Node) -> nn.Module:
    nll = node.node("nll")
    with torch.device("cpu"):
        return CrossEntropyCriterion(class_weights(nll), nll.flag("sizeAverage", default=True), _ignored(nll))


@exports(CrossEntropyCriterion)
def _cross_entropy(exporter: Exporter, module: CrossEntropyCriterion) -> TorchObject:
    nll = _class_nll(exporter, module)
    return criterion_object(exporter, "nn.CrossEntropyCriterion", nll=nll, lsm=exporter.object("nn.LogSoftMax"))


@imports("nn.MSECriterion")
def mse(node: Node) -> nn.Module:
    return MSECriterion(node.flag("sizeAverage", default=True))


@exports(MSECriterion)
def _mse(exporter: Exporter, module: MSECriterion) -> TorchObject:
    return criterion_object(exporter, "nn.MSECriterion", sizeAverage=module.size_average)


@imports("nn.BCECriterion")
def bce(node: Node) -> nn.Module:
    with torch.device("cpu"):
        return BCECriterion(class_weights(node), node.flag("sizeAverage", default=True))


@exports(BCECriterion)
def _bce(exporter: Exporter, module: BCECriterion) -> TorchObject:
    return criterion_object(exporter, "nn.BCECriterion", weights=module.weights, sizeAverage=module.size_average)


@imports("nn.DistKLDivCriterion")
def dist_kl_div(node: Node) -> nn.Module:
    return DistKLDivCriterion(node.flag("sizeAverage", default=True))


@exports(DistKLDivCriterion)
def _dist_kl_div(exporter: Exporter, module: DistKLDivCriterion) -> TorchObject:
    return criterion_object(exporter, "nn.DistKLDivCriterion", sizeAverage=module.size_average)


@imports("nn.MultiCriterion", "nn.ParallelCriterion")
def composite(node: Node) -> nn.Module:
    is_multi = node.object.class_name == "nn.MultiCriterion"
    made = MultiCriterion() if is_multi else ParallelCriterion(repeat_target=node.flag("repeatTarget"))
    criterions = node.nodes("criterions")
    weights = node.get("weights", (list, Tensor), [1.0] * len(criterions))
    for criterion, weight in zip(criterions, weights, strict=True):
        made.add(node.importer.module(criterion), float(weight))
    return made


@exports(MultiCriterion, ParallelCriterion)
def _composite(exporter: Exporter, module: MultiCriterion | ParallelCriterion) -> TorchObject:
    fields: dict[str, Any] = {"criterions": exporter.modules(module.criterions), "weights": list(module.weights)}
    if isinstance(module, ParallelCriterion):
        fields["repeatTarget"] = module.repeat_target
    return criterion_object(exporter, f"nn.{type(module).__name__}", **fields)


@imports("nn.ModuleCriterion")
def module_criterion(node: Node) -> nn.Module:
    modules = [node.module(name) if name in node else None for name in ("inputModule", "targetModule")]
    return ModuleCriterion(node.module("criterion"), *modules)


@exports(ModuleCriterion)
def _module_criterion(exporter: Exporter, module: ModuleCriterion) -> TorchObject:
    criterion = exporter.module(module.criterion, "criterion")
    if module.input_module is None and module.target_module is None:
        return criterion
    modules = {"inputModule": module.input_module, "targetModule": module.target_module}
    made = {name: None if part is None else exporter.module(part, name) for name, part in modules.items()}
    return criterion_object(exporter, "nn.ModuleCriterion", criterion=criterion, castTarget=True, **made)


@imports("nn.SequencerCriterion", "nn.RepeaterCriterion")
def over_time(node: Node) -> nn.Module:
    kind = SequencerCriterion if node.object.class_name == "nn.SequencerCriterion" else RepeaterCriterion
    return kind(node.module("criterion"), node.flag("sizeAverage"))


@exports(SequencerCriterion, RepeaterCriterion)
def _over_time(exporter: Exporter, module: SequencerCriterion | RepeaterCriterion) -> TorchObject:
    criterion = exporter.module(module.criterion, "criterion")
    fields: dict[str, Any] = {"clones": [criterion], "sizeAverage": module.size_average}
    return criterion_object(exporter, f"nn.{type(module).__name__}", criterion=criterion, **fields)


@imports("nn.MaskZeroCriterion")
def mask_zero_criterion(node: Node) -> nn.Module:
    return MaskZeroCriterion(node.module("criterion"), mask_dims(node))


@exports(MaskZeroCriterion)
def _mask_zero_criterion(exporter: Exporter, module: MaskZeroCriterion) -> TorchObject:
    criterion = exporter.module(module.criterion, "criterion")
    return criterion_object(exporter, "nn.MaskZeroCriterion", criterion=criterion, **mask_fields(module.n_input_dims))


@imports("nn.TemporalCrossEntropyCriterion")
def temporal_cross_entropy(node: Node) -> nn.Module:
    batch, time = node.flag("batch_average", default=True), node.flag("time_average")
    return TemporalCrossEntropyCriterion(batch, time, ignore_index=-1)


@exports(TemporalCrossEntropyCriterion)
def _temporal_cross_entropy(exporter: Exporter, module: TemporalCrossEntropyCriterion) -> TorchObject:
    averages = {"batch_average": module.batch_average, "time_average": module.time_average}
    inside = {
        "lsm": exporter.object("nn.LogSoftMax"),
        "nll": _class_nll(exporter, ClassNLLCriterion(size_average=False)),
    }
    buffers = {name: exporter.empty() for name in ("grad_logprobs", "losses")}
    return criterion_object(exporter, "nn.TemporalCrossEntropyCriterion", **averages, **inside, **buffers)


@imports("nn.NCECriterion")
def nce_criterion(node: Node) -> nn.Module:
    return NCECriterion(node.flag("sizeAverage", default=True))


@exports(NCECriterion)
def _nce_criterion(exporter: Exporter, module: NCECriterion) -> TorchObject:
    return criterion_object(exporter, "nn.NCECriterion", sizeAverage=module.size_average)

"""Criterions of nn that torch.nn has, too."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchrnn.layers import ModuleCriterion
from torchrnn.t7.classes.criterions import class_weights, criterion_object
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports

LOSSES: dict[str, type[nn.Module]] = {
    "nn.AbsCriterion": nn.L1Loss,
    "nn.SmoothL1Criterion": nn.SmoothL1Loss,
    "nn.BinaryLogisticRegression": nn.SoftMarginLoss,
    "nn.SoftMarginCriterion": nn.SoftMarginLoss,  # the one to write
    "nn.HingeEmbeddingCriterion": nn.HingeEmbeddingLoss,
    "nn.MultiMarginCriterion": nn.MultiMarginLoss,
    "nn.MultiLabelMarginCriterion": nn.MultiLabelMarginLoss,
    "nn.SpatialClassNLLCriterion": nn.NLLLoss,
}
NUMBERS: dict[type[nn.Module], dict[str, Any]] = {
    nn.HingeEmbeddingLoss: {"margin": 1.0},
    nn.MultiMarginLoss: {"margin": 1.0, "p": 1},
}
"""Settings of the same name in both worlds, with Torch7's defaults."""
WEIGHTED = (nn.MultiMarginLoss, nn.NLLLoss)


@imports(*LOSSES)
def loss(node: Node) -> nn.Module:
    kind = LOSSES[node.object.class_name]
    options: dict[str, Any] = {name: node.get(name, (int, float), old) for name, old in NUMBERS.get(kind, {}).items()}
    if kind in WEIGHTED:
        options["weight"] = class_weights(node)
    with torch.device("cpu"):
        return ModuleCriterion(kind(**options, reduction=_reduction(node)))


def _reduction(node: Node) -> str:
    return "mean" if node.flag("sizeAverage", default=True) else "sum"


@exports(*LOSSES.values(), nn.MSELoss)
def _loss(exporter: Exporter, module: Any) -> TorchObject:
    if module.reduction not in ("mean", "sum") or getattr(module, "beta", 1) != 1:
        raise exporter.error(module, "Torch7's takes the mean or the sum, without a beta")
    if getattr(module, "ignore_index", -100) != -100:
        raise exporter.error(module, "Torch7's leaves no class out: ignore_index must be -100")
    names = {kind: name for name, kind in LOSSES.items()} | {nn.MSELoss: "nn.MSECriterion"}
    fields = {name: getattr(module, name) for name in NUMBERS.get(type(module), {})}
    if isinstance(module, WEIGHTED):
        fields["weights"] = module.weight
    if isinstance(module, nn.MultiLabelMarginLoss):
        fields["isTarget"] = exporter.empty()
    if isinstance(module, nn.NLLLoss):
        fields["output_tensor"] = torch.zeros(1, dtype=exporter.dtype)
        fields["total_weight_tensor"] = torch.ones(1, dtype=exporter.dtype)
        fields["target"] = torch.zeros(1, dtype=torch.int64)
    return criterion_object(exporter, names[type(module)], sizeAverage=module.reduction == "mean", **fields)


@imports("nn.MultiLabelSoftMarginCriterion")
def multi_label_soft_margin(node: Node) -> nn.Module:
    # Up to 2017 it was put together from others, of which one had the weights.
    inside = node.node("nll") if "nll" in node else node
    with torch.device("cpu"):
        return ModuleCriterion(nn.MultiLabelSoftMarginLoss(class_weights(inside), reduction=_reduction(inside)))


@exports(nn.MultiLabelSoftMarginLoss)
def _multi_label_soft_margin(exporter: Exporter, module: nn.MultiLabelSoftMarginLoss) -> TorchObject:
    if module.reduction != "mean":
        raise exporter.error(module, "Torch7's takes the mean")
    nll = criterion_object(exporter, "nn.BCECriterion", weights=module.weight, sizeAverage=True)
    lsm = exporter.object("nn.Sigmoid")
    return criterion_object(exporter, "nn.MultiLabelSoftMarginCriterion", lsm=lsm, nll=nll)

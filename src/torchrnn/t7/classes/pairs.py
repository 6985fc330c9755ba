"""Layers and criterions of nn that take a table of two, and their counterparts in torch.nn two arguments."""

from __future__ import annotations

from torch import nn

from torchrnn.layers import ModuleCriterion
from torchrnn.t7.classes.criterions import criterion_object
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.of_table import OfTable
from torchrnn.t7.registry import exports, imports

LOSSES: dict[str, tuple[type[nn.CosineEmbeddingLoss | nn.MarginRankingLoss], float]] = {
    "nn.CosineEmbeddingCriterion": (nn.CosineEmbeddingLoss, 0.0),
    "nn.MarginRankingCriterion": (nn.MarginRankingLoss, 1.0),
}
"""With the margins that Torch7 takes where none is given."""


@imports("nn.Bilinear")
def bilinear(node: Node) -> nn.Module:
    n_out, n_first, n_second = node.tensor("weight").shape
    made = nn.Bilinear(n_first, n_second, n_out, bias="bias" in node)
    node.importer.fill(made, node, node.parameters())
    return OfTable(made)


@imports("nn.CosineDistance")
def cosine_distance(node: Node) -> nn.Module:
    return OfTable(nn.CosineSimilarity(-1))


@imports("nn.PairwiseDistance")
def pairwise_distance(node: Node) -> nn.Module:
    return OfTable(nn.PairwiseDistance(node.number("norm", 2), eps=0))


@imports(*LOSSES)
def loss_of_two(node: Node) -> nn.Module:
    kind, margin = LOSSES[node.object.class_name]
    reduction = "mean" if node.flag("sizeAverage", default=True) else "sum"
    return ModuleCriterion(OfTable(kind(node.number("margin", margin), reduction=reduction)))


@exports(OfTable)
def _of_table(exporter: Exporter, module: OfTable) -> TorchObject:
    inside = module.module
    if isinstance(inside, nn.Bilinear):
        return exporter.with_parameters("nn.Bilinear", inside)
    if isinstance(inside, nn.CosineSimilarity) and inside.dim in (-1, 1):
        return exporter.object("nn.CosineDistance", module)
    if isinstance(inside, nn.PairwiseDistance) and not inside.keepdim and inside.eps == 0:
        return exporter.object("nn.PairwiseDistance", module, norm=inside.norm)
    for name, (kind, _) in LOSSES.items():
        if type(inside) is kind and inside.reduction in ("mean", "sum"):
            average = inside.reduction == "mean"
            return criterion_object(exporter, name, margin=inside.margin, sizeAverage=average)
    raise exporter.error(module, f"Torch7 has no {inside} that takes a table")

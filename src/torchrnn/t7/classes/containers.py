"""Containers and table layers of nn."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import torchrnn.layers as layers
from torchrnn.layers import (
    CAddTable,
    CDivTable,
    CMaxTable,
    CMinTable,
    CMulTable,
    ConcatTable,
    CSubTable,
    DotProduct,
    FlattenTable,
    JoinTable,
    MapTable,
    MixtureTable,
    NarrowTable,
    ParallelTable,
    ReverseTable,
    SelectTable,
    Sequential,
    SplitTable,
    ZipTable,
    ZipTableOneToMany,
)
from torchrnn.t7.exporter import Exporter, long_storage, one_based
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports, same

same("nn.Identity", nn.Identity)
same("nn.CAddTable", CAddTable)
same("nn.CSubTable", CSubTable)
same("nn.CMulTable", CMulTable)
same("nn.CDivTable", CDivTable)
same("nn.CMaxTable", CMaxTable)
same("nn.CMinTable", CMinTable)
same("nn.DotProduct", DotProduct)
same("nn.FlattenTable", FlattenTable)
same("nn.ZipTable", ZipTable)
same("nn.ZipTableOneToMany", ZipTableOneToMany)
same("nn.ReverseTable", ReverseTable)


@imports("nn.Sequential", "nn.ConcatTable", "nn.ParallelTable")
def container(node: Node) -> nn.Module:
    kind = getattr(layers, node.object.class_name.removeprefix("nn."))
    made: nn.Module = kind(*node.modules())
    return made


@exports(Sequential, ConcatTable, ParallelTable)
def _container(exporter: Exporter, module: Sequential | ConcatTable | ParallelTable) -> TorchObject:
    return exporter.object(f"nn.{type(module).__name__}", module, modules=exporter.modules(module))


@exports(nn.Sequential)
def _torch_sequential(exporter: Exporter, module: nn.Sequential) -> TorchObject:
    return exporter.object("nn.Sequential", module, modules=exporter.modules(module))


@imports("nn.Concat")
def concat(node: Node) -> nn.Module:
    return Sequential(ConcatTable(*node.modules()), JoinTable(node.position("dimension")))


@imports("nn.Parallel")
def parallel(node: Node) -> nn.Module:
    split, join = SplitTable(node.position("inputDimension")), JoinTable(node.position("outputDimension"))
    return Sequential(split, ParallelTable(*node.modules()), join)


@imports("nn.MapTable")
def map_table(node: Node) -> nn.Module:
    if "module" not in node and not node.nodes():
        return MapTable()
    # The others are clones of the first for further elements, which share its parameters.
    return MapTable(node.module("module") if "module" in node else node.modules()[0])


@exports(MapTable)
def _map_table(exporter: Exporter, module: MapTable) -> TorchObject:
    inside = exporter.modules(module)
    fields: dict[str, Any] = {"module": inside[0]} if inside else {}
    shared = ["weight", "bias", "gradWeight", "gradBias"]
    return exporter.object("nn.MapTable", module, modules=inside, shared=True, sharedparams=shared, **fields)


@imports("nn.JoinTable", "nn.SplitTable")
def join_or_split(node: Node) -> nn.Module:
    kind = JoinTable if node.object.class_name == "nn.JoinTable" else SplitTable
    return kind(node.position("dimension"), node.integer("nInputDims", None))


@exports(JoinTable)
def _join_table(exporter: Exporter, module: JoinTable) -> TorchObject:
    dims = {"dimension": one_based(module.dim), "nInputDims": module.n_input_dims}
    return exporter.object("nn.JoinTable", module, size=long_storage([]), **dims)


@exports(SplitTable)
def _split_table(exporter: Exporter, module: SplitTable) -> TorchObject:
    dims = {"dimension": one_based(module.dim), "nInputDims": module.n_input_dims}
    return exporter.object("nn.SplitTable", module, **dims)


@imports("nn.SelectTable")
def select_table(node: Node) -> nn.Module:
    return SelectTable(node.position("index"))


@exports(SelectTable)
def _select_table(exporter: Exporter, module: SelectTable) -> TorchObject:
    return exporter.object("nn.SelectTable", module, index=one_based(module.index))


@imports("nn.NarrowTable")
def narrow_table(node: Node) -> nn.Module:
    return NarrowTable(node.position("offset"), node.integer("length", 1))


@exports(NarrowTable)
def _narrow_table(exporter: Exporter, module: NarrowTable) -> TorchObject:
    return exporter.object("nn.NarrowTable", module, offset=one_based(module.offset), length=module.length)


@imports("nn.MixtureTable")
def mixture_table(node: Node) -> nn.Module:
    return MixtureTable(node.position("dim", None))


@exports(MixtureTable)
def _mixture_table(exporter: Exporter, module: MixtureTable) -> TorchObject:
    buffers = {name: torch.empty(0, dtype=exporter.dtype) for name in ("size2", "_gaterView", "_expert", "_expertView")}
    return exporter.object("nn.MixtureTable", module, dim=one_based(module.dim), **buffers)

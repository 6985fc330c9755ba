"""Layers of nn that pick, reshape and reduce."""

from __future__ import annotations

import math

from torch import nn

import torchrnn.layers as layers
from torchrnn.layers import (
    Max,
    Mean,
    Min,
    Narrow,
    Replicate,
    Reshape,
    Select,
    Squeeze,
    Sum,
    Transpose,
    Unsqueeze,
    View,
)
from torchrnn.t7.exporter import Exporter, long_storage, one_based
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.padding import Padding
from torchrnn.t7.registry import exports, imports, same

same("nn.Copy", nn.Identity)
same("nn.Contiguous", nn.Identity)
same("nn.Identity", nn.Identity)  # the one to export


@imports("nn.Select")
def select(node: Node) -> nn.Module:
    return Select(node.position("dimension"), node.position("index"))


@exports(Select)
def _select(exporter: Exporter, module: Select) -> TorchObject:
    return exporter.object("nn.Select", module, dimension=one_based(module.dim), index=one_based(module.index))


@imports("nn.Narrow")
def narrow(node: Node) -> nn.Module:
    return Narrow(node.position("dimension"), node.position("index"), node.integer("length", 1))


@exports(Narrow)
def _narrow(exporter: Exporter, module: Narrow) -> TorchObject:
    dims = {"dimension": one_based(module.dim), "index": one_based(module.offset)}
    return exporter.object("nn.Narrow", module, length=module.length, **dims)


@imports("nn.Transpose")
def transpose(node: Node) -> nn.Module:
    pairs = node.get("permutations", list)
    if any(type(dim) is not int or dim < 1 for pair in pairs for dim in pair):
        raise node.error(f"field permutations must hold pairs of dimensions; got {pairs}")
    return Transpose(*([dim - 1 for dim in pair] for pair in pairs))


@exports(Transpose)
def _transpose(exporter: Exporter, module: Transpose) -> TorchObject:
    if any(dim < 0 for pair in module.pairs for dim in pair):
        raise exporter.error(module, "Torch7's Transpose takes no negative dimensions")
    return exporter.object("nn.Transpose", module, permutations=[[a + 1, b + 1] for a, b in module.pairs])


@imports("nn.View")
def view(node: Node) -> nn.Module:
    return View(*node.sizes("size"), n_input_dims=node.integer("numInputDims", None))


@imports("nn.Collapse")
def collapse(node: Node) -> nn.Module:
    return View(-1, n_input_dims=node.integer("nInputDim"))


@exports(View)
def _view(exporter: Exporter, module: View) -> TorchObject:
    return exporter.object(
        "nn.View",
        module,
        size=long_storage(module.size),
        numElements=math.prod(abs(size) for size in module.size),
        numInputDims=module.n_input_dims,
    )


@imports("nn.Reshape")
def reshape(node: Node) -> nn.Module:
    return Reshape(*node.sizes("size"), batch_mode=node.get("batchMode", bool, None))


@exports(Reshape)
def _reshape(exporter: Exporter, module: Reshape) -> TorchObject:
    return exporter.object(
        "nn.Reshape",
        module,
        size=long_storage(module.size),
        batchsize=long_storage([1, *module.size]),
        nelement=math.prod(module.size),
        batchMode=module.batch_mode,
    )


@imports("nn.Squeeze")
def squeeze(node: Node) -> nn.Module:
    return Squeeze(node.position("dim", None), node.integer("numInputDims", None))


@exports(Squeeze)
def _squeeze(exporter: Exporter, module: Squeeze) -> TorchObject:
    return exporter.object("nn.Squeeze", module, dim=one_based(module.dim), numInputDims=module.n_input_dims)


@imports("nn.Unsqueeze")
def unsqueeze(node: Node) -> nn.Module:
    return Unsqueeze(node.position("pos"), node.integer("numInputDims", None))


@exports(Unsqueeze)
def _unsqueeze(exporter: Exporter, module: Unsqueeze) -> TorchObject:
    return exporter.object("nn.Unsqueeze", module, pos=one_based(module.dim), numInputDims=module.n_input_dims)


@imports("nn.Replicate")
def replicate(node: Node) -> nn.Module:
    return Replicate(node.integer("nfeatures"), node.position("dim", 0), node.integer("ndim", None))


@exports(Replicate)
def _replicate(exporter: Exporter, module: Replicate) -> TorchObject:
    dims = {"dim": one_based(module.dim), "ndim": module.n_input_dims}
    return exporter.object("nn.Replicate", module, nfeatures=module.n, **dims)


@imports("nn.Padding")
def padding(node: Node) -> nn.Module:
    if node.integer("index", 1) != 1:
        raise node.error("pads in the middle of a dimension, which ours does not")
    dims = node.integer("nInputDim", None)
    return Padding(node.position("dim"), node.integer("pad"), dims, node.number("value", 0))


@exports(Padding)
def _padding(exporter: Exporter, module: Padding) -> TorchObject:
    if module.dim < 0:
        raise exporter.error(module, "Torch7's Padding takes no negative dimensions")
    dims = {"dim": module.dim + 1, "nInputDim": module.n_input_dims, "index": 1, "outputSize": long_storage([])}
    return exporter.object("nn.Padding", module, pad=module.pad, value=module.value, **dims)


@imports("nn.Sum", "nn.Mean", "nn.Max", "nn.Min")
def reduction(node: Node) -> nn.Module:
    kind = getattr(layers, node.object.class_name.removeprefix("nn."))
    if not node.flag("squeeze", default=True):
        raise node.error("keeps the dimension that it reduces, which ours does not")
    if kind is Sum and node.flag("sizeAverage"):
        kind = Mean
    made: nn.Module = kind(node.position("dimension", 0), node.integer("nInputDims", None))
    return made


@exports(Sum, Mean)
def _sum_or_mean(exporter: Exporter, module: Sum | Mean) -> TorchObject:
    is_mean = isinstance(module, Mean)
    dims = {"dimension": one_based(module.dim), "nInputDims": module.n_input_dims}
    return exporter.object(f"nn.{type(module).__name__}", module, sizeAverage=is_mean, squeeze=True, **dims)


@exports(Max, Min)
def _max_or_min(exporter: Exporter, module: Max | Min) -> TorchObject:
    dims = {"dimension": one_based(module.dim), "nInputDims": module.n_input_dims}
    return exporter.object(f"nn.{type(module).__name__}", module, **dims)

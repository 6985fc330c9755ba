"""Layers of nn and cudnn for images that are neither convolution nor pooling."""

from __future__ import annotations

from torch import nn

from torchrnn.t7.exporter import Exporter, long_storage
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import alias, exports, imports
from torchrnn.t7.spatial import SpatialCrossMapLRN, SpatialDropout, SpatialUpSamplingNearest

PADDINGS: dict[str, type[nn.Module]] = {
    "nn.SpatialZeroPadding": nn.ZeroPad2d,
    "nn.SpatialReflectionPadding": nn.ReflectionPad2d,
    "nn.SpatialReplicationPadding": nn.ReplicationPad2d,
}
SIDES = ("pad_l", "pad_r", "pad_t", "pad_b")


@imports(*PADDINGS)
def padding(node: Node) -> nn.Module:
    return PADDINGS[node.object.class_name](tuple(node.integer(side) for side in SIDES))


@exports(*PADDINGS.values())
def _padding(exporter: Exporter, module: nn.ZeroPad2d | nn.ReflectionPad2d | nn.ReplicationPad2d) -> TorchObject:
    name = next(name for name, kind in PADDINGS.items() if kind is type(module))
    return exporter.object(name, module, **dict(zip(SIDES, module.padding, strict=True)))


@imports("nn.SpatialDropout")
def spatial_dropout(node: Node) -> nn.Module:
    if node.flag("stochastic_inference"):
        raise node.error("drops in evaluation, too, which ours does not")
    return SpatialDropout(node.number("p"))


@exports(SpatialDropout)
def _spatial_dropout(exporter: Exporter, module: SpatialDropout) -> TorchObject:
    return exporter.object("nn.SpatialDropout", module, p=module.p, noise=exporter.empty())


@exports(nn.Dropout2d)
def _dropout_2d(exporter: Exporter, module: nn.Dropout2d) -> TorchObject:
    """With a factor, since Torch7's makes its input smaller in training and evaluation alike."""
    if module.p == 1:
        raise exporter.error(module, "a p of 1 drops everything, for which there is no factor")
    dropout = _spatial_dropout(exporter, SpatialDropout(module.p).train(bool(module.training)))
    factor = exporter.object("nn.MulConstant", constant_scalar=1 / (1 - module.p), inplace=False)
    return exporter.object("nn.Sequential", module, modules=[dropout, factor])


@imports("nn.SpatialUpSamplingNearest")
def up_sampling(node: Node) -> nn.Module:
    return SpatialUpSamplingNearest(node.integer("scale_factor"))


@exports(SpatialUpSamplingNearest)
def _up_sampling(exporter: Exporter, module: SpatialUpSamplingNearest) -> TorchObject:
    sizes = {name: long_storage([0] * 4) for name in ("inputSize", "outputSize")}
    return exporter.object("nn.SpatialUpSamplingNearest", module, scale_factor=module.scale, **sizes)


@imports("nn.SpatialCrossMapLRN")
def local_response(node: Node) -> nn.Module:
    k = node.number("K" if "K" in node else "k", 1)  # which cudnn spells in capitals
    return SpatialCrossMapLRN(node.integer("size"), node.number("alpha", 1e-4), node.number("beta", 0.75), k)


alias("nn.SpatialCrossMapLRN", "cudnn.SpatialCrossMapLRN")


@exports(SpatialCrossMapLRN, nn.LocalResponseNorm, nn.CrossMapLRN2d)
def _local_response(
    exporter: Exporter, module: SpatialCrossMapLRN | nn.LocalResponseNorm | nn.CrossMapLRN2d
) -> TorchObject:
    if module.size % 2 == 0:
        raise exporter.error(module, "Torch7's sums up an odd number of channels")
    numbers = {"size": module.size, "alpha": module.alpha, "beta": module.beta, "k": module.k}
    return exporter.object("nn.SpatialCrossMapLRN", module, **numbers, scale=exporter.empty())


@imports("nn.PixelShuffle")
def pixel_shuffle(node: Node) -> nn.Module:
    return nn.PixelShuffle(node.integer("upscaleFactor"))


@exports(nn.PixelShuffle)
def _pixel_shuffle(exporter: Exporter, module: nn.PixelShuffle) -> TorchObject:
    factor = module.upscale_factor
    return exporter.object("nn.PixelShuffle", module, upscaleFactor=factor, upscaleFactorSquared=factor * factor)

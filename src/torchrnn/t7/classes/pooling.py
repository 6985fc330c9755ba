"""Pooling of nn and cudnn over images, volumes and time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchrnn.t7.classes.axes import IMAGE, VOLUME, Axes, per_axis, spread
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import alias, exports, imports
from torchrnn.t7.temporal import TemporalMaxPooling


def axes_of(node: Node) -> Axes:
    return VOLUME if "Volumetric" in node.object.class_name else IMAGE


@imports(
    "nn.SpatialMaxPooling", "nn.SpatialDilatedMaxPooling", "nn.VolumetricMaxPooling", "nn.VolumetricDilatedMaxPooling"
)
def max_pooling(node: Node) -> nn.Module:
    axes = axes_of(node)
    return (nn.MaxPool3d if axes == VOLUME else nn.MaxPool2d)(
        per_axis(node, "k", axes),
        per_axis(node, "d", axes),
        per_axis(node, "pad", axes, 0),
        per_axis(node, "dilation", axes, 1),
        ceil_mode=node.flag("ceil_mode"),
    )


alias("nn.SpatialMaxPooling", "cudnn.SpatialMaxPooling")
alias("nn.VolumetricMaxPooling", "cudnn.VolumetricMaxPooling")


@exports(nn.MaxPool2d, nn.MaxPool3d)
def _max_pooling(exporter: Exporter, module: nn.MaxPool2d | nn.MaxPool3d) -> TorchObject:
    axes, name = (VOLUME, "Volumetric") if isinstance(module, nn.MaxPool3d) else (IMAGE, "Spatial")
    if module.return_indices:
        raise exporter.error(module, "Torch7's returns no indices: return_indices must be false")
    sizes = spread(axes, k=module.kernel_size, d=module.stride, pad=module.padding)
    dilation = spread(axes, dilation=module.dilation)
    kind = "MaxPooling"
    if any(n != 1 for n in dilation.values()):
        kind, sizes = "DilatedMaxPooling", sizes | dilation
    indices = torch.empty(0, dtype=torch.int64)
    return exporter.object(f"nn.{name}{kind}", module, ceil_mode=module.ceil_mode, indices=indices, **sizes)


@imports("nn.SpatialAveragePooling", "nn.VolumetricAveragePooling")
def average_pooling(node: Node) -> nn.Module:
    axes, name = axes_of(node), node.object.class_name
    padding, is_ceiled = per_axis(node, "pad", axes, 0), node.flag("ceil_mode")
    counts_padding = node.flag("count_include_pad", default=True) and "EXCLUDE" not in node.get("mode", str, "")
    # Versions from before there was this field took the sum; the others divide by default.
    divides = node.flag("divide", default=name != "nn.SpatialAveragePooling")
    if not divides and (is_ceiled or (any(padding) and not counts_padding)):
        raise node.error("is a sum over windows that reach over the edges, which torch.nn has not")
    options: dict[str, Any] = {"ceil_mode": is_ceiled, "count_include_pad": counts_padding}
    options["divisor_override"] = None if divides else 1
    kind: Any = nn.AvgPool3d if axes == VOLUME else nn.AvgPool2d
    made: nn.Module = kind(per_axis(node, "k", axes), per_axis(node, "d", axes), padding, **options)
    return made


alias("nn.SpatialAveragePooling", "cudnn.SpatialAveragePooling")
alias("nn.VolumetricAveragePooling", "cudnn.VolumetricAveragePooling")


@exports(nn.AvgPool2d, nn.AvgPool3d)
def _average_pooling(exporter: Exporter, module: nn.AvgPool2d | nn.AvgPool3d) -> TorchObject:
    is_volume = isinstance(module, nn.AvgPool3d)
    axes, name = (VOLUME, "nn.VolumetricAveragePooling") if is_volume else (IMAGE, "nn.SpatialAveragePooling")
    divisor = module.divisor_override
    if divisor is not None and (divisor != 1 or is_volume or module.ceil_mode):
        raise exporter.error(module, "Torch7's divides by the size of its windows: divisor_override must be None")
    sizes = spread(axes, k=module.kernel_size, d=module.stride, pad=module.padding)
    return exporter.object(
        name,
        module,
        ceil_mode=module.ceil_mode,
        count_include_pad=module.count_include_pad or divisor is not None,
        divide=divisor is None,
        **sizes,
    )


@imports("nn.SpatialAdaptiveMaxPooling", "nn.SpatialAdaptiveAveragePooling")
def adaptive_pooling(node: Node) -> nn.Module:
    size = node.integer("H"), node.integer("W")
    is_max = node.object.class_name == "nn.SpatialAdaptiveMaxPooling"
    return nn.AdaptiveMaxPool2d(size) if is_max else nn.AdaptiveAvgPool2d(size)


@exports(nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
def _adaptive_pooling(exporter: Exporter, module: nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d) -> TorchObject:
    size: Any = module.output_size
    height, width = (size, size) if isinstance(size, int) else size
    if height is None or width is None or getattr(module, "return_indices", False):
        raise exporter.error(module, "Torch7's has a fixed output size and returns no indices")
    kind = "Max" if isinstance(module, nn.AdaptiveMaxPool2d) else "Average"
    return exporter.object(f"nn.SpatialAdaptive{kind}Pooling", module, W=width, H=height)


@imports("nn.TemporalMaxPooling")
def temporal_max_pooling(node: Node) -> nn.Module:
    return TemporalMaxPooling(node.integer("kW"), node.integer("dW"))


@exports(TemporalMaxPooling)
def _temporal_max_pooling(exporter: Exporter, module: TemporalMaxPooling) -> TorchObject:
    indices = torch.empty(0, dtype=torch.int64)
    return exporter.object("nn.TemporalMaxPooling", module, kW=module.width, dW=module.stride, indices=indices)

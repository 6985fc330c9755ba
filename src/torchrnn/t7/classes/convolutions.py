"""Convolutions of nn and cudnn over images, volumes and time."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from torchrnn.t7.classes.axes import IMAGE, VOLUME, Axes, per_axis, spread
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import alias, exports, imports
from torchrnn.t7.temporal import TemporalConvolution

CONVOLUTIONS: dict[str, tuple[type[nn.Module], Axes]] = {
    "nn.SpatialConvolution": (nn.Conv2d, IMAGE),
    "nn.SpatialDilatedConvolution": (nn.Conv2d, IMAGE),
    "nn.SpatialFullConvolution": (nn.ConvTranspose2d, IMAGE),
    "nn.VolumetricConvolution": (nn.Conv3d, VOLUME),
    "nn.VolumetricDilatedConvolution": (nn.Conv3d, VOLUME),
    "nn.VolumetricFullConvolution": (nn.ConvTranspose3d, VOLUME),
}
AXES: dict[type[nn.Module], Axes] = dict(CONVOLUTIONS.values())
NAMES = {
    nn.Conv2d: "SpatialConvolution",
    nn.Conv3d: "VolumetricConvolution",
    nn.ConvTranspose2d: "SpatialFullConvolution",
    nn.ConvTranspose3d: "VolumetricFullConvolution",
}
Convolution = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d


@imports(*CONVOLUTIONS)
def convolution(node: Node) -> nn.Module:
    name = node.object.class_name.replace("cudnn.", "nn.").removesuffix("MM")
    kind, axes = CONVOLUTIONS[name]
    # Files from before there were two paddings have one.
    padding = per_axis(node, "pad", axes, node.integer("padding", 0))
    options: dict[str, Any] = {"output_padding": per_axis(node, "adj", axes, 0)} if "Full" in name else {}
    planes, kernel = (node.integer("nInputPlane"), node.integer("nOutputPlane")), per_axis(node, "k", axes)
    if min(*planes, *kernel) < 1:
        raise node.error(f"the numbers of planes and the size of the window must be positive; got {planes}, {kernel}")
    made = kind(
        *planes,
        kernel,
        per_axis(node, "d", axes, 1),
        padding,
        groups=node.integer("groups", 1),
        dilation=per_axis(node, "dilation", axes, 1),
        bias="bias" in node,
        **options,
    )
    weight, *bias = node.parameters()
    node.importer.fill(made, node, [_unfolded(weight, made.get_parameter("weight")), *bias])
    return made


def _unfolded(weight: Tensor, like: Tensor) -> Tensor:
    """A weight that was saved as the matrix with which windows are multiplied."""
    is_matrix = weight.dim() == 2 and weight.numel() == math.prod(like.shape)
    return weight.view(like.shape) if is_matrix else weight


alias("nn.SpatialConvolution", "nn.SpatialConvolutionMM", "cudnn.SpatialConvolution")
alias("nn.SpatialFullConvolution", "cudnn.SpatialFullConvolution")
alias("nn.VolumetricConvolution", "cudnn.VolumetricConvolution")


@exports(*NAMES)
def _convolution(exporter: Exporter, module: Convolution) -> TorchObject:
    axes, name = AXES[type(module)], NAMES[type(module)]
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise exporter.error(module, "Torch7's takes a number of zeros on each side as its padding")
    sizes = spread(axes, k=module.kernel_size, d=module.stride, pad=module.padding)
    is_dilated, is_full = any(n != 1 for n in module.dilation), "Full" in name
    if is_full:
        sizes |= spread(axes, adj=module.output_padding)
    if is_dilated and (is_full or module.groups != 1):
        raise exporter.error(module, "Torch7 has no dilation together with groups or in a transposed convolution")
    if is_dilated:
        name = name.replace("Convolution", "DilatedConvolution")
        sizes |= spread(axes, dilation=module.dilation)
    # Only those of cudnn know groups.
    package, groups = ("nn", None) if module.groups == 1 else ("cudnn", module.groups)
    buffers = {buffer: exporter.empty() for buffer in ("finput", "fgradInput")}
    return exporter.with_parameters(
        f"{package}.{name}",
        module,
        nInputPlane=module.in_channels,
        nOutputPlane=module.out_channels,
        groups=groups,
        **sizes,
        **buffers,
    )


# ---------------------------------------------------------------------- over time


@imports("nn.TemporalConvolution")
def temporal_convolution(node: Node) -> nn.Module:
    n_in, n_out, width = (node.integer(name) for name in ("inputFrameSize", "outputFrameSize", "kW"))
    made = TemporalConvolution(n_in, n_out, width, node.integer("dW", 1))
    weight = node.tensor("weight")
    if weight.shape != (n_out, width * n_in):
        raise node.error(f"field weight must have shape {(n_out, width * n_in)}; got {tuple(weight.shape)}")
    by_step = weight.view(n_out, width, n_in).transpose(1, 2)
    node.importer.fill(made, node, [by_step, node.tensor("bias")])
    return made


@exports(TemporalConvolution)
def _temporal_convolution(exporter: Exporter, module: TemporalConvolution) -> TorchObject:
    inside: Any = module.convolution
    values = exporter.values(weight=inside.weight, bias=inside.bias)
    for name in ("weight", "gradWeight"):
        values[name] = values[name].transpose(1, 2).flatten(1)
    sizes = {"inputFrameSize": inside.in_channels, "outputFrameSize": inside.out_channels}
    steps = {"kW": inside.kernel_size[0], "dW": inside.stride[0]}
    return exporter.object("nn.TemporalConvolution", module, **sizes, **steps, **values)

"""Elementwise functions of nn."""

from __future__ import annotations

from torch import nn

from torchrnn.layers import Abs, Exp, Log, Sqrt, Square
from torchrnn.t7.exporter import Exporter, one_based
from torchrnn.t7.node import REQUIRED, Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import alias, exports, imports, same, with_numbers
from torchrnn.t7.softmax import LogSoftMax, SoftMax, SoftMin

IN_PLACE = {"inplace": False}

same("nn.Sigmoid", nn.Sigmoid)
same("nn.Tanh", nn.Tanh)
same("nn.SoftSign", nn.Softsign)
same("nn.LogSigmoid", nn.LogSigmoid)
same("nn.TanhShrink", nn.Tanhshrink)
same("nn.Abs", Abs)
same("nn.Square", Square)
same("nn.Exp", Exp)
same("nn.Log", Log)
same("nn.SoftMax", SoftMax)
same("nn.SoftMin", SoftMin)

with_numbers(
    "nn.Threshold", nn.Threshold, {"threshold": ("threshold", REQUIRED), "value": ("val", REQUIRED)}, **IN_PLACE
)
with_numbers("nn.LeakyReLU", nn.LeakyReLU, {"negative_slope": ("negval", 0.01)}, **IN_PLACE)
with_numbers("nn.ReLU6", nn.ReLU6, {}, **IN_PLACE)
with_numbers("nn.ELU", nn.ELU, {"alpha": ("alpha", 1)}, **IN_PLACE)
with_numbers("nn.HardTanh", nn.Hardtanh, {"min_val": ("min_val", -1), "max_val": ("max_val", 1)}, **IN_PLACE)
with_numbers("nn.SoftPlus", nn.Softplus, {"beta": ("beta", 1), "threshold": ("threshold", 20)})
with_numbers("nn.HardShrink", nn.Hardshrink, {"lambd": ("lambda", 0.5)})
with_numbers("nn.SoftShrink", nn.Softshrink, {"lambd": ("lambda", 0.5)})
alias("nn.HardTanh", "nn.Clamp")


@imports("nn.ReLU")
def relu(node: Node) -> nn.Module:
    threshold, value = node.number("threshold", 0), node.number("val", 0)
    return nn.ReLU() if threshold == value == 0 else nn.Threshold(threshold, value)


@exports(nn.ReLU)
def _relu(exporter: Exporter, module: nn.ReLU) -> TorchObject:
    return exporter.object("nn.ReLU", module, threshold=0, val=0, inplace=False)


@imports("nn.RReLU")
def random_relu(node: Node) -> nn.Module:
    if node.flag("channelwise"):
        raise node.error("draws one slope for a channel, torch.nn.RReLU one for each element")
    return nn.RReLU(node.number("lower"), node.number("upper"))


@exports(nn.RReLU)
def _random_relu(exporter: Exporter, module: nn.RReLU) -> TorchObject:
    slopes = {"lower": module.lower, "upper": module.upper}
    return exporter.object("nn.RReLU", module, **slopes, noise=exporter.empty(), inplace=False, channelwise=False)


@imports("nn.PReLU")
def parametric_relu(node: Node) -> nn.Module:
    made = nn.PReLU(node.tensor("weight").numel())
    node.importer.fill(made, node, node.parameters())
    return made


@exports(nn.PReLU)
def _parametric_relu(exporter: Exporter, module: nn.PReLU) -> TorchObject:
    # 0 says that one slope serves all channels.
    channels = 0 if module.num_parameters == 1 else module.num_parameters
    buffers = {name: exporter.empty() for name in ("gradWeightBuf", "gradWeightBuf2")}
    return exporter.with_parameters("nn.PReLU", module, nOutputPlane=channels, **buffers)


@imports("nn.GatedLinearUnit")
def gated_linear_unit(node: Node) -> nn.Module:
    return nn.GLU(node.position("dim", -1))


@exports(nn.GLU)
def _gated_linear_unit(exporter: Exporter, module: nn.GLU) -> TorchObject:
    if module.dim < -1:
        raise exporter.error(module, "Torch7's GatedLinearUnit counts dimensions from the first, or takes the last")
    dim = None if module.dim == -1 else one_based(module.dim)
    return exporter.object("nn.GatedLinearUnit", module, dim=dim, sigmoid=exporter.object("nn.Sigmoid"))


@imports("nn.Sqrt")
def sqrt(node: Node) -> nn.Module:
    if node.number("eps", 0) != 0:
        raise node.error("has an eps, which Sqrt has not")
    return Sqrt()


@exports(Sqrt)
def _sqrt(exporter: Exporter, module: Sqrt) -> TorchObject:
    return exporter.object("nn.Sqrt", module, eps=0)


@imports("nn.LogSoftMax")
def log_soft_max(node: Node) -> nn.Module:
    return LogSoftMax(node.importer.approximate_exp)


@exports(LogSoftMax)
def _log_soft_max(exporter: Exporter, module: LogSoftMax) -> TorchObject:
    return exporter.object("nn.LogSoftMax", module)


@exports(nn.Softmax2d)
def _soft_max_2d(exporter: Exporter, module: nn.Softmax2d) -> TorchObject:
    return exporter.object("nn.SpatialSoftMax", module)


alias("nn.Sigmoid", "cudnn.Sigmoid")
alias("nn.Tanh", "cudnn.Tanh")
alias("nn.ReLU", "cudnn.ReLU")
alias("nn.SoftMax", "nn.SpatialSoftMax", "cudnn.SoftMax", "cudnn.SpatialSoftMax")
alias("nn.LogSoftMax", "nn.SpatialLogSoftMax", "cudnn.LogSoftMax", "cudnn.SpatialLogSoftMax")


@exports(nn.Softmax, nn.LogSoftmax, nn.Softmin)
def _of_torch_nn(exporter: Exporter, module: nn.Softmax | nn.LogSoftmax | nn.Softmin) -> TorchObject:
    if module.dim not in (-1, 1):
        raise exporter.error(module, f"Torch7's is over the classes of (N, V); this one is over dimension {module.dim}")
    name = {nn.Softmax: "nn.SoftMax", nn.LogSoftmax: "nn.LogSoftMax", nn.Softmin: "nn.SoftMin"}[type(module)]
    return exporter.object(name, module)

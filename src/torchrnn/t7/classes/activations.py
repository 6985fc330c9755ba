"""Elementwise functions of nn."""

from __future__ import annotations

from torch import nn

from torchrnn.layers import Abs, Exp, Log, Sqrt, Square
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports, same
from torchrnn.t7.softmax import LogSoftMax, SoftMax, SoftMin

same("nn.Sigmoid", nn.Sigmoid)
same("nn.Tanh", nn.Tanh)
same("nn.SoftSign", nn.Softsign)
same("nn.LogSigmoid", nn.LogSigmoid)
same("nn.Abs", Abs)
same("nn.Square", Square)
same("nn.Exp", Exp)
same("nn.Log", Log)
same("nn.SoftMax", SoftMax)
same("nn.SoftMin", SoftMin)


@imports("nn.ReLU")
def relu(node: Node) -> nn.Module:
    threshold, value = node.number("threshold", 0), node.number("val", 0)
    return nn.ReLU() if threshold == value == 0 else nn.Threshold(threshold, value)


@exports(nn.ReLU)
def _relu(exporter: Exporter, module: nn.ReLU) -> TorchObject:
    return exporter.object("nn.ReLU", module, threshold=0, val=0, inplace=False)


@imports("nn.Threshold")
def threshold(node: Node) -> nn.Module:
    return nn.Threshold(node.number("threshold"), node.number("val"))


@exports(nn.Threshold)
def _threshold(exporter: Exporter, module: nn.Threshold) -> TorchObject:
    return exporter.object("nn.Threshold", module, threshold=module.threshold, val=module.value, inplace=False)


@imports("nn.LeakyReLU")
def leaky_relu(node: Node) -> nn.Module:
    return nn.LeakyReLU(node.number("negval", 0.01))


@exports(nn.LeakyReLU)
def _leaky_relu(exporter: Exporter, module: nn.LeakyReLU) -> TorchObject:
    return exporter.object("nn.LeakyReLU", module, negval=module.negative_slope, inplace=False)


@imports("nn.ELU")
def elu(node: Node) -> nn.Module:
    return nn.ELU(node.number("alpha", 1))


@exports(nn.ELU)
def _elu(exporter: Exporter, module: nn.ELU) -> TorchObject:
    return exporter.object("nn.ELU", module, alpha=module.alpha, inplace=False)


@imports("nn.HardTanh")
def hard_tanh(node: Node) -> nn.Module:
    return nn.Hardtanh(node.number("min_val", -1), node.number("max_val", 1))


@exports(nn.Hardtanh)
def _hard_tanh(exporter: Exporter, module: nn.Hardtanh) -> TorchObject:
    return exporter.object("nn.HardTanh", module, min_val=module.min_val, max_val=module.max_val, inplace=False)


@imports("nn.SoftPlus")
def soft_plus(node: Node) -> nn.Module:
    return nn.Softplus(node.number("beta", 1), node.number("threshold", 20))


@exports(nn.Softplus)
def _soft_plus(exporter: Exporter, module: nn.Softplus) -> TorchObject:
    return exporter.object("nn.SoftPlus", module, beta=module.beta, threshold=module.threshold)


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


@exports(nn.Softmax, nn.LogSoftmax, nn.Softmin)
def _of_torch_nn(exporter: Exporter, module: nn.Softmax | nn.LogSoftmax | nn.Softmin) -> TorchObject:
    if module.dim not in (-1, 1):
        raise exporter.error(module, f"Torch7's is over the classes of (N, V); this one is over dimension {module.dim}")
    name = {nn.Softmax: "nn.SoftMax", nn.LogSoftmax: "nn.LogSoftMax", nn.Softmin: "nn.SoftMin"}[type(module)]
    return exporter.object(name, module)

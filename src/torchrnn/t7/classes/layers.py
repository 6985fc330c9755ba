"""Layers of nn with parameters or random numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.layers import (
    Add,
    AddConstant,
    BatchNormalization,
    CMul,
    Constant,
    Dropout,
    LookupTable,
    LookupTableMaskZero,
    Mul,
    MulConstant,
    Normalize,
    TotalDropout,
)
from torchrnn.t7.exporter import Exporter, long_storage
from torchrnn.t7.importer import set_buffer
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import alias, exports, imports


def filled(node: Node, module: nn.Module) -> nn.Module:
    """A module with the parameters of an object."""
    node.importer.fill(module, node, node.parameters())
    return module


def matrix_sizes(node: Node) -> tuple[int, int]:
    rows, columns = node.tensor("weight").shape
    return rows, columns


@imports("nn.Linear", "nn.LinearNoBias")
def linear(node: Node) -> nn.Module:
    n_out, n_in = matrix_sizes(node)
    return filled(node, nn.Linear(n_in, n_out, bias="bias" in node))


@exports(nn.Linear)
def _linear(exporter: Exporter, module: nn.Linear) -> TorchObject:
    return exporter.with_parameters("nn.Linear", module)


@imports("nn.LookupTable")
def lookup_table(node: Node) -> nn.Module:
    n_index, n_output = matrix_sizes(node)
    padding = node.position("paddingValue", 0)
    padding = padding if node.integer("paddingValue", 0) else None
    table = LookupTable(n_index, n_output, padding, node.number("maxNorm", None), node.number("normType", None) or 2.0)
    return filled(node, table)


@exports(LookupTable)
def _lookup_table(exporter: Exporter, module: LookupTable) -> TorchObject:
    padding = 0 if module.padding_index is None else module.padding_index + 1
    buffers = {"_count": torch.empty(0, dtype=torch.int32), "_input": torch.empty(0, dtype=torch.int64)}
    return exporter.with_parameters(
        "nn.LookupTable",
        module,
        paddingValue=padding,
        maxNorm=module.max_norm,
        normType=None if module.max_norm is None else module.norm_type,
        shouldScaleGradByFreq=False,
        **buffers,
    )


@exports(nn.Embedding)
def _embedding(exporter: Exporter, module: nn.Embedding) -> TorchObject:
    if module.scale_grad_by_freq or module.sparse:
        raise exporter.error(module, "scale_grad_by_freq and sparse have no counterpart")
    sizes = module.num_embeddings, module.embedding_dim
    table = LookupTable(*sizes, module.padding_idx, module.max_norm, module.norm_type)
    table._parameters["weight"] = module._parameters["weight"]
    table.train(bool(module.training))
    return _lookup_table(exporter, table)


@imports("nn.LookupTableMaskZero")
def lookup_table_mask_zero(node: Node) -> nn.Module:
    rows, n_output = matrix_sizes(node)
    return filled(node, LookupTableMaskZero(rows - 1, n_output))


@exports(LookupTableMaskZero)
def _lookup_table_mask_zero(exporter: Exporter, module: LookupTableMaskZero) -> TorchObject:
    made = _lookup_table(exporter, module)
    return TorchObject("nn.LookupTableMaskZero", made.fields)


@imports("nn.Add")
def add(node: Node) -> nn.Module:
    size = node.tensor("bias").shape
    return filled(node, Add(*size, scalar=node.flag("scalar") and tuple(size) == (1,)))


@exports(Add)
def _add(exporter: Exporter, module: Add) -> TorchObject:
    ones = torch.ones(1, dtype=exporter.dtype)
    return exporter.with_parameters("nn.Add", module, scalar=module.scalar or None, _ones=ones)


@imports("nn.CAdd")
def c_add(node: Node) -> nn.Module:
    if 1 in node.tensor("bias").shape:
        raise node.error("has a size of 1 that is spread over a whole dimension, which Add does not do")
    return filled(node, Add(*node.tensor("bias").shape))


@imports("nn.CMul")
def c_mul(node: Node) -> nn.Module:
    return filled(node, CMul(*node.tensor("weight").shape))


@exports(CMul)
def _c_mul(exporter: Exporter, module: CMul) -> TorchObject:
    return exporter.with_parameters("nn.CMul", module, size=long_storage(module.weight.shape))


@imports("nn.Mul")
def mul(node: Node) -> nn.Module:
    return filled(node, Mul())


@exports(Mul)
def _mul(exporter: Exporter, module: Mul) -> TorchObject:
    return exporter.with_parameters("nn.Mul", module)


@imports("nn.MulConstant")
def mul_constant(node: Node) -> nn.Module:
    return MulConstant(node.number("constant_scalar"))


@exports(MulConstant)
def _mul_constant(exporter: Exporter, module: MulConstant) -> TorchObject:
    return exporter.object("nn.MulConstant", module, constant_scalar=module.constant, inplace=False)


@imports("nn.AddConstant")
def add_constant(node: Node) -> nn.Module:
    return AddConstant(node.number("constant_scalar"))


@exports(AddConstant)
def _add_constant(exporter: Exporter, module: AddConstant) -> TorchObject:
    return exporter.object("nn.AddConstant", module, constant_scalar=module.constant, inplace=False)


@imports("nn.Constant")
def constant(node: Node) -> nn.Module:
    module = Constant(node.tensor("value").to("meta"), node.integer("nInputDim", None))
    set_buffer(module, "value", node.tensor("value"), node)
    return module


@exports(Constant)
def _constant(exporter: Exporter, module: Constant) -> TorchObject:
    return exporter.object("nn.Constant", module, value=module.value, nInputDim=module.n_input_dims)


@imports("nn.Normalize")
def normalize(node: Node) -> nn.Module:
    return Normalize(node.number("p"), node.number("eps", 1e-10))


@exports(Normalize)
def _normalize(exporter: Exporter, module: Normalize) -> TorchObject:
    return exporter.object("nn.Normalize", module, p=module.p, eps=module.eps)


NORMALIZATIONS: dict[str, type[BatchNormalization | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    "nn.BatchNormalization": BatchNormalization,
    "nn.SpatialBatchNormalization": nn.BatchNorm2d,
    "nn.VolumetricBatchNormalization": nn.BatchNorm3d,
}


@imports(*NORMALIZATIONS)
def batch_normalization(node: Node) -> nn.Module:
    mean = node.tensor("running_mean")
    options = node.number("eps", 1e-5), node.number("momentum", 0.1), "weight" in node
    module = NORMALIZATIONS[node.object.class_name.replace("cudnn.", "nn.")](mean.numel(), *options)
    set_buffer(module, "running_mean", mean, node)
    set_buffer(module, "running_var", _running_variance(node, module.eps), node)
    if "num_batches_tracked" in module._buffers:
        module._buffers["num_batches_tracked"] = torch.tensor(0, device="cpu")
    return filled(node, module)


for name in NORMALIZATIONS:
    alias(name, name.replace("nn.", "cudnn."))


def _running_variance(node: Node, eps: float) -> Tensor:
    if "running_var" in node:
        return node.tensor("running_var")
    # Version 1 of the class kept 1 / sqrt(variance + eps).
    return node.tensor("running_std").pow(-2) - eps


@exports(BatchNormalization, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def _batch_normalization(exporter: Exporter, module: BatchNormalization | nn.BatchNorm1d) -> TorchObject:
    if module.running_mean is None or module.running_var is None or module.momentum is None:
        raise exporter.error(module, "Torch7's keeps running statistics, with a momentum")
    kinds: dict[type[nn.Module], str] = {kind: name for name, kind in NORMALIZATIONS.items()}
    return exporter.with_parameters(
        kinds.get(type(module), "nn.BatchNormalization"),
        module,
        eps=module.eps,
        momentum=module.momentum,
        affine=module.weight is not None,
        running_mean=module.running_mean,
        running_var=module.running_var,
    )


@imports("nn.Dropout")
def dropout(node: Node) -> nn.Module:
    is_v1 = not node.flag("v2", default=True)
    return Dropout(node.number("p"), v1=is_v1, lazy=node.flag("lazy"), mono=node.flag("mono"))


@exports(Dropout)
def _dropout(exporter: Exporter, module: Dropout) -> TorchObject:
    return exporter.object(
        "nn.Dropout",
        module,
        p=module.p,
        v2=not module.v1,
        inplace=False,
        noise=exporter.empty(),
        lazy=module.lazy,
        mono=module.mono,
        flag=True,
    )


@exports(nn.Dropout)
def _torch_dropout(exporter: Exporter, module: nn.Dropout) -> TorchObject:
    return exporter.object("nn.Dropout", module, p=module.p, v2=True, inplace=False, noise=exporter.empty())


@imports("nn.TotalDropout")
def total_dropout(node: Node) -> nn.Module:
    return TotalDropout(node.number("p"))


@exports(TotalDropout)
def _total_dropout(exporter: Exporter, module: TotalDropout) -> TorchObject:
    return exporter.object("nn.TotalDropout", module, p=module.p)

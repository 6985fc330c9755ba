"""Modules of dpnn, and what rnn adds for reinforcement learning and noise-contrastive estimation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torchrnn.layers import ArgMax, CategoricalEntropy, Clip, CopyGrad, SAdd, ZeroGrad
from torchrnn.nce import NCEModule
from torchrnn.recurrent import AbstractRecurrent, Recursor
from torchrnn.reinforce import (
    BinaryClassReward,
    RecurrentAttention,
    ReinforceBernoulli,
    ReinforceCategorical,
    ReinforceGamma,
    ReinforceNormal,
    SpatialGlimpse,
    VRClassReward,
)
from torchrnn.reinforce.rewards import ClassReward
from torchrnn.t7.classes.criterions import criterion_object
from torchrnn.t7.classes.sequences import unlifted
from torchrnn.t7.exporter import Exporter, one_based
from torchrnn.t7.importer import remembering, set_buffer
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports, same

NO_DIMS = 9e99
"""What ArgMax takes for the dimensions of a row where nobody says how many there are."""

same("nn.ZeroGrad", ZeroGrad)
same("nn.CopyGrad", CopyGrad)


@imports("nn.SAdd")
def s_add(node: Node) -> nn.Module:
    return SAdd(node.number("addend"), node.flag("negate"))


@exports(SAdd)
def _s_add(exporter: Exporter, module: SAdd) -> TorchObject:
    return exporter.object("nn.SAdd", module, addend=module.addend, negate=module.negate)


@imports("nn.Clip")
def clip(node: Node) -> nn.Module:
    return Clip(node.number("minval"), node.number("maxval"))


@exports(Clip)
def _clip(exporter: Exporter, module: Clip) -> TorchObject:
    return exporter.object("nn.Clip", module, minval=module.minimum, maxval=module.maximum)


@imports("nn.ArgMax")
def arg_max(node: Node) -> nn.Module:
    dims = node.number("nInputDim", None)
    return ArgMax(node.position("dim", 0), None if dims is None or dims >= NO_DIMS else int(dims))


@exports(ArgMax)
def _arg_max(exporter: Exporter, module: ArgMax) -> TorchObject:
    dims = {"dim": one_based(module.dim), "nInputDim": module.n_input_dims or NO_DIMS}
    return exporter.object("nn.ArgMax", module, asLong=True, **dims)


@imports("nn.CategoricalEntropy")
def categorical_entropy(node: Node) -> nn.Module:
    return CategoricalEntropy(node.number("scale", 1), node.number("minEntropy", None))


@exports(CategoricalEntropy)
def _categorical_entropy(exporter: Exporter, module: CategoricalEntropy) -> TorchObject:
    scale = exporter.object("nn.MulConstant", constant_scalar=1, inplace=False)
    log = exporter.container(
        "nn.Sequential",
        [exporter.object("nn.AddConstant", constant_scalar=1e-6, inplace=False), exporter.object("nn.Log")],
    )
    both = exporter.container("nn.ConcatTable", [exporter.object("nn.Identity"), log])
    sums = [exporter.object("nn.Sum", dimension=1, sizeAverage=False, squeeze=True) for _ in range(2)]
    negate = exporter.object("nn.MulConstant", constant_scalar=-1, inplace=False)
    entropy = exporter.container(
        "nn.Sequential", [sums[0], scale, both, exporter.object("nn.CMulTable"), sums[1], negate]
    )
    return exporter.object(
        "nn.CategoricalEntropy",
        module,
        scale=module.scale,
        minEntropy=module.min_entropy,
        module=entropy,
        modules=[entropy],
        _mul=scale,
        minusOne=torch.tensor([-module.scale], dtype=exporter.dtype),
        sizeAverage=True,
    )


# ---------------------------------------------------------------------- stochastic units


@imports("nn.ReinforceNormal")
def reinforce_normal(node: Node) -> nn.Module:
    stdev = node.get("stdev", (int, float, Tensor), None)
    with torch.device("cpu"):
        return ReinforceNormal(stdev, node.flag("stochastic"))


@exports(ReinforceNormal)
def _reinforce_normal(exporter: Exporter, module: ReinforceNormal) -> TorchObject:
    return exporter.object("nn.ReinforceNormal", module, stdev=module.stdev, stochastic=module.stochastic)


@imports("nn.ReinforceGamma")
def reinforce_gamma(node: Node) -> nn.Module:
    return ReinforceGamma(node.number("scale", None), node.flag("stochastic"))


@exports(ReinforceGamma)
def _reinforce_gamma(exporter: Exporter, module: ReinforceGamma) -> TorchObject:
    return exporter.object("nn.ReinforceGamma", module, scale=module.scale, stochastic=module.stochastic)


@imports("nn.ReinforceBernoulli")
def reinforce_bernoulli(node: Node) -> nn.Module:
    return ReinforceBernoulli(node.flag("stochastic"))


@imports("nn.ReinforceCategorical")
def reinforce_categorical(node: Node) -> nn.Module:
    return ReinforceCategorical(node.flag("stochastic"))


@exports(ReinforceBernoulli, ReinforceCategorical)
def _reinforce(exporter: Exporter, module: ReinforceBernoulli | ReinforceCategorical) -> TorchObject:
    return exporter.object(f"nn.{type(module).__name__}", module, stochastic=module.stochastic)


@imports("nn.VRClassReward", "nn.BinaryClassReward")
def class_reward(node: Node) -> nn.Module:
    if "basecoeff" in node:
        raise node.error("is of the first version, with a moving average in place of a learned baseline")
    kind = VRClassReward if node.object.class_name == "nn.VRClassReward" else BinaryClassReward
    options = node.number("scale", 1), node.module("criterion"), node.flag("sizeAverage", default=True)
    network: Any = node.module("module")
    return kind(network, *options)


@exports(VRClassReward, BinaryClassReward)
def _class_reward(exporter: Exporter, module: ClassReward) -> TorchObject:
    parts = {"module": module.module, "criterion": module.criterion}
    return criterion_object(
        exporter,
        f"nn.{type(module).__name__}",
        scale=module.scale,
        sizeAverage=module.size_average,
        gradInput=[exporter.empty()],
        **{name: exporter.module(part, name) for name, part in parts.items()},
    )


# ---------------------------------------------------------------------- attention


@imports("nn.SpatialGlimpse")
def spatial_glimpse(node: Node) -> nn.Module:
    size: Any = node.integer("size", None) or (node.integer("height"), node.integer("width"))
    return SpatialGlimpse(size, node.integer("depth", 3), node.number("scale", 2))


@exports(SpatialGlimpse)
def _spatial_glimpse(exporter: Exporter, module: SpatialGlimpse) -> TorchObject:
    is_square = module.height == module.width
    sampling = exporter.object("nn.SpatialReSampling", oheight=module.height, owidth=module.width)
    return exporter.object(
        "nn.SpatialGlimpse",
        module,
        size=module.height if is_square else None,
        height=module.height,
        width=module.width,
        depth=module.depth,
        scale=module.scale,
        module=sampling,
    )


@imports("nn.RecurrentAttention")
def recurrent_attention(node: Node) -> nn.Module:
    rnn, action = unlifted(node.node("rnn")), unlifted(node.node("action"))
    sizes = node.sizes("hiddenSize")
    module = RecurrentAttention(rnn, action, node.integer("nStep"), sizes, node.flag("forwardActions"))
    return remembering(module, node)


@exports(RecurrentAttention)
def _recurrent_attention(exporter: Exporter, module: RecurrentAttention) -> TorchObject:
    parts = {
        name: exporter.module(part if isinstance(part, AbstractRecurrent) else Recursor(part), name)
        for name, part in (("rnn", module.cell.rnn), ("action", module.cell.action))
    }
    tables: dict[str, Any] = {"actions": [], "gradHidden": []}
    return exporter.object(
        "nn.RecurrentAttention",
        module,
        modules=list(parts.values()),
        hiddenSize=list(module.cell.hidden_size),
        nStep=module.n_steps,
        forwardActions=module.cell.forward_actions,
        **parts,
        **tables,
    )


# ---------------------------------------------------------------------- noise-contrastive estimation


@imports("nn.NCEModule")
def nce_module(node: Node) -> nn.Module:
    n_classes, n_in = node.tensor("weight").shape
    Z = node.get("Z", (int, float, Tensor), -1)
    with torch.device("cpu"):
        normaliser = float(Z)
        unigrams = node.tensor("unigrams")
        options: dict[str, Any] = {"batch_noise": node.flag("batchnoise", default=True)}
        module = NCEModule(n_in, n_classes, node.integer("k"), unigrams, normaliser, **options)
    set_buffer(module, "Z", torch.tensor(normaliser, dtype=unigrams.dtype, device="cpu"), node)
    module.normalized, module.log_softmax = node.flag("normalized"), node.flag("logsoftmax")
    node.importer.fill(module, node, node.parameters())
    return module


@exports(NCEModule)
def _nce_module(exporter: Exporter, module: NCEModule) -> TorchObject:
    return exporter.with_parameters(
        "nn.NCEModule",
        module,
        k=module.k,
        unigrams=module.unigrams,
        Z=module.Z.reshape(1),
        batchnoise=module.batch_noise,
        normalized=module.normalized,
        logsoftmax=module.log_softmax,
    )

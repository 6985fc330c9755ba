"""The cells of Element-Research/rnn and torch/rnn, in which Lua builds each step from layers."""

from __future__ import annotations

from torch import Tensor, nn

from torchrnn.cells import GRU, LSTM, FastLSTM, MuFuRu
from torchrnn.layers import BatchNormalization
from torchrnn.recurrent import AbstractRecurrent
from torchrnn.t7.classes.nngraph import graph_nodes
from torchrnn.t7.classes.steps import fast_lstm_step, gru_step, lstm_step, mufuru_step, normalised_fast_lstm_step
from torchrnn.t7.classes.torch_rnn import torch_rnn_lstm
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.importer import set_buffer
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports

MASKS = {"nn.MaskZero", "nn.TrimZero"}
MOST_STEPS = 9999


def rho_of(node: Node) -> int:
    """How many steps are kept: ``rho``, which torch/rnn calls ``seqlen``."""
    rho: int = node.integer("rho", None) or node.integer("seqlen", None) or MOST_STEPS
    return rho


def masked(node: Node, cell: AbstractRecurrent, step: Node | None = None) -> AbstractRecurrent:
    """A cell that masks if its step is wrapped in a MaskZero."""
    step = step or step_of(node)
    if step.object.class_name in MASKS:
        cell.mask_zero(mask_dims(step))
    return cell


def mask_dims(node: Node) -> int | None:
    """The dimensions of the rows that a MaskZero looks at; None where it is told its mask."""
    if "nInputDim" in node:
        dims: int = node.integer("nInputDim")
        return dims
    return None if node.flag("v2", default=True) else 1


def step_of(node: Node) -> Node:
    """The module that computes one step."""
    return node.only_node("recurrentModule")


@imports("nn.LSTM")
def lstm(node: Node) -> nn.Module:
    """Element-Research's, one step a call, or torch-rnn's, which has a weight of its own."""
    if "weight" in node:
        return torch_rnn_lstm(node)
    if "forgetGate" not in node:
        raise node.error("is neither Element-Research's (no field forgetGate) nor torch-rnn's (no field weight)")
    gates = [node.node(name) for name in ("forgetGate", "inputGate", "hiddenLayer", "outputGate")]
    tensors: list[Tensor] = []
    for gate in gates:
        tensors += _gate_parameters(gate)
    has_peepholes = any(inside.object.class_name == "nn.CMul" for inside in gates[0].walk())
    cell = LSTM(*_sizes(node), rho_of(node), has_peepholes, node.number("p", 0), node.flag("mono"))
    node.importer.fill(cell, node, tensors)
    return masked(node, cell)


def _gate_parameters(gate: Node) -> list[Tensor]:
    """Weight and bias for x, the weight for h, and the peephole of a gate."""
    linears = [inside for inside in gate.walk() if inside.object.class_name in ("nn.Linear", "nn.LinearNoBias")]
    if len(linears) != 2:
        raise gate.error(f"expected a gate of two linear layers; got {len(linears)}")
    of_x, of_h = linears
    bias = of_x.tensor("bias")
    if "bias" in of_h:  # first versions had one on each side
        bias = bias + of_h.tensor("bias")
    peepholes = [inside.tensor("weight") for inside in gate.walk() if inside.object.class_name == "nn.CMul"]
    return [of_x.tensor("weight"), bias, of_h.tensor("weight"), *peepholes]


@exports(LSTM)
def _lstm(exporter: Exporter, module: LSTM) -> TorchObject:
    step, gates = lstm_step(exporter, module)
    return _cell_object(exporter, module, step, cell2gate=module.forget_gate.c2g is not None, **gates)


@imports("nn.FastLSTM")
def fast_lstm(node: Node) -> nn.Module:
    i2g, o2g = node.node("i2g"), node.node("o2g")
    norms = [inside for inside in _all_inside(node) if inside.object.class_name == "nn.BatchNormalization"]
    sizes = _sizes(node)
    if not norms:
        cell = FastLSTM(*sizes, rho_of(node), dropout=node.number("p", 0), mono=node.flag("mono"))
        node.importer.fill(cell, node, i2g.parameters() + o2g.parameters())
        return masked(node, cell)
    options = norms[0].number("eps", 1e-5), norms[0].number("momentum", 0.1), "weight" in norms[0]
    cell = FastLSTM(*sizes, rho_of(node), True, *options)
    of_x, of_h, of_cell, bias = _recurrent_batch_norm(node, i2g, o2g)
    parts = [i2g, of_x, o2g, of_h, bias, of_cell]
    node.importer.fill(cell, node, [tensor for part in parts for tensor in part.parameters()])
    ours = [module for module in cell.modules() if isinstance(module, BatchNormalization)]
    for module, theirs in zip(ours, (of_x, of_h, of_cell), strict=True):
        for name in ("running_mean", "running_var"):
            set_buffer(module, name, theirs.tensor(name), theirs)
    return masked(node, cell)


def _recurrent_batch_norm(node: Node, i2g: Node, o2g: Node) -> tuple[Node, Node, Node, Node]:
    """The three normalisations, of x, h and the cell, and the bias after them, by their places in the graph."""
    of_x = of_h = of_cell = bias = None
    for part in graph_nodes(step_of(node)):
        if part.module is None:
            continue
        kind, before = part.module.object.class_name, [source.module for source in part.sources]
        if kind == "nn.Add":
            bias = part.module
        elif kind == "nn.BatchNormalization":
            source = before[0].object if before and before[0] is not None else None
            if source is i2g.object:
                of_x = part.module
            elif source is o2g.object:
                of_h = part.module
            else:
                of_cell = part.module
    if of_x is None or of_h is None or of_cell is None or bias is None:
        raise node.error("expected batch normalisation of input, output and cell, and a bias")
    return of_x, of_h, of_cell, bias


def _all_inside(node: Node) -> list[Node]:
    step = step_of(node)
    if step.object.class_name in MASKS:
        step = step.only_node()
    if step.object.class_name != "nn.gModule":
        return list(step.walk())
    return [part.module for part in graph_nodes(step) if part.module is not None]


@exports(FastLSTM)
def _fast_lstm(exporter: Exporter, module: FastLSTM) -> TorchObject:
    norm = module.cell_norm
    if not isinstance(norm, BatchNormalization):
        step, parts = fast_lstm_step(exporter, module)
        return _cell_object(exporter, module, step, affine=True, cell2gate=True, **parts)
    step, parts = normalised_fast_lstm_step(exporter, module)
    options = {"eps": norm.eps, "momentum": norm.momentum, "affine": norm.weight is not None}
    return _cell_object(exporter, module, step, cell2gate=True, **options, **parts)


@imports("nn.GRU")
def gru(node: Node) -> nn.Module:
    if "i2g" not in node:
        raise node.error("is not Element-Research's, which has a field i2g")
    cell = GRU(*_sizes(node), rho_of(node), node.number("p", 0), node.flag("mono"))
    node.importer.fill(cell, node, step_of(node).parameters())
    return masked(node, cell)


@exports(GRU)
def _gru(exporter: Exporter, module: GRU) -> TorchObject:
    step, parts = gru_step(exporter, module)
    return _cell_object(exporter, module, step, **parts)


@imports("nn.MuFuRu")
def mufuru(node: Node) -> nn.Module:
    cell = MuFuRu(*_sizes(node), node.get("ops", list), rho_of(node))
    node.importer.fill(cell, node, step_of(node).parameters())
    return masked(node, cell)


@exports(MuFuRu)
def _mufuru(exporter: Exporter, module: MuFuRu) -> TorchObject:
    step, operations = mufuru_step(exporter, module)
    ops = list(module.ops)
    return _cell_object(exporter, module, step, ops=ops, num_ops=len(ops), operations=operations)


def _sizes(node: Node) -> tuple[int, int]:
    return node.integer("inputSize"), node.integer("outputSize")


def _cell_object(
    exporter: Exporter, module: LSTM | FastLSTM | GRU | MuFuRu, step: TorchObject, **fields: object
) -> TorchObject:
    """A recurrent object around the module of its step, as new."""
    dropout = next((part.p for part in module.modules() if hasattr(part, "lazy")), 0)
    mono = next((part.mono for part in module.modules() if hasattr(part, "mono")), False)
    return recurrent_object(
        exporter,
        type(module).__name__,
        module,
        step,
        inputSize=module.input_size,
        outputSize=module.hidden_size,
        p=dropout,
        mono=mono,
        cells=[],
        gradCells=[],
        zeroTensor=exporter.empty(),
        **fields,
    )


def recurrent_object(
    exporter: Exporter, name: str, module: AbstractRecurrent, step: TorchObject, **fields: object
) -> TorchObject:
    """An object of a class made of the module that computes one step."""
    if module._masks:
        step = exporter.container("nn.MaskZero", [step], nInputDim=module._mask_input_dims)
    tables = {table: [] for table in ("outputs", "gradOutputs", "gradInputs", "_gradOutputs")}  # type: ignore[var-annotated]
    return exporter.object(
        f"nn.{name}",
        module,
        recurrentModule=step,
        modules=[step],
        sharedClones=[step],
        rho=module.rho,
        step=1,
        **tables,
        **fields,
    )

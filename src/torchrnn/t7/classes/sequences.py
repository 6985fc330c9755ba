"""Sequence modules of Element-Research/rnn and torch/rnn."""

from __future__ import annotations

from typing import Any

from torch import nn

from torchrnn.layers import JoinTable
from torchrnn.module import Module
from torchrnn.recurrent import AbstractRecurrent, Recursor
from torchrnn.sequence import (
    BiSequencer,
    BiSequencerLM,
    Repeater,
    ReverseSequence,
    ReverseUnreverse,
    SeqBGRU,
    SeqBLSTM,
    SeqBRNN,
    SeqGRU,
    SeqLSTM,
    SeqLSTMP,
    SeqReverseSequence,
    Sequencer,
    VariableLength,
)
from torchrnn.sequence.both_directions import BothDirections
from torchrnn.t7.classes.cells import mask_dims
from torchrnn.t7.classes.recurrent import step_object
from torchrnn.t7.classes.sizes import gru_sizes, lstm_sizes
from torchrnn.t7.exporter import Exporter, one_based
from torchrnn.t7.importer import remembering
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports, same

same("nn.ReverseSequence", ReverseSequence)


def unlifted(node: Node) -> nn.Module:
    """The module of a node, without the Recursor that Lua puts around what is not recurrent."""
    return node.importer.module(node.only_node() if node.object.class_name == "nn.Recursor" else node)


def lifted(exporter: Exporter, module: nn.Module) -> TorchObject:
    """The object of a module for a Sequencer, which holds recurrent ones only."""
    return exporter.module(module if isinstance(module, AbstractRecurrent) else Recursor(module), "module")


@imports("nn.Sequencer")
def sequencer(node: Node) -> nn.Module:
    return remembering(Sequencer(unlifted(node.only_node())), node)


@exports(Sequencer)
def _sequencer(exporter: Exporter, module: Sequencer) -> TorchObject:
    inside = lifted(exporter, module.get())
    tables: dict[str, Any] = {"tableoutput": [], "tablegradInput": []}
    return exporter.object(
        "nn.Sequencer", module, module=inside, modules=[inside], _remember=module._remembered_modes, **tables
    )


@imports("nn.Repeater")
def repeater(node: Node) -> nn.Module:
    steps = node.integer("rho", None) or node.integer("seqlen", None) or node.integer("nStep")
    return remembering(Repeater(unlifted(node.only_node()), steps), node)


@exports(Repeater)
def _repeater(exporter: Exporter, module: Repeater) -> TorchObject:
    inside = lifted(exporter, module.cell)
    return exporter.object("nn.Repeater", module, module=inside, modules=[inside], rho=module.n_steps)


@imports("nn.BiSequencer", "nn.BiSequencerLM")
def bi_sequencer(node: Node) -> nn.Module:
    kind = BiSequencer if node.object.class_name == "nn.BiSequencer" else BiSequencerLM
    merge = unlifted(node.node("mergeModule"))
    module = kind(unlifted(node.node("forwardModule")), unlifted(node.node("backwardModule")), merge)
    return remembering(module, node)


@exports(BiSequencer)
def _bi_sequencer(exporter: Exporter, module: BiSequencer) -> TorchObject:
    fields = _both_ways(exporter, module)
    forward, backward = fields["fwdSeq"], _reversed_table(exporter, fields["bwdSeq"])
    both = exporter.container("nn.ConcatTable", [forward, backward])
    zipped = exporter.object("nn.ZipTable")
    whole = exporter.container("nn.Sequential", [both, zipped, fields["mergeSeq"]])
    return exporter.object("nn.BiSequencer", module, module=whole, modules=[whole], **fields)


@exports(BiSequencerLM)
def _bi_sequencer_lm(exporter: Exporter, module: BiSequencerLM) -> TorchObject:
    fields = _both_ways(exporter, module)
    forward, backward = fields["fwdSeq"], _reversed_table(exporter, fields["bwdSeq"])
    merge = exporter.container("nn.Sequential", [exporter.object("nn.ZipTable"), fields["mergeSeq"]])
    inside = {"_fwd": forward, "_bwd": backward, "_merge": merge}
    return exporter.object("nn.BiSequencerLM", module, modules=list(inside.values()), **inside, **fields)


def _both_ways(exporter: Exporter, module: BiSequencer) -> dict[str, Any]:

    sequencers = {"fwdSeq": module.fwd, "bwdSeq": module.bwd.sequencer}
    fields: dict[str, Any] = {name: exporter.module(inside, name) for name, inside in sequencers.items()}
    for name, sequence in (("forwardModule", "fwdSeq"), ("backwardModule", "bwdSeq")):
        fields[name] = fields[sequence].fields.get("module", fields[sequence])
    merge = Sequencer(JoinTable(0, 1)) if module.merge is None else module.merge
    fields["mergeSeq"] = exporter.module(merge, "merge")
    fields["mergeModule"] = fields["mergeSeq"].fields["module"].fields["module"]
    fields["_remember"] = module._remembered_modes
    return fields


def _reversed_table(exporter: Exporter, sequence: TorchObject) -> TorchObject:
    before, after = exporter.object("nn.ReverseTable"), exporter.object("nn.ReverseTable")
    return exporter.container("nn.Sequential", [before, sequence, after])


# ---------------------------------------------------------------------- one weight for the whole sequence


@imports("nn.SeqLSTM", "nn.SeqLSTMP")
def seq_lstm(node: Node) -> nn.Module:
    sizes = lstm_sizes(node)
    is_projected = node.object.class_name == "nn.SeqLSTMP" and sizes[2] is not None
    module = SeqLSTMP(*sizes) if is_projected else SeqLSTM(*sizes)  # type: ignore[arg-type]
    return whole_sequence(node, module)


@imports("nn.SeqGRU")
def seq_gru(node: Node) -> nn.Module:
    return whole_sequence(node, SeqGRU(*gru_sizes(node)))


def whole_sequence(node: Node, module: SeqLSTM | SeqGRU) -> Module:
    """A sequence module with the parameters, layout, masks and memory of an object."""
    node.importer.fill(module, node, node.parameters())
    module.batch_first = node.flag("batchfirst")
    if node.flag("maskzero"):
        module.mask_zero(mask_dims(node) if "v2" in node else 1)
    return remembering(module, node)


@exports(SeqLSTM, SeqLSTMP, SeqGRU)
def _whole_sequence(exporter: Exporter, module: SeqLSTM | SeqGRU) -> TorchObject:
    buffers = ("cell", "buffer1", "buffer2", "buffer3", "grad_a_buffer", "h0", "c0", "grad_x", "grad_h0", "grad_c0")
    cell = module.cell
    given = cell._masks and cell._mask_input_dims is None
    made = step_object(exporter, f"nn.{type(module).__name__}", cell, batchfirst=module.batch_first)
    made.fields.update({name: exporter.empty() for name in buffers})
    made.fields.update(_remember=module._remembered_modes, train=bool(module.training))
    if isinstance(module, SeqGRU):  # which Element-Research spells otherwise
        made.fields.update(inputSize=cell.input_size, outputSize=cell.hidden_size, seqLength=1, miniBatch=1)
    if not given:
        del made.fields["v2"]
    return made


# ---------------------------------------------------------------------- both directions


@imports("nn.SeqBRNN")
def seq_brnn(node: Node) -> nn.Module:
    forward, backward = node.node("forwardModule"), node.node("backwardModule")
    sizes = lstm_sizes(forward)
    module = SeqBRNN(sizes[0], sizes[1], node.integer("dim", 1) == 2, node.module("merge"))
    if sizes[2] is not None:
        module.fwd, module.bwd.sequencer = SeqLSTM(*sizes), SeqLSTM(*sizes)
    return _both_directions(node, module, forward, backward)


@exports(SeqBRNN)
def _seq_brnn(exporter: Exporter, module: SeqBRNN) -> TorchObject:
    forward, backward = exporter.module(module.fwd, "fwd"), exporter.module(module.bwd.sequencer, "bwd")
    merge = exporter.module(module.merge, "merge")
    dim = 2 if module.batch_first else 1
    for direction in (forward, backward):
        direction.fields["batchfirst"] = module.batch_first
    turns = [exporter.object("nn.SeqReverseSequence", dim=dim) for _ in range(2)]
    turned = exporter.container("nn.Sequential", [turns[0], backward, turns[1]])
    both = exporter.container("nn.ConcatTable", [forward, turned])
    whole = exporter.container("nn.Sequential", [both, merge])
    parts = {"forwardModule": forward, "backwardModule": backward, "merge": merge, "module": whole}
    return exporter.object("nn.SeqBRNN", module, modules=[whole], dim=dim, **parts)


@imports("nn.SeqBLSTM", "nn.SeqBGRU")
def seq_blstm(node: Node) -> nn.Module:
    both, merge = _expected(node, node.only_node().nodes(), 2)
    forward, turned = _expected(node, both.nodes(), 2)
    backward = _expected(node, turned.only_node().nodes(), 3)[1]
    if node.object.class_name == "nn.SeqBGRU":
        module: BothDirections = SeqBGRU(*gru_sizes(forward), node.importer.module(merge))
    else:
        module = SeqBLSTM(*lstm_sizes(forward), node.importer.module(merge))
    return _both_directions(node, module, forward, backward)


@exports(SeqBLSTM, SeqBGRU)
def _seq_blstm(exporter: Exporter, module: BothDirections) -> TorchObject:
    forward, turned = exporter.module(module.fwd, "fwd"), exporter.module(module.bwd, "bwd")
    both = exporter.container("nn.ConcatTable", [forward, turned])
    whole = exporter.container("nn.Sequential", [both, exporter.module(module.merge, "merge")])
    return exporter.object(f"nn.{type(module).__name__}", module, modules=[whole])


def _both_directions(node: Node, module: BothDirections, forward: Node, backward: Node) -> nn.Module:
    for ours, theirs in ((module.fwd, forward), (module.bwd.sequencer, backward)):
        whole_sequence(theirs, ours)  # type: ignore[arg-type]
        ours.batch_first = False  # type: ignore[assignment]
    return module


def _expected(node: Node, nodes: list[Node], count: int) -> list[Node]:
    if len(nodes) != count:
        raise node.error(f"expected {count} modules inside; got {len(nodes)}")
    return nodes


# ---------------------------------------------------------------------- samples of different lengths


@imports("nn.VariableLength")
def variable_length(node: Node) -> nn.Module:
    inside: Any = node.only_module()
    return VariableLength(inside, node.flag("lastOnly"))


@exports(VariableLength)
def _variable_length(exporter: Exporter, module: VariableLength) -> TorchObject:
    inside = exporter.module(module.module, "module")
    return exporter.object("nn.VariableLength", module, modules=[inside], lastOnly=module.last_only, gradInput=[])


# ---------------------------------------------------------------------- reversing


@imports("nn.SeqReverseSequence")
def seq_reverse_sequence(node: Node) -> nn.Module:
    return SeqReverseSequence(node.position("dim"))


@exports(SeqReverseSequence)
def _seq_reverse_sequence(exporter: Exporter, module: SeqReverseSequence) -> TorchObject:
    return exporter.object("nn.SeqReverseSequence", module, dim=one_based(module.dim))


@imports("nn.ReverseUnreverse")
def reverse_unreverse(node: Node) -> nn.Module:
    return ReverseUnreverse(node.importer.module(_expected(node, node.only_node().nodes(), 3)[1]))


@exports(ReverseUnreverse)
def _reverse_unreverse(exporter: Exporter, module: ReverseUnreverse) -> TorchObject:
    turns = [exporter.object("nn.ReverseSequence") for _ in range(2)]
    inside = [turns[0], exporter.module(module.sequencer, "sequencer"), turns[1]]
    return exporter.object("nn.ReverseUnreverse", module, modules=[exporter.container("nn.Sequential", inside)])

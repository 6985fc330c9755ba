"""The sequence modules of torch-rnn."""

from __future__ import annotations

from torch import nn

from torchrnn.sequence import SeqLSTM, VanillaRNN
from torchrnn.t7.classes.sizes import lstm_sizes
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import exports, imports


def torch_rnn_lstm(node: Node) -> nn.Module:
    """The LSTM over sequences (N, T, D); `nn.LSTM` is registered with Element-Research's, which has the same name."""
    if "hidden_dim" not in node:
        raise node.error("has a weight, but is not torch-rnn's (no field hidden_dim)")
    return _filled(node, SeqLSTM(*lstm_sizes(node), batch_first=True))


@imports("nn.VanillaRNN")
def vanilla_rnn(node: Node) -> nn.Module:
    rows, hidden = node.tensor("weight").shape
    return _filled(node, VanillaRNN(rows - hidden, hidden))


def _filled(node: Node, module: SeqLSTM | VanillaRNN) -> nn.Module:
    node.importer.fill(module, node, node.parameters())
    module.remember_states = node.flag("remember_states")
    return module


@exports(VanillaRNN)
def _vanilla_rnn(exporter: Exporter, module: VanillaRNN) -> TorchObject:
    if not module.batch_first:
        raise exporter.error(module, "torch-rnn's takes (N, T, D) only: batch_first must be true")
    return sequence_object(exporter, "nn.VanillaRNN", module)


def sequence_object(exporter: Exporter, name: str, module: SeqLSTM | VanillaRNN) -> TorchObject:
    """An object of torch-rnn for a sequence module."""
    buffers = ["buffer1", "buffer2", "h0", "grad_h0", "grad_x"]
    if isinstance(module, SeqLSTM):
        buffers += ["buffer3", "grad_a_buffer", "c0", "grad_c0", "cell", "gates"]
    return exporter.object(
        name,
        module,
        input_dim=module.cell.input_size,
        hidden_dim=module.cell.hidden_size,
        remember_states=module.remember_states,
        **{buffer: exporter.empty() for buffer in buffers},
        **exporter.values(weight=module.weight, bias=module.bias),
    )

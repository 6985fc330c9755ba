"""Sequences read in both directions, step by step."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from torchrnn.checks import require_module
from torchrnn.layers import JoinTable
from torchrnn.masks import without_padding
from torchrnn.module import Module
from torchrnn.recurrent.nested import recurrent_modules
from torchrnn.sequence.abstract_sequencer import AbstractSequencer, forget_states
from torchrnn.sequence.reverse import ReverseUnreverse
from torchrnn.sequence.sequencer import Sequencer
from torchrnn.tree import Tree


class BiSequencer(AbstractSequencer):
    """Read a sequence forward with one module and backward with another, and merge both, step by step.

    ``output_t = merge([forward(x_1 .. x_t), backward(x_T .. x_t)])``

    Arguments:
        forward: a module for one step, or a sequence module.
        backward: the same for the other direction; if it is not given, a copy of ``forward`` with new parameters.
        merge: takes the list of both outputs of one step; if it is not given they are joined along the features
            (N, 2H). An int n means ``JoinTable(0, n)``.

    Shapes: a tensor (T, N, D) in, (T, N, 2H) out with the default merge; a list of steps in, a list out.
    ``forward(input, lengths)`` for ragged batches: each row is read backwards from its own end.

    `remember` carries the state of the forward direction only: the backward one begins at the end of each sequence.
    Differs from the original: tensors are taken, too; torch/rnn adds both directions (``merge=CAddTable()``).
    Source: Schuster and Paliwal, "Bidirectional recurrent neural networks", 1997.

    >>> import torch, torchrnn
    >>> torchrnn.BiSequencer(torchrnn.LSTM(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 12])
    """

    def __init__(
        self, forward: nn.Module, backward: nn.Module | None = None, merge: nn.Module | int | None = None
    ) -> None:
        super().__init__()
        require_module(self, forward, "forward")
        backward = _redrawn(forward) if backward is None else require_module(self, backward, "backward")
        self.fwd = _over_sequences(forward)
        self.bwd = ReverseUnreverse(_over_sequences(backward))
        if merge is not None:
            merge = Sequencer(JoinTable(0, merge) if isinstance(merge, int) else require_module(self, merge, "merge"))
        self.merge = merge

    def forward(self, input: Tree, lengths: Tensor | list[int] | None = None) -> Tree:
        forget_states(self.bwd)
        if lengths is None:
            return self._merged(self.fwd(input), self.bwd(input))
        return without_padding(self._merged(self.fwd(input, lengths), self.bwd(input, lengths)), lengths)

    def _merged(self, forward: Tree, backward: Tree) -> Tree:
        if self.merge is None and isinstance(forward, Tensor):
            return torch.cat([forward, backward], dim=-1)
        pairs = [[f, b] for f, b in zip(forward, backward, strict=True)]
        outputs = [torch.cat(pair, dim=-1) for pair in pairs] if self.merge is None else self.merge(pairs)
        return torch.stack(outputs) if isinstance(forward, Tensor) else outputs


class BiSequencerLM(BiSequencer):
    """A `BiSequencer` for language models: the output of a step has not seen the input of that step.

    ``output_t = merge([forward(x_1 .. x_{t-1}), backward(x_T .. x_{t+1})])``, with zeros where nothing was read.

    Arguments: those of `BiSequencer`. Stack layers inside ``forward`` and ``backward``, not one upon the other: the
    layer above would see through.

    Shapes: a sequence of at least two steps, as a tensor (T, N, D) or a list; (T, N, 2H) with the default merge.
    ``forward(input, lengths)`` for ragged batches with at least one step in each row.

    >>> import torch, torchrnn
    >>> torchrnn.BiSequencerLM(torchrnn.LSTM(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 12])
    """

    def forward(self, input: Tree, lengths: Tensor | list[int] | None = None) -> Tree:
        if len(input) < 2:
            raise ValueError(f"BiSequencerLM: a sequence must have at least 2 steps; got {len(input)}.")
        forget_states(self.bwd)
        if lengths is None:
            before, after = self.fwd(input[:-1]), self.bwd(input[1:])
        else:
            rest = torch.as_tensor(lengths) - 1
            before, after = self.fwd(input[:-1], rest), self.bwd(input[1:], rest)
        if isinstance(before, Tensor):
            before = torch.cat([torch.zeros_like(before[:1]), before])
            after = torch.cat([after, torch.zeros_like(after[:1])])
        else:
            before = [torch.zeros_like(before[0]), *before]
            after = [*after, torch.zeros_like(after[0])]
        output = self._merged(before, after)
        return output if lengths is None else without_padding(output, lengths)


def _redrawn(module: nn.Module) -> nn.Module:
    """A copy with parameters drawn anew."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    return twin


def _over_sequences(module: nn.Module) -> Module:
    if isinstance(module, Module) and (module.takes_sequences or _holds_sequence_modules(module)):
        return module
    return Sequencer(module)


def _holds_sequence_modules(module: Module) -> bool:
    """Whether this is a container of sequence modules, with no recurrent module to be stepped."""
    inside = (part for part in module.modules() if isinstance(part, Module) and part.takes_sequences)
    return any(inside) and not recurrent_modules(module)

"""Sequences read in both directions."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchrnn.checks import require_module
from torchrnn.layers import CAddTable, JoinTable
from torchrnn.module import Module
from torchrnn.sequence.abstract_sequencer import AbstractSequencer, forget_states
from torchrnn.sequence.reverse import reversed_in_time
from torchrnn.sequence.sequencer import Sequencer
from torchrnn.sequence.whole_sequence import SeqLSTM
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
        if backward is not None:
            require_module(self, backward, "backward")
        self.fwd, self.bwd = _both_directions(require_module(self, forward, "forward"), backward)
        if merge is not None and not isinstance(merge, nn.Module | int):
            raise TypeError(
                f"{type(self).__name__}: merge must be a torch.nn.Module that takes a list of two, or the number of "
                f"dimensions of one output without its batch; got {type(merge).__name__}."
            )
        self.merge = None if merge is None else Sequencer(JoinTable(0, merge) if isinstance(merge, int) else merge)

    def forward(self, input: Tree) -> Tree:
        forget_states(self.bwd)
        return self._merged(self.fwd(input), reversed_in_time(self.bwd(reversed_in_time(input))))

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

    >>> import torch, torchrnn
    >>> torchrnn.BiSequencerLM(torchrnn.LSTM(4, 6))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 12])
    """

    def forward(self, input: Tree) -> Tree:
        if len(input) < 2:
            raise ValueError(f"BiSequencerLM: a sequence must have at least 2 steps; got {len(input)}.")
        forget_states(self.bwd)
        forward = self.fwd(input[:-1])
        backward = reversed_in_time(self.bwd(reversed_in_time(input[1:])))
        if isinstance(forward, Tensor):
            nothing = torch.zeros_like(forward[:1]), torch.zeros_like(backward[:1])
            return self._merged(torch.cat([nothing[0], forward]), torch.cat([backward, nothing[1]]))
        before, after = tree_map(torch.zeros_like, (forward[0], backward[0]))
        return self._merged([before, *forward], [*backward, after])


class SeqBRNN(Module):
    """Two `SeqLSTM`, one for each direction, whose outputs are merged.

    Arguments:
        input_size: D.
        hidden_size: H.
        batch_first: sequences are (N, T, ...) instead of (T, N, ...).
        merge: takes the list of both whole outputs; a sum if it is not given.

    Shapes: input (T, N, D), output (T, N, H) with a sum.

    >>> import torch, torchrnn
    >>> torchrnn.SeqBRNN(4, 6)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self, input_size: int, hidden_size: int, batch_first: bool = False, merge: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.fwd = SeqLSTM(input_size, hidden_size, batch_first=batch_first)
        self.bwd = SeqLSTM(input_size, hidden_size, batch_first=batch_first)
        self.merge = CAddTable() if merge is None else require_module(self, merge, "merge")

    def forward(self, input: Tensor) -> Tensor:
        time = 1 if self.fwd.batch_first else 0
        forget_states(self.bwd)
        output: Tensor = self.merge([self.fwd(input), self.bwd(input.flip(time)).flip(time)])
        return output


def _both_directions(forward: nn.Module, backward: nn.Module | None) -> tuple[Module, Module]:
    if backward is None:
        backward = copy.deepcopy(forward)
        for module in backward.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return _over_sequences(forward), _over_sequences(backward)


def _over_sequences(module: nn.Module) -> Module:
    return module if isinstance(module, Module) and module.takes_sequences else Sequencer(module)

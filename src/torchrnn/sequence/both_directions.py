"""Two whole-sequence modules, one for each direction, merged as whole outputs."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchrnn.checks import require_flag, require_module
from torchrnn.layers import CAddTable
from torchrnn.masks import without_padding
from torchrnn.module import Module
from torchrnn.sequence.abstract_sequencer import forget_states
from torchrnn.sequence.reverse import ReverseUnreverse
from torchrnn.sequence.whole_sequence import SeqGRU, SeqLSTM, WholeSequence
from torchrnn.tree import Tree


class BothDirections(Module):
    """The base of `SeqBLSTM`, `SeqBGRU` and `SeqBRNN`."""

    takes_sequences = True

    def __init__(self, fwd: WholeSequence, bwd: WholeSequence, batch_first: bool, merge: nn.Module | None) -> None:
        super().__init__()
        self.fwd = fwd
        self.bwd = ReverseUnreverse(bwd)
        self.batch_first = require_flag(self, batch_first, "batch_first")
        self.merge = CAddTable() if merge is None else require_module(self, merge, "merge")

    def forward(self, input: Tensor, lengths: Tensor | list[int] | None = None) -> Tree:
        forget_states(self.bwd)
        x = input.transpose(0, 1) if self.batch_first else input
        ahead, back = self.fwd(x, lengths), self.bwd(x, lengths)
        if self.batch_first:
            ahead, back = ahead.transpose(0, 1), back.transpose(0, 1)
        output = self.merge([ahead, back])
        # A merge may leave a table of whole sequences.
        return tree_map(lambda y: y if lengths is None else without_padding(y, lengths, self.batch_first), output)


class SeqBRNN(BothDirections):
    """Two `SeqLSTM`, one for each direction, whose outputs are merged.

    Arguments:
        input_size: D.
        hidden_size: H.
        batch_first: sequences are (N, T, ...) instead of (T, N, ...).
        merge: takes the list of both whole outputs; a sum if it is not given.

    Shapes: input (T, N, D), output (T, N, H) with a sum; ``forward(input, lengths)`` for ragged batches.

    `remember` carries the state of the forward direction only. Differs from the original in that.

    >>> import torch, torchrnn
    >>> torchrnn.SeqBRNN(4, 6)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self, input_size: int, hidden_size: int, batch_first: bool = False, merge: nn.Module | None = None
    ) -> None:
        super().__init__(SeqLSTM(input_size, hidden_size), SeqLSTM(input_size, hidden_size), batch_first, merge)


class SeqBLSTM(BothDirections):
    """Two `SeqLSTM`, one for each direction, as torch/rnn names them.

    Arguments:
        input_size: D.
        hidden_size: H.
        proj_size: P, the size of a projected ``h``; no projection if it is not given.
        merge: takes the list of both whole outputs (T, N, P or H); a sum if it is not given.

    Shapes: input (T, N, D), output (T, N, P or H) with a sum; ``forward(input, lengths)`` for ragged batches.

    >>> import torch, torchrnn
    >>> torchrnn.SeqBLSTM(4, 6, merge=torchrnn.JoinTable(2))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 12])
    """

    def __init__(
        self, input_size: int, hidden_size: int, proj_size: int | None = None, merge: nn.Module | None = None
    ) -> None:
        fwd, bwd = (SeqLSTM(input_size, hidden_size, proj_size) for _ in range(2))
        super().__init__(fwd, bwd, False, merge)


class SeqBGRU(BothDirections):
    """Two `SeqGRU`, one for each direction.

    Arguments:
        input_size: D.
        hidden_size: H.
        merge: takes the list of both whole outputs (T, N, H); a sum if it is not given.

    Shapes: input (T, N, D), output (T, N, H) with a sum; ``forward(input, lengths)`` for ragged batches.

    >>> import torch, torchrnn
    >>> torchrnn.SeqBGRU(4, 6)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, input_size: int, hidden_size: int, merge: nn.Module | None = None) -> None:
        super().__init__(SeqGRU(input_size, hidden_size), SeqGRU(input_size, hidden_size), False, merge)

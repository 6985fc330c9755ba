"""Text cut into parallel streams of characters, a few steps at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch


class Batches:
    """``N`` contiguous streams of a text, read ``T`` characters at a time, with the characters that follow.

    The text is cut into ``N`` pieces of equal length. Batch ``k`` holds characters ``k T .. (k+1) T - 1`` of every
    piece, so row ``n`` of one batch goes on in row ``n`` of the next, and a state carried along sees a whole piece.
    What does not fill a batch is dropped from the end of the text, by torch-rnn's rule: ``n mod N T`` characters, or
    ``N T`` where that is none.

    Arguments:
        ids: the text, an integer tensor of shape ``(n,)``.
        batch_size: ``N``, the number of streams.
        seq_length: ``T``, the characters of a stream in one batch.

    ``batches[k]`` is ``(x, y)``, both int64 of shape ``(N, T)``; ``y`` is the character after each of ``x``.
    Raises ``ValueError`` for a text of fewer than ``N T + 1`` characters.

    >>> x, y = Batches(torch.arange(10), batch_size=2, seq_length=2)[0]
    >>> x.tolist(), y.tolist()
    ([[0, 1], [4, 5]], [[1, 2], [5, 6]])
    """

    def __init__(self, ids: torch.Tensor, batch_size: int, seq_length: int) -> None:
        if ids.dim() != 1 or ids.is_floating_point():
            raise ValueError(f"ids must be a one-dimensional integer tensor, got {ids.dtype} {tuple(ids.shape)}")
        for name, value in ("batch_size", batch_size), ("seq_length", seq_length):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        block = batch_size * seq_length
        if len(ids) < block + 1:
            raise ValueError(
                f"{len(ids)} characters are too few: batch_size {batch_size} with seq_length {seq_length} needs at "
                f"least {block + 1}; give a longer text, or a smaller batch_size or seq_length"
            )
        kept = len(ids) - (len(ids) % block or block)
        self.batch_size, self.seq_length = batch_size, seq_length
        small = ids.to(torch.int32)
        self._x = small[:kept].view(batch_size, -1)
        self._y = small[1 : kept + 1].view(batch_size, -1)

    @classmethod
    def fitting(cls, ids: torch.Tensor, batch_size: int, seq_length: int) -> Batches:
        """As the constructor, but with a smaller ``T``, then ``N``, where the text is too short for those given."""
        if len(ids) < 2:
            raise ValueError(f"{len(ids)} characters are too few: predicting one from another needs at least 2")
        seq_length = min(seq_length, len(ids) - 1)
        return cls(ids, min(batch_size, (len(ids) - 1) // seq_length), seq_length)

    @property
    def characters(self) -> int:
        """The number of characters that are predicted: ``N T`` times the number of batches."""
        return self._x.numel()

    def __len__(self) -> int:
        return self._x.size(1) // self.seq_length

    def __getitem__(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= k < len(self):
            raise IndexError(f"batch {k} does not exist: there are {len(self)}, numbered from 0")
        piece = slice(k * self.seq_length, (k + 1) * self.seq_length)
        return self._x[:, piece].long(), self._y[:, piece].long()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (self[k] for k in range(len(self)))

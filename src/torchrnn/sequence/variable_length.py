"""Sequences of different lengths in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from torchrnn.checks import require_flag, require_module, require_tensors
from torchrnn.masks import padding_mask
from torchrnn.module import Module


class VariableLength(Module):
    """Run a sequence module over a list of samples of different lengths, as one padded batch.

    Arguments:
        module: a module that takes (T, N, ...): a sequence module, or a container of them. It is made to mask.
        last_only: give only the last output of each sample.

    Shapes: a list of N samples (T_i, D) in; a list of N outputs (T_i, H) out, or one tensor (N, H) with ``last_only``.

    Differs from the original: samples are padded, not packed several to a row; the results are the same.

    >>> import torch, torchrnn
    >>> samples = [torch.randn(3, 4), torch.randn(5, 4)]
    >>> [output.shape for output in torchrnn.VariableLength(torchrnn.SeqLSTM(4, 6))(samples)]
    [torch.Size([3, 6]), torch.Size([5, 6])]
    """

    takes_sequences = True

    def __init__(self, module: Module, last_only: bool = False) -> None:
        super().__init__()
        if not isinstance(require_module(self, module), Module):
            raise TypeError(f"VariableLength: module must be a torchrnn.Module, which can mask; got {module!r}.")
        if any(getattr(part, "batch_first", False) for part in module.modules()):
            raise ValueError(
                "VariableLength: module must take (T, N, ...), but it is batch_first; make it without that."
            )
        self.module = module.mask_zero()
        self.last_only = require_flag(self, last_only, "last_only")

    def forward(self, input: Sequence[Tensor]) -> list[Tensor] | Tensor:
        samples = require_tensors(self, input)
        lengths = [len(sample) for sample in samples]
        if min(lengths) == 0:
            raise ValueError(f"VariableLength: each sample must have at least one step; got lengths {lengths}.")
        if self.module.takes_zero_mask:
            self.module.set_zero_mask(padding_mask(lengths, max(lengths)).to(samples[0].device))
        outputs = self.module(pad_sequence(list(samples)))
        rows = outputs.unbind(1)
        if self.last_only:
            return torch.stack([row[length - 1] for row, length in zip(rows, lengths, strict=True)])
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

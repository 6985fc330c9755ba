"""Dropout of weights: DropConnect for recurrent connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from torchrnn.cells.cell_around import CellAround
from torchrnn.cells.rec_gru import RecGRU
from torchrnn.cells.rec_lstm import RecLSTM
from torchrnn.cells.rec_vanilla import RecVanilla
from torchrnn.checks import require_chance
from torchrnn.layers.sequence_mask import SequenceMask
from torchrnn.tree import Tree


class WeightDropout(CellAround):
    """A cell with weights dropped at random while training, the same ones at all steps of a sequence.

    ``U' = m * U`` for each of the named weights; the elements of m are 0 with probability p and else 1 / (1 - p), so
    that evaluation changes nothing. A mask is drawn at the start of a sequence, or when the first step is taken after
    `forget` or after a gradient has gone back.

    Arguments:
        cell: any recurrent module of one step.
        names: the parameters to drop from, as ``cell.named_parameters()`` calls them: usually those that multiply h,
            ``"o2g.weight"`` of a `FastLSTM`, ``"o2g.weight"`` and ``"o2c.weight"`` of a `GRU`. In the ``weight``
            of `RecLSTM`, `RecGRU` and `RecVanilla` the rows of x are left alone.
        p: the chance that a weight is dropped.

    Shapes: those of the cell. Raises ``ValueError`` for names that the cell does not have.

    A subclass that draws other masks overrides `noise`. A sequence is cheapest with this the outermost cell, directly
    in a `Sequencer`: weights are then masked once, and inside containers and other cells at every step.
    Source: Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018.

    >>> import torch, torchrnn
    >>> cell = torchrnn.WeightDropout(torchrnn.FastLSTM(4, 6), ["o2g.weight"], 0.5)
    >>> torchrnn.Sequencer(cell)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, cell: nn.Module, names: Sequence[str], p: float = 0.5) -> None:
        super().__init__(cell)
        self.p = require_chance(self, p, "p")
        self.names = (names,) if isinstance(names, str) else tuple(names)
        known = [name for name, _ in self.cell.named_parameters()]
        if not self.names or not set(self.names) <= set(known):
            raise ValueError(
                f"WeightDropout: names must be parameters of the cell, {', '.join(known) or 'which has none'}; "
                f"got {names!r}."
            )
        self._weight_masks = [SequenceMask() for _ in self.names]
        self._is_dropping = False

    def noise(self, weight: Tensor) -> Tensor:
        """A new mask for ``weight``, scaled already."""
        keep = 1 - self.p
        return torch.empty_like(weight, requires_grad=False).bernoulli_(keep) / keep

    def step(self, x: Tree, state: Tree) -> tuple[Tree, Tree]:
        with self._dropping():
            return self.cell.step(x, state)

    def sequence(
        self, inputs: Tree, state: Tree = None, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tree, Tree]:
        with self._dropping():
            return super().sequence(inputs, state, lengths)

    def remembered_sequence(self, inputs: Tree, state: Tree = None, lengths: Tensor | list[int] | None = None) -> Tree:
        with self._dropping():
            return super().remembered_sequence(inputs, state, lengths)

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Put the masked weights into the place of the parameters, unless they are there already."""
        if self._is_dropping or not self.training or not self.p:
            yield
            return
        owners = [self.cell.get_submodule(name.rpartition(".")[0]) for name in self.names]
        leaves = [name.rpartition(".")[2] for name in self.names]
        weights = [getattr(owner, leaf) for owner, leaf in zip(owners, leaves, strict=True)]
        masked = [self._masked_weight(*part) for part in zip(self._weight_masks, owners, leaves, weights, strict=True)]
        self._is_dropping = True
        try:
            _put(owners, leaves, masked)
            yield
        finally:
            _put(owners, leaves, weights)
            self._is_dropping = False

    def _masked_weight(self, mask: SequenceMask, owner: nn.Module, leaf: str, weight: Tensor) -> Tensor:
        def noise(weight: Tensor) -> Tensor:
            if leaf != "weight" or not isinstance(owner, RecLSTM | RecGRU | RecVanilla):
                return self.noise(weight)
            of_x, of_h = weight.detach().tensor_split([owner.input_size])
            return torch.cat([torch.ones_like(of_x), self.noise(of_h)])

        return mask.times(weight, noise, (weight.shape, weight.dtype, weight.device))

    def _forget_own(self) -> None:
        super()._forget_own()
        for mask in self._weight_masks:
            mask.forget()

    def extra_repr(self) -> str:
        return f"{', '.join(self.names)}, p={self.p}"


def _put(owners: Sequence[nn.Module], leaves: Sequence[str], weights: Sequence[Tensor]) -> None:
    for owner, leaf, weight in zip(owners, leaves, weights, strict=True):
        owner._parameters[leaf] = weight  # type: ignore[assignment]

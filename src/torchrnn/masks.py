"""Masks for ragged batches: which rows of which steps are padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn.scan.reference import Cell
from torchrnn.tree import Tree, batch_size, describe, first_tensor, zeros_like


def zero_rows(input: Tree, n_input_dims: int) -> Tensor:
    """Which rows of the first tensor in ``input`` are all zeros, as a bool tensor without the last dimensions.

    Arguments:
        input: (..., features), or a table that has such a tensor first.
        n_input_dims: how many dimensions one row has: 1 for vectors, 0 for indices.

    Shapes: (T, N, D) and 1 to (T, N).

    >>> import torch, torchrnn
    >>> torchrnn.zero_rows(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), 1)
    tensor([ True, False])
    """
    tensor = first_tensor(input)
    if tensor is None or tensor.dim() < n_input_dims:
        raise ValueError(
            f"zero_rows: the input must have a tensor of at least n_input_dims = {n_input_dims} dimensions; got "
            f"{'none' if tensor is None else tuple(tensor.shape)}."
        )
    zeros = tensor == 0
    return zeros.flatten(-n_input_dims).all(-1) if n_input_dims > 1 else zeros.all(-1) if n_input_dims else zeros


def padding_mask(lengths: Tensor | list[int], n_steps: int, n_rows: int | None = None) -> Tensor:
    """Which steps lie behind the end of their row: (T, N), true where ``t >= lengths[n]``.

    Arguments:
        lengths: the number of steps of each row, (N,).
        n_steps: T.
        n_rows: N, where ``lengths`` are to be checked against it.

    >>> import torch, torchrnn
    >>> torchrnn.padding_mask([1, 3], 3)
    tensor([[False, False],
            [ True, False],
            [ True, False]])
    """
    lengths = torch.as_tensor(lengths)
    if lengths.dim() != 1 or lengths.is_floating_point():
        raise ValueError(f"lengths must be one int for each row, (N,); got {describe_lengths(lengths)}.")
    if n_rows is not None and len(lengths) != n_rows:
        raise ValueError(f"lengths must be one for each of the {n_rows} rows; got {describe_lengths(lengths)}.")
    if lengths.numel() and not (int(lengths.min()) >= 0 and int(lengths.max()) <= n_steps):
        raise ValueError(f"lengths must lie between 0 and the {n_steps} steps; got {describe_lengths(lengths)}.")
    return torch.arange(n_steps, device=lengths.device)[:, None] >= lengths


def describe_lengths(lengths: Tensor) -> str:
    return str(lengths.tolist()) if lengths.numel() <= 8 else f"a tensor of shape {tuple(lengths.shape)}"


def where_masked(mask: Tensor, there: Tree, elsewhere: Tree) -> Tree:
    """``there`` in the rows where ``mask`` is true, ``elsewhere`` in the others; trees of (*mask.shape, ...)."""

    def choose(masked: Any, kept: Any) -> Any:
        if not isinstance(kept, Tensor):
            return kept
        rows = mask.reshape(mask.shape + (1,) * (kept.dim() - mask.dim()))
        return torch.where(rows, masked, kept)

    return tree_map(choose, there, elsewhere)


def without_masked(mask: Tensor, tree: Tree) -> Tree:
    """``tree`` with zeros in the rows where ``mask`` is true, whatever stood there: no NaN comes through."""
    # A number would make a tensor of bools, such as the mask of a cell inside, one of ints.
    zeros = tree_map(lambda leaf: False if isinstance(leaf, Tensor) and leaf.dtype == torch.bool else 0, tree)
    return where_masked(mask, zeros, tree)


def held_rows(mask: Tensor, before: Tree, after: Tree) -> Tree:
    """The state ``after`` a step, with the rows where ``mask`` is true as ``before`` it: zeros if there was none."""
    old, new = ([isinstance(leaf, Tensor) for leaf in tree_leaves(state)] for state in (before, after))
    return where_masked(mask, before if old == new else zeros_like(after), after)


def without_padding(output: Tree, lengths: Tensor | list[int], batch_first: bool = False) -> Tree:
    """``output`` with zeros behind the end of each row: a tensor (T, N, ...), or a list of T steps.

    With ``batch_first`` it is a tensor (N, T, ...).
    """
    first = first_tensor(output)
    if first is None:
        return output
    mask = padding_mask(lengths, first.shape[1] if batch_first else len(output)).to(first.device)
    if isinstance(output, list):
        return [without_masked(rows, step) for rows, step in zip(mask, output, strict=True)]
    return without_masked(mask.t() if batch_first else mask, output)


def as_mask(mask: Tensor | Sequence[Any] | None) -> Tensor | None:
    """A mask as a bool tensor, (N,) or (T, N), which may be given as a list of T masks (N,)."""
    if isinstance(mask, list | tuple) and any(isinstance(step, Tensor) for step in mask):
        steps = [torch.as_tensor(step) for step in mask]
        if len({step.shape for step in steps}) > 1:
            raise ValueError(f"set_zero_mask: a list of masks must have one (N,) for each step; got {describe(steps)}.")
        mask = torch.stack(steps)
    return None if mask is None else torch.as_tensor(mask).bool()


class ZeroMask:
    """Which rows are masked: those that are all zeros, or those of a mask that is given, which may be none."""

    def __init__(self, n_input_dims: int | None = None) -> None:
        self.n_input_dims = n_input_dims
        """How many dimensions a row has that is compared with zero; None where the mask is given."""
        self._mask: Tensor | None = None
        self._is_given = False

    def give(self, mask: Tensor | Sequence[Any] | None) -> None:
        self._mask, self._is_given = as_mask(mask), True

    def of(self, module: nn.Module, input: Tree) -> Tensor | None:
        """The mask of ``module`` for this input; ``None`` masks nothing."""
        if self.n_input_dims is not None:
            return zero_rows(input, self.n_input_dims)
        if not self._is_given:
            raise ValueError(
                f"{type(module).__name__}: the mask must be given before the input: set_zero_mask(mask) with a bool "
                "tensor, true where a row is masked, or None for none. Or give n_input_dims, which masks rows of zeros."
            )
        return self._mask

    def of_steps(self, module: nn.Module, inputs: Tree, offset: int) -> Tensor | None:
        """The same for a sequence: a mask for each of its steps, the first of which is step ``offset``."""
        if self.n_input_dims is None:
            mask = self.of(module, inputs)
            return None if mask is None else steps_of_mask(module, mask, inputs, offset)
        if isinstance(inputs, Tensor):
            return self.of(module, inputs)
        return torch.stack([zero_rows(step, self.n_input_dims) for step in inputs])


class MaskTaker:
    """What `set_zero_mask` is to a module or criterion with a `ZeroMask` of its own; stands before its base class."""

    _zero_mask: ZeroMask

    if TYPE_CHECKING:

        def _require_taker(self, mask: Any) -> None: ...

    @property
    def n_input_dims(self) -> int | None:
        """How many dimensions one row of the input has; None where the mask is set."""
        return self._zero_mask.n_input_dims

    @property
    def takes_zero_mask(self) -> bool:
        return self.n_input_dims is None

    def set_zero_mask(self, mask: Tensor | Sequence[Tensor] | None) -> None:
        self._require_taker(mask)
        self._zero_mask.give(mask)


def steps_of_mask(module: nn.Module, mask: Tensor, inputs: Tree, offset: int) -> Tensor:
    """The part of a mask (T, N) for the steps that come now; a mask (N,) is for each of them."""
    if mask.dim() < 2:
        return mask.expand(len(inputs), *mask.shape)
    if batch_size(inputs) not in (None, mask.shape[1]):
        raise ValueError(
            f"{type(module).__name__}: the zero mask {tuple(mask.shape)} has {mask.shape[1]} rows, the batch "
            f"{batch_size(inputs)}. Call set_zero_mask(mask) with a mask (T, N) for this sequence."
        )
    end = offset + len(inputs)
    if len(mask) < end or (isinstance(inputs, Tensor) and len(mask) != len(inputs)):
        raise ValueError(
            f"{type(module).__name__}: the zero mask {tuple(mask.shape)} has {len(mask)} steps, the sequence "
            f"{end}. Call set_zero_mask(mask) with a mask (T, N) for this sequence."
        )
    return mask[offset:end]


class HoldableCell(Cell, Protocol):
    """A cell that knows how a row keeps its state."""

    def hold_rows_of_state(self, rows: Tensor, before: Tree, after: Tree) -> Tree: ...


class MaskableCell(HoldableCell, Protocol):
    """A cell that knows the state from which a row begins anew, too."""

    def zero_rows_of_state(self, rows: Tensor, state: Tree) -> Tree: ...


class ZeroMasked:
    """A cell whose masked rows give a zero output and a zero state: the next step starts them anew.

    Its input is the pair of the input of the cell and a mask (N,).
    """

    def __init__(self, cell: MaskableCell) -> None:
        self.cell = cell

    def step(self, input: tuple[Tree, Tensor], state: Tree) -> tuple[Tree, Tree]:
        x, mask = input
        output, state = self.cell.step(without_masked(mask, x), state)
        return without_masked(mask, output), self.cell.zero_rows_of_state(mask, state)

    def hold_rows_of_state(self, rows: Tensor, before: Tree, after: Tree) -> Tree:
        return self.cell.hold_rows_of_state(rows, before, after)


class Held:
    """A cell whose masked rows give a zero output and keep their state: it is final at the end of each row.

    Its input is the pair of the input of the cell and a mask (N,).
    """

    def __init__(self, cell: HoldableCell) -> None:
        self.cell = cell

    def step(self, input: tuple[Tree, Tensor], state: Tree) -> tuple[Tree, Tree]:
        x, mask = input
        output, new = self.cell.step(without_masked(mask, x), state)
        return without_masked(mask, output), self.cell.hold_rows_of_state(mask, state, new)


def with_mask(inputs: Tree, mask: Tensor) -> Tree:
    """Inputs of a whole sequence, each step with its mask: for a tensor and (T, N), or for a list of steps."""
    return list(zip(inputs, mask, strict=True)) if isinstance(inputs, list) else (inputs, mask)


def with_lengths(
    cell: HoldableCell, steps: Tree, lengths: Tensor | list[int] | None, inputs: Tree
) -> tuple[Cell, Tree]:
    """The cell and the steps that it takes of ``inputs`` in a ragged batch, where ``lengths`` are given."""
    if lengths is None or not len(inputs):
        return cell, steps
    first = first_tensor(inputs)
    device = None if first is None else first.device
    mask = padding_mask(lengths, len(inputs), batch_size(inputs)).to(device)
    return Held(cell), with_mask(steps, mask)

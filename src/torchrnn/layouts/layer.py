"""What a recurrent layer is made of, whatever class it is: one cell a direction, and the way both are merged."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from torchrnn.layers import CAddTable, JoinTable
from torchrnn.recurrent import AbstractRecurrent
from torchrnn.sequence import BiSequencer, BiSequencerLM, Sequencer
from torchrnn.sequence.both_directions import BothDirections
from torchrnn.sequence.whole_sequence import WholeSequence


@dataclass
class Layer:
    """One recurrent layer."""

    cells: list[AbstractRecurrent]
    """The cell that reads forwards, and the one that reads backwards if there is one."""
    batch_first: bool = False
    is_sum: bool = False
    """Whether both directions are added; else they are joined along the features."""


def layer_of(module: nn.Module) -> Layer:
    """The parts of a cell or of a layer made of it."""
    if isinstance(module, AbstractRecurrent):
        return Layer([module])
    if isinstance(module, Sequencer):
        return Layer([module.cell])
    if isinstance(module, WholeSequence):
        return Layer([module.cell], module.batch_first)
    if isinstance(module, BiSequencer) and not isinstance(module, BiSequencerLM):
        directions = [layer_of(module.fwd), layer_of(module.bwd.sequencer)]
        merge = None if module.merge is None else module.merge.get()
        is_joined = merge is None or (isinstance(merge, JoinTable) and (merge.dim, merge.n_input_dims) == (0, 1))
        return _both(directions, False, merge, is_joined)
    if isinstance(module, BothDirections):
        directions = [layer_of(module.fwd), layer_of(module.bwd.sequencer)]
        is_joined = isinstance(module.merge, JoinTable) and module.merge.dim in (2, -1)
        return _both(directions, module.batch_first, module.merge, is_joined)
    raise TypeError(
        f"{type(module).__name__} cannot be converted: it must be a cell, a sequence module such as SeqLSTM, or a "
        "Sequencer or BiSequencer of a cell. Convert the layers of a stack one by one."
    )


def _both(directions: list[Layer], batch_first: bool, merge: nn.Module | None, is_joined: bool) -> Layer:
    if any(layer.batch_first or len(layer.cells) > 1 for layer in directions):
        raise ValueError("A bidirectional layer can only be converted if each direction is a cell over (T, N, D).")
    if not is_joined and not isinstance(merge, CAddTable):
        raise ValueError(f"Both directions must be joined along the features, or added; got the merge {merge}.")
    return Layer([layer.cells[0] for layer in directions], batch_first, is_sum=not is_joined)

"""The weights of a cell, gate by gate: what all layouts have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from torchrnn.cells import GRU, LSTM, FastLSTM, RecGRU, RecLSTM, RecVanilla, ResetAfterGRU
from torchrnn.cells.linears import DroppedLinears
from torchrnn.recurrent import AbstractRecurrent


@dataclass
class Gates:
    """The weights of an LSTM (gates i, f, g, o), a GRU (r, z, g) or a simple recurrent cell (h)."""

    kind: str
    """``'LSTM'``, ``'GRU'`` or ``'RNN'``."""
    of_x: dict[str, Tensor]
    """For each gate (H, D)."""
    of_h: dict[str, Tensor]
    """For each gate (H, H), or (H, P) behind a projection."""
    bias: dict[str, Tensor]
    """For each gate (H,)."""
    bias_of_h: dict[str, Tensor] = field(default_factory=dict)
    """For each gate (H,), inside of the reset of a GRU that resets after the product."""
    peepholes: dict[str, Tensor] = field(default_factory=dict)
    """For i, f and o (H,)."""
    projection: Tensor | None = None
    """(P, H)."""

    @property
    def resets_after(self) -> bool:
        """Whether a GRU resets after the product."""
        return bool(self.bias_of_h)

    @property
    def traits(self) -> tuple[object, ...]:
        """What both directions of a layer must have in common."""
        sizes = [tuple(weight.shape) for weight in self.of_x.values()]
        return self.kind, sizes, self.resets_after, list(self.peepholes), self.projection is None


def gates_of(cell: AbstractRecurrent) -> Gates:
    """The weights of ``cell``, detached."""
    if isinstance(cell, LSTM):
        return _of_lstm(cell)
    if isinstance(cell, FastLSTM) and isinstance(cell.cell_norm, nn.Identity):
        return Gates("LSTM", *_of_linears(cell.i2g, cell.o2g, "igfo"))
    if isinstance(cell, GRU):
        x_gates, h_gates, bias = _of_linears(cell.i2g, cell.o2g, "rz")
        x_candidate, h_candidate, candidate_bias = _of_linears(cell.i2c, cell.o2c, "g")
        return Gates("GRU", x_gates | x_candidate, h_gates | h_candidate, bias | candidate_bias)
    if isinstance(cell, ResetAfterGRU):
        of_x, of_h, bias = _of_linears(cell.i2g, cell.o2g, "rzg")
        return Gates("GRU", of_x, of_h, bias, bias_of_h=_by_gate(cell.o2g.bias, "rzg"))
    if isinstance(cell, RecLSTM):
        projection = None if cell.weight_o is None else cell.weight_o.detach().t()
        return Gates("LSTM", *_of_matrix(cell, "ifog"), projection=projection)
    if isinstance(cell, RecGRU):
        return Gates("GRU", *_of_matrix(cell, "rzg"))
    if isinstance(cell, RecVanilla):
        return Gates("RNN", *_of_matrix(cell, "h"))
    raise TypeError(
        f"{type(cell).__name__} cannot be converted: other layouts only know LSTM, FastLSTM without batch "
        "normalisation, RecLSTM, GRU, RecGRU, ResetAfterGRU and RecVanilla, and the layers made of them."
    )


def _of_lstm(cell: LSTM) -> Gates:
    parts = {"i": cell.input_gate, "f": cell.forget_gate, "g": cell.hidden, "o": cell.output_gate}
    return Gates(
        "LSTM",
        of_x={name: gate.i2g.weight.detach() for name, gate in parts.items()},
        of_h={name: gate.o2g.weight.detach() for name, gate in parts.items()},
        bias={name: gate.i2g.bias.detach() for name, gate in parts.items()},
        peepholes={name: gate.c2g.weight.detach() for name, gate in parts.items() if gate.c2g is not None},
    )


def _of_linears(
    of_x: nn.Module, of_h: nn.Module, names: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Linear maps whose rows are the gates; behind dropout there is one map for each."""
    weights = [_rows(linear, "weight") for linear in (of_x, of_h)]
    w_x, w_h, bias = (_by_gate(rows, names) for rows in (*weights, _rows(of_x, "bias")))
    return w_x, w_h, bias


def _rows(linear: nn.Module, name: str) -> Tensor:
    parts = linear.linears if isinstance(linear, DroppedLinears) else [linear]
    return torch.cat([part.get_parameter(name) for part in parts])


def _of_matrix(
    cell: RecLSTM | RecGRU | RecVanilla, names: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """One matrix whose columns are the gates, rows of x first."""
    w_x, w_h = cell.weight.tensor_split([cell.input_size])
    return _by_gate(w_x.t(), names), _by_gate(w_h.t(), names), _by_gate(cell.bias, names)


def _by_gate(rows: Tensor, names: str) -> dict[str, Tensor]:
    return dict(zip(names, rows.detach().chunk(len(names)), strict=True))

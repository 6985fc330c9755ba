"""What one step of a cell is made of in Lua: the layers that its constructor puts together."""

from __future__ import annotations

from typing import Any

from torch import nn

from torchrnn.cells import GRU, LSTM, FastLSTM, MuFuRu
from torchrnn.cells.linears import DroppedLinears
from torchrnn.cells.lstm import Gate
from torchrnn.layers import (
    Abs,
    CAddTable,
    CMulTable,
    CSubTable,
    FlattenTable,
    JoinTable,
    MapTable,
    Max,
    Min,
    MulConstant,
    NarrowTable,
    Reshape,
    SAdd,
    SelectTable,
    SplitTable,
    Sqrt,
    Sum,
    Transpose,
    Unsqueeze,
    View,
)
from torchrnn.t7.classes.graph_export import wired
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.softmax import SoftMax

Part = TorchObject | nn.Module


class Lua:
    """Puts objects together, from objects and from modules that become objects."""

    def __init__(self, exporter: Exporter) -> None:
        self.exporter = exporter

    def part(self, part: Part) -> TorchObject:
        return part if isinstance(part, TorchObject) else self.exporter.module(part)

    def sequential(self, *parts: Part) -> TorchObject:
        return self._container("nn.Sequential", parts)

    def concat(self, *parts: Part) -> TorchObject:
        return self._container("nn.ConcatTable", parts)

    def parallel(self, *parts: Part) -> TorchObject:
        return self._container("nn.ParallelTable", parts)

    def no_bias(self, linear: nn.Module) -> TorchObject:
        made = self.exporter.module(linear)
        return TorchObject("nn.LinearNoBias", made.fields)

    def _container(self, name: str, parts: tuple[Part, ...]) -> TorchObject:
        return self.exporter.container(name, [self.part(part) for part in parts])


def lstm_step(exporter: Exporter, cell: LSTM) -> tuple[TorchObject, dict[str, TorchObject]]:
    """``{x, h, c} -> {h', c'}``, and the gates in it by the names of their fields."""
    lua = Lua(exporter)

    def gate(ours: Gate, transfer: nn.Module) -> TorchObject:
        of_x = lua.sequential(ours.drop_input, ours.i2g)
        of_h = lua.sequential(ours.drop_output, lua.no_bias(ours.o2g))
        if ours.c2g is None:
            return lua.sequential(NarrowTable(0, 2), lua.parallel(of_x, of_h), CAddTable(), transfer)
        return lua.sequential(lua.parallel(of_x, of_h, ours.c2g), CAddTable(), transfer)

    forget_gate, input_gate = gate(cell.forget_gate, nn.Sigmoid()), gate(cell.input_gate, nn.Sigmoid())
    hidden, output_gate = gate(cell.hidden, nn.Tanh()), gate(cell.output_gate, nn.Sigmoid())
    kept = lua.sequential(lua.concat(forget_gate, SelectTable(2)), CMulTable())
    new = lua.sequential(lua.concat(input_gate, hidden), CMulTable())
    next_cell = lua.sequential(lua.concat(kept, new), CAddTable())
    activated = lua.sequential(SelectTable(2), nn.Tanh())
    output = lua.sequential(lua.concat(output_gate, activated), CMulTable())
    step = lua.sequential(lua.concat(NarrowTable(0, 2), next_cell), FlattenTable(), lua.concat(output, SelectTable(2)))
    return step, {
        "forgetGate": forget_gate,
        "inputGate": input_gate,
        "hiddenLayer": hidden,
        "outputGate": output_gate,
        "cellLayer": next_cell,
    }


def fast_lstm_step(exporter: Exporter, cell: FastLSTM) -> tuple[TorchObject, dict[str, TorchObject]]:
    """``{x, h, c} -> {h', c'}``, and the linear maps in it."""
    lua = Lua(exporter)
    i2g, o2g = _linears(lua, cell.i2g), _linears(lua, cell.o2g)
    gates = lua.sequential(
        NarrowTable(0, 2),
        lua.parallel(i2g, o2g),
        CAddTable(),
        Reshape(4, cell.hidden_size),
        SplitTable(0, 2),
        lua.parallel(nn.Sigmoid(), nn.Tanh(), nn.Sigmoid(), nn.Sigmoid()),
    )
    new = lua.sequential(NarrowTable(0, 2), CMulTable())
    kept = lua.sequential(lua.concat(SelectTable(2), SelectTable(4)), CMulTable())
    next_cell = lua.sequential(lua.concat(new, kept), CAddTable())
    activated = lua.sequential(SelectTable(0), nn.Tanh())
    output = lua.sequential(lua.concat(activated, SelectTable(1)), CMulTable())
    step = lua.sequential(
        lua.concat(gates, SelectTable(2)),
        FlattenTable(),
        lua.concat(next_cell, SelectTable(3)),
        FlattenTable(),
        lua.concat(output, SelectTable(0)),
    )
    return step, {"i2g": i2g, "o2g": o2g}


def normalised_fast_lstm_step(exporter: Exporter, cell: FastLSTM) -> tuple[TorchObject, dict[str, TorchObject]]:
    """The same with batch normalisation, which Lua wires as a graph; with the names that it gives the nodes."""
    lua = Lua(exporter)
    of_x, of_h = (list(part.children()) for part in (cell.i2g, cell.o2g))
    i2g, o2g = lua.part(of_x[0]), lua.no_bias(of_h[0])
    parts: list[tuple[Part, list[int]]] = [
        (nn.Identity(), [-1]),
        (i2g, [0]),
        (of_x[1], [1]),
        (nn.Identity(), [-2]),
        (o2g, [3]),
        (of_h[1], [4]),
        (of_h[2], [5]),
        (CAddTable(), [2, 6]),
        (Reshape(4, cell.hidden_size), [7]),
        (SplitTable(1), [8]),
        *((SelectTable(gate), [9]) for gate in range(4)),
        (nn.Sigmoid(), [10]),
        (nn.Tanh(), [11]),
        (nn.Sigmoid(), [12]),
        (nn.Sigmoid(), [13]),
        (nn.Identity(), [-3]),
        (CMulTable(), [16, 18]),
        (CMulTable(), [14, 15]),
        (CAddTable(), [19, 20]),
        (cell.cell_norm, [21]),
        (nn.Tanh(), [22]),
        (CMulTable(), [17, 23]),
    ]
    step = wired(exporter, [lua.part(part) for part, _ in parts], [taken for _, taken in parts], [24, 21], 3)
    for position, name in {1: "i2h", 2: "bn_wx", 4: "h2h", 5: "bn_wh", 22: "bn_c"}.items():
        step.fields["forwardnodes"][position - len(parts) - 1].fields["data"]["annotations"]["name"] = name
    return step, {"i2g": i2g, "o2g": o2g}


def gru_step(exporter: Exporter, cell: GRU) -> tuple[TorchObject, dict[str, TorchObject]]:
    """``{x, h} -> h'``, and the linear maps for both gates in it."""
    lua = Lua(exporter)
    i2g, o2g = _linears(lua, cell.i2g), _linears(lua, cell.o2g)
    gates = lua.sequential(
        lua.parallel(i2g, o2g),
        CAddTable(),
        Reshape(2, cell.hidden_size),
        SplitTable(0, 2),
        lua.parallel(nn.Sigmoid(), nn.Sigmoid()),
    )
    of_x = lua.sequential(SelectTable(0), *_single(lua, cell.i2c))
    of_h = lua.sequential(NarrowTable(1, 2), CMulTable(), *_single(lua, cell.o2c))
    candidate = lua.sequential(lua.concat(of_x, of_h), CAddTable(), nn.Tanh())
    new = lua.sequential(lua.concat(candidate, lua.sequential(SelectTable(3), SAdd(-1, negate=True))), CMulTable())
    kept = lua.sequential(NarrowTable(3, 2), CMulTable())
    step = lua.sequential(
        lua.concat(nn.Identity(), gates),
        FlattenTable(),
        lua.concat(NarrowTable(0, 4), SelectTable(1)),
        FlattenTable(),
        lua.sequential(lua.concat(new, kept), CAddTable()),
    )
    return step, {"i2g": i2g, "o2g": o2g}


def mufuru_step(exporter: Exporter, cell: MuFuRu) -> tuple[TorchObject, list[TorchObject]]:
    """``{x, h} -> h'``, and the operations in it."""
    lua = Lua(exporter)
    operations = {name: lua.part(part) for name, part in _operations(lua).items()}
    chosen = [operations[name] for name in cell.ops]
    reset = lua.sequential(lua.parallel(cell.i2r, cell.o2r), CAddTable(), nn.Sigmoid())
    reset_h = lua.sequential(NarrowTable(1, 2), CMulTable())
    value = lua.sequential(lua.concat(SelectTable(0), reset_h), JoinTable(1), cell.value, nn.Sigmoid())
    weights = lua.sequential(
        NarrowTable(0, 2),
        JoinTable(1),
        cell.weights,
        View(len(chosen), cell.hidden_size, n_input_dims=1),
        Transpose((0, 1)),
        SoftMax(),
    )
    candidates = lua.sequential(NarrowTable(0, 2), lua.concat(*chosen), MapTable(Unsqueeze(0)), JoinTable(0, 3))
    step = lua.sequential(
        lua.concat(SelectTable(0), SelectTable(1), reset),
        lua.concat(SelectTable(1), value, weights),
        lua.sequential(lua.concat(candidates, SelectTable(2)), CMulTable(), Sum(0, 3)),
    )
    return step, chosen


def _operations(lua: Lua) -> dict[str, Part]:
    def stacked(reduce: nn.Module) -> Part:
        return lua.sequential(MapTable(Unsqueeze(0)), JoinTable(0), reduce)

    return {
        "keep": SelectTable(0),
        "replace": SelectTable(1),
        "mul": CMulTable(),
        "diff": CSubTable(),
        "forget": lua.sequential(SelectTable(0), MulConstant(0.0)),
        "sqrt_diff": lua.sequential(CSubTable(), Abs(), Sqrt(), MulConstant(0.25)),
        "max": stacked(Max(0)),
        "min": stacked(Min(0)),
    }


def _linears(lua: Lua, ours: nn.Module) -> TorchObject:
    """Several linear maps of one input: as one product, or each behind its dropout."""
    if not isinstance(ours, DroppedLinears):
        return lua.part(ours) if isinstance(ours, nn.Linear) and ours.bias is not None else lua.no_bias(ours)
    linears = [linear if linear.bias is not None else lua.no_bias(linear) for linear in ours.linears]
    return lua.sequential(lua.concat(*ours.dropouts), lua.parallel(*linears), JoinTable(1))


def _single(lua: Lua, ours: nn.Module) -> list[Part]:
    """One linear map, behind its dropout if there is any."""
    if not isinstance(ours, DroppedLinears):
        return [_linears(lua, ours)]
    linear: Any = ours.linears[0]
    return [ours.dropouts[0], linear if linear.bias is not None else lua.no_bias(linear)]

"""Rows of tables, such as the vectors of words: looked up by PyTorch for all steps at once, and inputs of the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.operations import Unsupported
from torchrnn.scan.record import Call, Value
from torchrnn.scan.rows import Row


@dataclass
class Gather:
    """One look-up: the rows of ``table`` that the input number ``indices`` names."""

    table: Value
    indices: int
    call: Call
    padding_index: int
    grad: Row | None = None
    """Of what was looked up; PyTorch takes it to the table."""


def gather_of(call: Call, rows: Mapping[Value, object]) -> Gather:
    """The look-up that ``aten.embedding`` is."""
    defaults: tuple[Any, ...] = (-1, False, False)
    table, ids, padding_index, by_frequency, is_sparse = [*call.args, *defaults[len(call.args) - 2 :]]
    row = rows.get(ids)
    if not isinstance(row, Row) or row.op != "input" or row.detail[0] != "x" or ids.dtype != torch.int64:
        raise Unsupported("an embedding of ids that are no input")
    if table in rows or by_frequency or is_sparse:
        raise Unsupported("an embedding with options, or of what is no parameter")
    return Gather(table, row.detail[1], call, padding_index)


def look_up(gathers: Sequence[Gather], tables: dict[Value, Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
    """What is looked up for all steps, (T, N, ...)."""
    try:
        return [torch.embedding(tables[each.table], xs[each.indices], each.padding_index) for each in gathers]
    except IndexError as error:
        raise Unsupported(f"an id is out of range ({error})") from error

"""The engine as operators of PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import torchrnn
from torchrnn.scan import native
from torchrnn.scan.call import prepare
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.operators import number_of

try:
    native.library()
except Unsupported as missing:
    pytest.skip(str(missing), allow_module_level=True)


def leaves_of(cell: torchrnn.AbstractRecurrent, T: int = 4, N: int = 3) -> tuple[list[Tensor], int]:
    x = torch.randn(T, N, 4, requires_grad=True)
    call = prepare(cell, x, cell.initial_state(x[0]))
    return call.leaves, number_of(call.plan)


@pytest.mark.parametrize("make", [torchrnn.FastLSTM, torchrnn.GRU])
def test_opcheck(make: type[torchrnn.AbstractRecurrent]) -> None:
    cell = make(4, 16)
    torch.library.opcheck(torch.ops.torchrnn.scan, leaves_of(cell), rtol=1e-4, atol=1e-4)


def test_the_operator_is_the_scan() -> None:
    cell = torchrnn.GRU(4, 6)
    leaves, plan = leaves_of(cell)
    output, final, _ = torch.ops.torchrnn.scan(leaves, plan)
    expected, expected_final = torchrnn.scan.scan(cell, leaves[0], leaves[1])
    assert torch.equal(output, expected)
    assert torch.equal(final, expected_final)
    got = torch.autograd.grad(output.sum() + final.sum(), [leaves[0], *cell.parameters()])
    wanted = torch.autograd.grad(expected.sum() + expected_final.sum(), [leaves[0], *cell.parameters()])
    for a, b in zip(got, wanted, strict=True):
        assert torch.equal(a, b)


def test_a_graph_whose_cell_is_gone() -> None:
    leaves, plan = leaves_of(torchrnn.GRU(4, 6))
    with pytest.raises(RuntimeError, match="the cell that this graph was made from is gone"):
        torch.ops.torchrnn.scan(leaves, plan + 10_000)

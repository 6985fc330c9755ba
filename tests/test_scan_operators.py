"""The engine as operators of PyTorch."""

from __future__ import annotations

import gc

import pytest
import torch
from native_library import require_library
from torch import Tensor

import torchrnn
from torchrnn.scan.call import prepare
from torchrnn.scan.operators import number_of

require_library()

pytestmark = pytest.mark.slow


def leaves_of(cell: torchrnn.AbstractRecurrent, T: int = 4, N: int = 3) -> tuple[list[Tensor], int]:
    x = torch.randn(T, N, 4, requires_grad=True)
    call = prepare(cell, x, cell.initial_state(x[0]))
    return call.leaves, number_of(call.plan)


@pytest.mark.parametrize("make", [torchrnn.FastLSTM, torchrnn.GRU])
@pytest.mark.parametrize("recompute", [False, True])
def test_opcheck(make: type[torchrnn.AbstractRecurrent], recompute: bool) -> None:
    cell = make(4, 16)
    torch.library.opcheck(torch.ops.torchrnn.scan, (*leaves_of(cell), recompute), rtol=1e-4, atol=1e-4)


def test_the_operator_is_the_scan() -> None:
    cell = torchrnn.GRU(4, 6)
    leaves, plan = leaves_of(cell)
    output, final, _ = torch.ops.torchrnn.scan(leaves, plan, False)
    expected, expected_final = torchrnn.scan.scan(cell, leaves[0], leaves[1])
    assert torch.equal(output, expected)
    assert torch.equal(final, expected_final)
    got = torch.autograd.grad(output.sum() + final.sum(), [leaves[0], *cell.parameters()])
    wanted = torch.autograd.grad(expected.sum() + expected_final.sum(), [leaves[0], *cell.parameters()])
    for a, b in zip(got, wanted, strict=True):
        assert torch.equal(a, b)


def test_opcheck_of_the_backward() -> None:
    leaves, plan = leaves_of(torchrnn.GRU(4, 16))
    output, final, kept = torch.ops.torchrnn.scan(leaves, plan, False)
    leaves = [leaf.detach() for leaf in leaves]
    grads = [torch.randn_like(output), torch.randn_like(final)]
    for wanted in (True, False):
        arguments = (leaves, kept.detach(), grads, [wanted] * len(leaves), plan)
        torch.library.opcheck(torch.ops.torchrnn.scan_backward, arguments, rtol=1e-4, atol=1e-4)


def test_recomputing() -> None:
    leaves, plan = leaves_of(torchrnn.FastLSTM(4, 6))
    kept, again = (torch.ops.torchrnn.scan(leaves, plan, recompute) for recompute in (False, True))
    assert again[-1].numel() == 0
    sources = [leaf for leaf in leaves if leaf.requires_grad]
    grads = [torch.autograd.grad(results[0].sum(), sources) for results in (kept, again)]
    assert all(map(torch.equal, *grads))


def test_a_plan_outlives_its_cell() -> None:
    cell = torchrnn.GRU(4, 6)
    leaves, plan = leaves_of(cell)
    expected = torch.ops.torchrnn.scan(leaves, plan, False)[0]
    del cell
    gc.collect()
    assert torch.equal(torch.ops.torchrnn.scan(leaves, plan, False)[0], expected)


def test_a_graph_of_another_process() -> None:
    leaves, plan = leaves_of(torchrnn.GRU(4, 6))
    with pytest.raises(RuntimeError, match=r"this graph was made in another process\. Make it again"):
        torch.ops.torchrnn.scan(leaves, plan + 10_000, False)


def test_tensors_that_the_graph_was_not_made_for() -> None:
    leaves, plan = leaves_of(torchrnn.GRU(4, 6))
    x, h, *tensors = leaves
    wrong = [
        leaves[:-1],
        [x, h, *tensors, h],
        [x[:, :2], h, *tensors],
        [x[:0], h, *tensors],
        [x[0], h, *tensors],
        [x[..., :3], h, *tensors],
        [x.double(), h, *tensors],
        [x, h[:, :5], *tensors],
        [x, h.double(), *tensors],
        [x, h, *[tensor.double() for tensor in tensors]],
        [x, h, *[tensor.flatten() for tensor in tensors]],
    ]
    for given in wrong:
        with pytest.raises(ValueError, match=r"which is not what the graph was made for|more or fewer than the plan"):
            torch.ops.torchrnn.scan(given, plan, False)

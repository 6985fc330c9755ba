from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchrnn.lm import Batches

SIZES = st.integers(1, 6)


@given(SIZES, SIZES, st.integers(1, 100))
def test_every_row_reads_on_where_it_stopped(N, T, extra):
    ids = torch.arange(N * T + extra)
    batches = Batches(ids, N, T)
    x = torch.cat([x for x, _ in batches], dim=1)
    y = torch.cat([y for _, y in batches], dim=1)
    assert all(x.shape == y.shape == (N, T) for x, y in batches)
    assert torch.equal(y, x + 1)
    assert torch.equal(x.flatten(), torch.arange(x.numel()))
    assert batches.characters == x.numel() == len(batches) * N * T
    # torch-rnn's rule for what is left over.
    assert len(ids) - x.numel() == (len(ids) % (N * T) or N * T)


@given(SIZES, SIZES, st.integers(2, 60))
def test_fitting_uses_as_many_streams_as_the_text_allows(N, T, n):
    batches = Batches.fitting(torch.arange(n), N, T)
    assert batches.seq_length == min(T, n - 1)
    assert batches.batch_size == min(N, (n - 1) // batches.seq_length)


def test_a_text_that_just_fits_is_one_batch():
    (batch,) = Batches(torch.tensor([5, 6, 7, 8, 9]), 2, 2)
    assert [part.tolist() for part in batch] == [[[5, 6], [7, 8]], [[6, 7], [8, 9]]]
    assert all(part.dtype == torch.int64 for part in batch)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Batches(torch.arange(4), 2, 2), ValueError, "4 characters are too few: .* needs at least 5"),
        (lambda: Batches(torch.arange(0), 1, 1), ValueError, "0 characters are too few: .* needs at least 2"),
        (lambda: Batches(torch.arange(4), 0, 2), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: Batches(torch.arange(4), 2, -1), ValueError, "seq_length must be at least 1, got -1"),
        (lambda: Batches(torch.zeros(2, 9), 1, 1), ValueError, "one-dimensional integer tensor, got torch.float32"),
        (lambda: Batches.fitting(torch.arange(1), 2, 2), ValueError, "needs at least 2"),
        (lambda: Batches(torch.arange(9), 2, 2)[2], IndexError, "batch 2 does not exist: there are 2"),
        (lambda: Batches(torch.arange(9), 2, 2)[-1], IndexError, "batch -1"),
    ],
)
def test_what_cannot_be_cut_into_batches_raises(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Simple recurrent networks, ready made of modules."""

from __future__ import annotations

from torch import nn

from torchrnn.checks import require_counts, require_module
from torchrnn.layers import CAddTable, JoinTable, LookupTableMaskZero, ParallelTable, Sequential
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent.recurrence import Recurrence


class LinearRNN(Recurrence):
    """The simple recurrent network with one linear map: ``h' = transfer(W [x, h] + b)``.

    Arguments:
        input_size: D.
        hidden_size: H.
        transfer: what the sum goes through; `torch.nn.Sigmoid` if it is not given.
        rho: how many steps are kept for backpropagation through time.

    Shapes: input (N, D) or (D,), output and state (N, H) or (H,).

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.LinearRNN(4, 6, torch.nn.Tanh()))(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(
        self, input_size: int, hidden_size: int, transfer: nn.Module | None = None, rho: int = DEFAULT_RHO
    ) -> None:
        require_counts(self, input_size=input_size, hidden_size=hidden_size)
        linear = nn.Linear(input_size + hidden_size, hidden_size)
        transfer = nn.Sigmoid() if transfer is None else require_module(self, transfer, "transfer")
        super().__init__(Sequential(JoinTable(0, 1), linear, transfer), hidden_size, 1, rho)


class LookupRNN(Recurrence):
    """The simple recurrent network over indices: ``h' = transfer(merge([E[x], W h + b]))``.

    Arguments:
        n_index: how many indices there are; 0 is padding, a zero vector, the others are 1 to ``n_index``.
        hidden_size: H.
        transfer: what the sum goes through; `torch.nn.Sigmoid` if it is not given.
        merge: joins the list of both; a sum if it is not given.
        rho: how many steps are kept for backpropagation through time.

    Shapes: indices (N,) or (), output and state (N, H) or (H,).

    >>> import torch, torchrnn
    >>> torchrnn.Sequencer(torchrnn.LookupRNN(7, 6))(torch.tensor([[1, 2], [7, 0]])).shape
    torch.Size([2, 2, 6])
    """

    def __init__(
        self,
        n_index: int,
        hidden_size: int,
        transfer: nn.Module | None = None,
        merge: nn.Module | None = None,
        rho: int = DEFAULT_RHO,
    ) -> None:
        require_counts(self, n_index=n_index, hidden_size=hidden_size)
        parts = ParallelTable(LookupTableMaskZero(n_index, hidden_size), nn.Linear(hidden_size, hidden_size))
        merge = CAddTable() if merge is None else require_module(self, merge, "merge")
        transfer = nn.Sigmoid() if transfer is None else require_module(self, transfer, "transfer")
        super().__init__(Sequential(parts, merge, transfer), hidden_size, 0, rho)

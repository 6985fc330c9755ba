"""Every step-wise recurrent module, with sizes D = 4 and H = 6: the table that drives the generic tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import torchrnn
from torchrnn import AbstractRecurrent

D, H = 4, 6


class MinimalGatedUnit(AbstractRecurrent):
    """A cell of a user's own: no more than the two methods."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, input: Tensor) -> Tensor:
        return input.new_zeros(*input.shape[:-1], self.hidden_size)

    def step(self, input: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.sigmoid(self.gate(torch.cat([input, h], -1)))
        h = (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([input, f * h], -1)))
        return h, h


class TwoStates(AbstractRecurrent):
    """A cell with a tuple of unlike states and an output that is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = nn.Linear(D, H), nn.Linear(D + H, 3)
        self.out = nn.Linear(3, H)

    def initial_state(self, input: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        batch = input.shape[:-1]
        return input.new_zeros(*batch, H), {"fast": input.new_ones(*batch, 3)}

    def step(self, input: Tensor, state: tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, object]:
        slow, fast = state[0], state[1]["fast"]
        slow = 0.9 * slow + 0.1 * torch.tanh(self.slow(input))
        fast = torch.tanh(fast + self.fast(torch.cat([input, slow], -1)))
        return self.out(fast) * slow, (slow, {"fast": fast})


def recurrence() -> AbstractRecurrent:
    step = torchrnn.Sequential(torchrnn.JoinTable(0, 1), nn.Linear(D + H, H), nn.Tanh())
    return torchrnn.Recurrence(step, H, 1)


def nested_recurrence() -> AbstractRecurrent:
    step = torchrnn.Sequential(torchrnn.JoinTable(0, 1), torchrnn.FastLSTM(D + H, H), nn.Linear(H, H), nn.Tanh())
    return torchrnn.Recurrence(step, H, 1)


def recursor() -> AbstractRecurrent:
    return torchrnn.Recursor(torchrnn.Sequential(torchrnn.LSTM(D, H), nn.Linear(H, H), torchrnn.GRU(H, H)))


class FixedZoneout(torchrnn.Zoneout):
    """The same elements stay at every step, so that training can be compared with itself."""

    def noise(self, state: Tensor, p: float) -> Tensor:
        return (torch.arange(state.shape[-1]) % round(1 / p) == 0).to(state).expand_as(state)


class FixedWeightDropout(torchrnn.WeightDropout):
    """Every third weight is dropped."""

    def noise(self, weight: Tensor) -> Tensor:
        return (torch.arange(weight.numel()) % 3 != 0).to(weight).view_as(weight) * 1.5


def learned_start(cell: AbstractRecurrent, input: Tensor | None = None) -> AbstractRecurrent:
    cell = torchrnn.LearnedStart(cell, input)
    for start in cell.start:
        nn.init.normal_(start)
    return cell


CELLS: dict[str, Callable[[], AbstractRecurrent]] = {
    "LSTM": lambda: torchrnn.LSTM(D, H),
    "LSTM without peepholes": lambda: torchrnn.LSTM(D, H, cell2gate=False),
    "FastLSTM": lambda: torchrnn.FastLSTM(D, H),
    "GRU": lambda: torchrnn.GRU(D, H),
    "MuFuRu": lambda: torchrnn.MuFuRu(D, H),
    "MuFuRu with three operations": lambda: torchrnn.MuFuRu(D, H, ops=["keep", "replace", "diff"]),
    "RecLSTM": lambda: torchrnn.RecLSTM(D, H),
    "RecLSTM with projection": lambda: torchrnn.RecLSTM(D, H, 3),
    "RecGRU": lambda: torchrnn.RecGRU(D, H),
    "RecVanilla": lambda: torchrnn.RecVanilla(D, H),
    "ResetAfterGRU": lambda: torchrnn.ResetAfterGRU(D, H),
    "LayerNormLSTM": lambda: torchrnn.LayerNormLSTM(D, H),
    "LayerNormGRU": lambda: torchrnn.LayerNormGRU(D, H),
    "Zoneout of a FastLSTM": lambda: FixedZoneout(torchrnn.FastLSTM(D, H), 0.5, 1 / 3),
    "Zoneout of a GRU": lambda: FixedZoneout(torchrnn.GRU(D, H), 0.5),
    "Zoneout of a user's cell": lambda: FixedZoneout(MinimalGatedUnit(D, H), 0.25),
    "WeightDropout of a FastLSTM": lambda: FixedWeightDropout(torchrnn.FastLSTM(D, H), ["o2g.weight"]),
    "WeightDropout of a RecGRU": lambda: FixedWeightDropout(torchrnn.RecGRU(D, H), ["weight"]),
    "LearnedStart of a FastLSTM": lambda: learned_start(torchrnn.FastLSTM(D, H)),
    "LearnedStart of a user's cell": lambda: learned_start(MinimalGatedUnit(D, H), torch.zeros(D)),
    "all of them": lambda: FixedWeightDropout(
        learned_start(FixedZoneout(torchrnn.RecLSTM(D, H), 0.5)), ["cell.cell.weight"]
    ),
    "Recurrent": lambda: torchrnn.Recurrent(H, nn.Linear(D, H), nn.Linear(H, H), nn.Tanh()),
    "Recurrent with an LSTM inside": lambda: torchrnn.Recurrent(H, torchrnn.LSTM(D, H), nn.Linear(H, H)),
    "Recurrence": recurrence,
    "Recurrence around a FastLSTM": nested_recurrence,
    "Recursor": recursor,
    "Recursor of a stateless module": lambda: torchrnn.Recursor(nn.Linear(D, H)),
    "NormStabilizer": lambda: torchrnn.NormStabilizer(0.5),
    "a user's cell": lambda: MinimalGatedUnit(D, H),
    "a user's cell with a tree of states": TwoStates,
}

"""Every public module: how it is made, what it takes, and which general property it does not have, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import torchrnn as r
from torchrnn import t7

D, H, T, K = 4, 3, 3, 5


class Entry(NamedTuple):
    """One public module class."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[Any, ...]]
    """What the module is called with, for a batch of N rows, in double precision."""
    gaps: Mapping[str, str] = MappingProxyType({})
    """General tests that do not hold, with the reason."""


ABSTRACT: dict[str, str] = {
    "AbstractRecurrent": "abstract: a subclass writes initial_state and step",
    "AbstractSequencer": "abstract: a subclass writes forward",
    "AliasMultinomial": "not called: it draws, see test_nce.py",
    "Container": "abstract: its subclasses write forward",
    "Criterion": "abstract: a subclass writes forward",
    "Module": "abstract: a subclass writes forward",
    "Reinforce": "abstract: a subclass writes distribution",
}
"""Public module classes that no general test can run."""

NO_GRADIENT = "what comes out is not a differentiable function of what goes in"
RANDOM = "training draws at random what evaluation does not"
OWN_LOSS = "its gradient is, on purpose, that of a loss of its own, too"
REWARD = "in training its gradient comes from a reward"
IDS = "takes integers"
PADDING = "as in the original, row 0 gets a gradient, but is set to zero at each forward"
STRAIGHT = "as in the original, gradients go straight through"


def rows(*size: int) -> Callable[[int], tuple[Tensor]]:
    """One tensor (N, *size)."""
    return lambda N: (torch.randn(N, *size, dtype=torch.float64),)


def positive(*size: int) -> Callable[[int], tuple[Tensor]]:
    return lambda N: (torch.rand(N, *size, dtype=torch.float64) + 0.1,)


def probabilities(*size: int) -> Callable[[int], tuple[Tensor]]:
    return lambda N: (torch.rand(N, *size, dtype=torch.float64).add(0.1).softmax(-1),)


def table(*sizes: Sequence[int]) -> Callable[[int], tuple[list[Tensor]]]:
    """A table of tensors (N, *size)."""
    return lambda N: ([torch.randn(N, *size, dtype=torch.float64) for size in sizes],)


def sequence(*size: int) -> Callable[[int], tuple[Tensor]]:
    """One tensor (T, N, *size)."""
    return lambda N: (torch.randn(T, N, *size, dtype=torch.float64),)


def ids(n: int, *size: int) -> Callable[[int], tuple[Tensor]]:
    return lambda N: (torch.randint(n, (*size, N)),)


def scores(N: int) -> tuple[Tensor, Tensor]:
    return torch.randn(N, K, dtype=torch.float64), torch.randint(K, (N,))


def pair(N: int) -> tuple[Tensor, Tensor]:
    return torch.randn(N, D, dtype=torch.float64), torch.randn(N, D, dtype=torch.float64)


def fractions(N: int) -> tuple[Tensor, Tensor]:
    p = torch.rand(N, D, dtype=torch.float64)
    return 0.1 + 0.8 * p, p.round()


def rewarded(N: int) -> tuple[list[Tensor], Tensor]:
    return [*rows(K)(N), *rows(1)(N)], torch.randint(K, (N,))


def attention() -> r.RecurrentAttention:
    rnn = r.Recurrence(r.Sequential(r.JoinTable(0, 1), nn.Linear(D + 2 + H, H), nn.Tanh()), H, 1)
    see = r.Sequential(r.FlattenTable(), r.JoinTable(0, 1), rnn)
    return r.RecurrentAttention(see, nn.Linear(H, 2), 2, H)


def joined_recurrence() -> r.Recurrence:
    return r.Recurrence(r.Sequential(r.JoinTable(0, 1), nn.Linear(D + H, H), nn.Tanh()), H, 1)


LAYERS: dict[str, Entry] = {
    "Abs": Entry(r.Abs, rows(D)),
    "Add": Entry(lambda: r.Add(D), rows(D)),
    "AddConstant": Entry(lambda: r.AddConstant(2.0), rows(D)),
    "ArgMax": Entry(lambda: r.ArgMax(0, 1), rows(D), {"gradcheck": NO_GRADIENT, "dtypes": "gives integers"}),
    "BatchNormalization": Entry(
        lambda: r.BatchNormalization(D), rows(D), {"evaluation": "normalises by its running statistics then"}
    ),
    "CAddTable": Entry(r.CAddTable, table([D], [D])),
    "CDivTable": Entry(r.CDivTable, lambda N: ([*rows(D)(N), *positive(D)(N)],)),
    "CMaxTable": Entry(r.CMaxTable, table([D], [D])),
    "CMinTable": Entry(r.CMinTable, table([D], [D])),
    "CMul": Entry(lambda: r.CMul(D), rows(D)),
    "CMulTable": Entry(r.CMulTable, table([D], [D])),
    "CSubTable": Entry(r.CSubTable, table([D], [D])),
    "CategoricalEntropy": Entry(r.CategoricalEntropy, probabilities(K), {"gradcheck": OWN_LOSS}),
    "Clip": Entry(lambda: r.Clip(-0.5, 0.5), rows(D), {"gradcheck": STRAIGHT}),
    "ConcatTable": Entry(lambda: r.ConcatTable(nn.Linear(D, 2), nn.Tanh()), rows(D)),
    "Constant": Entry(
        lambda: r.Constant([1.0, 2.0], 1), rows(D), {"gradcheck": NO_GRADIENT, "dtypes": "its value has its own dtype"}
    ),
    "CopyGrad": Entry(r.CopyGrad, rows(D)),
    "DotProduct": Entry(r.DotProduct, table([D], [D])),
    "Dropout": Entry(r.Dropout, rows(D), {"evaluation": RANDOM}),
    "Exp": Entry(r.Exp, rows(D)),
    "FlattenTable": Entry(r.FlattenTable, lambda N: ([*rows(D)(N), table([2], [3])(N)[0]],)),
    "JoinTable": Entry(lambda: r.JoinTable(0, 1), table([D], [2])),
    "Log": Entry(r.Log, positive(D)),
    "LookupTable": Entry(lambda: r.LookupTable(K, D), ids(K), {"contiguity": IDS}),
    "LookupTableMaskZero": Entry(
        lambda: r.LookupTableMaskZero(K, D), ids(K + 1), {"contiguity": IDS, "gradcheck": PADDING}
    ),
    "MapTable": Entry(lambda: r.MapTable(nn.Linear(D, 2)), table([D], [D])),
    "MaskZero": Entry(lambda: r.MaskZero(nn.Linear(D, 2), 1), rows(D)),
    "Max": Entry(lambda: r.Max(0, 1), rows(D)),
    "Mean": Entry(lambda: r.Mean(0, 1), rows(D)),
    "Min": Entry(lambda: r.Min(0, 1), rows(D)),
    "MixtureTable": Entry(r.MixtureTable, lambda N: ([*rows(2)(N), table([D], [D])(N)[0]],)),
    "Mul": Entry(r.Mul, rows(D)),
    "MulConstant": Entry(lambda: r.MulConstant(2.0), rows(D)),
    "NCEModule": Entry(
        lambda: r.NCEModule(D, K, 2, [1.0, 2.0, 3.0, 4.0, 5.0], Z=1.0),
        lambda N: ([*rows(D)(N), torch.randint(K, (N,))],),
        {"draws": "noise is drawn in evaluation, too, but for `normalized`"},
    ),
    "Narrow": Entry(lambda: r.Narrow(-1, 1, 2), rows(D)),
    "NarrowTable": Entry(lambda: r.NarrowTable(1, 2), table([D], [2], [3])),
    "Normalize": Entry(r.Normalize, rows(D)),
    "ParallelTable": Entry(lambda: r.ParallelTable(nn.Linear(D, 2), nn.Tanh()), table([D], [2])),
    "Replicate": Entry(lambda: r.Replicate(2, 0, 1), rows(D)),
    "Reshape": Entry(lambda: r.Reshape(2, 2, batch_mode=True), rows(D)),
    "ReverseTable": Entry(r.ReverseTable, table([D], [2])),
    "SAdd": Entry(lambda: r.SAdd(1.0, negate=True), rows(D)),
    "Select": Entry(lambda: r.Select(-1, 1), rows(D)),
    "SelectTable": Entry(lambda: r.SelectTable(-1), table([D], [2])),
    "Sequential": Entry(lambda: r.Sequential(nn.Linear(D, H), nn.Tanh()), rows(D)),
    "SplitTable": Entry(lambda: r.SplitTable(0, 1), rows(D)),
    "Sqrt": Entry(r.Sqrt, positive(D)),
    "Square": Entry(r.Square, rows(D)),
    "Squeeze": Entry(lambda: r.Squeeze(0, 2), rows(1, D)),
    "Sum": Entry(lambda: r.Sum(0, 1), rows(D)),
    "TotalDropout": Entry(r.TotalDropout, rows(D), {"evaluation": RANDOM}),
    "Transpose": Entry(lambda: r.Transpose((1, 2)), rows(2, D)),
    "TrimZero": Entry(lambda: r.TrimZero(nn.Linear(D, 2), 1), rows(D)),
    "Unsqueeze": Entry(lambda: r.Unsqueeze(0, 1), rows(D)),
    "View": Entry(lambda: r.View(2 * D, n_input_dims=2), rows(2, D)),
    "ZeroGrad": Entry(r.ZeroGrad, rows(D), {"gradcheck": "its gradient is, on purpose, zero"}),
    "ZipTable": Entry(r.ZipTable, lambda N: ([table([D], [2])(N)[0], table([D], [3])(N)[0]],)),
    "ZipTableOneToMany": Entry(r.ZipTableOneToMany, lambda N: ([*rows(D)(N), table([2], [3])(N)[0]],)),
    "SpatialGlimpse": Entry(
        lambda: r.SpatialGlimpse(2, 2),
        lambda N: ([*rows(1, 4, 4)(N), torch.rand(N, 2, dtype=torch.float64) - 0.5],),
        {"gradcheck": "no gradient goes into the location"},
    ),
    "ReinforceBernoulli": Entry(r.ReinforceBernoulli, probabilities(D), {"evaluation": RANDOM, "gradcheck": REWARD}),
    "ReinforceCategorical": Entry(
        r.ReinforceCategorical, probabilities(K), {"evaluation": RANDOM, "gradcheck": REWARD}
    ),
    "ReinforceGamma": Entry(lambda: r.ReinforceGamma(0.5), positive(D), {"evaluation": RANDOM, "gradcheck": REWARD}),
    "ReinforceNormal": Entry(lambda: r.ReinforceNormal(0.1), rows(D), {"evaluation": RANDOM, "gradcheck": REWARD}),
}

STEPS: dict[str, Entry] = {
    "FastLSTM": Entry(lambda: r.FastLSTM(D, H), rows(D)),
    "GRU": Entry(lambda: r.GRU(D, H), rows(D)),
    "LSTM": Entry(lambda: r.LSTM(D, H), rows(D)),
    "LayerNormGRU": Entry(lambda: r.LayerNormGRU(D, H), rows(D)),
    "LayerNormLSTM": Entry(lambda: r.LayerNormLSTM(D, H), rows(D)),
    "LearnedStart": Entry(lambda: r.LearnedStart(r.GRU(D, H)), rows(D)),
    "LinearRNN": Entry(lambda: r.LinearRNN(D, H), rows(D)),
    "LookupRNN": Entry(lambda: r.LookupRNN(K, H), ids(K + 1), {"contiguity": IDS, "gradcheck": PADDING}),
    "MuFuRu": Entry(lambda: r.MuFuRu(D, H, ["keep", "replace", "mul"]), rows(D)),
    "NormStabilizer": Entry(r.NormStabilizer, rows(D)),
    "RecGRU": Entry(lambda: r.RecGRU(D, H), rows(D)),
    "RecLSTM": Entry(lambda: r.RecLSTM(D, H, 2), rows(D)),
    "RecVanilla": Entry(lambda: r.RecVanilla(D, H), rows(D)),
    "Recurrence": Entry(joined_recurrence, rows(D)),
    "Recurrent": Entry(lambda: r.Recurrent(H, nn.Linear(D, H), nn.Linear(H, H)), rows(D)),
    "Recursor": Entry(lambda: r.Recursor(r.Sequential(r.RecGRU(D, H), nn.Linear(H, 2))), rows(D)),
    "ResetAfterGRU": Entry(lambda: r.ResetAfterGRU(D, H), rows(D)),
    "StepGRU": Entry(lambda: r.StepGRU(D, H), table([D], [H])),
    "StepLSTM": Entry(lambda: r.StepLSTM(D, H), table([D], [H], [H])),
    "WeightDropout": Entry(lambda: r.WeightDropout(r.LearnedStart(r.GRU(D, H)), "cell.o2c.weight"), rows(D)),
    "Zoneout": Entry(lambda: r.Zoneout(r.FastLSTM(D, H), 0.5), rows(D), {"evaluation": RANDOM}),
}
"""One step a call; their sequences are in cell_table.py."""

SEQUENCES: dict[str, Entry] = {
    "BiSequencer": Entry(lambda: r.BiSequencer(r.RecGRU(D, H)), sequence(D)),
    "BiSequencerLM": Entry(lambda: r.BiSequencerLM(r.RecGRU(D, H)), sequence(D)),
    "LanguageModel": Entry(
        lambda: r.LanguageModel("abcde", wordvec_size=2, rnn_size=H),
        lambda N: (torch.randint(K, (N, T)),),
        {"contiguity": IDS},
    ),
    "RecurrentAttention": Entry(
        attention, rows(D), {"gradcheck": "no gradient goes into the actions, they are rewarded"}
    ),
    "Repeater": Entry(lambda: r.Repeater(r.RecGRU(D, H), 2), rows(D)),
    "ReverseSequence": Entry(r.ReverseSequence, sequence(D)),
    "ReverseUnreverse": Entry(lambda: r.ReverseUnreverse(r.SeqGRU(D, H)), sequence(D)),
    "SeqBGRU": Entry(lambda: r.SeqBGRU(D, 2), sequence(D)),
    "SeqBLSTM": Entry(lambda: r.SeqBLSTM(D, 2), sequence(D)),
    "SeqBRNN": Entry(lambda: r.SeqBRNN(D, 2), sequence(D)),
    "SeqGRU": Entry(lambda: r.SeqGRU(D, H), sequence(D)),
    "SeqLSTM": Entry(lambda: r.SeqLSTM(D, H), sequence(D)),
    "SeqLSTMP": Entry(lambda: r.SeqLSTMP(D, H, 2), sequence(D)),
    "SeqReverseSequence": Entry(lambda: r.SeqReverseSequence(0), sequence(D)),
    "Sequencer": Entry(lambda: r.Sequencer(r.Sequential(r.GRU(D, H), nn.Linear(H, 2))), sequence(D)),
    "VanillaRNN": Entry(lambda: r.VanillaRNN(D, H, batch_first=False), sequence(D)),
    "VariableLength": Entry(
        lambda: r.VariableLength(r.SeqGRU(D, H)),
        lambda N: ([torch.randn(length + 1, D, dtype=torch.float64) for length in range(N)],),
        {"empty batch": "a list of no samples has no width to give outputs of"},
    ),
}

CRITERIONS: dict[str, Entry] = {
    "BCECriterion": Entry(r.BCECriterion, fractions),
    "BinaryClassReward": Entry(
        lambda: r.BinaryClassReward(r.Abs()),
        lambda N: ([*rows()(N), *rows(1)(N)], torch.randint(2, (N,))),
        {"gradcheck": OWN_LOSS},
    ),
    "ClassNLLCriterion": Entry(lambda: r.ClassNLLCriterion([1.0, 2.0, 3.0, 4.0, 5.0]), scores),
    "CrossEntropyCriterion": Entry(r.CrossEntropyCriterion, scores),
    "DistKLDivCriterion": Entry(r.DistKLDivCriterion, lambda N: (*rows(K)(N), *probabilities(K)(N))),
    "MSECriterion": Entry(r.MSECriterion, pair),
    "MaskZeroCriterion": Entry(lambda: r.MaskZeroCriterion(r.MSECriterion(), 1), pair),
    "ModuleCriterion": Entry(lambda: r.ModuleCriterion(r.MSECriterion(), nn.Tanh(), nn.Sigmoid()), pair),
    "MultiCriterion": Entry(lambda: r.MultiCriterion(r.MSECriterion()).add(r.MSECriterion(False), 0.5), pair),
    "NCECriterion": Entry(
        r.NCECriterion,
        lambda N: ([p(N)[0] for p in (positive(), positive(2), positive(), positive(2))], torch.randint(K, (N,))),
        {"gradcheck": "keeps the original's gradient, with 1e-7 in it; see test_nce.py"},
    ),
    "ParallelCriterion": Entry(
        lambda: r.ParallelCriterion(r.MSECriterion(), r.CrossEntropyCriterion()),
        lambda N: tuple(map(list, zip(pair(N), scores(N), strict=True))),
    ),
    "RepeaterCriterion": Entry(lambda: r.RepeaterCriterion(r.MSECriterion()), lambda N: (*sequence(D)(N), *rows(D)(N))),
    "SequencerCriterion": Entry(
        lambda: r.SequencerCriterion(r.CrossEntropyCriterion()), lambda N: (*sequence(K)(N), *ids(K, T)(N))
    ),
    "TemporalCrossEntropyCriterion": Entry(
        r.TemporalCrossEntropyCriterion, lambda N: (*rows(T, K)(N), torch.randint(K, (N, T)))
    ),
    "VRClassReward": Entry(lambda: r.VRClassReward(r.Abs()), rewarded, {"gradcheck": OWN_LOSS}),
}

T7: dict[str, Entry] = {
    "t7.Graph": Entry(
        lambda: t7.Graph([nn.Sigmoid(), nn.Linear(D, D), r.CMulTable()], [[-1], [-2], [0, 1]], [2], 2),
        table([D], [D]),
    ),
    "t7.LogSoftMax": Entry(t7.LogSoftMax, rows(K)),
    "t7.OfTable": Entry(lambda: t7.OfTable(nn.Bilinear(D, 2, H)), table([D], [2])),
    "t7.OneHot": Entry(lambda: t7.OneHot(K), ids(K), {"contiguity": IDS, "gradcheck": NO_GRADIENT}),
    "t7.Padding": Entry(lambda: t7.Padding(0, 2, n_input_dims=1), rows(D)),
    "t7.SoftMax": Entry(t7.SoftMax, rows(K)),
    "t7.SoftMin": Entry(t7.SoftMin, rows(K)),
    "t7.SpatialCrossMapLRN": Entry(lambda: t7.SpatialCrossMapLRN(3), rows(D, 2, 2)),
    "t7.SpatialDropout": Entry(t7.SpatialDropout, rows(D, 2, 2), {"evaluation": RANDOM}),
    "t7.SpatialUpSamplingNearest": Entry(lambda: t7.SpatialUpSamplingNearest(2), rows(D, 2, 2)),
    "t7.TemporalConvolution": Entry(lambda: t7.TemporalConvolution(D, H, 2), rows(T, D)),
    "t7.TemporalMaxPooling": Entry(lambda: t7.TemporalMaxPooling(2, 1), rows(T, D)),
}
"""The layers of Torch7 files that are nowhere else."""

MODULES = LAYERS | STEPS | SEQUENCES | CRITERIONS | T7

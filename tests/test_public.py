"""What every public name has: a docstring with an example, and a constructor that refuses nonsense and says why."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from public_names import PUBLIC
from torch import nn

import torchrnn as r
from torchrnn import t7


def is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings(name: str) -> None:
    thing = PUBLIC[name]
    text = inspect.cleandoc(thing.__doc__ or "")
    summary = text.split("\n\n")[0]
    assert summary.endswith((".", "``", ":")) or ". " in summary
    if isinstance(thing, ModuleType):
        return
    assert not text.startswith(f"{thing.__name__}(")  # what a named tuple or dataclass says by itself
    assert ">>>" in text or (is_error(thing) and thing is not t7.T7Error)
    if isinstance(thing, type) and issubclass(thing, nn.Module):
        assert "shape" in text.lower()


ARGUMENT = "takes 1 positional argument but 2 were given"
MSE = r.MSECriterion()

NONSENSE: dict[str, list[tuple[Callable[[], object], str]]] = {
    "Abs": [(lambda: r.Abs(3), ARGUMENT)],
    "AbstractRecurrent": [(lambda: r.AbstractRecurrent(0), "rho must be at least 1; got 0")],
    "AbstractSequencer": [(lambda: r.AbstractSequencer(3), ARGUMENT)],
    "Add": [
        (r.Add, "at least one size is needed"),
        (lambda: r.Add(0), "size must be at least 1; got 0"),
        (lambda: r.Add(2.5), "size must be an integer; got 2.5"),
    ],
    "AddConstant": [(lambda: r.AddConstant(None), "constant must be a number; got None")],
    "AliasMultinomial": [
        (lambda: r.AliasMultinomial([]), r"one weight for each outcome, \(n,\); got \(0,\)"),
        (lambda: r.AliasMultinomial([1.0, -1.0]), "must be finite, not negative, and not all 0"),
        (lambda: r.AliasMultinomial("ab"), "probabilities must be a tensor or made of numbers; got 'ab'"),
    ],
    "ArgMax": [(lambda: r.ArgMax("a"), "dim must be an integer; got 'a'")],
    "BCECriterion": [
        (lambda: r.BCECriterion("mean"), "weights must be a tensor or made of numbers; got 'mean'"),
        (lambda: r.BCECriterion(size_average="mean"), "size_average must be True or False; got 'mean'"),
    ],
    "BatchNormalization": [
        (lambda: r.BatchNormalization(0), "n must be at least 1; got 0"),
        (lambda: r.BatchNormalization(4, momentum=2), "momentum must be 0 to 1; got 2"),
    ],
    "BiSequencer": [
        (lambda: r.BiSequencer(r.GRU), "forward must be a torch.nn.Module; got the class GRU; make an instance"),
        (lambda: r.BiSequencer(r.GRU(4, 6), "a"), "backward must be a torch.nn.Module; got 'a'"),
        (lambda: r.BiSequencer(r.GRU(4, 6), merge="a"), "merge must be a torch.nn.Module; got 'a'"),
    ],
    "BiSequencerLM": [(lambda: r.BiSequencerLM(3), "forward must be a torch.nn.Module; got 3")],
    "BinaryClassReward": [
        (lambda: r.BinaryClassReward(nn.Tanh()), "module must be a torchrnn.Module, which takes the reward"),
        (lambda: r.BinaryClassReward(r.Abs(), criterion=3), "criterion must be a torch.nn.Module; got 3"),
    ],
    "CAddTable": [(lambda: r.CAddTable(True), ARGUMENT)],
    "CDivTable": [(lambda: r.CDivTable(True), ARGUMENT)],
    "CMaxTable": [(lambda: r.CMaxTable(True), ARGUMENT)],
    "CMinTable": [(lambda: r.CMinTable(True), ARGUMENT)],
    "CMul": [(lambda: r.CMul(3, 0), "size must be at least 1; got 0")],
    "CMulTable": [(lambda: r.CMulTable(True), ARGUMENT)],
    "CSubTable": [(lambda: r.CSubTable(True), ARGUMENT)],
    "CategoricalEntropy": [
        (lambda: r.CategoricalEntropy("a"), "scale must be a number; got 'a'"),
        (lambda: r.CategoricalEntropy(1, "b"), "min_entropy must be a number; got 'b'"),
    ],
    "ClassNLLCriterion": [
        (lambda: r.ClassNLLCriterion(torch.ones(2, 2)), r"one number for each class, \(V,\); got \(2, 2\)"),
        (lambda: r.ClassNLLCriterion(ignore_index=None), "ignore_index must be an integer; got None"),
    ],
    "Clip": [(lambda: r.Clip(1, 0), "minimum must not be greater than maximum; got 1 and 0")],
    "ConcatTable": [(lambda: r.ConcatTable(3), "must be a torch.nn.Module; got 3")],
    "Constant": [
        (lambda: r.Constant("a"), "value must be a tensor or made of numbers; got 'a'"),
        (lambda: r.Constant(1.0, 0), "n_input_dims must be at least 1; got 0"),
    ],
    "Container": [(lambda: r.Container(3), "must be a torch.nn.Module; got 3")],
    "CopyGrad": [(lambda: r.CopyGrad(3), ARGUMENT)],
    "Criterion": [(lambda: r.Criterion(3), ARGUMENT)],
    "CrossEntropyCriterion": [(lambda: r.CrossEntropyCriterion("sum"), "weights must be a tensor or made of numbers")],
    "DistKLDivCriterion": [(lambda: r.DistKLDivCriterion("sum"), "size_average must be True or False; got 'sum'")],
    "DotProduct": [(lambda: r.DotProduct(3), ARGUMENT)],
    "Dropout": [
        (lambda: r.Dropout(1.0), "p must be a probability of at least 0 and less than 1; got 1.0"),
        (lambda: r.Dropout("a"), "p must be a number; got 'a'"),
    ],
    "Exp": [(lambda: r.Exp(3), ARGUMENT)],
    "FastLSTM": [
        (lambda: r.FastLSTM(0), "input_size must be at least 1; got 0"),
        (lambda: r.FastLSTM(4, batch_norm=True, dropout=0.5), "batch_norm and dropout cannot be had together"),
        (lambda: r.FastLSTM(4, dropout=-1), "p must be a probability .* got -1"),
    ],
    "FlattenTable": [(lambda: r.FlattenTable(3), ARGUMENT)],
    "GRU": [
        (lambda: r.GRU(4, "a"), "hidden_size must be an integer; got 'a'"),
        (lambda: r.GRU(4, rho=0), "rho must be at least 1; got 0"),
    ],
    "JoinTable": [(lambda: r.JoinTable(None), "dim must be an integer; got None")],
    "LSTM": [
        (lambda: r.LSTM(4, 2.5), "hidden_size must be an integer; got 2.5"),
        (lambda: r.LSTM(4, dropout=1), "p must be a probability .* got 1"),
    ],
    "LSTMState": [(lambda: r.LSTMState(1), "missing 1 required positional argument: 'c'")],
    "LanguageModel": [
        (lambda: r.LanguageModel(""), "at least one token"),
        (lambda: r.LanguageModel("ab", "transformer"), "model_type must be .* got 'transformer'"),
        (lambda: r.LanguageModel("ab", rnn_size=0), "rnn_size must be at least 1; got 0"),
    ],
    "LayerNormGRU": [(lambda: r.LayerNormGRU(4, eps=0), "eps must be positive; got 0")],
    "LayerNormLSTM": [(lambda: r.LayerNormLSTM(True), "input_size must be an integer; got True")],
    "LearnedStart": [
        (lambda: r.LearnedStart(nn.Linear(4, 6)), "cell must be a recurrent module of one step, .* got Linear"),
        (lambda: r.LearnedStart(r.NormStabilizer()), "has no input_size, so input must be given"),
    ],
    "LinearRNN": [
        (lambda: r.LinearRNN(4, "a"), "hidden_size must be an integer; got 'a'"),
        (lambda: r.LinearRNN(4, 6, "tanh"), "transfer must be a torch.nn.Module; got 'tanh'"),
    ],
    "Log": [(lambda: r.Log(3), ARGUMENT)],
    "LookupRNN": [
        (lambda: r.LookupRNN(0, 6), "n_index must be at least 1; got 0"),
        (lambda: r.LookupRNN(4, 6, merge=3), "merge must be a torch.nn.Module; got 3"),
    ],
    "LookupTable": [
        (lambda: r.LookupTable(4, 4, max_norm=0), "max_norm must be positive; got 0"),
        (lambda: r.LookupTable(4, 4, padding_index=4), "no position 4"),
    ],
    "LookupTableMaskZero": [(lambda: r.LookupTableMaskZero(0, 4), "n_index must be at least 1; got 0")],
    "MSECriterion": [(lambda: r.MSECriterion("sum"), "size_average must be True or False; got 'sum'")],
    "MapTable": [(lambda: r.MapTable(3), "must be a torch.nn.Module; got 3")],
    "MaskZero": [(lambda: r.MaskZero(3), "must be a torch.nn.Module; got 3")],
    "MaskZeroCriterion": [
        (lambda: r.MaskZeroCriterion(3), "must be a torch.nn.Module; got 3"),
        (lambda: r.MaskZeroCriterion(MSE, -1), "n_input_dims must be at least 0"),
    ],
    "Max": [(lambda: r.Max(1.5), "dim must be an integer; got 1.5")],
    "Mean": [(lambda: r.Mean("a"), "dim must be an integer; got 'a'")],
    "Min": [(lambda: r.Min(0, 0), "n_input_dims must be at least 1; got 0")],
    "MixtureTable": [(lambda: r.MixtureTable("a"), "dim must be an integer; got 'a'")],
    "Module": [(lambda: r.Module(3), ARGUMENT)],
    "ModuleCriterion": [
        (lambda: r.ModuleCriterion(3), "criterion must be a torch.nn.Module; got 3"),
        (lambda: r.ModuleCriterion(MSE, 3), "input_module must be a torch.nn.Module; got 3"),
        (lambda: r.ModuleCriterion(MSE, None, 3), "target_module must be a torch.nn.Module; got 3"),
    ],
    "MuFuRu": [(lambda: r.MuFuRu(4, 6, ["add"]), r"ops must be names out of keep, .* got \['add'\]")],
    "Mul": [(lambda: r.Mul(3), "takes 1 positional argument but 2 were given")],
    "MulConstant": [(lambda: r.MulConstant("2"), "constant must be a number; got '2'")],
    "MultiCriterion": [(lambda: r.MultiCriterion(3), "criterion must be a torch.nn.Module; got 3")],
    "NCECriterion": [(lambda: r.NCECriterion("sum"), "size_average must be True or False; got 'sum'")],
    "NCEModule": [
        (lambda: r.NCEModule(4, 4, 0, [1.0] * 4), "k must be at least 1; got 0"),
        (lambda: r.NCEModule(4, 4, 2, [1.0]), "one number for each of the 4 classes; got 1"),
        (lambda: r.NCEModule(4, 4, 2, [1.0] * 4, Z="a"), "Z must be a number; got 'a'"),
    ],
    "Narrow": [(lambda: r.Narrow("a", 0), "dim must be an integer; got 'a'")],
    "NarrowTable": [(lambda: r.NarrowTable(0, 0), "length must be at least 1; got 0")],
    "NormStabilizer": [
        (lambda: r.NormStabilizer("a"), "beta must be a number; got 'a'"),
        (lambda: r.NormStabilizer(-1), "beta must not be negative; got -1"),
    ],
    "Normalize": [
        (lambda: r.Normalize(0), "p must be positive; got 0"),
        (lambda: r.Normalize(eps=-1), "eps must not be negative; got -1"),
    ],
    "ParallelCriterion": [(lambda: r.ParallelCriterion(MSE, repeat_target=1), "repeat_target must be True or False")],
    "ParallelTable": [(lambda: r.ParallelTable(nn.Tanh), "got the class Tanh; make an instance")],
    "RecGRU": [(lambda: r.RecGRU(4, 0), "hidden_size must be at least 1; got 0")],
    "RecLSTM": [(lambda: r.RecLSTM(4, 6, 0), "proj_size must be at least 1; got 0")],
    "RecVanilla": [(lambda: r.RecVanilla(4, 0), "hidden_size must be at least 1; got 0")],
    "Recurrence": [
        (lambda: r.Recurrence(3, 6, 1), "module must be a torch.nn.Module; got 3"),
        (lambda: r.Recurrence(nn.Tanh(), 0, 1), "output_size must be a positive int, .* got 0"),
        (lambda: r.Recurrence(nn.Tanh(), True, 1), "output_size must be a positive int, .* got True"),
        (lambda: r.Recurrence(nn.Tanh(), 6, -1), "n_input_dims must be the number of dimensions .* got -1"),
    ],
    "Recurrent": [
        (lambda: r.Recurrent("a", nn.Tanh(), nn.Tanh()), "start must be a torch.nn.Module or the size"),
        (lambda: r.Recurrent(3, 3, nn.Tanh()), "input must be a torch.nn.Module; got 3"),
    ],
    "RecurrentAttention": [
        (lambda: r.RecurrentAttention(3, nn.Tanh(), 2, 3), "rnn must be a torch.nn.Module; got 3"),
        (lambda: r.RecurrentAttention(nn.Tanh(), nn.Tanh(), 0, 3), "n_steps must be at least 1; got 0"),
    ],
    "Recursor": [(lambda: r.Recursor(3), "module must be a torch.nn.Module; got 3")],
    "Reinforce": [(lambda: r.Reinforce("a"), "stochastic must be True or False; got 'a'")],
    "ReinforceBernoulli": [(lambda: r.ReinforceBernoulli(0.5), "stochastic must be True or False; got 0.5")],
    "ReinforceCategorical": [(lambda: r.ReinforceCategorical(3), "stochastic must be True or False; got 3")],
    "ReinforceGamma": [(lambda: r.ReinforceGamma(-1), "scale must be positive; got -1")],
    "ReinforceNormal": [(lambda: r.ReinforceNormal(0), "stdev must be positive; got 0")],
    "Repeater": [(lambda: r.Repeater(nn.Tanh(), 0), "n_steps must be at least 1; got 0")],
    "RepeaterCriterion": [(lambda: r.RepeaterCriterion(MSE, "sum"), "size_average must be True or False; got 'sum'")],
    "Replicate": [(lambda: r.Replicate(0), "n must be at least 1; got 0")],
    "ResetAfterGRU": [(lambda: r.ResetAfterGRU(4, -6), "hidden_size must be at least 1; got -6")],
    "Reshape": [
        (r.Reshape, "at least one size is needed; got none"),
        (lambda: r.Reshape(2, batch_mode="a"), "batch_mode must be True or False; got 'a'"),
    ],
    "ReverseSequence": [(lambda: r.ReverseSequence(0), ARGUMENT)],
    "ReverseTable": [(lambda: r.ReverseTable(0), ARGUMENT)],
    "ReverseUnreverse": [(lambda: r.ReverseUnreverse(3), "sequencer must be a torch.nn.Module; got 3")],
    "SAdd": [(lambda: r.SAdd("a"), "addend must be a number; got 'a'")],
    "Select": [(lambda: r.Select(0, "a"), "index must be an integer; got 'a'")],
    "SelectTable": [(lambda: r.SelectTable(1.0), "index must be an integer; got 1.0")],
    "SeqBGRU": [(lambda: r.SeqBGRU(4, 6, 3), "merge must be a torch.nn.Module; got 3")],
    "SeqBLSTM": [(lambda: r.SeqBLSTM(4, 6, 0), "proj_size must be at least 1; got 0")],
    "SeqBRNN": [(lambda: r.SeqBRNN(4, 6, "a"), "batch_first must be True or False; got 'a'")],
    "SeqGRU": [(lambda: r.SeqGRU(4, 6, 7), "batch_first must be True or False; got 7")],
    "SeqLSTM": [
        (lambda: r.SeqLSTM(4, 6, 7.0), "proj_size must be an integer; got 7.0"),
        (lambda: r.SeqLSTM(4, 6, batch_first=3), "batch_first must be True or False; got 3"),
    ],
    "SeqLSTMP": [(lambda: r.SeqLSTMP(4, 6, None), "proj_size must be an integer; got None")],
    "SeqReverseSequence": [(lambda: r.SeqReverseSequence("a"), "dim must be an integer; got 'a'")],
    "Sequencer": [(lambda: r.Sequencer(r.LSTM), "got the class LSTM; make an instance")],
    "SequencerCriterion": [(lambda: r.SequencerCriterion(3), "criterion must be a torch.nn.Module; got 3")],
    "Sequential": [(lambda: r.Sequential("a"), "must be a torch.nn.Module; got 'a'")],
    "SpatialGlimpse": [
        (lambda: r.SpatialGlimpse(0), "size must be at least 1; got 0"),
        (lambda: r.SpatialGlimpse(2, 0), "depth must be at least 1; got 0"),
    ],
    "SplitTable": [(lambda: r.SplitTable("a"), "dim must be an integer; got 'a'")],
    "Sqrt": [(lambda: r.Sqrt(3), ARGUMENT)],
    "Square": [(lambda: r.Square(3), ARGUMENT)],
    "Squeeze": [(lambda: r.Squeeze("a"), "dim must be an integer; got 'a'")],
    "StepGRU": [(lambda: r.StepGRU(4, 0), "hidden_size must be at least 1; got 0")],
    "StepLSTM": [(lambda: r.StepLSTM(0, 6), "input_size must be at least 1; got 0")],
    "Sum": [(lambda: r.Sum(0, 0), "n_input_dims must be at least 1; got 0")],
    "TemporalCrossEntropyCriterion": [
        (lambda: r.TemporalCrossEntropyCriterion("a"), "batch_average must be True or False; got 'a'"),
        (lambda: r.TemporalCrossEntropyCriterion(ignore_index=0.5), "ignore_index must be an integer; got 0.5"),
    ],
    "TotalDropout": [(lambda: r.TotalDropout(2), "p must be a probability, 0 to 1; got 2")],
    "Transpose": [(lambda: r.Transpose(0, 1), "expected pairs of dimensions such as")],
    "TrimZero": [(lambda: r.TrimZero(nn.Tanh(), -1), "n_input_dims must be at least 0")],
    "Unsqueeze": [(lambda: r.Unsqueeze(0.5), "dim must be an integer; got 0.5")],
    "VRClassReward": [(lambda: r.VRClassReward(r.Abs(), "a"), "scale must be a number; got 'a'")],
    "VanillaRNN": [(lambda: r.VanillaRNN(4, 0), "hidden_size must be at least 1; got 0")],
    "VariableLength": [
        (lambda: r.VariableLength(nn.LSTM(4, 6)), "module must be a torchrnn.Module, which can mask"),
        (lambda: r.VariableLength(r.SeqGRU(4, 6), "a"), "last_only must be True or False; got 'a'"),
    ],
    "View": [(r.View, "at least one size is needed"), (lambda: r.View(-1, -1), "at most one size can be -1")],
    "Vocabulary": [
        (lambda: r.Vocabulary("aa"), "token 'a' stands more than once"),
        (lambda: r.Vocabulary(3), "tokens must be a string or an iterable of characters; got 3"),
    ],
    "WeightDropout": [
        (lambda: r.WeightDropout(r.GRU(4, 6), ["weight"]), "names must be parameters of the cell, i2g.weight, "),
        (lambda: r.WeightDropout(r.GRU(4, 6), "o2c.weight", 1), "p must be a probability .* got 1"),
    ],
    "ZeroGrad": [(lambda: r.ZeroGrad(3), ARGUMENT)],
    "ZipTable": [(lambda: r.ZipTable(3), ARGUMENT)],
    "ZipTableOneToMany": [(lambda: r.ZipTableOneToMany(3), ARGUMENT)],
    "Zoneout": [
        (lambda: r.Zoneout(3), "cell must be a torch.nn.Module; got 3"),
        (lambda: r.Zoneout(r.GRU(4, 6), 2), "p_hidden must be a probability, 0 to 1; got 2"),
        (lambda: r.Zoneout(r.GRU(4, 6), 0.1, "a"), "p_cell must be a number; got 'a'"),
    ],
    "t7.Graph": [
        (lambda: t7.Graph([nn.Tanh()], [[0]], [0], 1), "module 0 must take what stands before it"),
        (lambda: t7.Graph([nn.Tanh()], [[-1]], [1], 1), "do not fit"),
    ],
    "t7.LuaFunction": [(lambda: t7.LuaFunction(b"", tag=5), "tag must be 6, 7 or 8; got 5")],
    "t7.OfTable": [(lambda: t7.OfTable(nn.Bilinear), "got the class Bilinear; make an instance")],
    "t7.OneHot": [(lambda: t7.OneHot(0), "n_classes must be at least 1; got 0")],
    "t7.Padding": [(lambda: t7.Padding("a", 2), "dim must be an integer; got 'a'")],
    "t7.SoftMax": [(lambda: t7.SoftMax(1), ARGUMENT)],
    "t7.SoftMin": [(lambda: t7.SoftMin(1), ARGUMENT)],
    "t7.SpatialCrossMapLRN": [
        (lambda: t7.SpatialCrossMapLRN(4), "size must be odd; got 4"),
        (lambda: t7.SpatialCrossMapLRN(3, alpha="a"), "alpha must be a number; got 'a'"),
    ],
    "t7.SpatialDropout": [(lambda: t7.SpatialDropout(2), "p must be a probability, 0 to 1; got 2")],
    "t7.SpatialUpSamplingNearest": [(lambda: t7.SpatialUpSamplingNearest(0.5), "scale must be an integer; got 0.5")],
    "t7.TemporalConvolution": [(lambda: t7.TemporalConvolution(4, 0, 2), "output_size must be at least 1; got 0")],
    "t7.TemporalMaxPooling": [(lambda: t7.TemporalMaxPooling("a"), "width must be an integer; got 'a'")],
    "t7.Storage": [(lambda: t7.Storage(torch.ones(2, 2)), "data must be all of its memory, in one dimension")],
}
"""For every public class, calls that make no sense, and what they are answered."""

TAKES_ANYTHING = {
    "t7.Limits": "a record of numbers, which loading compares with",
    "t7.LogSoftMax": "its one argument is a flag of files",
    "t7.LuaTable": "holds whatever pairs stand in a file",
    "t7.TorchObject": "holds whatever fields stand in a file",
}
"""Public classes for whose constructors nothing is nonsense, and why."""


def test_every_public_constructor_is_tried_with_nonsense() -> None:
    classes = {name for name, thing in PUBLIC.items() if isinstance(thing, type) and not is_error(thing)}
    assert classes == NONSENSE.keys() | TAKES_ANYTHING.keys()
    assert not NONSENSE.keys() & TAKES_ANYTHING.keys()
    assert all(NONSENSE.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(*pair, id=f"{name} {number}")
        for name, pairs in NONSENSE.items()
        for number, pair in enumerate(pairs)
    ],
)
def test_nonsense_is_answered(call: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()

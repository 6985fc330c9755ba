"""What each class name of the Lua libraries is in torchrnn. Arguments come as in Lua: 1-based, None for nil."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import torchrnn


class NotInTorchrnnError(AttributeError):
    """The original's class or method has no counterpart in torchrnn."""


class _Library:
    """`torchrnn`, where asking for what is not there can be told from other errors."""

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(torchrnn, name)
        except AttributeError:
            raise NotInTorchrnnError(f"{name} is not in torchrnn") from None


rnn = _Library()


def zero_based(position: int | None) -> int | None:
    """A position or dimension; negative ones count from the end in both worlds."""
    return position - 1 if position is not None and position > 0 else position


def given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are not nil."""
    return {name: value for name, value in arguments.items() if value is not None}


def same(name: str) -> Callable[..., Any]:
    """A class of torchrnn that takes the same arguments."""
    return lambda *arguments, **options: getattr(rnn, name)(*arguments, **options)


def on_dimension(name: str) -> Callable[..., Any]:
    """A class whose first argument is a dimension or position."""
    return lambda first, *rest: getattr(rnn, name)(zero_based(first), *rest)


class EmptyMapTable:
    """`nn.MapTable()` before `add`."""

    def add(self, module: nn.Module) -> Any:
        return rnn.MapTable(module)


def lookup_table(n_index: int, n_output: int, padding: int = 0, max_norm: Any = None, norm_type: Any = None) -> Any:
    options = given(padding_index=padding - 1 if padding else None, max_norm=max_norm, norm_type=norm_type)
    return rnn.LookupTable(n_index, n_output, **options)


def dropout(p: float = 0.5, v1: Any = None, inplace: Any = None, lazy: Any = None, mono: Any = None) -> Any:
    return rnn.Dropout(p, **given(v1=v1, lazy=lazy, mono=mono))


def lstm(D: int, H: Any = None, rho: Any = None, cell2gate: Any = None, p: Any = None, mono: Any = None) -> Any:
    return rnn.LSTM(D, H, **given(rho=rho, cell2gate=cell2gate, dropout=p, mono=mono))


def fast_lstm(
    D: int,
    H: Any = None,
    rho: Any = None,
    eps: Any = None,
    momentum: Any = None,
    affine: Any = None,
    p: Any = None,
    mono: Any = None,
    batch_norm: Any = None,
) -> Any:
    options = given(rho=rho, eps=eps, momentum=momentum, affine=affine, dropout=p, mono=mono, batch_norm=batch_norm)
    return rnn.FastLSTM(D, H, **options)


def gru(D: int, H: int, rho: Any = None, p: Any = None, mono: Any = None) -> Any:
    return rnn.GRU(D, H, **given(rho=rho, dropout=p, mono=mono))


def recurrent(start: Any, input: Any, feedback: Any, transfer: Any = None, rho: Any = None, merge: Any = None) -> Any:
    return rnn.Recurrent(start, input, feedback, **given(transfer=transfer, rho=rho, merge=merge))


def seq_brnn(D: int, H: int, batch_first: Any = None, merge: Any = None) -> Any:
    return rnn.SeqBRNN(D, H, **given(batch_first=batch_first, merge=merge))


def seq_blstm(D: int, H: int, *rest: Any) -> Any:
    """`nn.SeqBLSTM(D, H, [P], [merge])`."""
    merge = next((part for part in rest if isinstance(part, nn.Module)), None)
    return rnn.SeqBLSTM(D, H, next((part for part in rest if isinstance(part, int)), None), merge)


def row_dims(argument: bool | int | None) -> int | None:
    """Torch/rnn's `v1` flag as a number of dimensions: masks come from rows of zeros, or they are given."""
    return argument if type(argument) is int else 1 if argument else None


def class_nll(weights: Any = None, size_average: bool = True, ignore_index: int = -100) -> Any:
    return rnn.ClassNLLCriterion(weights, size_average, ignore_index - 1 if ignore_index > 0 else ignore_index)


def temporal_cross_entropy(batch_average: bool = True, time_average: bool = False) -> Any:
    return rnn.TemporalCrossEntropyCriterion(batch_average, time_average, ignore_index=-1)


CLASSES: dict[str, Callable[..., Any]] = {
    # torch.nn's own
    "Linear": lambda D, H, bias=True: nn.Linear(D, H, bias=bias),
    "LinearNoBias": lambda D, H: nn.Linear(D, H, bias=False),
    "Identity": nn.Identity,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "SoftSign": nn.Softsign,
    "SoftPlus": nn.Softplus,
    "HardTanh": nn.Hardtanh,
    "ELU": nn.ELU,
    "LeakyReLU": nn.LeakyReLU,
    "LogSoftMax": lambda: nn.LogSoftmax(-1),
    "SoftMax": lambda: nn.Softmax(-1),
    "SoftMin": lambda: nn.Softmin(-1),
    # containers and tables
    "MapTable": lambda module=None: rnn.MapTable(module) if module else EmptyMapTable(),
    "JoinTable": on_dimension("JoinTable"),
    "SplitTable": on_dimension("SplitTable"),
    "SelectTable": on_dimension("SelectTable"),
    "NarrowTable": on_dimension("NarrowTable"),
    # simple layers
    "LookupTable": lookup_table,
    "Dropout": dropout,
    "Transpose": lambda *pairs: rnn.Transpose(*(tuple(zero_based(dim) for dim in pair) for pair in pairs)),
    "Select": lambda dim, index: rnn.Select(zero_based(dim), zero_based(index)),
    "Narrow": lambda dim, offset, length: rnn.Narrow(zero_based(dim), zero_based(offset), length),
    **{name: on_dimension(name) for name in ("Sum", "Mean", "Max", "Min", "ArgMax", "SeqReverseSequence")},
    # recurrent
    "LSTM": lstm,
    "FastLSTM": fast_lstm,
    "GRU": gru,
    "Recurrent": recurrent,
    "SeqBRNN": seq_brnn,
    "SeqBLSTM": seq_blstm,
    # masks
    "MaskZero": lambda module, v1=None, *mask_inputs: rnn.MaskZero(module, row_dims(v1)),
    "MaskZeroCriterion": lambda criterion, v1=None: rnn.MaskZeroCriterion(criterion, row_dims(v1)),
    # criterions
    "AbsCriterion": lambda: rnn.ModuleCriterion(nn.L1Loss()),
    "SmoothL1Criterion": lambda: rnn.ModuleCriterion(nn.SmoothL1Loss()),
    "ClassNLLCriterion": class_nll,
    "TemporalCrossEntropyCriterion": temporal_cross_entropy,
    # tensors
    "torch.range": lambda first, last: torch.arange(first, last + 1, dtype=torch.float64),
}

BY_LIBRARY: dict[str, dict[str, Callable[..., Any]]] = {
    "torch-rnn": {
        "LSTM": lambda D, H: rnn.SeqLSTM(D, H, batch_first=True),
        "TemporalAdapter": lambda module: module,  # torch.nn's layers take (N, T, D) as they are
    },
    "torch-rnn-v2": {
        "BiSequencer": lambda forward, backward=None, merge=None: rnn.BiSequencer(
            forward, backward, merge or rnn.CAddTable()
        ),
    },
}


def class_of(library: str, name: str) -> Callable[..., Any]:
    """The constructor for `nn.NAME` of that library; by default the class of the same name, as it is."""
    return BY_LIBRARY.get(library, {}).get(name) or CLASSES.get(name) or same(name)


METHODS = {
    "toFastLSTM": "to_fast_lstm",
    "toGRU": "to_gru",
    "toRecLSTM": "to_rec_lstm",
    "toRecGRU": "to_rec_gru",
    "trimZero": "trim_zero",
}


def method_of(library: str, made: Any, name: str) -> Callable[..., Any]:
    """The method of ours that Lua calls `name`."""
    if name == "maskZero":
        return lambda v1=None: made.mask_zero(row_dims(v1 or library == "er-rnn"))
    try:
        return getattr(made, METHODS.get(name, name))
    except AttributeError:
        raise NotInTorchrnnError(f"{type(made).__name__}.{name} is not in torchrnn") from None

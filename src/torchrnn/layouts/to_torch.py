"""To the layout of `torch.nn`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.layouts.gates import Gates, gates_of
from torchrnn.layouts.layer import layer_of

ORDER = {"LSTM": "ifgo", "GRU": "rzg", "RNN": "h"}
"""The order of the gates in `torch.nn`."""


def to_torch(module: nn.Module) -> nn.LSTM | nn.GRU | nn.RNN:
    """A layer of `torch.nn` with copies of the parameters of ``module``.

    Arguments:
        module: a cell (`FastLSTM`, `LSTM` without peepholes, `RecLSTM`, `ResetAfterGRU`, `RecVanilla`), a sequence
            module (`SeqLSTM`, `VanillaRNN`, ...) or a `Sequencer` around a cell, or both directions of such
            (`BiSequencer`, `SeqBLSTM`, ...), joined along the features.

    Shapes: the result takes what ``module`` takes, (T, N, D) or, with ``batch_first``, (N, T, D); it returns the
    outputs and the final states.

    Raises ``TypeError`` or ``ValueError`` for what `torch.nn` does not have: peepholes, GRUs that reset before the
    product (`GRU`, `RecGRU`, `SeqGRU`), directions that are added, normalised or wrapped cells.

    >>> import torch, torchrnn
    >>> ours = torchrnn.SeqLSTM(4, 6)
    >>> theirs = torchrnn.layouts.to_torch(ours)
    >>> x = torch.randn(5, 3, 4)
    >>> torch.allclose(ours(x), theirs(x)[0], atol=1e-6)
    True
    """
    layer = layer_of(module)
    directions = [gates_of(cell) for cell in layer.cells]
    first = directions[0]
    if layer.is_sum:
        raise ValueError("to_torch: torch.nn joins both directions along the features; this layer adds them.")
    if any(gates.peepholes for gates in directions):
        raise ValueError(
            "to_torch: torch.nn.LSTM has no peepholes; this LSTM has them (cell2gate=False leaves them away)."
        )
    if any(gates.kind == "GRU" and not gates.resets_after for gates in directions):
        raise ValueError(
            "to_torch: torch.nn.GRU resets after the product of its recurrent weights, this GRU before it; no weights "
            "make both the same. ResetAfterGRU is that of torch.nn."
        )
    if any(gates.traits != first.traits for gates in directions):
        raise ValueError("to_torch: both directions must be of the same kind and size.")
    projection = {} if first.projection is None else {"proj_size": len(first.projection)}
    weight = next(iter(first.of_x.values()))
    theirs: nn.LSTM | nn.GRU | nn.RNN = getattr(nn, first.kind)(
        weight.shape[1],
        len(weight),
        batch_first=layer.batch_first,
        bidirectional=len(directions) == 2,
        dtype=weight.dtype,
        device=weight.device,
        **projection,
    )
    values: dict[str, Tensor] = {}
    for gates, suffix in zip(directions, ("l0", "l0_reverse"), strict=False):
        values |= {f"{name}_{suffix}": value for name, value in _values(gates).items()}
    theirs.load_state_dict(values)
    return theirs.train(module.training)


def _values(gates: Gates) -> dict[str, Tensor]:
    order = ORDER[gates.kind]
    zeros = {name: torch.zeros_like(bias) for name, bias in gates.bias.items()}
    stacked = {
        "weight_ih": gates.of_x,
        "weight_hh": gates.of_h,
        "bias_ih": gates.bias,
        "bias_hh": gates.bias_of_h or zeros,
    }
    values = {name: torch.cat([parts[gate] for gate in order]) for name, parts in stacked.items()}
    return values if gates.projection is None else {**values, "weight_hr": gates.projection}

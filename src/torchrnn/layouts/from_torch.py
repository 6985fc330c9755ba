"""From the layout of `torch.nn`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrnn.cells import ResetAfterGRU
from torchrnn.layers import Sequential, Transpose
from torchrnn.module import Module
from torchrnn.sequence import BiSequencer, SeqLSTM, Sequencer, VanillaRNN


def from_torch(module: nn.LSTM | nn.GRU | nn.RNN) -> Module:
    """The layers of this library with copies of the parameters of a recurrent layer of `torch.nn`.

    Arguments:
        module: a `torch.nn.LSTM`, `torch.nn.GRU` or `torch.nn.RNN` with tanh; of any number of layers, in one or both
            directions, projected or not.

    Shapes: (T, N, D) or, with ``batch_first``, (N, T, D) in, (T, N, H) or (N, T, H) out, 2H for both directions.

    A layer becomes a `SeqLSTM`, a `VanillaRNN`, or a `Sequencer` of a `ResetAfterGRU`; both directions a
    `BiSequencer`; several layers a `Sequential`, with `torch.nn.Dropout` between them where there was. The two biases
    of an LSTM or RNN become their sum. Only the output is returned; the states are kept (`get_hidden_state`).

    Raises ``TypeError`` for other modules, ``ValueError`` for ``nonlinearity="relu"``.

    >>> import torch, torchrnn
    >>> theirs = torch.nn.GRU(4, 6, num_layers=2, bidirectional=True)
    >>> ours = torchrnn.layouts.from_torch(theirs)
    >>> x = torch.randn(5, 3, 4)
    >>> torch.allclose(ours(x), theirs(x)[0], atol=1e-6)
    True
    """
    if not isinstance(module, nn.LSTM | nn.GRU | nn.RNN):
        raise TypeError(
            f"from_torch: module must be a torch.nn.LSTM, torch.nn.GRU or torch.nn.RNN; got {type(module).__name__}."
        )
    if isinstance(module, nn.RNN) and module.nonlinearity != "tanh":
        raise ValueError(
            f"from_torch: the nonlinearity must be 'tanh', which VanillaRNN has; got {module.nonlinearity!r}. "
            "torchrnn.Recurrent takes any."
        )
    layers: list[nn.Module] = []
    for number in range(module.num_layers):
        if number and module.dropout:
            layers.append(nn.Dropout(module.dropout))
        forwards = _layer(module, f"l{number}")
        layers.append(BiSequencer(forwards, _layer(module, f"l{number}_reverse")) if module.bidirectional else forwards)
    if module.batch_first:
        layers = [Transpose((0, 1)), *layers, Transpose((0, 1))]
    ours = layers[0] if isinstance(layers[0], Module) and len(layers) == 1 else Sequential(*layers)
    return ours.train(module.training)


def _layer(module: nn.LSTM | nn.GRU | nn.RNN, suffix: str) -> Module:
    """One layer in one direction."""
    w_x, w_h = (module.get_parameter(f"weight_{kind}_{suffix}").detach() for kind in ("ih", "hh"))
    of_x, of_h = (
        module.get_parameter(f"bias_{kind}_{suffix}").detach() if module.bias else w_x.new_zeros(len(w_x))
        for kind in ("ih", "hh")
    )
    sizes = w_x.shape[1], module.hidden_size
    if isinstance(module, nn.GRU):
        cell = ResetAfterGRU(*sizes).to(w_x)
        cell.load_state_dict({"i2g.weight": w_x, "i2g.bias": of_x, "o2g.weight": w_h, "o2g.bias": of_h})
        return Sequencer(cell)
    if isinstance(module, nn.RNN):
        layer: SeqLSTM | VanillaRNN = VanillaRNN(*sizes, batch_first=False)
        order = [0]
        values = {}
    else:
        layer = SeqLSTM(*sizes, proj_size=module.proj_size or None)
        order = [0, 1, 3, 2]  # there i, f, g, o
        values = {"cell.weight_o": module.get_parameter(f"weight_hr_{suffix}").detach().t()} if module.proj_size else {}
    values["cell.weight"] = _reordered(torch.cat([w_x, w_h], dim=1), order).t()
    values["cell.bias"] = _reordered(of_x + of_h, order)
    layer.to(w_x).load_state_dict(values)
    return layer


def _reordered(rows: Tensor, order: list[int]) -> Tensor:
    blocks = rows.chunk(len(order))
    return torch.cat([blocks[gate] for gate in order])

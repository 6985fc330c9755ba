"""Cases of an encoder whose final states a decoder begins with: some iterations of the originals' example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import torchrnn

from .build import load_parameters
from .case import Case
from .compare import Comparison
from .trees import grad_parameters, zero_based


def run_encoder_decoder(case: Case, check: Comparison) -> None:
    """Indices with 0 for padding: the encoder's on the left, the decoder's on the right."""
    x, y = case["encIn"].long(), case["decIn"].long()
    target = zero_based(case["decTarget"].long())
    by_rows = None if "decMask" in case else 1
    criterion = torchrnn.SequencerCriterion(torchrnn.MaskZeroCriterion(torchrnn.ClassNLLCriterion(), by_rows))
    for world, train in (("B", _explicitly), ("A", _by_autograd)):
        encoder = _network(case, case["encParams0"], is_decoder=False)
        decoder = _network(case, case["decParams0"], is_decoder=True)
        if by_rows is None:
            encoder.set_zero_mask(case["encMask"])
            for masked in (decoder, criterion):
                masked.set_zero_mask(case["decMask"])
        for index, iteration in enumerate(case["iters"]):
            of_iteration = check.within(f"{world}: iteration {index}")
            encoder.zero_grad_parameters()
            decoder.zero_grad_parameters()
            encoded, decoded, loss = train(encoder, decoder, criterion, x, y, target)
            of_iteration("encOut", encoded, iteration["encOut"])
            of_iteration("decOut", decoded, iteration["decOut"])
            of_iteration("loss", loss, iteration["loss"])
            for name, net in (("enc", encoder), ("dec", decoder)):
                of_iteration(f"{name}GradParams", grad_parameters(net), iteration[f"{name}GradParams"])
                net.update_parameters(case["learningRate"])
                of_iteration(f"{name}Params", list(net.parameters()), iteration[f"{name}Params"])


def _explicitly(
    encoder: nn.Module, decoder: nn.Module, criterion: nn.Module, x: Tensor, y: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Any]:
    """World B: states go to the decoder, the gradients of them come back to the encoder."""
    encoded = encoder.update_output(x)
    for layer, ahead in _coupled(encoder, decoder):
        ahead.set_hidden_state(0, layer.get_hidden_state())
    decoded = decoder.update_output(y)
    loss = criterion.update_output(decoded, target)
    decoder.backward(y, criterion.backward(decoded, target))
    for layer, ahead in _coupled(encoder, decoder):
        layer.set_grad_hidden_state(len(x), ahead.get_grad_hidden_state(0))
    encoder.backward(x, torch.zeros_like(encoded))
    return encoded, decoded, loss


def _by_autograd(
    encoder: nn.Module, decoder: nn.Module, criterion: nn.Module, x: Tensor, y: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Any]:
    """World A: the states carry their history into the decoder."""
    encoded = encoder(x)
    for layer, ahead in _coupled(encoder, decoder):
        ahead.set_hidden_state(0, layer.get_hidden_state())
    decoded = decoder(y)
    loss = criterion(decoded, target)
    loss.backward()
    return encoded, decoded, loss


def _network(case: Case, parameters: list[Tensor], is_decoder: bool) -> nn.Module:
    """Vectors of words, masked layers of LSTM; then the last output, or the decoder's softmax."""
    by_rows = None if "decMask" in case else 1
    (V, D), recurrent = parameters[0].shape, parameters[1 : -2 if is_decoder else None]
    n_parameters = 15 if "useSeqLSTM=false" in case["constructor"] else 2
    net = torchrnn.Sequential(torchrnn.LookupTableMaskZero(V - 1, D))
    for first in range(0, len(recurrent), n_parameters):
        net.add(_lstm(case, *recurrent[first : first + 2]).mask_zero(by_rows))
    if is_decoder:
        V, H = parameters[-2].shape
        for module in (nn.Linear(H, V), nn.LogSoftmax(-1)):
            net.add(torchrnn.Sequencer(torchrnn.MaskZero(module, by_rows)))
    else:
        net.add(torchrnn.Select(0, -1))
    net.double()
    load_parameters(net, parameters)
    return net


def _lstm(case: Case, weight: Tensor, bias: Tensor) -> nn.Module:
    """A layer over a sequence, of the class that the case used and the sizes of its first parameters."""
    if "useSeqLSTM=false" in case["constructor"]:
        H, D = weight.shape
        return torchrnn.Sequencer(torchrnn.LSTM(D, H))
    H = len(bias) // 4
    D = len(weight) - H
    return torchrnn.Sequencer(torchrnn.RecLSTM(D, H)) if case.library == "torch-rnn-v2" else torchrnn.SeqLSTM(D, H)


def _coupled(encoder: nn.Module, decoder: nn.Module) -> Iterator[tuple[Any, Any]]:
    """The recurrent layers: all between the lookup and the last output, or linear layer and softmax."""
    return zip(list(encoder)[1:-1], list(decoder)[1:-2], strict=True)

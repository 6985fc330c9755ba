"""Objects of files as modules."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

import torchrnn.t7.classes  # noqa: F401 (which registers them)
from torchrnn.t7.checkpoints import char_rnn_model, is_char_rnn
from torchrnn.t7.errors import T7ConversionError
from torchrnn.t7.files import load
from torchrnn.t7.importer import Importer
from torchrnn.t7.limits import Limits
from torchrnn.t7.objects import TorchObject


def to_module(obj: Any, *, approximate_exp: bool = False) -> nn.Module:
    """The module that an object of a Torch7 file describes, as it was when it was saved.

    Takes objects of nn, dpnn, Element-Research/rnn, torch/rnn, torch-rnn and nngraph, in any composition, and the
    checkpoints of torch-rnn (their ``model``) and of char-rnn, which become a `LanguageModel`. Parameters are views of
    the memory of the file's tensors; what is shared there is shared here. Gradients and buffers are left behind.

    Arguments:
        obj: what `load` gave.
        approximate_exp: let `LogSoftMax` layers compute as versions of Torch7 from before 2017 did.

    Raises `T7ConversionError`, which names the class that cannot be built and its path in the tree.

    >>> import torch
    >>> from torchrnn import t7
    >>> weight = torch.tensor([[1.0, 2.0]])
    >>> t7.to_module(t7.TorchObject("nn.Linear", {"weight": weight}))(torch.tensor([3.0, 4.0]))
    tensor([11.], grad_fn=<...>)
    """
    if is_char_rnn(obj):
        return char_rnn_model(obj)
    path = ""
    if isinstance(obj, dict) and isinstance(obj.get("model"), TorchObject):
        obj, path = obj["model"], "model"
    if not isinstance(obj, TorchObject):
        kind = type(obj).__name__
        raise T7ConversionError(
            f"expected an object of a class, or a checkpoint of torch-rnn (with a model) or char-rnn (with protos); "
            f"got {f'a dict of {sorted(map(str, obj))}' if isinstance(obj, dict) else f'a {kind}'}",
            kind,
            path,
        )
    return Importer(approximate_exp).root(obj, path)


def load_t7(path: str | os.PathLike[str], *, approximate_exp: bool = False, limits: Limits | None = None) -> nn.Module:
    """The module in a Torch7 file: `load`, then `to_module`.

    >>> import tempfile, torch, torchrnn
    >>> from torchrnn import t7
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     t7.save(f"{folder}/net.t7", t7.from_module(torchrnn.Sequential(torchrnn.GRU(4, 6), torch.nn.Tanh())))
    ...     net = torchrnn.load_t7(f"{folder}/net.t7")
    >>> net(torch.randn(3, 4)).shape
    torch.Size([3, 6])
    """
    return to_module(load(path, limits=limits), approximate_exp=approximate_exp)

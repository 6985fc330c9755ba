"""Modules as objects of files."""

from __future__ import annotations

import torch
from torch import nn

import torchrnn.t7.classes  # noqa: F401 (which registers them)
from torchrnn.reinforce.rewards import ClassReward
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.objects import TorchObject


def from_module(module: nn.Module) -> TorchObject:
    """The object that `save` writes for a module, so that Lua reads it as one of its own.

    Takes what `to_module` gives, and the modules of torch.nn that mean the same as one of nn. Tied parameters are
    views of one storage, gradients go along, states and what was kept for backward do not.

    Raises `T7ConversionError`, which names the class that has no counterpart and its path.

    >>> import torch
    >>> from torchrnn import t7
    >>> t7.from_module(torch.nn.Linear(3, 2)).fields["weight"].shape
    torch.Size([2, 3])
    """
    # The network that a criterion rewards is none of its parts.
    rewarded = [part.module for part in module.modules() if isinstance(part, ClassReward)]
    values = [value for part in (module, *rewarded) for value in (*part.parameters(), *part.buffers())]
    dtypes = [value.dtype for value in values if value.is_floating_point()]
    exporter = Exporter(dtypes[0] if dtypes else torch.get_default_dtype())
    # Some modules stand in for others on the way, and draw parameters that nobody sees.
    with torch.random.fork_rng(devices=[]):
        return exporter.module(module)

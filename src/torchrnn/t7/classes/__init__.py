"""The classes of the Lua libraries, one file a library or a kind of module; to import it is to register them."""

from torchrnn.t7.classes import (
    activations,
    cells,
    containers,
    convolutions,
    criterions,
    dpnn,
    images,
    language_model,
    layers,
    losses,
    nngraph,
    pooling,
    recurrent,
    sequences,
    shapes,
    torch_rnn,
)

__all__ = [
    "activations",
    "cells",
    "containers",
    "convolutions",
    "criterions",
    "dpnn",
    "images",
    "language_model",
    "layers",
    "losses",
    "nngraph",
    "pooling",
    "recurrent",
    "sequences",
    "shapes",
    "torch_rnn",
]

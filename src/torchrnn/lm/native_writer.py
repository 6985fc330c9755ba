"""Characters written natively: embedding, layers, scores and draw of each in one call."""

from __future__ import annotations

import copy
import ctypes
import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from torchrnn.layers import BatchNormalization, LookupTable
from torchrnn.recurrent import AbstractRecurrent
from torchrnn.scan.applies import check_cell
from torchrnn.scan.call import prepare
from torchrnn.scan.choice import chosen
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.signature import signature
from torchrnn.scan.snapshot import HOOKS
from torchrnn.scan.stepping import Stepping
from torchrnn.tree import Tree

if TYPE_CHECKING:
    from torchrnn.lm.model import LanguageModel

log = logging.getLogger("torchrnn.lm")
NOT_FINITE = "the model's scores are not finite, so nothing can be drawn from them: its training has diverged"


class Sampling(ctypes.Structure):
    """What characters are drawn from; ``Sampling`` in csrc/stepper.h."""

    _fields_ = [
        ("vectors", ctypes.c_void_p),
        ("row_stride", ctypes.c_int64),
        ("column_stride", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("input", ctypes.c_void_p),
        ("scores", ctypes.c_void_p),
        ("vocabulary", ctypes.c_int64),
        ("top_k", ctypes.c_int64),
        ("temperature", ctypes.c_double),
        ("weights", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
    ]


class OneStep(nn.Module):
    """What a language model makes of the vector of one character, (1, D): the scores of the next."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.layers, self.linear = model.layers, model.linear

    def step(self, x: Tensor, states: Tree) -> tuple[Tensor, Tree]:
        before, after = iter(states), []
        for layer in self.layers:
            if isinstance(layer, AbstractRecurrent):
                x, state = layer.step(x, next(before))
                after.append(state)
            else:
                x = layer(x)
        return self.linear(x), tuple(after)

    def start(self, x: Tensor) -> Tree:
        """The states from which the layers begin to read, where the first vector is ``x``."""
        states = []
        for layer in self.layers:
            if isinstance(layer, AbstractRecurrent):
                states.append(layer._start(x[None]))
                x = layer.step(x, states[-1])[0]
            else:
                x = layer(x)
        return tuple(states)


_steps: WeakKeyDictionary[nn.Module, dict[Any, OneStep]] = WeakKeyDictionary()
"""For each model, as long as it lives, the step in evaluation mode that plans belong to; it shares the parameters."""


class NativeWriter:
    """Reads and writes a text."""

    def __init__(self, stepping: Stepping, vectors: Tensor, temperature: float, top_k: int | None) -> None:
        x, scores = stepping.only_input(), stepping.only_output()
        V = len(vectors)
        if scores.shape[1] != V:
            raise Unsupported("the model gives scores of another vocabulary than it reads")
        self._stepping, self._vectors = stepping, vectors
        self._weights, self._order = np.empty(V), np.empty(V, dtype=np.int64)
        self._sampling = Sampling(
            vectors=vectors.data_ptr(),
            row_stride=vectors.stride(0),
            column_stride=vectors.stride(1),
            width=x.shape[1],
            input=x.data_ptr(),
            scores=scores.data_ptr(),
            vocabulary=V,
            top_k=V if top_k is None else min(top_k, V),
            temperature=temperature,
            weights=self._weights.ctypes.data,
            order=self._order.ctypes.data,
        )
        self._at = ctypes.byref(self._sampling)

    def write(self, given: list[int], uniforms: Tensor) -> list[int]:
        """Read ``given`` ids, one at least, and choose as many as there are ``uniforms`` (n,), numbers from [0, 1)."""
        n_given, n, stepping = len(given), len(uniforms), self._stepping
        ids = (ctypes.c_int64 * (n_given + n))(*given)
        n_written = stepping.engine.engine_sample(
            stepping.handle, self._at, stepping.t, n_given, n, uniforms.data_ptr(), ids
        )
        stepping.t += n_given + n - 1
        if n_written < n:
            raise ValueError(NOT_FINITE)
        return ids[n_given:]


@torch.no_grad()
def native_writer(
    model: LanguageModel, reader: LanguageModel, first: int, temperature: float, top_k: int | None
) -> NativeWriter | None:
    """The native engine with the parameters of ``reader``, a copy of ``model``, set to read the id ``first``.

    None where it cannot run.
    """
    engine = chosen()
    if engine == "reference":
        return None
    try:
        _check(reader)
        vectors = reader.lookup.weight.detach()
        x = vectors[first][None]
        step = OneStep(reader)
        call = prepare(_step_of(model), x[None], step.start(x), by_step=True)
        own = signature(step)
        return NativeWriter(Stepping(call.plan, 1, own.tensors, call.states), vectors, temperature, top_k)
    except Unsupported as reason:
        if engine == "native":
            raise RuntimeError(f"the native engine cannot sample from this model: {reason}") from reason
        log.debug("text is written by the reference: %s", reason)
        return None


def _check(reader: LanguageModel) -> None:
    """Refuse a model that does anything else with a character than `OneStep`."""
    from torchrnn.lm.model import LanguageModel

    if type(reader).forward is not LanguageModel.forward or "forward" in vars(reader):
        raise Unsupported("the model has a forward of its own")
    if any(getattr(reader, hooks) for hooks in HOOKS):
        raise Unsupported("the model has hooks")
    check_cell(signature(reader))
    if type(reader.lookup) is not LookupTable or reader.lookup.max_norm is not None:
        raise Unsupported("the vectors of characters are not rows of a table")
    for layer in reader.layers:
        if isinstance(layer, AbstractRecurrent):
            if type(layer).sequence is not AbstractRecurrent.sequence or layer._masks:
                raise Unsupported(f"the {type(layer).__name__} does more than step after step")
        elif type(layer) not in (BatchNormalization, nn.Dropout):
            raise Unsupported(f"a {type(layer).__name__} between the layers")


def _step_of(model: LanguageModel) -> OneStep:
    steps, key = _steps.setdefault(model, {}), signature(model).key
    if key not in steps:
        shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
        reader: LanguageModel = copy.deepcopy(model, shared)
        reader.eval()
        steps[key] = OneStep(reader)
    return steps[key]

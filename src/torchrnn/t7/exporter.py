"""Modules become objects of a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from torchrnn.cells import RecVanilla
from torchrnn.t7.errors import T7ConversionError
from torchrnn.t7.objects import Storage, TorchObject
from torchrnn.t7.registry import EXPORTS
from torchrnn.t7.types import NAME_OF_TYPE

VERSIONS = {
    "nn.LookupTable": 4,
    "nn.BatchNormalization": 2,
    "nn.SpatialBatchNormalization": 2,
    "nn.VolumetricBatchNormalization": 2,
}
"""Of the classes that Torch7 writes with another version than 1."""

INSTEAD: dict[type[nn.Module], str] = {
    nn.Flatten: "torchrnn.View(-1, n_input_dims=3) for images, since Torch7 must know how many dimensions a row has",
    nn.Conv1d: "t7.TemporalConvolution, which has time before the features",
    nn.MaxPool1d: "t7.TemporalMaxPooling, which has time before the features",
    nn.Upsample: "t7.SpatialUpSamplingNearest",
    nn.LSTM: "torchrnn.layouts.from_torch of it",
    RecVanilla: "torchrnn.VanillaRNN, which runs one over a sequence",
}
"""What does the same as a class without a counterpart, and has one."""


class Exporter:
    """Turns the modules of one tree into objects: one object for one module; tied parameters stay tied."""

    def __init__(self, dtype: torch.dtype, beside: Exporter | None = None) -> None:
        """With ``beside``, the modules become objects once more, with the same parameters and gradients."""
        if dtype not in NAME_OF_TYPE:
            raise T7ConversionError(f"Torch7 has no tensors of {dtype}; convert it, for example with .float()", "", "")
        self.dtype = dtype
        self._made: dict[nn.Module, TorchObject] = {}
        self._gradients: dict[int, Tensor] = {} if beside is None else beside._gradients
        self._path: list[str] = []

    def module(self, module: nn.Module, name: str = "") -> TorchObject:
        """The object of a module, which stands under this name in the one around it."""
        if module not in self._made:
            self._path.append(name)
            if type(module) not in EXPORTS:
                kind = type(module).__name__
                path = ".".join(part for part in self._path if part)
                remedy = f"; use {INSTEAD[type(module)]}" if type(module) in INSTEAD else ""
                raise T7ConversionError(f"{kind} has no counterpart in Torch7{remedy}", kind, path)
            try:
                self._made[module] = EXPORTS[type(module)](self, module)
            except (RuntimeError, OverflowError) as error:
                raise self.error(module, f"cannot be written: {error}") from error
            self._path.pop()
        return self._made[module]

    def modules(self, modules: Iterable[nn.Module]) -> list[TorchObject]:
        return [self.module(module, str(position)) for position, module in enumerate(modules)]

    def object(self, class_name: str, module: nn.Module | None = None, /, **fields: Any) -> TorchObject:
        """An object with the fields that every module of Torch7 has, and those that are not None."""
        common = {
            "_type": self.type_name,
            "output": self.empty(),
            "gradInput": self.empty(),
            "train": True if module is None else bool(module.training),
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return TorchObject(class_name, {**common, **given}, VERSIONS.get(class_name, 1))

    def container(self, class_name: str, modules: list[TorchObject], /, **fields: Any) -> TorchObject:
        """An object around others, without a module of ours that it stands for."""
        return self.object(class_name, modules=modules, **fields)

    def with_parameters(self, class_name: str, module: nn.Module, /, **fields: Any) -> TorchObject:
        """An object with the ``weight`` and the ``bias`` that a module has, and fields for their gradients."""
        values = {name: getattr(module, name, None) for name in ("weight", "bias")}
        return self.object(class_name, module, **fields, **self.values(**values))

    def values(self, **parameters: nn.Parameter | None) -> dict[str, Tensor]:
        """Fields for parameters and for their gradients."""
        fields: dict[str, Tensor] = {}
        for name, parameter in parameters.items():
            if parameter is not None:
                fields[name] = parameter.detach()
                fields["grad" + name[0].upper() + name[1:]] = self.gradient(parameter)
        return fields

    def gradient(self, parameter: nn.Parameter) -> Tensor:
        """The gradient, zeros if there is none; that of a tied parameter is one tensor."""
        if id(parameter) not in self._gradients:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            self._gradients[id(parameter)] = grad.detach()
        return self._gradients[id(parameter)]

    def empty(self) -> Tensor:
        return torch.empty(0, dtype=self.dtype)

    @property
    def type_name(self) -> str:
        return f"torch.{NAME_OF_TYPE[self.dtype]}Tensor"

    def error(self, module: nn.Module, message: str) -> T7ConversionError:
        kind = type(module).__name__
        return T7ConversionError(f"{kind}: {message}", kind, ".".join(part for part in self._path if part))


def one_based(position: int | None) -> int | None:
    """A dimension or index of ours as Lua counts; negative ones count from the end in both worlds."""
    return position if position is None or position < 0 else position + 1


def long_storage(values: Iterable[int]) -> Storage:
    return Storage(torch.tensor(list(values), dtype=torch.int64))

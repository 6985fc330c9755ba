"""Which function makes which class of module, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

if TYPE_CHECKING:
    from torchrnn.t7.exporter import Exporter
    from torchrnn.t7.node import Node
    from torchrnn.t7.objects import TorchObject

Import = Callable[["Node"], nn.Module]
Export = Callable[["Exporter", Any], "TorchObject"]
AnImport = TypeVar("AnImport", bound=Import)
AnExport = TypeVar("AnExport", bound=Export)

IMPORTS: dict[str, Import] = {}
"""By the name of the class in the file."""
EXPORTS: dict[type[nn.Module], Export] = {}
"""By the very class of the module, not its subclasses."""


def imports(*class_names: str) -> Callable[[AnImport], AnImport]:
    """Marks the function that makes modules of the objects of these classes."""

    def register(make: AnImport) -> AnImport:
        IMPORTS.update(dict.fromkeys(class_names, make))
        return make

    return register


def exports(*types: type[nn.Module]) -> Callable[[AnExport], AnExport]:
    """Marks the function that makes objects of the modules of these classes."""

    def register(make: AnExport) -> AnExport:
        EXPORTS.update(dict.fromkeys(types, make))
        return make

    return register


def same(class_name: str, kind: type[nn.Module]) -> None:
    """A class without any settings."""
    IMPORTS[class_name] = lambda node: kind()
    EXPORTS[kind] = lambda exporter, module: exporter.object(class_name, module)


def with_numbers(class_name: str, kind: type[nn.Module], numbers: dict[str, tuple[str, Any]], **others: Any) -> None:
    """A class whose settings are numbers.

    ``numbers``: for each argument of ours, which is an attribute, too, the field in Torch7 and its default there, if
    old files may lack it. ``others``: fields that are written beside them.
    """

    def make(node: Node) -> nn.Module:
        return kind(**{ours: node.number(field, default) for ours, (field, default) in numbers.items()})

    def write(exporter: Exporter, module: nn.Module) -> TorchObject:
        fields = {field: getattr(module, ours) for ours, (field, _) in numbers.items()}
        return exporter.object(class_name, module, **fields, **others)

    imports(class_name)(make)
    exports(kind)(write)


def alias(class_name: str, *others: str) -> None:
    """Other names of a class that has the same fields."""
    IMPORTS.update(dict.fromkeys(others, IMPORTS[class_name]))

"""An object that is to become a module, with its fields checked as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from torchrnn.t7.errors import T7ConversionError
from torchrnn.t7.objects import Storage, TorchObject

if TYPE_CHECKING:
    from torchrnn.t7.importer import Importer

REQUIRED: Any = object()


class Node:
    """A `TorchObject`, where it stands in the tree, and who turns what is inside into modules.

    Each method gives one field. Without a default the field must be there; one of another kind than the method
    says raises `T7ConversionError`.
    """

    def __init__(self, made: TorchObject, path: str, importer: Importer) -> None:
        self.object = made
        self.path = path
        self.importer = importer

    def __contains__(self, name: str) -> bool:
        return self.object.fields.get(name) is not None

    def get(self, name: str, kinds: type | tuple[type, ...], default: Any = REQUIRED) -> Any:
        """The field, of one of these Python types; nil is as if it were not there."""
        value = self.object.fields.get(name)
        if value is None and default is not REQUIRED:
            return default
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            expected = " or ".join(kind.__name__ for kind in wanted)
            raise self.error(f"field {name} must be {expected}; got {_kind(value)}")
        return value

    def number(self, name: str, default: Any = REQUIRED) -> Any:
        """A number, as a float."""
        value = self.get(name, (int, float), default)
        return value if value is None else float(value)

    def integer(self, name: str, default: Any = REQUIRED) -> Any:
        return self.get(name, int, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean, which some authors write as 0 or 1."""
        return bool(self.get(name, (bool, int), default))

    def position(self, name: str, default: Any = REQUIRED) -> Any:
        """A dimension or index, 0-based; negative ones count from the end in both worlds."""
        value = self.integer(name, default)
        return value - 1 if isinstance(value, int) and value > 0 else value

    def tensor(self, name: str) -> Tensor:
        value: Tensor = self.get(name, Tensor)
        return value

    def sizes(self, name: str) -> tuple[int, ...]:
        """Sizes, in a LongStorage or a table."""
        value = self.get(name, (Storage, list))
        sizes = value.data.tolist() if isinstance(value, Storage) else value
        if not all(type(size) is int for size in sizes):
            raise self.error(f"field {name} must hold sizes; got {_kind(value)}")
        return tuple(sizes)

    def node(self, name: str) -> Node:
        """The object in a field."""
        return Node(self.get(name, TorchObject), f"{self.path}.{name}", self.importer)

    def module(self, name: str) -> nn.Module:
        """The module made of the object in a field."""
        return self.importer.module(self.node(name))

    def nodes(self, name: str = "modules") -> list[Node]:
        """The objects in a table."""
        nodes = []
        for position, value in enumerate(self.get(name, list), 1):
            path = f"{self.path}.{name}[{position}]"
            if not isinstance(value, TorchObject):
                raise T7ConversionError(f"expected a module; got {_kind(value)}", self.object.class_name, path)
            nodes.append(Node(value, path, self.importer))
        return nodes

    def modules(self) -> list[nn.Module]:
        """The modules of a container."""
        return [self.importer.module(node) for node in self.nodes()]

    def only_node(self, name: str = "module") -> Node:
        """The one object inside, in a field or, in later versions, as the only one of ``modules``."""
        if name in self:
            return self.node(name)
        nodes = self.nodes()
        if len(nodes) != 1:
            raise self.error(f"expected one module inside; got {len(nodes)}")
        return nodes[0]

    def only_module(self, name: str = "module") -> nn.Module:
        return self.importer.module(self.only_node(name))

    def walk(self) -> Iterator[Node]:
        """This object and all in the ``modules`` inside, in their order, each once."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if id(node.object) not in seen:
                seen.add(id(node.object))
                yield node
                if "modules" in node:
                    waiting += reversed(node.nodes())

    def parameters(self) -> list[Tensor]:
        """The parameters inside, in the order of Lua's ``module:parameters()``."""
        names = ("weight", "bias", "weightO")
        return [node.tensor(name) for node in self.walk() for name in names if name in node]

    def error(self, message: str) -> T7ConversionError:
        name = self.object.class_name
        return T7ConversionError(f"{name}: {message}", name, self.path)


def _kind(value: Any) -> str:
    return "nothing" if value is None else repr(value) if isinstance(value, TorchObject) else type(value).__name__

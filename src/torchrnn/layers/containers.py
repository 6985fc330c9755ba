"""Containers: modules made of modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from torchrnn.checks import require_module, require_table
from torchrnn.module import Module

if TYPE_CHECKING:
    from typing_extensions import Self


class Container(Module):
    """A list of modules; what is done with them is up to the subclass, which writes ``forward``.

    Shapes: those of the subclass. Any ``torch.nn.Module`` may stand inside. Positions are 0-based, negative ones
    count from the end. The parameters are named as in ``torch.nn.Sequential``: ``"0.weight"``.

    Differs from ``torch.nn``: `add` and `insert` return the container, so that calls chain. Differs from the
    original: 0-based, and modules may be given to the constructor.

    >>> import torch
    >>> from torchrnn.layers import Container
    >>> class Residual(Container):
    ...     def forward(self, input):
    ...         for module in self:
    ...             input = input + module(input)
    ...         return input
    >>> Residual(torch.nn.Linear(4, 4)).add(torch.nn.Tanh())(torch.zeros(3, 4)).shape
    torch.Size([3, 4])
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        for module in modules:
            self.add(module)

    def add(self, module: nn.Module) -> Self:
        """Put ``module`` at the end."""
        return self.insert(len(self), module)

    def insert(self, index: int, module: nn.Module) -> Self:
        """Put ``module`` in front of position ``index``."""
        require_module(self, module)
        modules = list(self)
        if not -len(modules) <= index <= len(modules):
            raise IndexError(f"{type(self).__name__}: cannot insert at {index}, there are {len(modules)} modules.")
        modules.insert(index, module)
        return self._hold(modules)

    def get(self, index: int) -> nn.Module:
        """The module at ``index``."""
        return list(self)[self._position(index)]

    def remove(self, index: int = -1) -> Self:
        """Take the module at ``index`` out."""
        modules = list(self)
        del modules[self._position(index)]
        return self._hold(modules)

    def __getitem__(self, index: int | slice) -> Any:
        return type(self)(*list(self)[index]) if isinstance(index, slice) else self.get(index)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter([module for module in self._modules.values() if module is not None])

    def _position(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{type(self).__name__}: there is no module {index}, there are {len(self)} modules.")
        return index % len(self)

    def _hold(self, modules: list[nn.Module]) -> Self:
        self._modules.clear()
        for position, module in enumerate(modules):
            self.add_module(str(position), module)
        return self


class Sequential(Container):
    """Modules one after the other: ``y = m_n(... m_1(m_0(x)))``.

    Shapes: the input is what the first module takes (a tensor or a table), the output what the last one
    gives. ``forward(input, lengths)`` hands the lengths of a ragged batch to the sequence modules among them.

    Differs from ``torch.nn.Sequential``: it has the explicit protocol of `Module`.

    >>> import torch
    >>> from torchrnn.layers import Sequential
    >>> net = Sequential(torch.nn.Linear(4, 6)).add(torch.nn.Tanh())
    >>> net(torch.randn(3, 4)).shape, net.get(-1)
    (torch.Size([3, 6]), Tanh())
    """

    def forward(self, input: Any, lengths: Tensor | list[int] | None = None) -> Any:
        output = input
        for module in self:
            is_ragged = isinstance(module, Sequential) or (isinstance(module, Module) and module.takes_sequences)
            output = module(output) if lengths is None or not is_ragged else module(output, lengths)
        return output


class ConcatTable(Container):
    """One input to all modules: ``y = [m_0(x), ..., m_n(x)]``.

    Shapes: the input is what every module takes; the output is the list of what they give. The gradient of
    the input is the sum over the modules.

    >>> import torch
    >>> from torchrnn.layers import ConcatTable
    >>> [y.shape for y in ConcatTable(torch.nn.Linear(4, 6), torch.nn.Tanh())(torch.randn(3, 4))]
    [torch.Size([3, 6]), torch.Size([3, 4])]
    """

    def forward(self, input: Any) -> list[Any]:
        return [module(input) for module in self]


class ParallelTable(Container):
    """To each module its element of the table: ``y = [m_0(x_0), ..., m_n(x_n)]``.

    Shapes: table of as many elements as there are modules, to a list of as many.
    Raises ``ValueError`` if the numbers differ (the original leaves out what is too much).

    >>> import torch
    >>> from torchrnn.layers import ParallelTable
    >>> net = ParallelTable(torch.nn.Linear(4, 6), torch.nn.Sigmoid())
    >>> [y.shape for y in net([torch.randn(3, 4), torch.randn(3, 5)])]
    [torch.Size([3, 6]), torch.Size([3, 5])]
    """

    def forward(self, input: Any) -> list[Any]:
        table = require_table(self, input, len(self))
        return [module(element) for module, element in zip(self, table, strict=True)]


class MapTable(Container):
    """One module for every element of the table: ``y = [m(x_0), ..., m(x_n)]``.

    Shapes: table of any length to a list of the same length.

    >>> import torch
    >>> from torchrnn.layers import MapTable
    >>> [y.shape for y in MapTable(torch.nn.Linear(4, 6))([torch.randn(3, 4), torch.randn(2, 4)])]
    [torch.Size([3, 6]), torch.Size([2, 6])]
    """

    def __init__(self, module: nn.Module | None = None) -> None:
        super().__init__(*([] if module is None else [module]))

    def insert(self, index: int, module: nn.Module) -> Self:
        if len(self):
            raise ValueError("MapTable: one module serves every element and there is one; remove it first.")
        return super().insert(index, module)

    def forward(self, input: Any) -> list[Any]:
        table = require_table(self, input)
        if not len(self):
            raise ValueError("MapTable: there is no module to apply; add one first.")
        module = self.get(0)
        return [module(element) for element in table]

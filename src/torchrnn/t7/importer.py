"""Objects of a file become modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from torchrnn.module import Module
from torchrnn.t7.errors import T7ConversionError
from torchrnn.t7.node import Node
from torchrnn.t7.objects import TorchObject
from torchrnn.t7.registry import IMPORTS

DEEPEST = 100


class Undrawn(TorchFunctionMode):
    """Modules of the device "meta" come without memory and numbers, since the file has both. This leaves out the one
    draw of numbers that would make PyTorch load its compiler, which takes seconds, before it does nothing.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is nn.init.normal_:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


class Importer:
    """Turns the objects of one file into modules: one module for one object, one parameter for one piece of memory."""

    def __init__(self, approximate_exp: bool = False) -> None:
        self.approximate_exp = approximate_exp
        self._made: dict[int, nn.Module | None] = {}
        self._nodes: list[Node] = []
        self._parameters: dict[Any, nn.Parameter] = {}
        self._depth = 0

    def root(self, made: TorchObject, path: str) -> nn.Module:
        """The module made of an object with all inside, its modes of training set."""
        with torch.device("meta"), Undrawn():
            module = self.module(Node(made, path, self))
        for node in self._nodes:
            is_training = node.object.fields.get("train")
            own = self._made[id(node.object)]
            if isinstance(is_training, bool) and own is not None:
                own.train(is_training)
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_meta:
                raise T7ConversionError(f"the file has no value for {name}", made.class_name, path)
        return module

    def module(self, node: Node) -> nn.Module:
        """The module of a node: a new one, or the one that was made of the same object before."""
        made, name = node.object, node.object.class_name
        if id(made) in self._made:
            known = self._made[id(made)]
            if known is None:
                raise node.error("contains itself")
            return known
        if name not in IMPORTS:
            raise T7ConversionError(f"class {name} is not known", name, node.path)
        if self._depth == DEEPEST:
            raise node.error(f"stands more than {DEEPEST} modules deep")
        self._made[id(made)] = None
        self._nodes.append(node)
        self._depth += 1
        try:
            module = IMPORTS[name](node)
        except T7ConversionError:
            raise
        except (ValueError, TypeError, RuntimeError, LookupError, OverflowError, AssertionError) as error:
            raise node.error(f"cannot be built: {error}") from error
        finally:
            self._depth -= 1
        self._made[id(made)] = module
        return module

    def parameter(self, node: Node, tensor: Tensor) -> nn.Parameter:
        """A parameter in the memory of a tensor of the file; tied ones are one parameter."""
        if not tensor.is_floating_point():
            raise node.error(f"parameters must be floating point; got {tensor.dtype}")
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else id(tensor)
        if key not in self._parameters:
            self._parameters[key] = nn.Parameter(tensor)
        return self._parameters[key]

    def fill(self, module: nn.Module, node: Node, tensors: list[Tensor]) -> None:
        """Give a module its parameters, which come in the order of ours."""
        slots = [(owner, name) for owner in module.modules() for name, p in owner._parameters.items() if p is not None]
        shapes = [tuple(_present(owner, name).shape) for owner, name in slots]
        if shapes != [tuple(tensor.shape) for tensor in tensors]:
            raise node.error(f"expected parameters of shapes {shapes}; got {[tuple(t.shape) for t in tensors]}")
        for (owner, name), tensor in zip(slots, tensors, strict=True):
            owner._parameters[name] = self.parameter(node, tensor)


def _present(owner: nn.Module, name: str) -> nn.Parameter:
    parameter = owner._parameters[name]
    assert parameter is not None
    return parameter


def set_buffer(module: nn.Module, name: str, value: Tensor, node: Node) -> None:
    """Give a module the value of a buffer, of the shape that it has."""
    like = module.get_buffer(name)
    if like.shape != value.shape:
        raise node.error(f"field {name} must have shape {tuple(like.shape)}; got {tuple(value.shape)}")
    module._buffers[name] = value


def remembering(module: Module, node: Node) -> Module:
    """A sequence module with the mode of remembering that the file says."""
    return module.remember(node.get("_remember", str, "neither"))

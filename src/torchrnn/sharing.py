"""Modules that share their parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def shared_clone(
    module: AnyModule, share_params: bool = True, share_grads: bool = True, keep: Iterable[nn.Module] = ()
) -> AnyModule:
    """A copy of ``module`` with the same parameters; see `Module.shared_clone`. ``keep``: parts that stand in both."""
    memo: dict[int, Any] = {id(part): part for part in keep}
    if share_params or share_grads:
        memo.update((id(p), _shared(p, share_params, share_grads)) for p in module.parameters())
    if share_params:
        memo.update((id(buffer), buffer) for buffer in module.buffers())
    return copy.deepcopy(module, memo)


def share(module: nn.Module, other: nn.Module, names: tuple[str, ...]) -> None:
    """Let ``module`` use the parameters and buffers of ``other``; see `Module.share`."""
    parts = dict(other.named_modules(remove_duplicate=False))
    found: list[tuple[dict[str, Any], str, Tensor]] = []
    for path, mine in module.named_modules(remove_duplicate=False):
        theirs = parts.get(path)
        for name, value in _values(mine).items():
            if names and name not in names:
                continue
            of_other = None if theirs is None else _values(theirs).get(name)
            if of_other is None or of_other.shape != value.shape:
                got = "there is none" if of_other is None else f"that one is {tuple(of_other.shape)}"
                raise ValueError(
                    f"share: {f'{path}.{name}'.lstrip('.')!r} of shape {tuple(value.shape)} needs its like in other, "
                    f"but {got}. Nothing was shared."
                )
            found.append((mine._parameters if name in mine._parameters else mine._buffers, name, of_other))
    missing = set(names) - {name for _, name, _ in found}
    if missing:
        raise ValueError(f"share: no parameter or buffer of this module is called {sorted(missing)}.")
    for holder, name, value in found:
        holder[name] = value


def _shared(parameter: nn.Parameter, share_params: bool, share_grads: bool) -> nn.Parameter:
    """What stands for ``parameter`` in a clone that shares its values, its gradient, or both."""
    if share_params and share_grads:
        return parameter
    value = parameter.detach() if share_params else parameter.detach().clone()
    clone = nn.Parameter(value, parameter.requires_grad)
    if share_grads:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        clone.grad = parameter.grad
    return clone


def _values(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers that ``module`` itself holds."""
    held = {**module._parameters, **module._buffers}
    return {name: value for name, value in held.items() if value is not None}

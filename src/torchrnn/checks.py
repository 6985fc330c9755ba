"""Checks of what a layer is given: each error names the layer, what came and what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchrnn.tree import describe


def require_tensor(layer: object, value: Any, name: str = "input") -> Tensor:
    """``value`` itself, which must be a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{_name(layer)}: {name} must be a tensor; got {describe(value)}.")
    return value


def require_real(layer: object, value: Any, name: str = "input") -> Tensor:
    """``value`` itself, which must be a tensor of floating-point numbers."""
    if not require_tensor(layer, value, name).is_floating_point():
        raise TypeError(
            f"{_name(layer)}: {name} must be a floating-point tensor; got {value.dtype}. Convert it with .float()."
        )
    return value  # type: ignore[no-any-return]


def require_table(layer: object, value: Any, length: int | None = None, name: str = "input") -> Sequence[Any]:
    """``value`` itself, which must be a list or tuple, of ``length`` elements where that is said."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{_name(layer)}: {name} must be a table (list or tuple); got {_kind(value)}.")
    if length is not None and len(value) != length:
        raise ValueError(f"{_name(layer)}: {name} must have {length} elements; got {len(value)}.")
    return value


def require_tensors(layer: object, value: Any, length: int | None = None) -> Sequence[Tensor]:
    """``value`` itself, which must be a table of at least one tensor."""
    table = require_table(layer, value, length)
    if not table:
        raise ValueError(f"{_name(layer)}: input must have at least one element; got an empty table.")
    for position, element in enumerate(table):
        require_tensor(layer, element, f"input[{position}]")
    return table


def require_one_shape(layer: object, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """``tensors`` themselves, which must all have the same shape."""
    if any(tensor.shape != tensors[0].shape for tensor in tensors):
        raise ValueError(
            f"{_name(layer)}: the elements of input must have one shape; got {describe(list(tensors))}. "
            "Expand the smaller ones."
        )
    return tensors


def resolve_dim(layer: object, dim: int, n_dims: int, n_input_dims: int | None = None) -> int:
    """Which of the ``n_dims`` dimensions of a tensor ``dim`` means, counted from 0.

    A negative ``dim`` counts from the end. A non-negative one moves on by one in a batch, which is what a
    tensor of ``n_input_dims + 1`` dimensions is.
    """
    shift = 1 if n_input_dims is not None and dim >= 0 and n_dims == n_input_dims + 1 else 0
    position = dim + n_dims if dim < 0 else dim + shift
    if not 0 <= position < n_dims:
        batch = " of each row of the batch" if shift else ""
        raise ValueError(
            f"{_name(layer)}: dim={dim}{batch} is not a dimension of a tensor with {n_dims} dimensions; "
            f"expected {-n_dims} to {n_dims - 1 - shift}."
        )
    return position


def resolve_index(layer: object, index: int, length: int, of_what: str) -> int:
    """Which of ``length`` positions ``index`` means, counted from 0; a negative one counts from the end."""
    if not -length <= index < length:
        raise ValueError(f"{_name(layer)}: there is no position {index} in {of_what} of {length} elements.")
    return index % length


def require_module(layer: object, value: Any, name: str = "module") -> nn.Module:
    """``value`` itself, which must be a module."""
    if not isinstance(value, nn.Module):
        got = f"the class {value.__name__}; make an instance" if isinstance(value, type) else repr(value)
        raise TypeError(f"{_name(layer)}: {name} must be a torch.nn.Module; got {got}.")
    return value


def unpack_sizes(size: Sequence[Any]) -> tuple[int, ...]:
    """Sizes that were given as ``(2, 3)`` or ``((2, 3),)``."""
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], list | tuple) else tuple(size)


def require_sizes(layer: object, size: Sequence[Any]) -> tuple[int, ...]:
    """At least one positive size, unpacked."""
    sizes = unpack_sizes(size)
    if not sizes:
        raise ValueError(f"{_name(layer)}: at least one size is needed; got none.")
    for value in sizes:
        require_count(layer, value, "size")
    return sizes


def require_count(layer: object, value: Any, name: str) -> int:
    """``value`` itself, which must be a positive integer."""
    require_int(layer, value, name)
    if value < 1:
        raise ValueError(f"{_name(layer)}: {name} must be at least 1; got {value}.")
    return int(value)


def require_counts(layer: object, **counts: Any) -> None:
    """Several positive integers, by their names."""
    for name, value in counts.items():
        require_count(layer, value, name)


def require_int(layer: object, value: Any, name: str) -> int:
    """``value`` itself, which must be an integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{_name(layer)}: {name} must be an integer; got {value!r}.")
    return value


def require_numbers(layer: object, value: Any, name: str, dtype: torch.dtype | None = None) -> Tensor:
    """``value`` as a tensor without a history: of a tensor, a number, or lists of numbers."""
    try:
        return torch.as_tensor(value, dtype=dtype).detach()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{_name(layer)}: {name} must be a tensor or made of numbers; got {value!r}.") from None


def require_flag(layer: object, value: Any, name: str) -> bool:
    """``value`` itself, which must be True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{_name(layer)}: {name} must be True or False; got {value!r}.")
    return value


def require_number(layer: object, value: Any, name: str) -> float:
    """``value`` itself, which must be a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{_name(layer)}: {name} must be a number; got {value!r}.")
    return value


def require_positive(layer: object, value: Any, name: str) -> float:
    """``value`` itself, which must be a number above zero."""
    if not require_number(layer, value, name) > 0:
        raise ValueError(f"{_name(layer)}: {name} must be positive; got {value}.")
    return float(value)


def require_probability(layer: object, value: Any, name: str) -> float:
    """``value`` itself, which must be a number from 0 to 1."""
    if not 0 <= require_number(layer, value, name) <= 1:
        raise ValueError(f"{_name(layer)}: {name} must be a probability, 0 to 1; got {value}.")
    return float(value)


def require_chance(layer: object, value: Any, name: str) -> float:
    """``value`` itself, which must be a probability other than 1: where all is dropped, nothing can make up for it."""
    if not 0 <= require_number(layer, value, name) < 1:
        raise ValueError(f"{_name(layer)}: {name} must be a probability of at least 0 and less than 1; got {value}.")
    return float(value)


def require_n_input_dims(layer: object, value: int | None) -> int | None:
    """``value`` itself: None, or the number of dimensions of one row of a batch."""
    return None if value is None else require_count(layer, value, "n_input_dims")


def require_row_dims(layer: object, value: int | None) -> int | None:
    """``value`` itself: None, or the number of dimensions of one row of what is masked, 0 for indices."""
    if value is not None and require_int(layer, value, "n_input_dims") < 0:
        raise ValueError(f"{_name(layer)}: n_input_dims must be at least 0, which is for indices; got {value}.")
    return value


def _name(layer: object) -> str:
    """The name of a layer's class; functions give their own name."""
    return layer if isinstance(layer, str) else type(layer).__name__


def _kind(value: Any) -> str:
    return f"a tensor of shape {describe(value)}" if isinstance(value, Tensor) else type(value).__name__

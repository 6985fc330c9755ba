"""Where the native engine may run at all: in float32 and bfloat16 on the CPU, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from torchrnn.scan.operations import Unsupported
from torchrnn.scan.signature import Signature

TENSOR_TYPES = (Tensor, nn.Parameter)
FLOATING = (torch.float32, torch.bfloat16)


def check_surroundings() -> bool:
    """Refuse where PyTorch is doing more with operators than to run them; whether it casts products to bfloat16."""
    if torch.compiler.is_compiling():
        raise Unsupported("torch.compile traces the step itself")
    if torch._C._functorch.maybe_current_level() is not None:
        raise Unsupported("a transformation of torch.func is at work")
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        raise Unsupported("a mode of PyTorch watches its operators")
    if forward_ad._current_level >= 0:
        raise Unsupported("forward-mode differentiation is at work")
    if nn.modules.module._has_any_global_hook():  # type: ignore[no-untyped-call]
        raise Unsupported("hooks on all modules are at work")
    if not torch.is_autocast_enabled("cpu"):
        return False
    if torch.get_autocast_dtype("cpu") != torch.bfloat16:
        raise Unsupported(f"autocast to {torch.get_autocast_dtype('cpu')} is on")
    return True


def check_cell(cell: Signature) -> None:
    if cell.hooked:
        raise Unsupported(f"the {cell.hooked} inside has hooks")
    if not cell.seen.is_sound:
        for tensor in cell.tensors:
            _check_tensor(tensor, "a parameter or buffer", (*FLOATING, torch.int64))
        cell.seen.is_sound = True


def check_sequence(inputs: Sequence[Any], states: Sequence[Any]) -> None:
    """Refuse inputs (T, N, ...) and states (N, ...) that are not of the engine's kind."""
    if not inputs:
        raise Unsupported("there is no input")
    check_tensors(inputs)
    for x in inputs:
        if x.dim() < 2:
            raise Unsupported("an input has no batch dimension")
    for state in states:
        _check_tensor(state, "a state", FLOATING)
        if state.dim() < 2:
            raise Unsupported("a state has no batch dimension")
    T, N = inputs[0].shape[:2]
    if any(x.shape[:2] != (T, N) for x in inputs) or any(state.shape[0] != N for state in states):
        raise Unsupported("the inputs and states have unlike numbers of rows")
    if T == 0 or N == 0:
        raise Unsupported("the sequence is empty")


def check_tensors(inputs: Sequence[Any]) -> None:
    for x in inputs:
        _check_tensor(x, "an input", (*FLOATING, torch.bool, torch.int64))


def _check_tensor(tensor: Any, what: str, dtypes: tuple[torch.dtype, ...]) -> None:
    if type(tensor) not in TENSOR_TYPES:
        raise Unsupported(f"{what} is a {type(tensor).__name__}")
    if tensor.dtype not in dtypes:
        raise Unsupported(f"{what} is {tensor.dtype}")
    if not tensor.is_cpu or tensor.layout is not torch.strided or tensor.is_neg():
        raise Unsupported(f"{what} is not a dense tensor on the CPU, or one that PyTorch reads with other signs")

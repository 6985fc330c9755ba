"""What is done to gradients and parameters around an update: clipping, decay, momentum, bounded norms.

They take any ``torch.nn.Module``, and meet a parameter that stands in several places once. The usual order::

    grad_param_clip(net, 5)
    weight_decay(net, 1e-4)
    update_grad_parameters(net, 0.9)
    net.update_parameters(lr)
    max_param_norm(net, 2)
    net.zero_grad_parameters()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from torchrnn.checks import require_number
from torchrnn.layers import LookupTable


@torch.no_grad()
def grad_param_clip(module: nn.Module, cutoff: float, module_local: bool = False) -> Tensor:
    """Scale gradients down to the norm ``cutoff`` where theirs is greater: ``g *= cutoff / |g|``.

    Arguments:
        module: whose gradients; parameters without one count for nothing.
        cutoff: the greatest norm; at most 0 clips nothing.
        module_local: each module inside clips the gradients of its own parameters by themselves, instead of one norm
            for all.

    Returns the norm of all gradients before, a 0-dim tensor.

    Differs from ``torch.nn.utils.clip_grad_norm_``: the norm after is ``cutoff`` and not a millionth less, and
    ``module_local``. Differs from the original: the norm is returned for every ``cutoff``.

    >>> import torch, torchrnn
    >>> net = torch.nn.Linear(2, 1)
    >>> net.weight.grad, net.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    >>> torchrnn.grad_param_clip(net, 1.0)
    tensor(5.)
    >>> net.weight.grad, net.bias.grad
    (tensor([[0.6000, 0.0000]]), tensor([0.8000]))
    """
    require_number("grad_param_clip", cutoff, "cutoff")
    total = _norm(module.parameters())
    if cutoff > 0:
        groups = [own for _, own in _by_module(module)] if module_local else [list(module.parameters())]
        for group in groups:
            norm = _norm(group)
            scale = torch.where(norm > cutoff, cutoff / norm, 1.0)
            for _, grad in _with_gradients(group):
                grad.mul_(scale.to(grad.device))
    return total


@torch.no_grad()
def weight_decay(module: nn.Module, factor: float, min_dim: int = 2) -> None:
    """Add the gradient of ``factor / 2 * |w|²`` to the gradients: ``g += factor * w``.

    Arguments:
        module: whose parameters; those without a gradient are left alone.
        factor: how much; at most 0 does nothing.
        min_dim: only for parameters of at least so many dimensions; 2 leaves biases alone.

    >>> import torch, torchrnn
    >>> net = torch.nn.Linear(2, 1)
    >>> net.weight.grad = torch.zeros(1, 2)
    >>> torchrnn.weight_decay(net, 0.5)
    >>> torch.equal(net.weight.grad, 0.5 * net.weight)
    True
    """
    require_number("weight_decay", factor, "factor")
    for parameter, grad in _with_gradients(module.parameters()):
        if factor > 0 and parameter.dim() >= min_dim:
            grad.add_(parameter, alpha=factor)


@torch.no_grad()
def update_grad_parameters(
    module: nn.Module, momentum: float, damping: float | None = None, nesterov: bool = False
) -> None:
    """Replace gradients by their running mean: ``v = momentum * v + (1 - damping) * g``, then ``g = v``.

    Arguments:
        module: whose gradients.
        momentum: how much of ``v`` stays; at most 0 does nothing.
        damping: as much as ``momentum`` if it is not given, which keeps the scale of the gradients; 0 is the classical
            momentum.
        nesterov: ``g += momentum * v`` instead of ``g = v``.

    ``v`` begins as the first gradient (see `momentum_grad_parameters`), so that without damping the first step is
    ``(1 + momentum) * g``, as in the original.

    Differs from ``torch.optim.SGD``, whose first step is ``g`` whatever the damping.

    >>> import torch, torchrnn
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> for g in 1.0, 0.0:
    ...     net.weight.grad = torch.tensor([[g]])
    ...     torchrnn.update_grad_parameters(net, 0.75)
    ...     net.weight.grad
    tensor([[1.]])
    tensor([[0.7500]])
    """
    require_number("update_grad_parameters", momentum, "momentum")
    if damping is None:
        damping = momentum
    require_number("update_grad_parameters", damping, "damping")
    if momentum > 0:
        for parameter, grad in _with_gradients(module.parameters()):
            buffer = _momentum_of(parameter, grad).mul_(momentum).add_(grad, alpha=1 - damping)
            if nesterov:
                grad.add_(buffer, alpha=momentum)
            else:
                grad.copy_(buffer)


@torch.no_grad()
def momentum_grad_parameters(module: nn.Module) -> list[Tensor]:
    """The buffers ``v`` of `update_grad_parameters`, one for each parameter with a gradient, in their order.

    Those that are not there yet begin as copies of the gradients. They belong to the parameters: whoever shares a
    parameter shares its buffer, and a deep copy begins without.

    >>> import torch, torchrnn
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.grad = torch.ones(1, 2)
    >>> torchrnn.momentum_grad_parameters(net)
    [tensor([[1., 1.]])]
    """
    return [_momentum_of(parameter, grad) for parameter, grad in _with_gradients(module.parameters())]


@torch.no_grad()
def max_param_norm(module: nn.Module, max_out: float | None = None, max_in: float | None = None) -> None:
    """Scale rows and columns of weights down to a greatest norm.

    Arguments:
        module: whose parameters; those of one dimension, such as biases, are left alone.
        max_out: bounds the norms along dim 0, of the weights of each output; ``None`` or at most 0: no bound.
        max_in: bounds the norms along the last dim, of the weights of each input.

    A table of vectors (`LookupTable`, ``torch.nn.Embedding``) lies the other way round: ``max_in`` bounds its vectors,
    ``max_out``, which is ``max_in`` where it is not given, its columns. To leave a part out, call it on the others.

    >>> import torch, torchrnn
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = net.weight.copy_(torch.tensor([[3.0, 4.0]]))
    >>> torchrnn.max_param_norm(net, max_out=1)
    >>> net.weight.data
    tensor([[0.6000, 0.8000]])
    """
    for name, bound in ("max_out", max_out), ("max_in", max_in):
        if bound is not None:
            require_number("max_param_norm", bound, name)
    for part, own in _by_module(module):
        of_rows, of_columns = max_out, max_in
        if isinstance(part, LookupTable | nn.Embedding):
            of_rows, of_columns = max_in, max_in if max_out is None else max_out
        for parameter in own:
            for dim, bound in (0, of_rows), (-1, of_columns):
                if bound is not None and bound > 0 and parameter.dim() > 1:
                    parameter.data.renorm_(2, dim, bound)


def check_parameters(module: nn.Module) -> None:
    """Raise ``ValueError`` if a parameter holds NaN or infinity, and name those that do.

    >>> import torch, torchrnn
    >>> torchrnn.check_parameters(torch.nn.Linear(2, 1))
    """
    broken = [
        f"{name} ({int((~parameter.isfinite()).sum())} of {parameter.numel()} values)"
        for name, parameter in module.named_parameters()
        if not parameter.isfinite().all()
    ]
    if broken:
        raise ValueError(
            f"check_parameters: there is NaN or infinity in {', '.join(broken)}. Go back to an earlier state, and "
            "lower the learning rate or clip the gradients."
        )


def _with_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[tuple[nn.Parameter, Tensor]]:
    return ((parameter, parameter.grad) for parameter in parameters if parameter.grad is not None)


def _norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The 2-norm of all gradients together, in the precision of the first."""
    grads = [grad.coalesce().values() if grad.is_sparse else grad for _, grad in _with_gradients(parameters)]
    return torch.nn.utils.get_total_norm(grads)


def _by_module(module: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """Each module inside with its own parameters; one that stands in several belongs to the first."""
    met: set[nn.Parameter] = set()
    for part in module.modules():
        own = [parameter for parameter in part.parameters(recurse=False) if parameter not in met]
        met.update(own)
        yield part, own


def _momentum_of(parameter: nn.Parameter, grad: Tensor) -> Tensor:
    kept: Tensor | None = vars(parameter).get("momentum")
    buffer = grad.clone() if kept is None else kept.to(grad)
    vars(parameter)["momentum"] = buffer
    return buffer

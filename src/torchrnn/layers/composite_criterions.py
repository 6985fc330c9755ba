"""Losses made of losses. Any ``torch.nn`` loss may stand inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from torchrnn.checks import require_flag, require_module, require_number, require_table
from torchrnn.layers.criterion import Criterion

if TYPE_CHECKING:
    from typing_extensions import Self


class WeightedCriterions(Criterion):
    """What `MultiCriterion` and `ParallelCriterion` have in common: criterions, and a weight for each."""

    def __init__(self, *criterions: nn.Module) -> None:
        super().__init__()
        self.criterions = nn.ModuleList()
        self.weights: list[float] = []
        for criterion in criterions:
            self.add(criterion)

    def add(self, criterion: nn.Module, weight: float = 1.0) -> Self:
        """Put ``criterion`` at the end, its loss multiplied by ``weight``."""
        self.criterions.append(require_module(self, criterion, "criterion"))
        self.weights.append(require_number(self, weight, "weight"))
        return self

    def _require_some(self) -> None:
        if not self.weights:
            raise ValueError(f"{type(self).__name__}: there is no criterion; add one first.")


class MultiCriterion(WeightedCriterions):
    """A weighted sum of losses of the same input and target, ``sum_i w_i c_i(x, t)``.

    Shapes: those that all the criterions take.

    >>> import torch
    >>> from torchrnn.layers import MSECriterion, MultiCriterion
    >>> criterion = MultiCriterion(MSECriterion()).add(torch.nn.L1Loss(), 0.5)
    >>> criterion(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))
    tensor(2.5000)
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        self._require_some()
        losses = [c(input, target) * w for c, w in zip(self.criterions, self.weights, strict=True)]
        return total_of(losses)


class ParallelCriterion(WeightedCriterions):
    """A weighted sum of losses, each of its own element of the table, ``sum_i w_i c_i(x_i, t_i)``.

    Arguments: ``repeat_target``: one target serves all, ``sum_i w_i c_i(x_i, t)``.
    Shapes: tables of as many elements as there are criterions.

    >>> import torch
    >>> from torchrnn.layers import ClassNLLCriterion, MSECriterion, ParallelCriterion
    >>> criterion = ParallelCriterion(MSECriterion()).add(ClassNLLCriterion(), 0.5)
    >>> scores = torch.tensor([[-0.5, -1.0]])
    >>> criterion([torch.tensor([1.0]), scores], [torch.tensor([3.0]), torch.tensor([1])])
    tensor(4.5000)
    """

    def __init__(self, *criterions: nn.Module, repeat_target: bool = False) -> None:
        super().__init__(*criterions)
        self.repeat_target = require_flag(self, repeat_target, "repeat_target")

    def forward(self, input: Any, target: Any) -> Tensor:
        self._require_some()
        inputs = require_table(self, input, len(self.weights))
        targets = [target] * len(inputs) if self.repeat_target else require_table(self, target, len(inputs), "target")
        terms = zip(self.criterions, self.weights, inputs, targets, strict=True)
        return total_of([criterion(x, t) * weight for criterion, weight, x, t in terms])

    def extra_repr(self) -> str:
        return f"repeat_target={self.repeat_target}"


class ModuleCriterion(Criterion):
    """A loss of what modules make of input and target, ``c(f(x), g(t))``.

    Arguments: ``criterion``; ``input_module`` f and ``target_module`` g (default: identity). Parameters
    inside are not those of the network: an optimizer does not know them unless told.
    Shapes: those that f, g and the criterion take.

    ``ModuleCriterion(torch.nn.L1Loss())`` gives a ``torch.nn`` loss the explicit protocol. There, `backward`
    runs f and g once more.

    >>> import torch
    >>> from torchrnn.layers import ModuleCriterion
    >>> criterion = ModuleCriterion(torch.nn.L1Loss(), torch.nn.Flatten(), torch.nn.Flatten())
    >>> criterion.backward(torch.ones(1, 2, 2), torch.zeros(1, 4, 1)).shape
    torch.Size([1, 2, 2])
    """

    def __init__(
        self,
        criterion: nn.Module,
        input_module: nn.Module | None = None,
        target_module: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.criterion = require_module(self, criterion, "criterion")
        self.input_module = None if input_module is None else require_module(self, input_module, "input_module")
        self.target_module = None if target_module is None else require_module(self, target_module, "target_module")

    def forward(self, input: Any, target: Any) -> Tensor:
        prediction = input if self.input_module is None else self.input_module(input)
        truth = target if self.target_module is None else self.target_module(target)
        loss: Tensor = self.criterion(prediction, truth)
        return loss


def total_of(losses: list[Tensor]) -> Tensor:
    """The sum of at least one loss."""
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total

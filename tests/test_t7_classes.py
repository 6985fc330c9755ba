"""Every class that can be read can be written, and every public module is written or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import test_t7_images
import test_t7_models
import test_t7_plain
from module_table import MODULES
from t7_data import recorded
from torch import nn

from torchrnn import t7
from torchrnn.t7.registry import IMPORTS

AS_ANOTHER = {
    "nn.Copy": "Identity",
    "nn.Contiguous": "Identity",
    "nn.Concat": "a ConcatTable and a JoinTable",
    "nn.Parallel": "a SplitTable, a ParallelTable and a JoinTable",
    "nn.BinaryLogisticRegression": "SoftMarginCriterion",
    "nn.CAdd": "Add",
    "nn.Clamp": "HardTanh",
    "nn.Collapse": "View",
    "nn.OneHot": "char-rnn's OneHot",
    "nn.SpatialConvolutionMM": "SpatialConvolution",
    "nn.SpatialLogSoftMax": "LogSoftMax",
}
"""Classes that are read, and written as others that compute the same; so are all of cudnn but those with groups."""

OURS = {
    "LayerNormGRU": "has no counterpart",
    "LayerNormLSTM": "has no counterpart",
    "LearnedStart": "has no counterpart",
    "RecVanilla": "has no counterpart",
    "ResetAfterGRU": "has no counterpart",
    "VanillaRNN": "batch_first must be true",
    "WeightDropout": "has no counterpart",
    "Zoneout": "has no counterpart",
}
"""Modules that Torch7 never had, with the reason that is given; `VanillaRNN` in the layout that it never had."""


def class_names(value: Any, seen: set[int]) -> Iterator[str]:
    """Of an object and of all inside."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, t7.TorchObject):
        yield value.class_name
        value = value.fields
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    parts = [part for _, part in value.pairs] if isinstance(value, t7.LuaTable) else parts
    for part in parts:
        yield from class_names(part, seen)


def test_every_class_that_can_be_read_can_be_written() -> None:
    modules: list[nn.Module] = [entry.make() for name, entry in MODULES.items() if name not in OURS]
    modules += [module for module, _ in test_t7_models.WRITABLE.values()]
    modules += [t7.to_module(case.object) for case in test_t7_images.CASES.values()]
    modules += [t7.to_module(case[0]) for case in test_t7_plain.ALL]
    modules += [t7.to_module(t7.loads(recorded()[path])) for path in test_t7_models.MODULES]
    modules.append(nn.Softmax2d())
    written = {name for module in modules for name in class_names(t7.from_module(module), set())}
    read = {name for name in IMPORTS if not name.startswith("cudnn.")}
    assert read - written == set(AS_ANOTHER)
    assert len(read) > 160


@pytest.mark.parametrize("name", MODULES)
def test_every_public_module_is_written_or_refused(name: str) -> None:
    module = MODULES[name].make()
    if name in OURS:
        with pytest.raises(t7.T7ConversionError, match=OURS[name]):
            t7.from_module(module)
        return
    written = t7.from_module(module)
    again = t7.to_module(t7.loads(t7.dumps(written)))
    assert t7.dumps(t7.from_module(again)) == t7.dumps(written)

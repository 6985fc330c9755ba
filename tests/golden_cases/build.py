"""From a case to the module or criterion of ours that it describes, with the recorded parameters."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, islice, product
from typing import Any

import torch
from torch import Tensor, nn

import torchrnn

from . import lua
from .case import Case
from .classes import NotInTorchrnnError, class_of, method_of
from .trees import indices_of, leaves, tensors, tree_map

ABBREVIATIONS = {
    "Sequential(ParallelTable(Linear,Linear),CAddTable,Sigmoid)": (
        "nn.Sequential():add(nn.ParallelTable():add(nn.Linear(D,H)):add(nn.Linear(H,H)))"
        ":add(nn.CAddTable()):add(nn.Sigmoid())"
    )
}
SETTINGS = {
    "batchfirst": ("batch_first", {"SeqLSTM", "SeqLSTMP", "SeqGRU"}),
    "bn": ("batch_norm", {"FastLSTM"}),
    "batch_average": ("batch_average", {"TemporalCrossEntropyCriterion"}),
    "time_average": ("time_average", {"TemporalCrossEntropyCriterion"}),
    "sizeAverage": ("size_average", {"VRClassReward", "BinaryClassReward"}),
}
"""What Lua sets on a class or an object and we in the constructor: (argument, classes that take it)."""
WITHOUT_COUNTERPART = {"usenngraph", "forceLua"}
"""Which of its own implementations the original ran."""
TAKE_POSITIONS = {
    *("nn.JoinTable", "nn.SplitTable", "nn.SelectTable", "nn.NarrowTable", "nn.Select", "nn.Narrow"),
    *("nn.Transpose", "nn.Sum", "nn.Mean", "nn.Max", "nn.Min", "nn.ArgMax", "nn.SeqReverseSequence", "nn.Repeater"),
    *("nn.MaskZero", "nn.TrimZero", "nn.MaskZeroCriterion", "maskZero", "trimZero", "maxBPTTstep"),
}
"""Whose own numbers are dimensions, positions or counts of them or of steps, which do not change with the sizes."""
MOST_ATTEMPTS = 5000
Sizes = Mapping[Any, int]


class BuildError(ValueError):
    """The constructor text cannot be turned into a module that fits the recorded tensors."""


def build(case: Case) -> nn.Module:
    """The module of a case in double precision, with its parameters, state rule and mode."""
    if case.load is not None:
        return load(case)
    module = _recurrence_with_table(case) if "rm{x,{h,c}}" in case["constructor"] else _fit(case, _statements(case))[0]
    if isinstance(module, nn.Softmax | nn.LogSoftmax | nn.Softmin) and case["input"].dim() == 3:
        module.dim = 0
    if not isinstance(module, torchrnn.Module):
        module = torchrnn.Sequential(module)
    module = module.double()
    if case.parameters is not None:
        load_parameters(module, case.parameters)
    described = case.get("description", "")
    if remembered := re.match(r"remember\('(\w+)'\)", described):
        module.remember(remembered[1])
    if "remember_states=true" in described:
        module.remember_states = True
    _give_mask(module, case)
    return module.train(case.get("mode") != "eval")


def load(case: Case) -> nn.Module:
    """The module of a case as its file has it, parameters, state rule and mode included."""
    assert case.load is not None
    module = case.load()
    if not isinstance(module, torchrnn.Module):
        module = torchrnn.Sequential(module).train(module.training)
    if case.parameters is not None:
        loaded = list(module.parameters())
        if not (len(loaded) == len(case.parameters) and all(map(torch.equal, loaded, case.parameters))):
            raise BuildError("the parameters of the file are not those of the case")
    _give_mask(module, case)
    return module


def build_criterion(case: Case) -> nn.Module:
    criterion = _fit(case, _statements(case))[0]
    _give_mask(criterion, case)
    return criterion


def build_conversion(case: Case) -> tuple[nn.Module, Callable[[], nn.Module]]:
    """For `nn.SeqLSTM(4,6):toFastLSTM()`: the module, and its method."""
    (conversion,) = lua.parse(case["constructor"])
    source = conversion.object
    if isinstance(source, lua.Name):
        source = lua.Call(source, (lua.Name("D"), lua.Name("H")))
    module = _fit(case, [source])[0].double()
    load_parameters(module, case["params"])
    return module, method_of(case.library, module, conversion.name)


def build_larger(case: Case, factor: int) -> nn.Module:
    """What the text describes with every size `factor` times the recorded one, as it is initialised."""
    statements = _statements(case)
    sizes = _fit(case, statements)[1]
    larger = {
        number.key: factor * number.value for number, _ in _variables(statements) if isinstance(number, lua.Number)
    }
    larger |= {key: factor * size for key, size in sizes.items()}
    return Evaluation(case.library, larger).run(statements)


def load_parameters(module: nn.Module, values: list[Tensor]) -> None:
    """Copy recorded parameters, which come in the order of ours."""
    ours = list(module.parameters())
    if _shapes(ours) != _shapes(values):
        raise BuildError(f"the parameters of ours are {_shapes(ours)}, those of the case {_shapes(values)}")
    with torch.no_grad():
        for parameter, value in zip(ours, values, strict=True):
            parameter.copy_(value)


class Evaluation:
    """Builds what parsed statements describe, with `sizes` in place of some of the written numbers."""

    def __init__(self, library: str, sizes: Sizes) -> None:
        self.library = library
        self.sizes = sizes
        self.settings: dict[str, Any] = {}
        self.weights: list[Tensor] = []

    def run(self, statements: list[Any]) -> Any:
        for statement in statements:
            if isinstance(statement, lua.Assignment):
                self.settings[statement.name.rpartition(".")[2]] = self.value(statement.value)
        unknown = self.settings.keys() - SETTINGS.keys() - WITHOUT_COUNTERPART - {"rho"}
        if unknown:
            raise BuildError(f"unknown settings {sorted(unknown)}")
        module = None
        for statement in statements:
            if isinstance(statement, lua.Call) and statement.function == lua.Name("maxBPTTstep"):
                module.max_bptt_step(*self.values(statement.arguments))
            elif isinstance(statement, lua.Call | lua.Method):
                module = self.value(statement)
            elif not isinstance(statement, lua.Assignment) and statement != lua.Name("forceLua"):
                raise BuildError(f"cannot run {statement}")
        if module is None:
            raise BuildError("the constructor makes nothing")
        if "rho" in self.settings:
            module.max_bptt_step(self.settings["rho"])
        return module

    def values(self, nodes: tuple[Any, ...]) -> list[Any]:
        return [self.value(node) for node in nodes]

    def value(self, node: Any) -> Any:
        if isinstance(node, lua.Constant):
            return node.value
        if isinstance(node, lua.Number):
            return self.sizes.get(node.key, node.value)
        if isinstance(node, lua.Name):
            if node.path not in self.sizes:
                raise BuildError(f"unknown name {node.path}")
            return self.sizes[node.path]
        if isinstance(node, lua.Table):
            return self.values(node.items)
        if isinstance(node, lua.Method):
            return self.method(self.value(node.object), node.name, self.values(node.arguments))
        if isinstance(node, lua.Call) and isinstance(node.function, lua.Name):
            return self.call(node.function.path.removeprefix("nn."), self.values(node.arguments))
        raise BuildError(f"cannot evaluate {node}")

    def call(self, name: str, arguments: list[Any]) -> Any:
        options = {
            argument: self.settings[setting]
            for setting, (argument, classes) in SETTINGS.items()
            if setting in self.settings and name in classes
        }
        made = class_of(self.library.removeprefix("init-"), name)(*arguments, **options)
        if isinstance(made, Tensor):
            self.weights.append(made)
        return made

    def method(self, made: Any, name: str, arguments: list[Any]) -> Any:
        result = method_of(self.library, made, name)(*arguments)
        if isinstance(made, Tensor):
            self.weights[-1] = result
        return result


# ---------------------------------------------------------------------- sizes


def _statements(case: Case) -> list[Any]:
    text = case["constructor"]
    for abbreviation, meaning in ABBREVIATIONS.items():
        text = text.replace(abbreviation, meaning)
    return lua.parse(text)


def _fit(case: Case, statements: list[Any]) -> tuple[Any, Sizes]:
    """Build what the statements say; where that disagrees with the tensors, with the sizes that agree."""
    as_written, problem = None, None
    for sizes in islice(_assignments(statements, _sizes_of(case)), MOST_ATTEMPTS):
        evaluation = Evaluation(case.library, sizes)
        try:
            made = evaluation.run(statements)
        except (NotInTorchrnnError, BuildError):
            raise
        except (ValueError, TypeError, RuntimeError) as error:
            problem = problem or error
            continue
        if _agrees(made, evaluation, case):
            return made, sizes
        if as_written is None and not sizes:
            as_written = made
    if as_written is not None:
        return as_written, {}
    raise BuildError(f"no sizes make {case['constructor']} fit the recorded tensors: {problem}")


def _agrees(made: Any, evaluation: Evaluation, case: Case) -> bool:
    """Whether parameters have the recorded shapes and a trial run gives the recorded shape."""
    if case.kind == "criterion":
        channels = tensors(case["input"])[0].shape[-1]
        return all(len(weights) == channels for weights in evaluation.weights)
    if case.parameters is not None and _shapes(made.parameters()) != _shapes(case.parameters):
        return False
    if case.kind != "module":
        return True
    trial = copy.deepcopy(made).double()
    _give_mask(trial, case)
    try:
        with torch.no_grad():
            output = trial(tree_map(torch.clone, indices_of(case)(case["input"])))
    except (ValueError, TypeError, RuntimeError, IndexError):
        return False
    return _shapes(leaves(output)) == _shapes(leaves(case["output"]))


def _give_mask(module: nn.Module, case: Case) -> None:
    """`setZeroMask` with what was recorded; false switches masking off."""
    if "zeroMask" in case:
        module.set_zero_mask(None if case["zeroMask"] is False else case["zeroMask"])


def _shapes(values: Any) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values]


def _sizes_of(case: Case) -> list[int]:
    """The sizes that occur in a case: of parameters first, then of the rest, then their parts, then whole rows.

    At last the first size without one: a lookup table has one row more than words if it has padding.
    """
    found: dict[int, None] = {}
    values = tensors([case.parameters or [], case.record])
    for value in values:
        found.update(dict.fromkeys(value.shape))
    for key in ("input", "output"):
        if isinstance(case.get(key), list):
            found[len(case[key])] = None
    for gates in (4, 3, 2):
        found.update({size // gates: None for size in list(found) if size % gates == 0})
    for key in ("input", "output"):
        found.update({value[0].numel(): None for value in tensors(case.get(key, []))})
    if case.parameters:
        found[len(case.parameters[0]) - 1] = None
    return [size for size in found if size]


def _assignments(statements: list[Any], candidates: list[int]) -> Iterator[dict[Any, int]]:
    """Sizes for the numbers and symbols of a text, those first that change the least of it.

    Equal numbers change together first, each on its own after that.
    """
    variables = _variables(statements)
    symbols = [[variable.path] for variable, _ in variables if isinstance(variable, lua.Name)]
    numbers = [(v, is_position) for v, is_position in variables if isinstance(v, lua.Number)]
    together: dict[tuple[int, bool], list[Any]] = {}
    for number, is_position in numbers:
        together.setdefault((number.value, is_position), []).append(number.key)
    for groups in (list(together.values()), [[number.key] for number, _ in numbers]):
        for changed in range(len(groups) + 1):
            for chosen in combinations(groups, changed):
                free = [*symbols, *chosen]
                for sizes in product(candidates, repeat=len(free)):
                    yield {key: size for keys, size in zip(free, sizes, strict=True) for key in keys}


def _variables(node: Any, is_position: bool = False) -> list[tuple[lua.Number | lua.Name, bool]]:
    """The numbers and the symbols (once each) in a text, and whether they are positions rather than sizes."""
    if isinstance(node, lua.Number) or (isinstance(node, lua.Name) and re.fullmatch("[A-Z]", node.path)):
        return [(node, is_position)]
    if isinstance(node, lua.Call):
        is_position = isinstance(node.function, lua.Name) and node.function.path in TAKE_POSITIONS
    if isinstance(node, lua.Method):
        is_position = node.name in TAKE_POSITIONS
    if isinstance(node, lua.Call | lua.Method | lua.Table | lua.Assignment):
        node = tuple(vars(node).values())
    if not isinstance(node, list | tuple):
        return []
    return list(dict.fromkeys(variable for part in node for variable in _variables(part, is_position)))


def _recurrence_with_table(case: Case) -> nn.Module:
    """`rm{x, {h, c}} = {tanh(Linear[x, h]), sigmoid(h + c)}`, a recurrence of two states."""
    H, D_and_H = case["params"][0].shape
    squash = torchrnn.Sequential(torchrnn.NarrowTable(0, 2), torchrnn.JoinTable(0, 1), nn.Linear(D_and_H, H), nn.Tanh())
    add = torchrnn.Sequential(torchrnn.NarrowTable(1, 2), torchrnn.CAddTable(), nn.Sigmoid())
    step = torchrnn.Sequential(torchrnn.FlattenTable(), torchrnn.ConcatTable(squash, add))
    return torchrnn.Recurrence(step, [H, H], 1)

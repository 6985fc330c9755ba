"""Modules out of Torch7 files, and back into them."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_cases.case import Case, read
from golden_cases.run import run
from lua_nngraph import Node, call, g_module
from t7_data import recorded
from torch import nn

import torchrnn
from torchrnn import t7

MODULES = sorted(path for path in recorded() if path.endswith(".module.t7"))


@functools.cache
def cases() -> dict[str, Case]:
    return {case.path: case for case in read(Path(__file__).parent / "data" / "golden")}


def case_of(path: str) -> Case:
    name = path.removesuffix(".t7").removesuffix(".ascii").removesuffix(".module")
    return cases()[name]


def test_there_are_as_many_as_were_recorded() -> None:
    assert len(MODULES) == 141


@pytest.mark.parametrize("encoding", ["binary", "ascii", "written again"])
@pytest.mark.parametrize("path", MODULES)
def test_recorded_modules_give_the_recorded_numbers(path: str, encoding: str) -> None:
    data = recorded()[path.replace(".module.t7", ".module.ascii.t7") if encoding == "ascii" else path]

    def load() -> nn.Module:
        module = t7.to_module(t7.loads(data))
        return t7.to_module(t7.loads(t7.dumps(t7.from_module(module)))) if encoding == "written again" else module

    outcome = run(dataclasses.replace(case_of(path), load=load))
    assert outcome.verdict == "passed", outcome.reasons


def tree(made: Any, seen: dict[int, int]) -> Any:
    """The classes of an object and of those in its modules; an object met before is its number."""
    if id(made) in seen:
        return seen[id(made)]
    seen[id(made)] = len(seen)
    name = made.class_name.replace("LinearNoBias", "Linear")
    inside = made.fields.get("modules", [])
    # A MapTable that has run holds a clone of its module for each element.
    return name, [tree(part, seen) for part in (inside[:1] if name == "nn.MapTable" else inside)]


@pytest.mark.parametrize("path", [path for path in MODULES if not path.startswith(("torch-rnn-v2", "torch-rnn/LSTM"))])
def test_what_is_written_is_built_like_the_original(path: str) -> None:
    """The same classes in the same tree, and every field that the original needs.

    Cells of torch/rnn are written as Element-Research's, torch-rnn's LSTM as its SeqLSTM with ``batchfirst``.
    """
    theirs = t7.loads(recorded()[path])
    ours = t7.from_module(t7.to_module(theirs))
    assert tree(ours, {}) == tree(theirs, {})
    missing = {
        name
        for name, value in theirs.fields.items()
        if name not in ours.fields and not isinstance(value, torch.Tensor | list)
    }
    assert missing <= {"dpnn_mediumEmpty", "stochastic_inference"}
    for name, value in ours.fields.items():
        # What has no parameters has no type of its own.
        if isinstance(value, int | float | str) and name in theirs.fields and name != "_type":
            assert value == theirs.fields[name], name


def linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> t7.TorchObject:
    fields = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return t7.TorchObject("nn.Linear", fields)


def test_one_object_is_one_module_and_one_piece_of_memory_one_parameter() -> None:
    weight = torch.randn(3, 3)
    shared = linear(weight)
    tied = linear(weight.view(3, 3), torch.zeros(3))
    transposed = linear(weight.t())
    made = t7.TorchObject("nn.Sequential", {"modules": [shared, shared, tied, transposed]})
    net = t7.to_module(made)
    assert net[0] is net[1]
    assert net[2] is not net[0]
    assert net[2].weight is net[0].weight
    assert net[3].weight is not net[0].weight
    with torch.no_grad():
        net[0].weight[0, 1] = 42
    assert net[3].weight[1, 0] == weight[0, 1] == 42
    assert len(list(net.parameters())) == 3

    again = t7.to_module(t7.loads(t7.dumps(t7.from_module(net))))
    assert again[0] is again[1]
    assert again[2].weight is again[0].weight
    assert again[3].weight.untyped_storage().data_ptr() == again[0].weight.untyped_storage().data_ptr()


def test_gradients_are_written_and_those_of_tied_parameters_are_one() -> None:
    net = torchrnn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net.zero_grad_parameters()
    net[0].weight.grad.fill_(3)
    first, second = (part.fields for part in t7.from_module(net).fields["modules"])
    assert first["gradWeight"] is second["gradWeight"]
    assert (first["gradWeight"] == 3).all()
    assert (second["gradBias"] == 0).all()


def test_modes_and_types_are_kept() -> None:
    net = torchrnn.Sequential(nn.Linear(2, 2), torchrnn.Dropout(0.5)).double()
    net[1].eval()
    made = t7.from_module(net)
    assert made.fields["_type"] == "torch.DoubleTensor"
    again = t7.to_module(made)
    assert (bool(again.training), bool(again[1].training)) == (True, False)
    assert again[0].weight.dtype == torch.float64
    assert t7.to_module(t7.from_module(net.eval().half()))[0].weight.dtype == torch.float16
    without_parameters = torchrnn.BatchNormalization(3, affine=False).double()
    assert t7.from_module(without_parameters).fields["_type"] == "torch.DoubleTensor"


def test_loading_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    for path in ("torch-rnn/LanguageModel_lstm.module.t7", "er-rnn/MuFuRu_steps.module.t7"):
        t7.to_module(t7.loads(recorded()[path]))
    assert torch.equal(before, torch.get_rng_state())


def test_writing_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    for module in (torchrnn.LanguageModel("ab"), nn.Embedding(3, 2), torchrnn.SeqBLSTM(2, 3)):
        torch.set_rng_state(before)
        t7.from_module(module)
        assert torch.equal(before, torch.get_rng_state())


def test_a_language_model_of_fast_lstms_is_one_of_lstms() -> None:
    """The same function, with the gates in another order."""
    model = torchrnn.LanguageModel("abc ", "fastlstm", 3, 4, 2, 0.25).double().eval()
    written = t7.from_module(model)
    assert written.fields["model_type"] == "lstm"
    again = t7.to_module(t7.loads(t7.dumps(written)))
    assert again.config == {**model.config, "model_type": "lstm"}
    ids = torch.randint(4, (2, 7))
    torch.testing.assert_close(again(ids), model(ids), rtol=0, atol=1e-12)


def recurrent(name: str, **fields: Any) -> t7.TorchObject:
    return t7.TorchObject(f"nn.{name}", fields)


@pytest.mark.parametrize(
    ("made", "class_name", "path", "match"),
    [
        (recurrent("SpatialLPPooling"), "nn.SpatialLPPooling", "", "is not known"),
        (
            recurrent("Sequential", modules=[recurrent("Sequential", modules=[recurrent("Mystery")])]),
            "nn.Mystery",
            ".modules[1].modules[1]",
            r"\.modules\[1\]\.modules\[1\]: class nn.Mystery is not known",
        ),
        ({"model": recurrent("Sequencer", module=recurrent("Mystery"))}, "nn.Mystery", "model.module", "not known"),
        (recurrent("LSTM", bias=1), "nn.LSTM", "", "neither Element-Research's .* nor torch-rnn's"),
        (recurrent("LSTM", weight=torch.zeros(3, 8)), "nn.LSTM", "", "is not torch-rnn's"),
        (recurrent("GRU", weight=torch.zeros(3, 8)), "nn.GRU", "", "is not Element-Research's"),
        (recurrent("LanguageModel", core=1, lookup_table=1), "nn.LanguageModel", "", "is not torch-rnn's"),
        (linear(torch.zeros(2, 2, dtype=torch.int64)), "nn.Linear", "", "must be floating point"),
        (
            linear(torch.zeros(2, 2), torch.zeros(3)),
            "nn.Linear",
            "",
            r"expected parameters of shapes \[\(2, 2\), \(2,\)\]",
        ),
        (recurrent("Linear", weight="x"), "nn.Linear", "", "field weight must be Tensor; got str"),
        (recurrent("Linear"), "nn.Linear", "", "field weight must be Tensor; got nothing"),
        (recurrent("HardTanh", min_val=1, max_val=0), "nn.HardTanh", "", "cannot be built: max_val"),
        (recurrent("Dropout", p=2), "nn.Dropout", "", "cannot be built: Dropout: p must be a probability"),
        (recurrent("Sequential", modules=[1]), "nn.Sequential", ".modules[1]", "expected a module; got int"),
        (recurrent("Sequential", modules={}), "nn.Sequential", "", "field modules must be list; got dict"),
        ([1], "list", "", "expected an object of a class, or a checkpoint"),
        ({"a": 1}, "dict", "", r"got a dict of \['a'\]"),
    ],
)
def test_what_cannot_be_built_is_named(made: Any, class_name: str, path: str, match: str) -> None:
    with pytest.raises(t7.T7ConversionError, match=match) as caught:
        t7.to_module(made)
    assert (caught.value.class_name, caught.value.path) == (class_name, path)


def test_what_holds_itself_or_is_too_deep() -> None:
    made = recurrent("Sequential")
    made.fields["modules"] = [made]
    with pytest.raises(t7.T7ConversionError, match="contains itself"):
        t7.to_module(made)
    made = recurrent("Tanh")
    for _ in range(200):
        made = recurrent("Sequential", modules=[made])
    with pytest.raises(t7.T7ConversionError, match="more than 100 modules deep"):
        t7.to_module(made)


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (torchrnn.Sequential(nn.Conv1d(1, 1, 1)), "0: Conv1d has no counterpart"),
        (torchrnn.Sequential(nn.Tanh(), torchrnn.Sequential(nn.LSTM(1, 1))), "1.0: LSTM has no counterpart"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten()), r"1: Flatten has no counterpart.*View\(-1, n_input_dims=3\)"),
        (nn.LogSoftmax(0), "over dimension 0"),
        (torchrnn.LanguageModel("ab", model_type="gru"), "'lstm' and 'rnn', and no 'gru'; write the modules inside"),
        (nn.Linear(2, 2).bfloat16(), "no tensors of torch.bfloat16"),
        (torchrnn.Sequential(t7.OneHot(2**40)), "0: OneHot: cannot be written"),
        (torchrnn.VanillaRNN(2, 3, batch_first=False), "batch_first must be true"),
    ],
)
def test_what_cannot_be_written_is_named(module: nn.Module, match: str) -> None:
    with pytest.raises(t7.T7ConversionError, match=match):
        t7.from_module(module)


WRITABLE: dict[str, tuple[Any, Any]] = {
    "Softmax": (nn.Softmax(-1), torch.randn(3, 4)),
    "Embedding": (nn.Embedding(7, 4, padding_idx=2), torch.tensor([[1, 2, 6]])),
    "LookupTable": (torchrnn.LookupTable(7, 4, 0, 1.0, 3.0), torch.tensor([[1, 2, 6]])),
    "BatchNorm1d": (nn.BatchNorm1d(4), torch.randn(3, 4)),
    "Threshold": (nn.Threshold(0.1, 0.5), torch.randn(3, 4)),
    "Add": (torchrnn.Add(1, scalar=True), torch.randn(3, 4)),
    "Constant": (torchrnn.Constant([1.0, 2.0], 1), torch.randn(3, 4)),
    "Squeeze": (torchrnn.Squeeze(0, 2), torch.randn(3, 1, 4)),
    "Replicate": (torchrnn.Replicate(5, 0, 1), torch.randn(3, 4)),
    "Mean": (torchrnn.Mean(0, 1), torch.randn(3, 4)),
    "Reshape": (torchrnn.Reshape(2, 2, batch_mode=True), torch.randn(3, 4)),
    "MixtureTable": (torchrnn.MixtureTable(), [torch.randn(3, 2), [torch.randn(3, 4), torch.randn(3, 4)]]),
    "Exp, Log": (torchrnn.Sequential(torchrnn.Exp(), torchrnn.Log(), nn.LogSigmoid()), torch.randn(3, 4)),
    "Clip, ArgMax": (torchrnn.Sequential(torchrnn.Clip(-0.5, 0.5), torchrnn.ArgMax(-1)), torch.randn(3, 4)),
    "ZeroGrad": (torchrnn.Sequential(torchrnn.ZeroGrad(), torchrnn.TotalDropout(0.3)).eval(), torch.randn(3, 4)),
    "CategoricalEntropy": (torchrnn.CategoricalEntropy(0.5, 1.0), torch.rand(3, 4)),
    "ReinforceNormal": (torchrnn.ReinforceNormal(0.1).eval(), torch.randn(3, 4)),
    "ReinforceNormal of a tensor": (torchrnn.ReinforceNormal(torch.rand(4) + 1).eval(), torch.randn(3, 4)),
    "ReinforceGamma": (torchrnn.ReinforceGamma(2.0).eval(), torch.rand(3, 4) + 1),
    "ReinforceBernoulli": (torchrnn.ReinforceBernoulli().eval(), torch.rand(3, 4)),
    "ReinforceCategorical": (torchrnn.ReinforceCategorical(True).eval(), torch.rand(3, 4).softmax(-1)),
    "SpatialGlimpse": (torchrnn.SpatialGlimpse(2, 2, 2.0), [torch.randn(3, 1, 8, 8), torch.rand(3, 2)]),
    "SpatialGlimpse, oblong": (torchrnn.SpatialGlimpse((2, 4), 2, 2.0), [torch.randn(3, 1, 8, 8), torch.rand(3, 2)]),
    "NCEModule": (torchrnn.NCEModule(4, 5, 2, torch.ones(5), 3.0).eval(), None),
    "MaskZero": (torchrnn.MaskZero(nn.Linear(4, 2), 1), torch.zeros(3, 4)),
    "TrimZero": (torchrnn.TrimZero(nn.Tanh(), 1), torch.zeros(3, 4)),
    "LSTM with dropout": (torchrnn.LSTM(4, 6, dropout=0.5, mono=True).eval(), torch.randn(3, 4)),
    "FastLSTM with batch norm": (torchrnn.FastLSTM(4, 6, 9, True, 1e-3, 0.2, affine=False), torch.randn(3, 4)),
    "FastLSTM with dropout": (torchrnn.FastLSTM(4, 6, dropout=0.5).eval(), torch.randn(3, 4)),
    "GRU with dropout": (torchrnn.GRU(4, 6, dropout=0.5).eval(), torch.randn(3, 4)),
    "GRU with masks": (torchrnn.GRU(4, 6).mask_zero(1), torch.zeros(3, 4)),
    "MuFuRu of three": (torchrnn.MuFuRu(4, 6, ["max", "keep", "diff"], rho=7), torch.randn(3, 4)),
    "Recurrence of tables": (
        torchrnn.Recurrence(torchrnn.Sequential(torchrnn.SelectTable(1)), [4, 2], 1),
        torch.randn(3, 4),
    ),
    "Recurrent of parts": (
        torchrnn.Recurrent(nn.Identity(), nn.Linear(4, 6), nn.Linear(6, 6), nn.ReLU(), 5, torchrnn.CMaxTable()),
        torch.randn(3, 4),
    ),
    "SeqLSTM with masks": (torchrnn.SeqLSTM(4, 6).mask_zero(1).remember("eval"), torch.randn(5, 3, 4)),
    "SeqGRU, batch first": (torchrnn.SeqGRU(4, 6, batch_first=True), torch.randn(3, 5, 4)),
    "SeqBRNN, batch first": (torchrnn.SeqBRNN(4, 6, True, torchrnn.JoinTable(2)), torch.randn(3, 5, 4)),
    "SeqBLSTM, projected": (torchrnn.SeqBLSTM(4, 6, 2), torch.randn(5, 3, 4)),
    "BiSequencer": (torchrnn.BiSequencer(torchrnn.GRU(4, 6)), torch.randn(5, 3, 4)),
    "BiSequencer of sequences": (torchrnn.BiSequencer(torchrnn.SeqGRU(4, 6), merge=torchrnn.CAddTable()), None),
    "VariableLength": (torchrnn.VariableLength(torchrnn.SeqLSTM(4, 6)), [torch.randn(3, 4), torch.randn(5, 4)]),
    "VariableLength, last": (torchrnn.VariableLength(torchrnn.SeqGRU(4, 6), True), [torch.randn(3, 4)]),
    "RecurrentAttention": (
        torchrnn.RecurrentAttention(torchrnn.Sequential(torchrnn.FlattenTable()), nn.Linear(6, 2), 3, 6),
        None,
    ),
    "GRU language model": (torchrnn.LanguageModel("abc\n中", "rnn", 3, 4, 2, 0.5, True).eval(), torch.tensor([[1, 4]])),
}


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_what_is_written_comes_back(name: str, encoding: str) -> None:
    module, x = copy.deepcopy(WRITABLE[name])
    again = t7.to_module(t7.loads(t7.dumps(t7.from_module(module), encoding)))
    for ours, theirs in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    if isinstance(module, torchrnn.Module) and not isinstance(module, torchrnn.BiSequencer):
        assert str(again) == str(module)
    if x is not None:
        torch.manual_seed(0)
        expected = module(x)
        torch.manual_seed(0)
        torch.testing.assert_close(again(x), expected)


CRITERIONS: dict[str, nn.Module] = {
    "ClassNLL": torchrnn.ClassNLLCriterion(torch.rand(4), False, 1),
    "CrossEntropy": torchrnn.CrossEntropyCriterion(torch.rand(4)),
    "Sequencer": torchrnn.SequencerCriterion(torchrnn.CrossEntropyCriterion(), True),
    "Repeater": torchrnn.RepeaterCriterion(torchrnn.MSECriterion(False)),
    "Multi": torchrnn.MultiCriterion(torchrnn.MSECriterion()).add(nn.L1Loss(), 0.5),
    "Parallel": torchrnn.ParallelCriterion(nn.SmoothL1Loss(), repeat_target=True),
    "Module": torchrnn.ModuleCriterion(torchrnn.MSECriterion(), nn.Tanh(), None),
    "MaskZero": torchrnn.MaskZeroCriterion(torchrnn.MSECriterion(), 1),
    "MaskZero, told": torchrnn.MaskZeroCriterion(torchrnn.MSECriterion()),
    "Temporal": torchrnn.TemporalCrossEntropyCriterion(False, True, ignore_index=-1),
    "BCE": torchrnn.BCECriterion(torch.rand(4), False),
    "DistKLDiv": torchrnn.DistKLDivCriterion(),
    "NCE": torchrnn.NCECriterion(False),
    "VRClassReward": torchrnn.VRClassReward(torchrnn.ReinforceCategorical(), 2.0, torchrnn.MSECriterion(False), False),
    "BinaryClassReward": torchrnn.BinaryClassReward(
        torchrnn.Sequential(nn.Linear(4, 1), torchrnn.ReinforceNormal(1.0))
    ),
}


@pytest.mark.parametrize("name", CRITERIONS)
def test_criterions_come_back(name: str) -> None:
    made = t7.from_module(CRITERIONS[name])
    again = t7.to_module(t7.loads(t7.dumps(made)))
    written_again = t7.from_module(again)
    assert t7.dumps(written_again, "ascii") == t7.dumps(made, "ascii")


def test_rewards_go_to_the_network_in_the_file() -> None:
    """To the very module that the file has for it, whatever type its numbers have."""
    policy = torchrnn.Sequential(nn.Linear(4, 3), nn.Softmax(-1), torchrnn.ReinforceCategorical()).double()
    made = t7.from_module(torchrnn.VRClassReward(policy, 3.0))
    assert made.fields["_type"] == made.fields["module"].fields["_type"] == "torch.DoubleTensor"
    assert made.fields["gradInput"][0].numel() == 0  # the original resizes it before it ever makes one
    criterion = t7.to_module(t7.loads(t7.dumps(made)))
    net = criterion.module
    assert not list(criterion.parameters())
    baseline = torch.full((5, 1), 0.5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    loss = criterion([net(torch.randn(5, 4).double()), baseline], torch.tensor([0, 1, 2, 0, 1]))
    loss.backward()
    assert set(criterion.reward.tolist()) <= {0.0, 3.0}
    assert loss.item() == pytest.approx(-criterion.reward.mean().item())
    assert net[0].weight.grad.abs().sum() > 0
    old = recurrent("VRClassReward", module=made.fields["module"], basecoeff=0.9, baseline=0, scale=1)
    with pytest.raises(t7.T7ConversionError, match="a moving average in place of a learned baseline"):
        t7.to_module(old)


def test_first_versions_of_lstm_have_two_biases() -> None:
    """Element-Research's from before January 2016: a bias on each side, and no dropout."""
    gates = {}
    for name in ("forgetGate", "inputGate", "hiddenLayer", "outputGate"):
        parts = [linear(torch.randn(6, 4), torch.randn(6)), linear(torch.randn(6, 6), torch.randn(6))]
        if name != "hiddenLayer":
            parts.append(t7.TorchObject("nn.CMul", {"weight": torch.randn(6)}))
        gates[name] = recurrent("Sequential", modules=[recurrent("ParallelTable", modules=parts)])
    step = recurrent("Sequential", modules=list(gates.values()))
    made = recurrent("LSTM", inputSize=4, outputSize=6, rho=5, recurrentModule=step, modules=[step], **gates)
    lstm = t7.to_module(made)
    of_x, of_h = gates["forgetGate"].fields["modules"][0].fields["modules"][:2]
    assert torch.equal(lstm.forget_gate.i2g.bias, of_x.fields["bias"] + of_h.fields["bias"])
    assert (lstm.rho, lstm.forget_gate.c2g is not None) == (5, True)


def test_batch_normalization_of_version_1() -> None:
    std = torch.tensor([0.5, 2.0])
    made = t7.TorchObject(
        "nn.BatchNormalization", {"running_mean": torch.ones(2), "running_std": std, "eps": 1e-3}, None
    )
    torch.testing.assert_close(t7.to_module(made).running_var, std**-2 - 1e-3)


NORMALISED = "er-rnn/FastLSTM_bn_steps"


def normalised_fast_lstm() -> torchrnn.FastLSTM:
    """The one of a recorded case, with its parameters."""
    cell = torchrnn.FastLSTM(4, 6, batch_norm=True).double()
    for parameter, value in zip(cell.parameters(), cases()[NORMALISED].parameters, strict=True):
        parameter.data.copy_(value)
    return cell


def test_fast_lstm_with_batch_normalization_gives_the_recorded_numbers() -> None:
    def load() -> nn.Module:
        return t7.to_module(t7.loads(t7.dumps(t7.from_module(normalised_fast_lstm()))))

    outcome = run(dataclasses.replace(cases()[NORMALISED], load=load))
    assert outcome.verdict == "passed", outcome.reasons


def test_fast_lstm_with_batch_normalization_is_a_graph() -> None:
    """In whose list the modules stand as in the original, which names its parameters by their places in it."""
    cell = normalised_fast_lstm()
    made = t7.from_module(cell)
    step = made.fields["recurrentModule"]
    assert step.class_name == "nn.gModule"
    nodes = [node.fields["data"] for node in step.fields["forwardnodes"][1:-1]]
    inside = [data["module"].class_name for data in nodes if "module" in data]
    names = ["Linear", "BatchNormalization", "Identity", "LinearNoBias", "BatchNormalization", "Add"]
    assert inside[1:7] == [f"nn.{name}" for name in names]
    assert inside.count("nn.BatchNormalization") == 3
    assert {data["annotations"].get("name") for data in nodes} == {None, "i2h", "bn_wx", "h2h", "bn_wh", "bn_c"}
    assert made.fields["i2g"] is step.fields["modules"][1]
    assert step.fields["modules"][18].class_name == "nn.BatchNormalization"
    assert (made.fields["eps"], made.fields["momentum"], made.fields["affine"]) == (1e-5, 0.1, True)
    # The graph is a step by itself.
    graph = t7.to_module(t7.loads(t7.dumps(step))).eval()
    cell.eval()
    xs, h, c = torch.randn(5, 3, 4).double(), torch.zeros(3, 6).double(), torch.zeros(3, 6).double()
    for x, expected in zip(xs, torchrnn.Sequencer(cell)(xs), strict=True):
        h, c = graph([x, h, c])
        torch.testing.assert_close(h, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["FastLSTM_bn_steps", "FastLSTM_nngraph_steps"])
def test_fast_lstm_as_lua_wires_it_gives_the_recorded_numbers(name: str) -> None:
    """No file of one is at hand: the step is wired call by call, as the source of Element-Research/rnn does it."""
    case = cases()[f"er-rnn/{name}"]
    values = iter(case.parameters)
    is_normalised = "bn" in name

    def normalised(source: Node, size: int) -> Node:
        """Without normalisation there is an identity in its place."""
        if not is_normalised:
            return call(recurrent("Identity"), source)
        running = {"running_mean": torch.zeros(size).double(), "running_var": torch.ones(size).double()}
        fields = {"weight": next(values), "bias": next(values), "eps": 1e-5, "momentum": 0.1, **running}
        return call(t7.TorchObject("nn.BatchNormalization", fields, 2), source)

    x, h, c = inputs = [call(recurrent("Identity")) for _ in range(3)]
    i2g = linear(next(values), next(values))
    of_x = normalised(call(i2g, x), 24)
    o2g = recurrent("LinearNoBias", weight=next(values))
    of_h = normalised(call(o2g, h), 24)
    if is_normalised:
        of_h = call(recurrent("Add", bias=next(values)), of_h)
    sums = call(recurrent("Reshape", size=[4, 6]), call(recurrent("CAddTable"), of_x, of_h))
    parts = call(recurrent("SplitTable", dimension=2), sums).split(4)
    i, g, f, o = (
        call(recurrent(n), part) for n, part in zip(["Sigmoid", "Tanh", *["Sigmoid"] * 2], parts, strict=True)
    )
    products = [call(recurrent("CMulTable"), *pair) for pair in ((f, c), (i, g))]
    next_c = call(recurrent("CAddTable"), *products)
    next_h = call(recurrent("CMulTable"), o, call(recurrent("Tanh"), normalised(next_c, 6)))
    step = g_module(inputs, [next_h, next_c])
    fields = {"inputSize": 4, "outputSize": 6, "rho": 9999, "i2g": i2g, "o2g": o2g, "recurrentModule": step}
    data = t7.dumps(recurrent("FastLSTM", modules=[step], **fields))
    outcome = run(dataclasses.replace(case, load=lambda: t7.to_module(t7.loads(data))))
    assert outcome.verdict == "passed", outcome.reasons


def fast_lstm_graph() -> t7.Graph:
    graph = t7.to_module(t7.from_module(normalised_fast_lstm()).fields["recurrentModule"])
    assert isinstance(graph, t7.Graph)
    return graph.float()


def test_graphs_come_back() -> None:
    graph = fast_lstm_graph()
    made = t7.loads(t7.dumps(t7.from_module(graph)))
    again = t7.to_module(made)
    assert (again.sources, again.outputs, again.n_inputs) == (graph.sources, graph.outputs, 3)
    x = [torch.randn(3, 4), torch.randn(3, 6), torch.randn(3, 6)]
    torch.testing.assert_close(again(x), graph(x))
    without_order = t7.loads(t7.dumps(made))
    del without_order.fields["forwardnodes"]
    torch.testing.assert_close(t7.to_module(without_order)(x), graph(x))
    first = t7.to_module(t7.from_module(t7.Graph([nn.Identity(), torchrnn.SelectTable(0)], [[-1], [0]], [1], 1)))
    assert first(["a", "b"]) == "a"


@pytest.mark.parametrize(
    ("sources", "n_inputs"), [([[-1], [-1], [0, 1]], 1), ([[-1], [0], [-1, 1]], 1), ([[-2], [-2], [0, 1]], 3)]
)
def test_inputs_of_graphs_go_where_they_went(sources: list[list[int]], n_inputs: int) -> None:
    """Also to several modules, or to none, which nngraph wants a node for."""
    graph = t7.Graph([nn.Tanh(), nn.Sigmoid(), torchrnn.CMulTable()], sources, [2], n_inputs)
    again = t7.to_module(t7.loads(t7.dumps(t7.from_module(graph))))
    assert again.n_inputs == n_inputs
    xs = [torch.randn(2, 3) for _ in range(n_inputs)]
    x = xs if n_inputs > 1 else xs[0]
    torch.testing.assert_close(again(x), graph(x), rtol=0, atol=0)
    data = t7.dumps(t7.from_module(again))
    assert t7.dumps(t7.from_module(t7.to_module(t7.loads(data)))) == data


def test_graphs_are_checked() -> None:
    with pytest.raises(ValueError, match="module 0 must take what stands before it"):
        t7.Graph([nn.Tanh()], [[0]], [0], 1)
    with pytest.raises(ValueError, match="do not fit"):
        t7.Graph([nn.Tanh()], [[-1]], [1], 1)
    made = t7.from_module(t7.Graph([nn.Tanh(), nn.Tanh()], [[-1], [0]], [1], 1))
    inner = made.fields["forwardnodes"][1].fields["data"], made.fields["forwardnodes"][2].fields["data"]
    inner[0]["mapindex"] = t7.LuaTable([(1, inner[1])])
    with pytest.raises(t7.T7ConversionError, match="the graph has a cycle"):
        t7.to_module(made)
    made.fields["innode"] = t7.TorchObject("nngraph.Node", {"data": 1})
    with pytest.raises(t7.T7ConversionError, match=r"expected a table in innode.data"):
        t7.to_module(made)

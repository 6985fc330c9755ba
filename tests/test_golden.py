"""torchrnn against cases recorded from the original Lua libraries (tests/data/golden holds them, packed)."""

import json
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from golden_cases import lua
from golden_cases.build import BuildError, build
from golden_cases.case import Case, pack, read
from golden_cases.compare import Comparison
from golden_cases.run import run

PACKED = Path(__file__).parent / "data" / "golden"
RECORDED = Path(__file__).parents[2] / "shared" / "golden"
CASES = [case for case in read(PACKED) if case.kind != "init"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_recorded_case(case: Case) -> None:
    outcome = run(case)
    assert outcome.verdict == "passed", "\n".join(outcome.reasons)


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded cases are not here, only the packed ones")
def test_all_recorded_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([str(RECORDED)]) == 0, capsys.readouterr().out


# ---------------------------------------------------------------------- the runner itself


def recorded(path: str, **changes: Any) -> Case:
    (case,) = (case for case in CASES if case.path == path)
    return Case({**case.record, **changes})


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("nn/Linear_batch", "output"),
        ("nn/Linear_batch", "gradInput"),
        ("nn/Linear_batch", "gradParams"),
        ("nn/MSECriterion", "loss"),
        ("nn/MSECriterion", "gradInput"),
        ("er-rnn/LSTM_steps", "outputs"),
        ("er-rnn/LSTM_steps", "cells"),
        ("er-rnn/LSTM_steps", "gradInputs"),
        ("er-rnn/LSTM_steps", "gradHiddenState0"),
        ("er-rnn/SeqLSTM_x", "cell"),
        ("er-rnn/SeqLSTM_x", "grad_c0"),
        ("er-rnn/GRU_backwardOnline", "gradParamsAfterStep"),
        ("er-rnn/GRU_tbptt_online", "updates"),
        ("er-rnn/LSTM_hiddenstate_api", "gradHidden"),
        ("er-rnn/Dropout_lazy", "steps"),
        ("torch-rnn/LSTM_remember_states", "calls"),
        ("torch-rnn/LanguageModel_lstm", "chunks"),
        ("torch-rnn/LanguageModel_lstm", "stepwise"),
        ("torch-rnn/train_adam", "paramsEnd"),
        ("er-rnn/MaskZero_Linear", "gradParams"),
        ("er-rnn/encoder_decoder_LSTM", "iters"),
        ("torch-rnn-v2/MaskZeroCriterion", "loss"),
        ("torch-rnn-v2/SeqLSTM_startstate", "outputRemember"),
        ("torch-rnn-v2/SeqLSTM_toRecLSTM", "outputConverted"),
        ("torch-rnn-v2/VariableLength_SeqGRU", "gradInput"),
    ],
)
def test_a_wrong_number_fails(path: str, key: str) -> None:
    case = recorded(path)
    outcome = run(recorded(path, **{key: nudged(case[key])}))
    assert outcome.verdict == "failed"
    assert "differs by" in outcome.reasons[0]


def nudged(tree: Any) -> Any:
    """Every double moved by more than the tolerance."""
    if isinstance(tree, dict):
        return {key: nudged(part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [nudged(part) for part in tree]
    is_real = isinstance(tree, float) or (isinstance(tree, torch.Tensor) and tree.is_floating_point())
    return tree + 1e-7 if is_real else tree


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "unheard_of"}, "no way is known"),
        ({"constructor": "nn.Linear(4,"}, "LuaError"),
        ({"constructor": "nn.Unheard(4,6)"}, "Unheard is not in torchrnn"),
        ({"constructor": "nn.Linear(4,6); colour=3"}, "unknown settings ['colour']"),
        ({"constructor": "nn.Linear(D, width)"}, "unknown name width"),
        ({"constructor": "nn.Tanh()"}, "the parameters of ours"),
    ],
)
def test_what_cannot_be_run_fails(changes: dict[str, Any], reason: str) -> None:
    outcome = run(recorded("nn/Linear_batch", **changes))
    assert outcome.verdict == "failed"
    assert reason in outcome.reasons[0]


def test_skips_have_their_reason() -> None:
    outcome = run(Case({"library": "nn", "case": "optim_sgd", "kind": "optim"}))
    assert outcome.verdict == "skipped"
    assert "torch.optim" in outcome.reasons[0]


@pytest.mark.parametrize(
    ("path", "constructor"),
    [
        ("nn/Linear_batch", "nn.Linear(40,60)"),
        (
            "nn/Sequential_mlp",
            "nn.Sequential():add(nn.Linear(2,3)):add(nn.Tanh()):add(nn.Linear(3,5)):add(nn.LogSoftMax())",
        ),
        ("nn/View_Reshape", "nn.Sequential():add(nn.View(-1,24)):add(nn.Reshape(3,8))"),
        ("nn/BCECriterion_weights", "nn.BCECriterion(torch.range(1,9):div(6))"),
        ("nn/LookupTable_padding", "nn.LookupTable(9,3,1)"),
        ("er-rnn/SeqLSTMP_x", "nn.SeqLSTMP(9,5,9)"),
        ("er-rnn/Recurrent_steps", "nn.Recurrent(H, nn.Linear(D,H), nn.Linear(H,H), nn.Sigmoid(), 99)"),
        ("er-rnn/Repeater_LSTM", "nn.Repeater(nn.LSTM(2,3),2)"),
        ("er-rnn/GRU_rho3_T8_back3", "nn.GRU(5,9) with rho=3"),
        ("er-rnn/LookupTableMaskZero", "nn.LookupTableMaskZero(3,9)"),
        ("er-rnn/Sequencer_GRU_maskZero_mid", "nn.Sequencer(nn.GRU(9,5):maskZero(1))"),
        ("torch-rnn-v2/SeqBLSTM_join", "nn.SeqBLSTM(5,9,nn.JoinTable(3))"),
        ("torch-rnn-v2/StepLSTM_zeroMask", "nn.StepLSTM(5,9):maskZero()"),
        ("torch-rnn-v2/VariableLength_SeqGRU_lastOnly", "nn.VariableLength(nn.SeqGRU(5,9), true)"),
    ],
)
def test_sizes_come_from_the_tensors(path: str, constructor: str) -> None:
    outcome = run(recorded(path, constructor=constructor))
    assert outcome.verdict == "passed", outcome.reasons


def test_a_wrong_mask_fails() -> None:
    for path, key in (("torch-rnn-v2/SeqLSTM_setZeroMask_mid", "zeroMask"), ("torch-rnn-v2/getZeroMask", "maskBatch")):
        outcome = run(recorded(path, **{key: 1 - recorded(path)[key]}))
        assert outcome.verdict == "failed"
        assert "differs by" in outcome.reasons[0]


def test_sizes_that_nothing_fits() -> None:
    case = recorded("nn/Linear_batch", params=[torch.zeros(2, 3, 4).double()])
    with pytest.raises(BuildError, match="parameters"):
        build(case)


def test_lua_expressions() -> None:
    text = 'nn.A(-1, {2, x}, nil, 0.5):add(nn.B("c")); nn.A.d=true'
    made, setting = lua.parse(text)
    assert (made.name, made.arguments[0].arguments) == ("add", (lua.Constant("c"),))
    negative, table, nil, half = made.object.arguments
    assert (negative, nil, half) == (lua.Constant(-1), lua.Constant(None), lua.Constant(0.5))
    assert (table.items[0].value, table.items[1]) == (2, lua.Name("x"))
    assert setting == lua.Assignment("nn.A.d", lua.Constant(True))
    for wrong in ("nn.A(", "nn.A{...}", "nn.A:b", "- x", "nn.A(1 2)"):
        with pytest.raises(lua.LuaError):
            lua.parse(wrong)


def test_the_norm_is_relative_to_the_largest_number() -> None:
    check = Comparison()
    check("close", torch.tensor([1000.0, 1e-7]).double(), torch.tensor([1000.0, 0.0]).double())
    assert not check.differences
    check("shape", torch.zeros(2, 1).double(), torch.zeros(2).double())
    check("precision", torch.zeros(2), torch.zeros(2).double())
    check("nan", torch.tensor([float("nan")]).double(), torch.zeros(1).double())
    check("length", [1.0], [1.0, 2.0])
    check("far", 1e-8, 0.0)
    assert [what.split(":")[0] for _, what in check.differences] == ["shape", "precision", "nan", "length", "far"]


def test_packed_cases_are_exact(tmp_path: Path) -> None:
    values = torch.randn(3, 4, dtype=torch.float64)
    record = {"library": "l", "case": "c", "kind": "module", "x": [values, torch.tensor([1, 2])], "y": torch.zeros(0)}
    pack(tmp_path / "l.npz", [Case({**record, "y": torch.zeros(0).double(), "seed": 1})])
    (read_back,) = read(tmp_path)
    assert torch.equal(read_back["x"][0], values)
    assert torch.equal(read_back["x"][1], torch.tensor([1, 2]))
    assert read_back["y"].shape == (0,)
    assert "seed" not in read_back


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([str(tmp_path)]) == 2
    library = tmp_path / "nn"
    library.mkdir()
    double = {"dtype": "double", "shape": [2], "data": [0.5, -0.5]}
    case = {"library": "nn", "case": "Abs", "kind": "module", "mode": "train", "constructor": "nn.Abs()"}
    right = {**case, "params": [], "input": double, "output": {**double, "data": [0.5, 0.5]}}
    (library / "Abs.json").write_text(json.dumps(right))
    capsys.readouterr()
    assert golden.main([str(library)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"
    (library / "Wrong.json").write_text(json.dumps({**right, "case": "Wrong", "output": double}))
    assert golden.main([str(tmp_path)]) == 1
    *_, difference, verdict = capsys.readouterr().out.splitlines()
    assert "differs by 1" in difference
    assert verdict == "1 passed, 1 failed, 0 skipped"
    assert golden.main([str(tmp_path), "--only", "A*"]) == 0
    assert golden.main([str(tmp_path), "--only", "Z*"]) == 2

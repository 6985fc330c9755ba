"""Checkpoints of torch-rnn: recorded scores, samples and losses, and the commands that read them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchrnn
from torchrnn import t7
from torchrnn.cli import main
from torchrnn.lm import Batches, LanguageModel, evaluate, read_text, split_text
from torchrnn.lm.run import Run
from torchrnn.t7.softmax import approximate_exp_minus


@pytest.fixture
def torch_rnn_run(shared: Path) -> Path:
    """A whole training run of torch-rnn."""
    return shared / "torch-rnn-run"


@pytest.fixture
def wild(shared: Path) -> Path:
    """Checkpoints that strangers trained."""
    path = shared / "t7-wild"
    if not path.is_dir():
        pytest.skip(f"needs the checkpoints in {path}")
    return path


def validation_loss(checkpoint: Path, text: str) -> float:
    opt = t7.load(checkpoint)["opt"]
    model = torchrnn.load_t7(checkpoint)
    assert isinstance(model, LanguageModel)
    part = split_text(text, 0.1, 0.1)["val"]
    return evaluate(model, Batches(model.encode(part), opt["batch_size"], opt["seq_length"]))


def test_scores_of_torch_rnn(torch_rnn_run: Path) -> None:
    recorded = json.loads((torch_rnn_run / "checkpoint_600_scores.json").read_text())
    model = torchrnn.load_t7(torch_rnn_run / "checkpoint_600.t7").eval()
    ids = torch.tensor(recorded["x"]["data"]) - 1
    assert model.decode(ids[0]) == recorded["text"]
    with torch.no_grad():
        torch.testing.assert_close(model(ids), torch.tensor(recorded["scores"]["data"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["", "FirstCit", "ROMEO"])
def test_greedy_samples_of_torch_rnn(torch_rnn_run: Path, name: str) -> None:
    command, _, recorded = (torch_rnn_run / f"sample_greedy_600_{name}.txt").read_text().partition("\n")
    start = command.split("-start_text ")[1].strip("'")
    model = torchrnn.load_t7(torch_rnn_run / "checkpoint_600.t7")
    assert model.sample(length=200, start_text=start, sample=False) == recorded.removesuffix("\n")


def test_validation_loss_of_torch_rnn(torch_rnn_run: Path, shared: Path) -> None:
    text = read_text(shared / "data" / "tiny-shakespeare.txt")
    loss = validation_loss(torch_rnn_run / "checkpoint_600.t7", text)
    assert loss == pytest.approx(1.861870, abs=1e-5)
    assert t7.load(torch_rnn_run / "checkpoint_600.t7")["val_loss_history"][-1] == pytest.approx(loss, abs=1e-5)


def test_validation_loss_of_place_names(wild: Path) -> None:
    folder = wild / "danhon-british-placenames"
    loss = validation_loss(folder / "checkpoint_1000.t7", read_text(folder / "towns.txt"))
    assert t7.load(folder / "checkpoint_1000.t7")["val_loss_history"][-1] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("name", ["lstm_h2_356", "lstm_h4_1424", "lstm_h10_1000"])
def test_validation_loss_of_tiny_lstms(wild: Path, shared: Path, name: str) -> None:
    path = wild / "TalDahan3-Text_Unifier" / f"{name}.t7"
    loss = validation_loss(path, read_text(shared / "data" / "tiny-shakespeare.txt"))
    assert t7.load(path)["val_loss_history"][-1] == pytest.approx(loss, abs=1e-5)


def test_every_checkpoint_in_the_wild_is_read_and_written(wild: Path, shared: Path) -> None:
    paths = [*wild.glob("*/*.t7"), *(shared / "torch-rnn-run").glob("*.t7")]
    assert paths
    for path in paths:
        loaded = t7.load(path)
        assert t7.dumps(loaded) == path.read_bytes()
        if isinstance(loaded, dict):
            model = t7.to_module(loaded)
            again = t7.to_module(t7.from_module(model))
            assert all(map(torch.equal, model.parameters(), again.parameters()))


# ---------------------------------------------------------------------- the exponential of old Torch


def test_the_approximate_exponential() -> None:
    def by_hand(x: float) -> float:
        return (1 + x * (0.125 + x * (0.0078125 + x * (0.00032552083 + x * 1.0172526e-5)))) ** -8 if x < 13 else 0.0

    xs = [0.0, 0.5, 1.0, 7.0, 12.999, 13.0, 50.0]
    expected = torch.tensor([by_hand(x) for x in xs], dtype=torch.float64)
    ours = approximate_exp_minus(torch.tensor(xs, dtype=torch.float64))
    torch.testing.assert_close(ours, expected, rtol=1e-14, atol=0)
    assert expected[2].item() == pytest.approx(math.exp(-1), rel=1e-5)
    assert expected[3].item() > 1.01 * math.exp(-7)


def test_log_soft_max_with_the_approximate_exponential() -> None:
    x = torch.tensor([[2.0, -3.0, 5.0], [0.0, 20.0, 6.5]]).double().requires_grad_()
    for row, output in zip(x.tolist(), t7.LogSoftMax(approximate_exp=True)(x).tolist(), strict=True):
        top = max(row)
        total = sum(approximate_exp_minus(torch.tensor(top - value).double()).item() for value in row)
        assert output == pytest.approx([value - top - math.log(total) for value in row], rel=1e-13)
    g = torch.randn(2, 3).double()
    (grad,) = torch.autograd.grad(t7.LogSoftMax(approximate_exp=True)(x), x, g)
    (exact,) = torch.autograd.grad(x.log_softmax(1), x, g)
    torch.testing.assert_close(grad, exact)


def test_the_approximation_is_an_option_of_reading() -> None:
    made = t7.from_module(torchrnn.Sequential(nn.LogSoftmax(-1)))
    assert t7.to_module(made)[0].approximate_exp is False
    net = t7.to_module(made, approximate_exp=True)
    assert net[0].approximate_exp is True
    x = torch.tensor([[0.0, 7.0]]).double()
    assert (net(x) - x.log_softmax(-1)).abs().max() > 1e-6


@pytest.mark.parametrize("shape", [(4,), (3, 4), (4, 3, 2), (2, 4, 3, 2)])
def test_the_dimension_of_the_classes(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    dim = 0 if len(shape) in (1, 3) else 1
    torch.testing.assert_close(t7.SoftMax()(x), x.softmax(dim))
    torch.testing.assert_close(t7.SoftMin()(x), (-x).softmax(dim))
    torch.testing.assert_close(t7.LogSoftMax()(x), x.log_softmax(dim))
    with pytest.raises(ValueError, match="1 to 4 dimensions"):
        t7.SoftMax()(torch.zeros(1, 1, 1, 1, 1))


# ---------------------------------------------------------------------- the commands


def torch_rnn_checkpoint(path: Path, text: str) -> LanguageModel:
    """What torch-rnn's train.lua saves, with a small model of this text."""
    model = LanguageModel(dict.fromkeys(text), wordvec_size=3, rnn_size=4, num_layers=2)
    opt = {"batch_size": 2, "seq_length": 5, "max_epochs": 1, "checkpoint_every": 10, "learning_rate": 0.01}
    history = {"train_loss_history": [3.0, 2.5], "val_loss_history": [2.75], "val_loss_history_it": [2]}
    t7.save(path, {"model": t7.from_module(model), "opt": {**opt, "gpu_backend": "cuda"}, "i": 2, **history})
    return model


TEXT = "the quick brown fox jumps over the lazy dog. " * 15


def test_convert_then_resume_and_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, checkpoint, run = tmp_path / "fox.txt", tmp_path / "cv.t7", tmp_path / "run"
    text.write_text(TEXT)
    model = torch_rnn_checkpoint(checkpoint, TEXT)
    assert main(["convert", str(checkpoint), str(run), "--text", str(text)]) == 0
    assert "2 iterations, validation loss 2.7500" in capsys.readouterr().out
    opened = Run.open(run)
    assert (opened.config.training.batch_size, opened.config.training.learning_rate) == (2, 0.01)
    assert opened.best() == {"iteration": 2, "val_loss": 2.75}
    loaded = opened.load_model()
    assert all(map(torch.equal, loaded.parameters(), model.parameters()))
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records == [
        {"iteration": 1, "loss": 3.0},
        {"iteration": 2, "loss": 2.5},
        {"iteration": 2, "val_loss": 2.75},
    ]
    assert main(["eval", str(run)]) == 0
    assert main(["sample", str(run), "--length", "20"]) == 0
    assert main(["train", "--resume", "--output", str(run)]) == 0
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["iteration"] > 50
    again = tmp_path / "again"
    short = ["--batch-size", "2", "--max-epochs", "1"]
    assert main(["train", str(text), "--output", str(again), "--init-from", str(run), *short]) == 0


def test_convert_without_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, run = tmp_path / "cv.t7", tmp_path / "run"
    torch_rnn_checkpoint(checkpoint, TEXT)
    assert main(["convert", str(checkpoint), str(run)]) == 0
    assert main(["sample", str(run), "--length", "20"]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", "--output", str(run)]) == 2
    assert "the text of cv.t7 (convert it with --text TEXT): no such file" in capsys.readouterr().err
    assert main(["convert", str(checkpoint), str(run)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["convert", str(checkpoint), str(run), "--overwrite"]) == 0


@pytest.mark.parametrize("command", ["convert", "info"])
def test_files_that_are_none(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.t7"
    rest = [str(tmp_path / "run")] if command == "convert" else []
    assert main([command, str(path), *rest]) == 2
    assert "No such file" in capsys.readouterr().err
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert main([command, str(path), *rest]) == 2
    assert "a Git LFS pointer" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    t7.save(path, t7.from_module(nn.Linear(2, 2)))
    assert main([command, str(path), *rest]) == (2 if command == "convert" else 0)


def test_info_says_what_is_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cv.t7"
    torch_rnn_checkpoint(path, TEXT)
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    for said in (
        "a table of 6",
        "model: nn.LanguageModel (",
        "nn.LSTM (",
        "weight 7 x 16 float32",
        "gpu_backend: 'cuda'",
        "val_loss_history: 2.75",
        "described before",
    ):
        assert said in out
    assert "grad" not in out
    itself: list[Any] = [t7.LuaFunction(b"code"), t7.Storage(torch.zeros(3)), b"\xff", "x" * 100, list(range(100))]
    itself.append(itself)
    itself.append(t7.LuaTable([([], 1)]))
    t7.save(path, itself)
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    for said in ("a function of 4 bytes, which is not run", "a storage of 3 float32", "100 numbers", "1 pairs"):
        assert said in out
    assert "a table, described before" in out


def test_data_of_torch_rnn(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "data.h5"
    tokens = list(dict.fromkeys(TEXT + "é中"))
    numbers = {token: number for number, token in enumerate(tokens, 1)}
    text = TEXT + "é中"
    parts = split_text(text, 0.1, 0.1)
    with h5py.File(path, "w") as file:
        for name, part in parts.items():
            file[name] = [numbers[token] for token in part]
    vocabulary = path.with_suffix(".json")
    vocabulary.write_text(json.dumps({"idx_to_token": {str(n): token for token, n in numbers.items()}}))
    assert read_text(path) == text
    for wrong, match in (
        ({"idx_to_token": {"1": "a"}}, "numbers of characters outside 1 to 1"),
        ({"idx_to_token": {"2": "a"}}, "must be 1 to their count"),
        ({"idx_to_token": {"1": "ab"}}, "expected single characters; got 'ab'"),
        ({}, "is not a vocabulary of torch-rnn"),
    ):
        vocabulary.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=match):
            read_text(path)
    vocabulary.unlink()
    with pytest.raises(ValueError, match=r"must stand beside data\.h5"):
        read_text(path)


def test_recorded_data_of_torch_rnn(torch_rnn_run: Path, shared: Path) -> None:
    pytest.importorskip("h5py")
    text = read_text(torch_rnn_run / "tiny-shakespeare.h5")
    assert text == read_text(shared / "data" / "tiny-shakespeare.txt")

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import torchrnn
from torchrnn.cli import main
from torchrnn.cli.options import canonical
from torchrnn.cli.progress import TrainingReport

pytestmark = pytest.mark.slow

TEXT = "Ein Käse, 中文 🙂 and the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = ["--rnn-size=12", "--wordvec-size=6", "--batch-size=4", "--seq-length=10", "--threads=1"]


@pytest.fixture
def run(capsys):
    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is finished, which nobody changes."""
    directory = tmp_path_factory.mktemp("finished")
    (directory / "text.txt").write_text(TEXT, encoding="utf-8")
    text, output = str(directory / "text.txt"), str(directory / "run")
    assert (
        main(["train", text, "--output", output, *SMALL, "--max-epochs=3", "--checkpoint-every=40", "--dropout=0.1"])
        == 0
    )
    return directory / "run"


@pytest.fixture
def trained(finished, tmp_path):
    """A copy of it, to do with as one likes."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def config(directory):
    return json.loads((directory / "config.json").read_text())


def metrics(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def same(one, other):
    return all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in ("last.safetensors", "metrics.jsonl")
    )


# ---------------------------------------------------------------------- training


def test_training_says_how_it_goes_and_leaves_a_run(run, text, tmp_path):
    output = tmp_path / "deep" / "run"
    status, out, err = run(
        "train", text, "--output", output, *SMALL, "--max-epochs=2", "--checkpoint-every=30", "--print-every=20"
    )
    assert (status, err) == (0, "")
    assert "different characters; training on" in out
    assert re.search(
        r"^20/102  epoch 0.4/2  loss \d\.\d{3} nats \(\d\.\d{3} bits\)  [\d,]+ characters/s  \d:\d\d left$", out, re.M
    )
    assert "iteration 30: validation loss" in out
    assert "a sample" in out
    assert f"write text with: torchrnn sample {output}" in out
    assert [m["iteration"] for m in metrics(output) if "val_loss" in m] == [30, 60, 90, 102]


def test_the_spelling_of_torch_rnn_is_understood(run, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        "rnn_size": 8,
        "wordvec_size": 4,
        "num_layers": 1,
        "model_type": "rnn",
        "dropout": 0.1,
        "batchnorm": 1,
        "batch_size": 4,
        "seq_length": 10,
        "max_epochs": 1,
        "learning_rate": 1e-3,
        "grad_clip": 1,
        "lr_decay_every": 2,
        "lr_decay_factor": 0.7,
        "checkpoint_every": 0,
        "print_every": 1,
        "gpu": -1,
        "gpu_backend": "cuda",
        "speed_benchmark": 0,
        "memory_benchmark": 0,
        "reset_iterations": 1,
    }
    old = [word for name, value in options.items() for word in (f"-{name}", value)]
    new = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert run("train", text, *old, "-checkpoint_name", "old")[0] == 0
    assert run("train", text, *new, "--output", "new")[0] == 0
    assert config(tmp_path / "old") == config(tmp_path / "new")
    assert config(tmp_path / "old")["model"] == {
        "model_type": "rnn",
        "wordvec_size": 4,
        "rnn_size": 8,
        "num_layers": 1,
        "dropout": 0.1,
        "batchnorm": True,
    }
    assert same(tmp_path / "old", tmp_path / "new")


def test_the_defaults_are_those_of_torch_rnn(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("long.txt").write_text("abcdefgh" * 4000)
    assert run("train", "long.txt", "--max-minutes=0")[0] == 0
    recorded = config(tmp_path / "runs" / "long")
    expected = {"batch_size": 50, "seq_length": 50, "max_epochs": 50, "learning_rate": 2e-3, "grad_clip": 5.0}
    expected |= {
        "lr_decay_every": 5,
        "lr_decay_factor": 0.5,
        "checkpoint_every": 1000,
        "val_frac": 0.1,
        "test_frac": 0.1,
    }
    assert recorded["training"] == {**expected, "clip": "value"}
    expected = {"model_type": "lstm", "wordvec_size": 64, "rnn_size": 128, "num_layers": 2, "dropout": 0.0}
    assert recorded["model"] == {**expected, "batchnorm": False}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["-rnn_size", "5"], ["--rnn-size", "5"]),
        (["--rnn_size=5_0"], ["--rnn-size=5_0"]),
        (["-start_text", "a_b", "x_y"], ["--start-text", "a_b", "x_y"]),
        (["-gpu", "-1"], ["--gpu", "-1"]),
        (["-h"], ["-h"]),
        (["--", "-rnn_size"], ["--", "-rnn_size"]),
        (["-start_text=two\nlines"], ["--start-text=two\nlines"]),
    ],
)
def test_only_options_are_respelled(given, expected):
    assert canonical(given) == expected


def test_without_a_text_the_built_in_one_serves(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("train", *SMALL, "--max-minutes=0", "--val-frac=0.001")
    assert status == 0
    assert "saved after iteration 1; go on with: torchrnn train --resume --output runs/python-docs" in out
    assert config(tmp_path / "runs" / "python-docs")["text"]["path"] is None
    assert run("eval", "runs/python-docs")[0] == 0


def test_a_short_validation_text_is_read_in_fewer_streams(run, text, tmp_path):
    status, out, _ = run("train", text, "--output", tmp_path / "run", *SMALL, "--max-epochs=1", "--val-frac=0.01")
    assert status == 0
    assert "validation on 20 in 2 streams" in out


def test_without_validation(run, text, tmp_path):
    status, out, _ = run("train", text, "--output", tmp_path / "run", *SMALL, "--max-epochs=1", "--val-frac=0")
    assert status == 0
    assert "no validation" in out
    assert "validation loss" not in out
    assert run("sample", tmp_path / "run", "--length=5")[0] == 0


def test_a_new_run_replaces_an_old_one_only_with_overwrite(run, text, trained):
    before = config(trained)
    status, _, err = run("train", text, "--output", trained, *SMALL, "--max-epochs=1")
    assert status == 2
    assert "already holds a run: --resume goes on with it, --overwrite replaces it" in err
    assert config(trained) == before
    assert run("train", text, "--output", trained, *SMALL, "--max-epochs=1", "--overwrite")[0] == 0
    assert config(trained)["training"]["max_epochs"] == 1


def test_a_run_begins_with_the_weights_of_another(run, text, trained, tmp_path):
    text.write_text("the lazy fox. " * 80)
    status, _, _ = run(
        "train", text, "--init-from", trained, "--output", tmp_path / "new", *SMALL[2:], "--max-epochs=1"
    )
    assert status == 0
    assert config(tmp_path / "new")["model"] == config(trained)["model"]
    assert metrics(tmp_path / "new")[0]["loss"] < metrics(trained)[0]["loss"]


# ---------------------------------------------------------------------- stopping and going on


def interrupt_at(monkeypatch, iteration, number=signal.SIGINT):
    report = TrainingReport.iteration

    def interrupted(self, done):
        if done.iteration == iteration:
            signal.raise_signal(number)
        report(self, done)

    monkeypatch.setattr(TrainingReport, "iteration", interrupted)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_saves_and_says_how_to_go_on(run, finished, tmp_path, monkeypatch, number, expected):
    output = tmp_path / "run"
    options = [*SMALL, "--max-epochs=3", "--checkpoint-every=40", "--dropout=0.1"]
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 23, number)
        status, out, _ = run("train", finished.parent / "text.txt", "--output", output, *options)
    assert status == expected
    assert f"saved after iteration 23; go on with: torchrnn train --resume --output {output}" in out
    assert signal.getsignal(signal.SIGINT) is handler
    assert run("sample", output, "--length=5")[0] == 0
    assert run("train", "--resume", "--output", output)[0] == 0
    assert same(output, finished)


def test_a_second_ctrl_c_leaves_at_once(run, text, tmp_path, monkeypatch):
    def twice(self, done):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingReport, "iteration", twice)
    status, _, err = run("train", text, "--output", tmp_path / "run", *SMALL)
    assert status == 130
    assert "Traceback" not in err


def test_the_time_limit_leaves_no_trace_in_the_weights(run, finished, tmp_path):
    output = tmp_path / "run"
    options = [*SMALL, "--max-epochs=3", "--checkpoint-every=40", "--dropout=0.1"]
    status, out, _ = run("train", finished.parent / "text.txt", "--output", output, *options, "--max-minutes=0")
    assert status == 0
    assert "iteration 1: validation loss" in out
    assert run("train", "--resume", "--output", output, "--max-minutes=0.001")[0] == 0
    assert run("train", "--resume", "--output", output)[0] == 0
    assert (output / "last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()


def test_a_finished_run_goes_on_with_more_epochs_and_other_settings(run, trained):
    status, out, _ = run("train", "--resume", "--output", trained)
    assert status == 0
    assert "is finished; to go on, give --max-epochs above 3" in out
    assert run("train", "--resume", "--output", trained, "--max-epochs=4", "--learning-rate=0.0001")[0] == 0
    assert config(trained)["training"]["max_epochs"] == 4
    assert metrics(trained)[-2]["epoch"] == 4
    assert metrics(trained)[-2]["learning_rate"] == 0.0001


def test_divergence_stops_with_advice_and_the_best_weights_kept(run, text, tmp_path):
    output = tmp_path / "run"
    assert run("train", text, "--output", output, *SMALL, "--max-epochs=1")[0] == 0
    best = (output / "model.safetensors").read_bytes()
    status, _, err = run(
        "train", "--resume", "--output", output, "--max-epochs=9", "--learning-rate=1e5", "--grad-clip=0"
    )
    assert status == 1
    assert "training diverged in iteration" in err
    assert f"--init-from {output} and a lower --learning-rate, such as 25000, or a --grad-clip such as 1" in err
    assert "Traceback" not in err
    assert (output / "model.safetensors").read_bytes() == best
    assert run("sample", output, "--length=10")[0] == 0


# ---------------------------------------------------------------------- writing and measuring


def test_sample_writes_text_of_the_length_asked_for(run, trained):
    status, out, err = run("sample", trained, "--length=50", "--start-text=中文 🙂", "--seed=3")
    assert (status, err) == (0, "")
    assert out.startswith("中文 🙂")
    assert len(out) == 51
    assert run("sample", "-checkpoint", trained, "-length", 50, "-start_text", "中文 🙂", "-seed", 3)[1] == out
    assert run("sample", trained, "--length=50", "--seed=4")[1] != run("sample", trained, "--length=50", "--seed=5")[1]
    assert len(run("sample", trained)[1]) == 2001


def test_sample_takes_the_options_of_the_model(run, trained):
    greedy = run("sample", trained, "--length=30", "--start-text=the", "--sample=0")
    assert greedy == run("sample", trained, "--length=30", "--start-text=the", "--temperature=0")
    assert greedy == run("sample", trained, "--length=30", "--start-text=the", "--top-k=1", "-verbose", "0")
    assert run("sample", trained, "--length=900", "--stop=e", "--seed=1")[1].endswith("e\n")
    assert "beginning with 'the'" in run("sample", trained, "--start-text=the", "--verbose=1")[2]


def test_eval_gives_the_loss_of_training(run, trained):
    best = min(m["val_loss"] for m in metrics(trained) if "val_loss" in m)
    status, out, _ = run("eval", trained)
    assert status == 0
    assert out.startswith(f"val: loss {best:.4f} nats = ")
    assert run("eval", "-checkpoint", trained, "-split", "val", "-gpu", "-1")[1] == out
    for split in "train", "test", "all":
        assert run("eval", trained, "--split", split)[1].startswith(f"{split}: loss ")


def test_eval_of_another_text(run, trained, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the dog")
    status, out, _ = run("eval", trained, other)
    assert status == 0
    assert out.startswith("all: loss ")
    assert "over 6 of 7 characters" in out


# ---------------------------------------------------------------------- bad input


def write(name, content):
    def prepare(directory):
        (directory / name).write_bytes(content)

    return prepare


def cut(name):
    def prepare(directory):
        path = directory / "run" / name
        path.write_bytes(path.read_bytes()[:100])

    return prepare


def change_text(directory):
    changed = directory / "changed.txt"
    changed.write_text("another text " * 100)
    path = directory / "run" / "config.json"
    value = json.loads(path.read_text())
    value["text"]["path"] = str(changed)
    path.write_text(json.dumps(value))


NOTHING = write("nothing", b"")
BAD = [
    ("", NOTHING, "the following arguments are required: COMMAND"),
    ("fly", NOTHING, "invalid choice: 'fly'"),
    ("train nowhere.txt", NOTHING, "nowhere.txt: no such file"),
    ("train empty.txt", write("empty.txt", b""), "empty.txt: the file is empty"),
    ("train latin.txt", write("latin.txt", b"caf\xe9"), "byte 0xe9 at offset 3"),
    ("train .", NOTHING, "cannot be read"),
    ("train short.txt", write("short.txt", b"too short"), "9 characters are too few: batch_size 50 with seq_length 50"),
    ("train text.txt --val-frac 0.0001 --batch-size 4", NOTHING, "too few to validate on"),
    ("train text.txt --val-frac 1", NOTHING, "val_frac must be"),
    ("train text.txt --rnn-size 0", NOTHING, "rnn_size must be at least 1; got 0"),
    ("train text.txt --rnn-size many", NOTHING, "argument --rnn-size: invalid int value: 'many'"),
    ("train text.txt --model-type gpt", NOTHING, "model_type must be one of lstm, rnn, gru, fastlstm"),
    ("train text.txt -batchnorm 2", NOTHING, "batchnorm must be true or false"),
    ("train text.txt --dropout 1", NOTHING, "dropout must be"),
    ("train text.txt --learning-rate nan", NOTHING, "learning_rate must be a positive number"),
    ("train text.txt --max-minutes -1", NOTHING, "--max-minutes must be at least 0, got -1"),
    ("train text.txt --max-minutes nan", NOTHING, "--max-minutes must be at least 0, got nan"),
    ("train text.txt --threads 0", NOTHING, "--threads must be at least 1, got 0"),
    ("train text.txt --print-every 0", NOTHING, "--print-every must be at least 1, got 0"),
    ("train text.txt --no-such-option", NOTHING, "unrecognized arguments: --no-such-option"),
    ("train text.txt --rnn-siz 5", NOTHING, "unrecognized arguments: --rnn-siz 5"),
    ("train text.txt -gpu 0", NOTHING, "runs on the CPU"),
    ("train text.txt -speed_benchmark 1", NOTHING, "there is no benchmark mode"),
    ("train text.txt -reset_iterations 0", NOTHING, "use --resume"),
    ("train -input_h5 data.h5", NOTHING, "torchrnn reads the text itself"),
    ("train text.txt --output text.txt", NOTHING, "text.txt is a file"),
    ("train text.txt --output .", NOTHING, "holds other files than those of a run"),
    ("train text.txt --output run", NOTHING, "already holds a run"),
    ("train --resume --output nowhere", NOTHING, "nowhere: no such directory"),
    ("train --resume --output folder", lambda d: (d / "folder").mkdir(), "folder is no run of torchrnn train"),
    ("train --resume --overwrite --output run", NOTHING, "exclude each other"),
    ("train --resume --output run --rnn-size 20", NOTHING, "--rnn-size 20 cannot be given with --resume"),
    ("train --resume --output run --seq-length 9", NOTHING, "--seq-length 9 cannot be given with --resume"),
    ("train --resume --output run --init-from run", NOTHING, "--init-from run cannot be given with --resume"),
    ("train other.txt --resume --output run", write("other.txt", b"other"), "is not the text that the run"),
    ("train --resume --output run", change_text, "has changed since the run was started"),
    ("train --resume --output run", cut("last.safetensors"), "last.safetensors is damaged"),
    ("train --resume --output run", cut("config.json"), "config.json is damaged"),
    ("train text.txt --init-from nowhere", NOTHING, "nowhere: no such directory"),
    (
        "train text.txt --init-from run --rnn-size 12",
        NOTHING,
        "--init-from keeps the shape of the model: leave out rnn_size",
    ),
    (
        "train greek.txt --init-from run",
        write("greek.txt", "αβγ".encode() * 900),
        "outside the vocabulary: 'α' (U+03B1)",
    ),
    ("sample", NOTHING, "RUN is required"),
    ("sample nowhere", NOTHING, "nowhere: no such directory"),
    ("sample text.txt", NOTHING, "text.txt is a file"),
    ("sample .", NOTHING, "is no run of torchrnn train"),
    ("sample run", cut("model.safetensors"), "model.safetensors is damaged"),
    ("sample run", cut("vocabulary.json"), "vocabulary.json is damaged"),
    ("sample run --start-text Ω", NOTHING, "'Ω' (U+03A9)"),
    ("sample run --temperature -1", NOTHING, "temperature must be 0"),
    ("sample run --length -1", NOTHING, "length -1"),
    ("sample run --top-k 0", NOTHING, "top_k must be at least 1"),
    ("sample run --sample 2", NOTHING, "argument --sample: invalid choice: 2"),
    ("sample run --seed x", NOTHING, "argument --seed: invalid int value: 'x'"),
    ("sample run -gpu 1", NOTHING, "runs on the CPU"),
    ("eval nowhere", NOTHING, "nowhere: no such directory"),
    ("eval run nowhere.txt", NOTHING, "nowhere.txt: no such file"),
    ("eval run one.txt", write("one.txt", b"a"), "predicting one from another needs at least 2"),
    ("eval run greek.txt", write("greek.txt", "αβγ".encode()), "outside the vocabulary: 'α' (U+03B1)"),
    ("eval run --split most", NOTHING, "argument --split: invalid choice: 'most'"),
    ("eval run", change_text, "has changed since the run was started"),
]


@pytest.mark.parametrize(("command", "prepare", "message"), BAD)
def test_bad_input_gives_one_clear_line_and_status_2(
    run, text, trained, tmp_path, monkeypatch, command, prepare, message
):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    status, out, err = run(*command.split())
    assert status == 2
    assert out == ""
    assert message in err
    assert err.startswith("torchrnn")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_directory_that_may_not_be_written(run, text, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied", "x/y"))
    )
    assert run("train", text, *SMALL, "--output", tmp_path / "run") == (
        2,
        "",
        "torchrnn train: x/y: Permission denied\n",
    )


# ---------------------------------------------------------------------- as a process


def environment(**changes):
    return {**os.environ, "PYTHONPATH": str(Path(torchrnn.__file__).parents[1]), **changes}


def process(*arguments, **changes):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment(**changes), text=True, capture_output=True, check=False)


def read_until_closed(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # what Linux says when the other end has closed
        return b""


def test_the_module_is_the_command():
    done = process("-m", "torchrnn", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"torchrnn {torchrnn.__version__}\n", "")


def test_a_reader_that_goes_away_is_no_error(finished):
    shell = f"{sys.executable} -m torchrnn sample {finished} --length 3000 | head -c 5"
    done = subprocess.run(["bash", "-c", shell], env=environment(), capture_output=True, check=False)
    assert len(done.stdout) == 5
    assert done.stderr == b""


def test_a_terminal_without_the_characters_is_no_error(finished):
    options = ["--length", "8", "--start-text", "中文 🙂"]
    done = process("-m", "torchrnn", "sample", finished, *options, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("?? ?")


def test_a_terminal_shows_a_bar(text, tmp_path):
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "torchrnn", "train", text, "--output", tmp_path / "run", *SMALL, "--max-epochs=1"]
    training = subprocess.Popen(list(map(str, command)), env=environment(), stdout=its_end)
    os.close(its_end)
    shown = b"".join(iter(lambda: read_until_closed(terminal), b"")).decode()
    os.close(terminal)
    assert training.wait() == 0
    assert "━" in shown
    assert " bits)" in shown
    assert " left" in shown


def test_the_library_is_light_to_import():
    code = "import sys, torchrnn; print([m for m in ('rich', 'safetensors', 'pydoc_data') if m in sys.modules])"
    assert process("-c", code).stdout == "[]\n"

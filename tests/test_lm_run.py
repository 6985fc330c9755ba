from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from torchrnn.lm import Batches, LanguageModel, Trainer, TrainingSettings
from torchrnn.lm.corpus import Source
from torchrnn.lm.files import RunError, read_tensors, write_tensors
from torchrnn.lm.run import Run, RunConfig, require_room

TEXT = "中文 🙂 and some letters. " * 12
SETTINGS = TrainingSettings(batch_size=2, seq_length=8, max_epochs=2, checkpoint_every=10)
SHAPE = {"wordvec_size": 4, "rnn_size": 6, "dropout": 0.5}


class Silence:
    def iteration(self, done):
        pass

    def evaluation(self, iteration, val_loss):
        pass


def make_trainer(model=None, val=True):
    model = model or LanguageModel(dict.fromkeys(TEXT), **SHAPE)
    batches = Batches(model.encode(TEXT), SETTINGS.batch_size, SETTINGS.seq_length)
    return Trainer(model, batches, batches if val else None, SETTINGS)


def make_run(directory, trainer, **options):
    config = RunConfig(trainer.model.config, SETTINGS, Source(None, "0" * 64, len(TEXT)), 0, 1)
    return Run.create(directory, config, trainer, **options)


@pytest.fixture(scope="module")
def beginning():
    return make_trainer().state()


@pytest.fixture(scope="module")
def finished(beginning, tmp_path_factory):
    trainer = make_trainer()
    trainer.load_state(beginning, 0)
    run = make_run(tmp_path_factory.mktemp("finished") / "run", trainer)
    trainer.run(run, Silence())
    return run, trainer


@pytest.fixture
def trained(finished, tmp_path):
    return Run.open(Path(shutil.copytree(finished[0].directory, tmp_path / "run")))


def test_what_a_run_holds(finished):
    run, trainer = finished
    names = {path.name for path in run.directory.iterdir()}
    assert names == {"config.json", "vocabulary.json", "model.safetensors", "last.safetensors", "metrics.jsonl"}
    again = Run.open(run.directory)
    assert again.config == run.config
    assert again.vocabulary == trainer.model.vocabulary
    records = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    assert [r["iteration"] for r in records if "loss" in r] == list(range(1, trainer.total_iterations + 1))
    evaluated = {r["iteration"]: r["val_loss"] for r in records if "val_loss" in r}
    assert sorted(evaluated) == sorted({*range(10, trainer.total_iterations + 1, 10), trainer.total_iterations})
    best = min(evaluated, key=evaluated.__getitem__)
    assert run.best() == {"iteration": best, "val_loss": evaluated[best]}


def test_the_best_weights_are_kept_and_loaded(trained):
    model, other = trained.load_model(), trained.new_model()
    assert not model.training
    trained.keep_best(other, 999, trained.best()["val_loss"] + 0.1)
    assert trained.best()["iteration"] != 999
    assert torch.equal(trained.load_model().linear.bias, model.linear.bias)
    trained.keep_best(other, 999, trained.best()["val_loss"] - 0.1)
    assert trained.best()["iteration"] == 999
    assert torch.equal(trained.load_model().linear.bias, other.linear.bias)


def test_before_the_first_evaluation_the_newest_weights_are_loaded(tmp_path):
    trainer = make_trainer()
    run = make_run(tmp_path / "run", trainer)
    assert run.best() is None
    for ours, theirs in zip(run.load_model().parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_without_validation_the_newest_weights_are_the_best(tmp_path):
    trainer = make_trainer(val=False)
    run = make_run(tmp_path / "run", trainer)
    trainer.run(run, Silence())
    assert run.best() == {"iteration": trainer.total_iterations, "val_loss": None}


@pytest.mark.parametrize("stop_after", [0, 1, 10, 15, 33])
@pytest.mark.parametrize("save_seconds", [0.0, 1000.0])
def test_a_run_that_stopped_goes_on_bit_for_bit(finished, beginning, tmp_path, stop_after, save_seconds):
    first = make_trainer()
    first.load_state(beginning, 0)
    stopped = make_run(tmp_path / "stopped", first)
    if stop_after:
        first.run(stopped, Silence(), lambda: first.iteration >= stop_after, save_seconds)
    # What the process did after its last checkpoint, before it was killed.
    with (stopped.directory / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 1000, "loss": 1.0}\n{"iteration": 10')
    torch.manual_seed(5)
    again = Run.open(stopped.directory)
    second = make_trainer(again.new_model())
    again.resume(second)
    assert second.iteration == first.iteration
    second.run(again, Silence())

    for name in "model.safetensors", "last.safetensors", "metrics.jsonl":
        assert (stopped.directory / name).read_bytes() == (finished[0].directory / name).read_bytes(), name


def damage(name, change):
    def apply(directory):
        path = directory / name
        path.write_bytes(change(path.read_bytes()))

    return apply


def edit(name, **changes):
    def apply(directory):
        path = directory / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


def foreign_weights(directory):
    save_file({"weight": torch.zeros(3)}, directory / "last.safetensors")


def smaller_weights(directory):
    tensors, facts = read_tensors(directory / "last.safetensors")
    write_tensors(directory / "last.safetensors", {**tensors, "model.linear.bias": torch.zeros(3)}, facts)


def open_and_resume(directory):
    run = Run.open(directory)
    run.resume(make_trainer(run.new_model()))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "is no run of torchrnn train: it has no config.json"),
        (damage("config.json", lambda b: b[: len(b) // 2]), "config.json is damaged"),
        (damage("config.json", lambda b: b"\xff" + b), "config.json is damaged"),
        (damage("config.json", lambda b: b"[]"), "config.json is damaged: it holds no JSON object"),
        (edit("config.json", format="another"), "is no configuration of torchrnn train"),
        (edit("config.json", model={"rnn_size": -1}), "damaged: .*rnn_size must be at least 1"),
        (edit("config.json", model={"size": 1}), "damaged: .*size"),
        (edit("config.json", training={"batch_size": "2"}), "damaged: .*batch_size must be an integer"),
        (edit("config.json", threads="many"), "damaged: threads"),
        (edit("config.json", text=None), "damaged"),
        (lambda d: (d / "vocabulary.json").unlink(), "vocabulary.json is damaged: .*No such file"),
        (edit("vocabulary.json", tokens=["a", "a"]), "damaged: token 'a'"),
        (
            edit("vocabulary.json", tokens=list(dict.fromkeys(TEXT + "xyz"))),
            "last.safetensors does not fit config.json",
        ),
        (lambda d: (d / "last.safetensors").unlink(), "last.safetensors is missing"),
        (damage("last.safetensors", lambda b: b""), "last.safetensors is damaged"),
        (damage("last.safetensors", lambda b: b[:-1]), "last.safetensors is damaged"),
        (damage("last.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1])), "damaged: its checksum"),
        (damage("last.safetensors", lambda b: b.replace(b'iteration\\": ', b'iteration\\":1')), "damaged"),
        (foreign_weights, "last.safetensors does not fit config.json"),
        (smaller_weights, "last.safetensors does not fit config.json"),
        (damage("metrics.jsonl", lambda b: b"no metrics\n" + b), "metrics.jsonl is damaged"),
    ],
)
def test_a_damaged_run_raises_and_says_what_is_wrong(trained, harm, message):
    harm(trained.directory)
    with pytest.raises(RunError, match=message):
        open_and_resume(trained.directory)


def test_no_damage_to_the_weights_goes_unseen(trained):
    path = trained.directory / "model.safetensors"
    whole = path.read_bytes()
    weights = torch.cat([p.flatten() for p in trained.load_model().parameters()])
    chance = random.Random(0)
    for _ in range(300):
        position = chance.randrange(len(whole))
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ (1 << chance.randrange(8))]) + whole[position + 1 :]
        )
        try:
            read = torch.cat([p.flatten() for p in trained.load_model().parameters()])
        except RunError:
            continue
        assert torch.equal(read, weights)
    for _ in range(50):
        path.write_bytes(whole[: chance.randrange(len(whole))])
        with pytest.raises(RunError):
            trained.load_model()


def test_weights_that_others_wrote_are_read(trained):
    weights = {name: torch.zeros_like(tensor) for name, tensor in trained.load_model().state_dict().items()}
    save_file(weights, trained.directory / "model.safetensors")
    assert not any(p.any() for p in trained.load_model().parameters())


@pytest.mark.parametrize(
    ("content", "overwrite", "message"),
    [
        (None, False, None),
        ({}, False, None),
        ({"last.safetensors": "", ".config.json.partial": ""}, False, None),
        ({"config.json": ""}, False, "already holds a run: --resume goes on with it, --overwrite replaces it"),
        ({"config.json": ""}, True, None),
        ({"thesis.tex": ""}, False, "holds other files"),
        ({"thesis.tex": "", "config.json": ""}, True, "holds other files"),
        ("a file", True, "is a file"),
    ],
)
def test_a_run_is_written_only_where_nothing_is_lost(tmp_path, content, overwrite, message):
    directory = tmp_path / "runs" / "run"
    directory.parent.mkdir()
    if isinstance(content, str):
        directory.write_text(content)
    elif content is not None:
        directory.mkdir()
        for name, text in content.items():
            (directory / name).write_text(text)
    if message is None:
        require_room(directory, overwrite)
        make_run(directory, make_trainer(), overwrite=overwrite)
        assert Run.open(directory).config.training == SETTINGS
    else:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(RunError, match=message):
            make_run(directory, make_trainer(), overwrite=overwrite)
        assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_directory_of_a_run_raises(tmp_path):
    with pytest.raises(RunError, match="no such directory"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match="is no run of torchrnn train"):
        Run.open(tmp_path)
    (tmp_path / "model.t7").write_text("")
    with pytest.raises(RunError, match="is a file"):
        Run.open(tmp_path / "model.t7")

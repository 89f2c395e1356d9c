"""Trainings that end before their last epoch, by time or by patience, and the logs and schedules of whole trainings."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from facevae.errors import DataError, TrainingError, UsageError
from facevae.model.schedule import learning_rate_at
from facevae.model.training import MeanLoss, evaluate_loss
from facevae.progress import Event, Progress
from facevae.storage.checkpoint import load_checkpoint
from facevae.storage.run_log import RunLog
from facevae.storage.training_files import TrainFiles
from facevae.storage.weights import FaceModel
from facevae.workflows import training_run
from facevae.workflows.train import TrainResult, train
from support import Clock, Recorder, same_state, write_faces

TINY: dict[str, Any] = {"recipe": "note", "channels": 4, "latent_dim": 5, "batch_size": 12, "device": "cpu", "seed": 2}
"""40 train images in batches of 12 make four steps an epoch."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 faces of 16x16, of which 40 are train, 10 valid and 10 test."""
    return write_faces(tmp_path_factory.mktemp("faces") / "faces.h5", size=16)


@pytest.fixture(scope="module")
def three_epochs(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(faces, tmp_path_factory.mktemp("three") / "vae.safetensors", epochs=3, **TINY)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "vae.safetensors"


def assert_same_model(one: Path, other: Path) -> None:
    first, second = FaceModel.load(one), FaceModel.load(other)
    assert same_state(first.vae, second.vae)
    assert first.directions is not None
    assert second.directions is not None
    np.testing.assert_array_equal(first.directions.deltas, second.directions.deltas)


def refusal(*arguments: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as error:
        train(*arguments, **options)
    return str(error.value)


# Time


def test_a_training_stops_when_its_time_is_up_and_goes_on(
    faces: Path, output: Path, three_epochs: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is followed by a report: 45 seconds are over after the fifth."""
    with monkeypatch.context() as patch:
        clock = Clock(patch, training_run)
        halted = train(faces, output, epochs=3, max_time="45s", report=clock.report, **TINY)
    assert (halted.epochs, halted.stopped, halted.interrupted) == (1.25, "max time", False)
    assert clock.notices[1:] == ["The time of 45s is up after 1.25 of 3 epochs: facevae train --resume goes on."]
    model = FaceModel.load(output)
    assert model.directions is not None
    assert model.training["epochs_done"] == 1.25
    checkpoint = load_checkpoint(TrainFiles(output).checkpoint)
    assert (checkpoint.epoch, checkpoint.step) == (1, 1)
    # The limit is that of a run: it is not remembered, and starts anew.
    resumed = train(faces, output, resume=True, device="cpu", max_time="1h")
    assert (resumed.epochs, resumed.stopped) == (3.0, "done")
    assert_same_model(output, three_epochs.files.weights)


def test_the_shortest_time_takes_a_step(faces: Path, output: Path) -> None:
    for steps in (1, 2):
        result = train(faces, output, epochs=3, max_time=1e-6, resume=steps > 1, **TINY)
        assert (result.epochs, result.stopped) == (steps / 4, "max time")


def test_a_training_that_is_done_in_time_is_done(faces: Path, output: Path) -> None:
    options = {**TINY, "batch_size": 500}
    assert train(faces, output, epochs=1, max_time=1e-6, **options).stopped == "done"


def test_times_that_are_refused(faces: Path, output: Path) -> None:
    assert refusal(faces, output, max_time="soon") == (
        "A time of soon is not understood: use 90s, 30m, 1.5h or 1h30m, or seconds."
    )
    assert not output.exists()


# Patience


@pytest.fixture
def valid_losses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the losses on valid of the epochs to come."""

    def script(*losses: float) -> None:
        coming = iter(losses)

        def scripted(*arguments: Any, **options: Any) -> MeanLoss:
            return evaluate_loss(*arguments, **options)._replace(total=next(coming))

        monkeypatch.setattr(training_run, "evaluate_loss", scripted)

    return script


LOSSES = (9.0, 8.0, 5.0, 6.0, 5.0, 4.0)
"""The third epoch is the best until the sixth."""


def test_patience_keeps_the_best_epoch(
    faces: Path, output: Path, three_epochs: TrainResult, valid_losses: Callable[..., None]
) -> None:
    valid_losses(*LOSSES)
    recorder = Recorder()
    result = train(faces, output, epochs=50, patience=2, report=recorder, **TINY)
    assert (result.epochs, result.stopped, result.best_epoch, result.interrupted) == (5.0, "patience", 3, False)
    assert recorder.notices[-2:] == [
        "No lower loss on valid for 2 epochs: stopped after 5 of 50.",
        "The weights are those of epoch 3, with the lowest loss on valid.",
    ]
    assert_same_model(output, three_epochs.files.weights)
    training = FaceModel.load(output).training
    assert (training["epochs_done"], training["epochs_trained"], training["patience"]) == (3.0, 5.0, 2)
    assert training["losses"]["valid"]["loss"] == 5.0
    checkpoint = load_checkpoint(result.files.checkpoint)
    assert (checkpoint.epoch, checkpoint.step) == (5, 0)
    assert checkpoint.best is not None
    assert checkpoint.best.epoch == 3


@pytest.mark.parametrize("at", [6, 12, 14, 16, 19])
def test_a_patient_training_goes_on_exactly(
    faces: Path, output: Path, three_epochs: TrainResult, valid_losses: Callable[..., None], at: int
) -> None:
    """Interrupted before, at and after the best epoch, and at the end of the one after it."""
    valid_losses(*LOSSES)

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done == at:
            os.kill(os.getpid(), signal.SIGINT)

    halted = train(faces, output, epochs=50, patience=2, report=interrupt, **TINY)
    assert (halted.epochs, halted.stopped) == (at / 4, "interrupted")
    assert FaceModel.load(output).training["epochs_done"] == (3.0 if at >= 12 else 1.0)
    resumed = train(faces, output, resume=True, device="cpu")
    assert (resumed.epochs, resumed.stopped, resumed.best_epoch) == (5.0, "patience", 3)
    assert_same_model(output, three_epochs.files.weights)


def test_going_on_after_patience_ended_it(faces: Path, output: Path, valid_losses: Callable[..., None]) -> None:
    valid_losses(*LOSSES, 3.0, 7.0)
    train(faces, output, epochs=7, patience=2, **TINY)
    checkpoint, before = TrainFiles(output).checkpoint, output.read_bytes()
    expected = (
        f"{checkpoint} ends at epoch 5, 2 after the lowest loss on valid, with a patience of 2: go on with a higher "
        "--patience, such as --patience 12, or with --patience 0 to the last epoch."
    )
    assert refusal(faces, output, resume=True) == expected
    assert refusal(faces, output, resume=True, epochs=9) == expected
    assert refusal(faces, output, resume=True, patience=1) == expected.replace("a patience of 2", "a patience of 1")
    assert output.read_bytes() == before
    result = train(faces, output, resume=True, patience=3, device="cpu")
    assert (result.epochs, result.stopped, result.best_epoch) == (7.0, "done", 7)
    assert refusal(faces, output, resume=True) == (
        f"{checkpoint} has been trained for 7 epochs already: ask for more with --epochs, such as --epochs 17."
    )
    # Without patience the weights are those of the last epoch again, and no best network is kept.
    result = train(faces, output, resume=True, epochs=8, patience=0, device="cpu")
    assert (result.epochs, result.best_epoch) == (8.0, None)
    assert FaceModel.load(output).training["epochs_done"] == 8.0
    assert load_checkpoint(checkpoint).best is None


def test_a_killed_run_that_patience_had_ended_is_finished(
    faces: Path, output: Path, three_epochs: TrainResult, valid_losses: Callable[..., None]
) -> None:
    valid_losses(*LOSSES)
    train(faces, output, epochs=50, patience=2, **TINY)
    TrainFiles(output).plot.unlink()
    result = train(faces, output, resume=True, device="cpu")
    assert (result.epochs, result.stopped, result.best_epoch) == (5.0, "patience", 3)
    assert_same_model(output, three_epochs.files.weights)
    assert TrainFiles(output).plot.exists()


def test_patience_that_comes_later(faces: Path, output: Path, valid_losses: Callable[..., None]) -> None:
    """The network of the best epoch was not kept: the best from there on is."""
    valid_losses(5.0, 6.0, 7.0, 6.5)
    train(faces, output, epochs=2, **TINY)
    recorder = Recorder()
    result = train(faces, output, resume=True, epochs=9, patience=3, report=recorder, device="cpu")
    assert recorder.notices[0] == (
        "The network of epoch 1, the best so far, was not kept, as it was trained without --patience: "
        "the weights will be those of the best epoch from here on."
    )
    assert (result.epochs, result.stopped, result.best_epoch) == (4.0, "patience", 4)


def test_patience_that_comes_later_at_the_best_epoch(
    faces: Path, output: Path, three_epochs: TrainResult, valid_losses: Callable[..., None]
) -> None:
    valid_losses(*LOSSES)
    train(faces, output, epochs=3, **TINY)
    recorder = Recorder()
    result = train(faces, output, resume=True, epochs=9, patience=1, report=recorder, device="cpu")
    assert not recorder.notices[0].startswith("The network of epoch")
    assert (result.epochs, result.stopped, result.best_epoch) == (4.0, "patience", 3)
    assert_same_model(output, three_epochs.files.weights)


def test_patience_needs_a_valid_split(faces_without_attributes: Path, output: Path) -> None:
    message = refusal(faces_without_attributes, output, patience=3, **TINY)
    assert message == (
        f"{faces_without_attributes} has no valid split, whose loss --patience watches: train without --patience."
    )
    assert not list(output.parent.glob("vae*"))


def test_a_damaged_best_network(faces: Path, output: Path, valid_losses: Callable[..., None]) -> None:
    valid_losses(*LOSSES)
    checkpoint = train(faces, output, epochs=2, patience=2, **TINY).files.checkpoint
    with safe_open(checkpoint, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    del tensors["best.encoder.mean.bias"]
    save_file(tensors, checkpoint, metadata)
    with pytest.raises(DataError) as error:
        train(faces, output, resume=True, epochs=4, device="cpu")
    assert str(error.value).startswith(f"{checkpoint} is damaged (Error(s) in loading state_dict for VAE: Missing")


def test_a_checkpoint_of_an_earlier_facevae(faces: Path, output: Path, three_epochs: TrainResult) -> None:
    """Without the options and the column that it did not know."""
    for path in three_epochs.files.all():
        shutil.copy(path, output.parent)
    checkpoint = TrainFiles(output).checkpoint
    with safe_open(checkpoint, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    options, history = json.loads(metadata["train"]), json.loads(metadata["history"])
    for name in ("schedule", "warmup", "patience"):
        del options[name]
    for point in history:
        del point["active_units"]
    metadata |= {"train": json.dumps(options), "history": json.dumps(history)}
    save_file(tensors, checkpoint, metadata)
    loaded = load_checkpoint(checkpoint)
    assert (loaded.train.schedule, loaded.train.patience, loaded.best) == ("constant", 0, None)
    known = load_checkpoint(three_epochs.files.checkpoint)
    assert loaded.history == [replace(point, active_units=None) for point in known.history]
    assert train(faces, output, resume=True, epochs=4, device="cpu").epochs == 4.0
    rows = TrainFiles(output).history.read_text().splitlines()
    assert rows[1].endswith(",")
    assert not rows[-1].endswith(",")


# Schedule and logs


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in found if event["event"] == kind]


def test_a_whole_log_with_a_resumed_run_and_a_schedule(faces: Path, output: Path) -> None:
    log = output.with_name("run.jsonl")
    how: dict[str, Any] = {"schedule": "cosine", "warmup": 0.5, "learning_rate": 0.01}
    first = train(faces, output, epochs=2, max_time=1e-6, log=log, **how, **TINY)
    last = train(faces, output, resume=True, log=str(log), device="cpu")
    found = events(log)
    begin = of("start", found)
    assert [(e["resumed"], e["epoch"], e["step"]) for e in begin] == [(False, 0.0, 0), (True, 0.25, 1)]
    checkpoint = load_checkpoint(last.files.checkpoint)
    assert begin[0]["train"] == checkpoint.train.to_dict()
    assert begin[0]["model"] == checkpoint.model.to_dict()
    assert (begin[0]["images"], begin[0]["valid_images"], begin[0]["steps_per_epoch"]) == (40, 10, 4)
    assert (begin[0]["device"], begin[0]["faces"]) == ("cpu", str(faces))
    assert set(begin[0]["versions"]) == {"facevae", "torch", "numpy"}
    points = of("train", found)
    assert [event["step"] for event in points] == list(range(1, 9))
    for event, point in zip(points, [p for p in checkpoint.history if p.split == "train"], strict=True):
        names = ("epoch", "loss", "reconstruction", "kl", "mse", "active_units", "images_per_second")
        assert {name: event[name] for name in names} == {name: getattr(point, name) for name in names}
        # The rate of the step that was just taken.
        assert event["learning_rate"] == pytest.approx(learning_rate_at(checkpoint.train, (event["step"] - 1) / 4))
    assert points[0]["learning_rate"] == pytest.approx(0.001)
    # The checkpoint's clock goes on, without the time that finishing the first run took.
    for run in (found[: found.index(begin[1])], found[found.index(begin[1]) :]):
        assert [event["seconds"] for event in run] == sorted(event["seconds"] for event in run)
    assert begin[1]["seconds"] > begin[0]["seconds"]
    assert [event["step"] for event in of("valid", found)] == [4, 8]
    assert "learning_rate" not in of("valid", found)[0]
    assert [event["step"] for event in of("checkpoint", found)] == [1, 4, 8]
    assert of("checkpoint", found)[0]["file"] == str(first.files.checkpoint)
    ends = of("end", found)
    assert [event["reason"] for event in ends] == ["max time", "done"]
    assert ends[1]["files"] == [str(path) for path in last.files.all()]
    assert found[-1] == ends[1]


def test_the_schedule_changes_the_training_and_is_resumed_exactly(faces: Path, output: Path) -> None:
    how: dict[str, Any] = {"schedule": "cosine", "learning_rate": 0.01, "epochs": 3}
    whole = train(faces, output.with_name("whole.safetensors"), **how, **TINY)
    constant = train(faces, output.with_name("constant.safetensors"), **{**how, "schedule": "constant"}, **TINY)
    for _ in range(3):
        train(faces, output, max_time=1e-6, resume=output.exists(), **how, **TINY)
    train(faces, output, resume=True, device="cpu")
    assert_same_model(output, whole.files.weights)
    assert not same_state(FaceModel.load(output).vae, FaceModel.load(constant.files.weights).vae)


def test_a_loss_that_is_not_finite_is_null_in_the_log(faces: Path, output: Path) -> None:
    log = output.with_name("run.jsonl")
    with pytest.raises(TrainingError) as error:
        train(faces, output, log=log, **{**TINY, "learning_rate": 1e30})
    found = events(log)
    assert found[-2]["loss"] is None
    assert (found[-1]["event"], found[-1]["reason"], found[-1]["message"]) == ("end", "error", str(error.value))


def test_a_log_that_cannot_be_written_does_not_stop_the_training(
    faces: Path, output: Path, three_epochs: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, log, recorder = RunLog.write, output.with_name("run.jsonl"), Recorder()

    def write(self: RunLog, event: str, values: Any) -> None:
        if event == "valid":
            raise OSError(28, "No space left on device")
        real(self, event, values)

    monkeypatch.setattr(RunLog, "write", write)
    train(faces, output, epochs=3, log=log, report=recorder, **TINY)
    assert_same_model(output, three_epochs.files.weights)
    complaint = f"{log} cannot be written (no space left on device): the training goes on without it."
    assert [text for text in recorder.notices if "run.jsonl" in text] == [complaint]
    assert [event["event"] for event in events(log)] == ["start"] + ["train"] * 4


def test_a_refused_training_writes_no_log(faces: Path, output: Path) -> None:
    log = output.with_name("run.jsonl")
    refusal(faces, output, log=log, epochs=0)
    refusal(faces, output, log=log, channels=0)
    assert refusal(faces, output, log=TrainFiles(output).history) == (
        f"{TrainFiles(output).history} is another file of this training: name another log with --log."
    )
    assert list(output.parent.iterdir()) == []


def test_tensorboard_follows_the_training(faces: Path, output: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = output.with_name("board")
    train(faces, output, epochs=2, max_time=1e-6, tensorboard=folder, **TINY)
    train(faces, output, resume=True, tensorboard=str(folder), device="cpu")
    reader = accumulator.EventAccumulator(str(folder))
    reader.Reload()
    history = load_checkpoint(TrainFiles(output).checkpoint).history
    for split, steps in (("train", list(range(1, 9))), ("valid", [4, 8])):
        found = reader.Scalars(f"loss/{split}")
        assert [event.step for event in found] == steps
        assert [event.value for event in found] == pytest.approx([p.loss for p in history if p.split == split])
    assert [event.value for event in reader.Scalars("learning_rate")] == pytest.approx([5e-4] * 8)
    assert len(list(folder.iterdir())) == 2
    assert refusal(faces, output, tensorboard=folder).startswith(f"{folder} holds the TensorBoard events of an earlier")

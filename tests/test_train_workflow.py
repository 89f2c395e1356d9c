"""The training from faces to files: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from facevae.config import TrainConfig
from facevae.errors import DataError, FacevaeError, LostRankError, MismatchError, TrainingError, UsageError
from facevae.model.latent_space import attribute_directions
from facevae.model.prior import fit_prior
from facevae.model.training import MeanLoss, Trainer, evaluate_loss
from facevae.progress import Event, Notice, Progress
from facevae.storage.checkpoint import load_checkpoint, save_checkpoint
from facevae.storage.faces import Faces
from facevae.storage.training_files import TrainFiles
from facevae.storage.weights import FaceModel
from facevae.workflows import training_outputs, training_run
from facevae.workflows.interruption import Interruption, deferred_interruption
from facevae.workflows.train import TrainResult, train
from support import ATTRIBUTE_NAMES, Recorder, same_state, write_faces

TINY: dict[str, Any] = {"recipe": "note", "channels": 4, "latent_dim": 5, "batch_size": 12, "device": "cpu", "seed": 2}
"""40 train images in batches of 12 make four steps an epoch."""
OUTPUTS = ["vae.checkpoint.safetensors", "vae.history.csv", "vae.loss.png", "vae.safetensors"]
COLUMNS = ["epoch", "split", "loss", "reconstruction", "kl", "mse", "images_per_second", "active_units"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 faces of 16x16, of which 40 are train, 10 valid and 10 test."""
    return write_faces(tmp_path_factory.mktemp("faces") / "faces.h5", size=16)


@pytest.fixture(scope="module")
def unbroken(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Three epochs in one go."""
    return train(faces, tmp_path_factory.mktemp("unbroken") / "vae.safetensors", epochs=3, **TINY)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "vae.safetensors"


def table(result: TrainResult) -> list[dict[str, str]]:
    with result.files.history.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_training(one: TrainResult, other: TrainResult) -> None:
    """The same weights, directions, last losses and optimiser, bit for bit."""
    first, second = FaceModel.load(one.files.weights), FaceModel.load(other.files.weights)
    assert same_state(first.vae, second.vae)
    assert first.directions is not None
    assert second.directions is not None
    np.testing.assert_array_equal(first.directions.deltas, second.directions.deltas)
    assert one.valid_loss == other.valid_loss
    halted, compared = load_checkpoint(one.files.checkpoint), load_checkpoint(other.files.checkpoint)
    assert (halted.epoch, halted.step) == (compared.epoch, compared.step)
    assert halted.tensors.keys() == compared.tensors.keys()
    assert all(torch.equal(value, compared.tensors[name]) for name, value in halted.tensors.items())


def refusal(kind: type[FacevaeError], *arguments: Path, **options: Any) -> str:
    with pytest.raises(kind) as error:
        train(*arguments, **options)
    return str(error.value)


def test_training_writes_its_four_files(unbroken: TrainResult) -> None:
    assert sorted(path.name for path in unbroken.files.weights.parent.iterdir()) == OUTPUTS
    assert (unbroken.epochs, unbroken.interrupted) == (3.0, False)
    assert (unbroken.stopped, unbroken.best_epoch) == ("done", None)
    assert unbroken.seconds > 0


def test_history_has_the_points_of_every_epoch(unbroken: TrainResult) -> None:
    rows = table(unbroken)
    assert list(rows[0]) == COLUMNS
    epochs = {split: [float(row["epoch"]) for row in rows if row["split"] == split] for split in ("train", "valid")}
    assert epochs["valid"] == [1.0, 2.0, 3.0]
    assert epochs["train"] == [step / 4 for step in range(1, 13)]
    assert len(rows) == 15
    for row in rows:
        numbers = {name: float(row[name]) for name in COLUMNS if name != "split"}
        assert all(math.isfinite(number) for number in numbers.values())
        assert numbers["loss"] == pytest.approx(numbers["reconstruction"] + numbers["kl"], rel=1e-5)
        assert numbers["reconstruction"] == pytest.approx(2000 * numbers["mse"], rel=1e-5)
        assert (numbers["images_per_second"] > 0) == (row["split"] == "train")
        assert numbers["active_units"] in range(TINY["latent_dim"] + 1)
    assert unbroken.train_loss is not None
    assert unbroken.valid_loss is not None
    last = {row["split"]: float(row["loss"]) for row in rows}
    assert last == pytest.approx({"train": unbroken.train_loss.loss, "valid": unbroken.valid_loss.loss}, rel=1e-6)


def test_plot_is_a_picture_with_both_curves(unbroken: TrainResult) -> None:
    with Image.open(unbroken.files.plot) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > picture.height > 200
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours


def test_weights_carry_the_directions_of_the_train_images(unbroken: TrainResult, faces: Path) -> None:
    model = FaceModel.load(unbroken.files.weights)
    assert model.attribute_names == ATTRIBUTE_NAMES
    with Faces(faces) as opened:
        assert opened.attributes is not None
        mean, _ = model.encode(opened.images_of("train"))
        expected = attribute_directions(mean, opened.attributes[opened.split == 0])
    assert model.directions is not None
    np.testing.assert_allclose(model.directions.deltas, expected.deltas, atol=1e-5)
    assert np.abs(expected.deltas).max() > 1e-3
    np.testing.assert_array_equal(model.directions.positive, expected.positive)
    np.testing.assert_array_equal(model.directions.negative, expected.negative)
    assert model.directions.positive[ATTRIBUTE_NAMES.index("Bald")] == 0
    assert expected.together is not None
    np.testing.assert_array_equal(model.directions.together, expected.together)


def test_resuming_adds_what_an_older_facevae_did_not_count(faces: Path, output: Path) -> None:
    train(faces, output, epochs=1, **TINY)
    model = FaceModel.load(output)
    assert model.directions is not None
    assert model.directions.together is not None
    replace(model, directions=model.directions._replace(together=None)).save(output)
    train(faces, output, resume=True, device="cpu")
    again = FaceModel.load(output)
    assert again.hash() == model.hash()
    assert again.directions is not None
    np.testing.assert_array_equal(again.directions.together, model.directions.together)
    with pytest.raises(UsageError, match="has been trained for 1 epochs already"):
        train(faces, output, resume=True, device="cpu")


def test_weights_carry_the_prior_of_the_train_images(unbroken: TrainResult, faces: Path) -> None:
    model = FaceModel.load(unbroken.files.weights)
    with Faces(faces) as opened:
        mean, log_variance = model.encode(opened.images_of("train"))
    expected = fit_prior(mean, log_variance)
    assert model.prior is not None
    np.testing.assert_allclose(model.prior.means, expected.means, atol=1e-5)
    np.testing.assert_allclose(model.prior.scale_trils, expected.scale_trils, atol=1e-4)


def test_too_many_units_for_a_prior_get_none(faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_outputs, "MOST_UNITS", 4)
    monkeypatch.setattr(training_run, "MOST_UNITS", 4)
    train(faces, output, epochs=1, **TINY)
    model = FaceModel.load(output)
    assert model.prior is None
    assert model.directions is not None
    with pytest.raises(UsageError, match="has been trained for 1 epochs already"):
        train(faces, output, resume=True, device="cpu")


def test_weights_carry_the_record_of_the_training(unbroken: TrainResult, faces: Path) -> None:
    training = FaceModel.load(unbroken.files.weights).training
    with Faces(faces) as opened:
        fingerprint = opened.fingerprint
    expected = {
        "epochs": 3,
        "batch_size": 12,
        "learning_rate": 5e-4,
        "reconstruction_weight": 2000.0,
        "kl_weight": 1.0,
        "seed": 2,
        "split": "train",
        "schedule": "constant",
        "warmup": 0.0,
        "patience": 0,
        "epochs_done": 3.0,
        "images_in_split": 40,
        "device": "cpu",
        "faces_fingerprint": fingerprint,
        "faces_source": "drawn by the tests",
    }
    assert {name: training[name] for name in expected} == expected
    assert training["versions"]["torch"] == torch.__version__
    assert unbroken.valid_loss is not None
    assert training["losses"]["valid"]["loss"] == unbroken.valid_loss.loss
    assert training["losses"]["valid"]["active_units"] == unbroken.valid_loss.active_units
    assert "epochs_trained" not in training


def test_a_recipe_is_what_the_other_options_begin_with(faces: Path, output: Path) -> None:
    shape = {"channels": 2, "latent_dim": 3, "device": "cpu", "epochs": 1}
    names = ("batch_size", "learning_rate", "reconstruction_weight", "schedule", "flip", "optimizer", "focus")
    for recipe, given, expected in (
        (None, {}, (128, 2e-3, 200_000.0, "cosine", True, "muon", 10.0)),
        ("detail", {"optimizer": "adam", "flip": False}, (128, 2e-3, 200_000.0, "cosine", False, "adam", 10.0)),
        ("note", {}, (500, 5e-4, 2000.0, "constant", False, "adam", 0.0)),
        ("note", {"batch_size": 20}, (20, 5e-4, 2000.0, "constant", False, "adam", 0.0)),
    ):
        train(faces, output, recipe=recipe, **shape, **given)  # type: ignore[arg-type]
        training = FaceModel.load(output).training
        assert tuple(training[name] for name in names) == expected


def test_a_resumed_training_keeps_its_recipe(faces: Path, output: Path) -> None:
    train(faces, output, epochs=1, **TINY)
    with pytest.raises(UsageError) as error:
        train(faces, output, epochs=2, resume=True, recipe="detail", device="cpu")
    assert str(error.value) == (
        f"{TrainFiles(output).checkpoint} was trained with reconstruction weight 2000.0, not 200000.0: resume without that "
        "option, or start a new training without --resume."
    )
    assert train(faces, output, epochs=2, resume=True, recipe="note", device="cpu").epochs == 2.0


def test_muon_and_flips_resume_exactly(faces: Path, output: Path) -> None:
    how = {**TINY, "recipe": "detail"}
    whole = train(faces, output.with_name("whole.safetensors"), epochs=3, **how)
    halted = train(faces, output, epochs=3, report=interrupting(6), **how)
    assert halted.interrupted
    assert_same_training(train(faces, output, resume=True, device="cpu"), whole)


def test_events_tell_of_steps_epochs_and_directions(faces: Path, output: Path) -> None:
    recorder = Recorder()
    train(faces, output, epochs=2, report=recorder, **TINY)
    steps = [event for event in recorder.progress if event.stage == "train"]
    assert [(event.done, event.total, event.unit) for event in steps] == [(done, 8, "steps") for done in range(1, 9)]
    assert set(steps[0].values) == {"epoch", "loss", "reconstruction", "KL", "images/s", "active units"}
    last = recorder.progress[-1]
    assert (last.stage, last.done, last.total) == ("latents", 40, 40)
    assert len(recorder.notices) == 2
    assert recorder.notices[0].startswith("epoch 1/2: train loss ")
    assert "; valid loss " in recorder.notices[1]


def test_two_trainings_with_one_seed_are_equal(faces: Path, output: Path, unbroken: TrainResult) -> None:
    assert_same_training(train(faces, output, epochs=3, **TINY), unbroken)
    other = train(faces, output.with_name("other.safetensors"), epochs=1, **{**TINY, "seed": 3})
    assert FaceModel.load(other.files.weights).hash() != FaceModel.load(unbroken.files.weights).hash()


def test_more_epochs_later_are_one_longer_training(faces: Path, output: Path, unbroken: TrainResult) -> None:
    train(faces, output, epochs=1, **TINY)
    resumed = train(faces, output, epochs=3, resume=True, device="cpu")
    assert_same_training(resumed, unbroken)
    # The history, times aside, is the same too.
    timeless = [[{**row, "images_per_second": ""} for row in table(result)] for result in (resumed, unbroken)]
    assert timeless[0] == timeless[1]
    assert not list(output.parent.glob("*previous*"))


def test_a_finished_training_asks_for_more_epochs(faces: Path, output: Path) -> None:
    train(faces, output, epochs=2, **TINY)
    before = output.read_bytes()
    checkpoint = TrainFiles(output).checkpoint
    expected = f"{checkpoint} has been trained for 2 epochs already: ask for more with --epochs, such as --epochs 12."
    assert refusal(UsageError, faces, output, resume=True) == expected
    assert refusal(UsageError, faces, output, epochs=1, resume=True) == expected
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("batch_size", 13, "batch size 12, not 13"),
        ("latent_dim", 6, "latent dim 5, not 6"),
        ("channels", 5, "channels 4, not 5"),
        ("reconstruction_weight", 1.0, "reconstruction weight 2000.0, not 1.0"),
        ("kl_weight", 0.5, "kl weight 1.0, not 0.5"),
        ("seed", 0, "seed 2, not 0"),
        ("split", "all", "split train, not all"),
        ("schedule", "cosine", "schedule constant, not cosine"),
        ("warmup", 0.5, "warmup 0.0, not 0.5"),
    ],
)
def test_resuming_with_another_option(
    unbroken: TrainResult, faces: Path, option: str, value: float | str, shown: str
) -> None:
    message = refusal(UsageError, faces, unbroken.files.weights, resume=True, epochs=4, **{option: value})
    assert message == (
        f"{unbroken.files.checkpoint} was trained with {shown}: resume without that option, "
        "or start a new training without --resume."
    )


def test_resuming_with_other_faces(unbroken: TrainResult, tmp_path: Path) -> None:
    other = write_faces(tmp_path / "other.h5", size=16, seed=5)
    assert refusal(MismatchError, other, unbroken.files.weights, resume=True, epochs=4) == (
        f"{unbroken.files.checkpoint} was trained on other faces than {other} holds: resume with those faces, "
        "or start a new training without --resume."
    )


@pytest.mark.parametrize("changed", ["split", "attributes"])
def test_resuming_with_the_same_pictures_prepared_otherwise(faces: Path, output: Path, changed: str) -> None:
    """Another split trains on other images; other attributes give other directions."""
    train(faces, output, epochs=1, **TINY)
    other = output.with_name("other.h5")
    if changed == "split":
        write_faces(other, size=16, split=np.resize(np.array([1, 0, 0], dtype=np.uint8), 60))
    else:
        write_faces(other, size=16, attributes=False)
    with Faces(faces) as first, Faces(other) as second:
        np.testing.assert_array_equal(first.read(0, 60), second.read(0, 60))
    before = output.read_bytes()
    checkpoint = TrainFiles(output).checkpoint
    assert refusal(MismatchError, other, output, epochs=2, resume=True) == (
        f"{checkpoint} was trained on other faces than {other} holds: resume with those faces, "
        "or start a new training without --resume."
    )
    assert output.read_bytes() == before
    assert train(faces, output, epochs=2, resume=True, device="cpu").epochs == 2.0


def test_resuming_without_checkpoint(faces: Path, output: Path) -> None:
    assert refusal(DataError, faces, output, resume=True) == (
        f"There is no {output.with_name('vae.checkpoint.safetensors')} to resume from: "
        "start the training with facevae train, without --resume."
    )


def test_resuming_from_a_damaged_checkpoint(faces: Path, output: Path) -> None:
    result = train(faces, output, epochs=1, **TINY)
    content = result.files.checkpoint.read_bytes()
    result.files.checkpoint.write_bytes(content.replace(b"vae.encoder.mean.bias", b"vae.encoder.mean.bios"))
    message = refusal(DataError, faces, output, resume=True, epochs=2)
    assert message.startswith(f"{result.files.checkpoint} is damaged (Error(s) in loading state_dict for VAE: Missing")
    assert message.endswith("). Start a new training with: facevae train (without --resume)")


def test_an_earlier_training_is_set_aside(faces: Path, output: Path) -> None:
    train(faces, output, epochs=1, **TINY)
    contents = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    recorder = Recorder()
    train(faces, output, epochs=1, report=recorder, **{**TINY, "seed": 9})
    previous = output.with_name("vae.previous.safetensors")
    assert recorder.notices[0] == f"The earlier training is kept as {previous} (and the files beside it)."
    for name, content in contents.items():
        assert output.with_name(name.replace("vae", "vae.previous", 1)).read_bytes() == content
        assert output.with_name(name).read_bytes() != content or name == "vae.loss.png"
    # What is set aside can itself be resumed.
    assert load_checkpoint(TrainFiles(previous).checkpoint).train.seed == TINY["seed"]
    assert train(faces, previous, epochs=2, resume=True, device="cpu").epochs == 2.0


def test_three_trainings_in_a_row_are_all_kept(faces: Path, output: Path) -> None:
    """Each set of four files is found again, byte for byte, under the next free name."""
    kept: list[dict[str, bytes]] = []
    names = ["vae", "vae.previous", "vae.previous-2", "vae.previous-3"]
    for number in range(4):
        recorder = Recorder()
        train(faces, output, epochs=1, report=recorder, **{**TINY, "seed": number})
        kept.append({name: output.with_name(name).read_bytes() for name in OUTPUTS})
        if number:
            aside = output.with_name(f"{names[number]}.safetensors")
            assert recorder.notices[0] == f"The earlier training is kept as {aside} (and the files beside it)."
        for earlier, contents in enumerate(kept[:-1], start=1):
            for name, content in contents.items():
                assert output.with_name(name.replace("vae", names[earlier], 1)).read_bytes() == content
        expected = [name.replace("vae", stem, 1) for stem in names[: number + 1] for name in OUTPUTS]
        assert sorted(path.name for path in output.parent.iterdir()) == sorted(expected)
    assert len({contents["vae.safetensors"] for contents in kept}) == 4


def write_all(files: TrainFiles, text: str) -> None:
    for path in files.all():
        path.write_text(f"{text} {path.suffixes}")


def test_setting_aside_replaces_nothing(tmp_path: Path) -> None:
    """A name is taken as soon as one of its four files exists, whoever wrote it."""
    files = TrainFiles(tmp_path / "vae.safetensors")
    assert files.set_aside() is None
    assert list(tmp_path.iterdir()) == []
    write_all(files, "new")
    mine = ["vae.previous.history.csv", "vae.previous-2.loss.png", "vae.previous-3.safetensors"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    kept = files.set_aside()
    assert kept == TrainFiles(tmp_path / "vae.previous-4.safetensors")
    assert [path.name for path in kept.all()] == [
        "vae.previous-4.safetensors",
        "vae.previous-4.checkpoint.safetensors",
        "vae.previous-4.history.csv",
        "vae.previous-4.loss.png",
    ]
    assert [path.read_text() for path in kept.all()] == [f"new {path.suffixes}" for path in files.all()]
    assert not any(path.exists() for path in files.all())
    assert {(tmp_path / name).read_text() for name in mine} == {"mine"}


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_a_single_file_of_a_training_is_set_aside_too(tmp_path: Path, left: int) -> None:
    files = TrainFiles(tmp_path / "vae.safetensors")
    files.all()[left].write_text("lone")
    kept = files.set_aside()
    assert kept == TrainFiles(tmp_path / "vae.previous.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == [kept.all()[left].name]
    assert kept.all()[left].read_text() == "lone"


def test_a_file_that_cannot_be_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TrainFiles(tmp_path / "vae.safetensors")
    write_all(files, "new")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(DataError) as error:
        files.set_aside()
    assert str(error.value) == f"{files.weights} cannot be set aside: permission denied."


def test_a_refused_training_sets_nothing_aside(faces: Path, output: Path) -> None:
    train(faces, output, epochs=1, **TINY)
    contents = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    refusal(UsageError, faces, output, epochs=0)
    refusal(UsageError, faces, output, channels=0)
    refusal(DataError, output.with_name("missing.h5"), output)
    refusal(UsageError, faces, output, device="gpu")
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == contents


def test_a_loss_that_is_no_longer_finite(faces: Path, output: Path) -> None:
    message = refusal(TrainingError, faces, output, epochs=2, **{**TINY, "learning_rate": 1e30})
    assert message == (
        "The loss is no longer finite after 0.50 epochs (no checkpoint had been written yet): "
        "try a lower learning rate than 1e+30."
    )
    assert list(output.parent.iterdir()) == []


def test_a_last_step_that_ruins_the_weights(faces: Path, output: Path) -> None:
    """With one step an epoch the training loss is always that of the weights before: the valid loss must tell."""
    options = {**TINY, "batch_size": 500, "learning_rate": 1e30}
    assert refusal(TrainingError, faces, output, epochs=1, **options) == (
        "The loss is no longer finite after 1.00 epochs (no checkpoint had been written yet): "
        "try a lower learning rate than 1e+30."
    )
    assert list(output.parent.iterdir()) == []


def test_a_loss_that_is_no_longer_finite_after_a_checkpoint(
    faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(faces, output, epochs=1, **TINY)
    checkpoint = TrainFiles(output).checkpoint
    before = checkpoint.read_bytes()
    real = Trainer.advance

    def ruin(self: Trainer) -> int:
        with torch.no_grad():
            next(self.vae.parameters()).fill_(math.nan)
        return real(self)

    monkeypatch.setattr(Trainer, "advance", ruin)
    assert refusal(TrainingError, faces, output, epochs=2, resume=True) == (
        f"The loss is no longer finite after 1.25 epochs (the state before is in {checkpoint}): "
        "try a lower learning rate than 0.0005."
    )
    assert checkpoint.read_bytes() == before


def interrupting(at: int, times: int = 1, number: int = signal.SIGINT) -> Callable[[Event], None]:
    """A `report` that sends this process a signal at the given progress event of the training."""

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done == at:
            for _ in range(times):
                os.kill(os.getpid(), number)

    return report


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [1, 4, 6, 11])
def test_an_interrupted_training_keeps_its_work_and_goes_on(
    faces: Path, output: Path, unbroken: TrainResult, at: int, number: int
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    halted = train(faces, output, epochs=3, report=interrupting(at, number=number), **TINY)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert halted.interrupted
    assert halted.stopped == "interrupted"
    # The signal comes while a step is being reported, and no other step follows.
    assert halted.epochs == at / 4
    model = FaceModel.load(output)
    assert model.directions is not None
    assert model.training["epochs_done"] == halted.epochs
    assert sorted(path.name for path in output.parent.iterdir()) == OUTPUTS
    resumed = train(faces, output, resume=True, device="cpu")
    assert not resumed.interrupted
    assert_same_training(resumed, unbroken)


@pytest.mark.parametrize("stage", ["train", "latents"])
def test_a_request_after_the_last_step_interrupts_nothing(
    faces: Path, output: Path, unbroken: TrainResult, stage: str
) -> None:
    """While the last step is reported, or while the directions are found: the training is done, and says so."""
    events: list[Event] = []

    def report(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.stage == stage and event.done == event.total:
            os.kill(os.getpid(), signal.SIGINT)

    done = train(faces, output, epochs=3, report=report, **TINY)
    assert (done.interrupted, done.epochs) == (False, 3.0)
    assert not [event for event in events if isinstance(event, Notice) and event.text.startswith("Interrupted")]
    assert_same_training(done, unbroken)


def test_interrupted_twice_gives_up_the_directions(faces: Path, output: Path, unbroken: TrainResult) -> None:
    halted = train(faces, output, epochs=3, report=interrupting(6, times=2), **TINY)
    assert halted.interrupted
    assert FaceModel.load(output).directions is None
    assert_same_training(train(faces, output, resume=True, device="cpu"), unbroken)


def test_directions_that_were_skipped_are_found_by_resuming(faces: Path, output: Path, unbroken: TrainResult) -> None:
    """A run that ended between its last epoch and its directions, as by a kill there, is finished without another step."""
    events: list[Event] = []

    def report(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.stage == "train" and event.done == event.total:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    done = train(faces, output, epochs=3, report=report, **TINY)
    assert not done.interrupted
    assert FaceModel.load(output).directions is None
    skipped = "The attribute directions and the prior were not computed: facevae train --resume computes them."
    assert [event.text for event in events if isinstance(event, Notice)][-1] == skipped
    with pytest.raises(DataError) as error:
        FaceModel.load(output).direction("Male")
    assert str(error.value) == (
        f"{output} holds no attribute directions yet, as its training was broken off: "
        "finish it with facevae train --resume, or take them from latents with --latents."
    )
    TrainFiles(output).plot.unlink()
    assert_same_training(train(faces, output, resume=True, device="cpu"), unbroken)
    assert FaceModel.load(output).directions is not None
    assert TrainFiles(output).plot.exists()


def test_resuming_with_another_learning_rate(faces: Path, output: Path) -> None:
    train(faces, output, epochs=1, **TINY)
    train(faces, output, epochs=2, resume=True, learning_rate=1e-4)
    checkpoint = load_checkpoint(TrainFiles(output).checkpoint)
    assert (checkpoint.epoch, checkpoint.train.learning_rate) == (2, 1e-4)


def test_interrupted_three_times_breaks_off_at_once(faces: Path, output: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(faces, output, epochs=3, report=interrupting(6, times=3), **TINY)
    # What the first epoch left is whole.
    assert load_checkpoint(TrainFiles(output).checkpoint).epoch == 1
    FaceModel.load(output)
    assert not list(output.parent.glob(".*"))


def test_notice_of_an_interruption(faces: Path, output: Path) -> None:
    recorder = Recorder()
    interrupt = interrupting(2)

    def report(event: Event) -> None:
        recorder(event)
        interrupt(event)

    train(faces, output, epochs=3, report=report, **TINY)
    assert "Interrupted: keeping what was trained." in recorder.notices


def test_training_in_a_thread_leaves_the_signals_alone(faces: Path, output: Path) -> None:
    results: list[TrainResult] = []
    handler = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []

    def report(event: Event) -> None:
        seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=lambda: results.append(train(faces, output, epochs=1, report=report, **TINY)))
    thread.start()
    thread.join(60)
    assert results[0].epochs == 1.0
    assert set(seen) == {handler}


def test_interruption_counts_to_three() -> None:
    interruption = Interruption()
    assert not interruption.requested
    interruption.handle(signal.SIGINT, None)
    interruption.handle(signal.SIGINT, None)
    assert interruption.requested
    assert interruption.count == 2
    with pytest.raises(KeyboardInterrupt):
        interruption.handle(signal.SIGINT, None)


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def fail() -> None:
        with deferred_interruption():
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


SLOW_TRAINING = """
import sys, time
from pathlib import Path
import torch
from facevae.progress import Progress
from facevae.workflows.train import train
torch.set_num_threads(int(sys.argv[3]))
train(
    Path(sys.argv[1]), Path(sys.argv[2]), recipe="note", epochs=3, channels=4, latent_dim=5, batch_size=12, device="cpu", seed=2,
    report=lambda event: time.sleep(1.0 if isinstance(event, Progress) and event.done == 6 else 0),
)
"""


def test_a_killed_process_can_be_resumed(faces: Path, output: Path, unbroken: TrainResult) -> None:
    checkpoint = TrainFiles(output).checkpoint
    # As many threads as this process has by now, though no result should depend on it.
    threads = str(torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", SLOW_TRAINING, str(faces), str(output), threads])
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert load_checkpoint(checkpoint).epoch == 1
    resumed = train(faces, output, resume=True, device="cpu")
    assert resumed.epochs == 3.0
    assert_same_training(resumed, unbroken)


def test_checkpoints_are_also_written_by_time(
    faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch, unbroken: TrainResult
) -> None:
    monkeypatch.setattr(training_run, "CHECKPOINT_SECONDS", -1.0)
    checkpoint = TrainFiles(output).checkpoint
    positions: list[tuple[int, int]] = []

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and checkpoint.exists():
            loaded = load_checkpoint(checkpoint)
            positions.append((loaded.epoch, loaded.step))

    assert_same_training(train(faces, output, epochs=3, report=report, **TINY), unbroken)
    assert positions == [(epoch, step) for epoch in range(3) for step in range(4)]


def test_faces_without_attributes_and_valid_split(faces_without_attributes: Path, output: Path) -> None:
    recorder = Recorder()
    result = train(faces_without_attributes, output, epochs=1, report=recorder, **TINY)
    assert recorder.notices[0] == (
        f"{faces_without_attributes} has no valid split: only the training loss is recorded."
    )
    assert result.valid_loss is None
    assert {row["split"] for row in table(result)} == {"train"}
    model = FaceModel.load(output)
    assert (model.directions, model.attribute_names) == (None, ())
    assert set(model.training["losses"]) == {"train"}
    assert result.files.plot.exists()


@pytest.mark.parametrize(("split", "images"), [("all", 60), ("valid", 10)])
def test_training_on_the_valid_images(faces: Path, output: Path, split: Any, images: int) -> None:
    recorder = Recorder()
    train(faces, output, epochs=1, split=split, report=recorder, **TINY)
    assert recorder.notices[0] == (
        "The valid images are among those trained on: their loss says nothing about new faces."
    )
    assert FaceModel.load(output).training["images_in_split"] == images


def test_training_on_the_test_images_says_nothing_of_the_valid_ones(faces: Path, output: Path) -> None:
    recorder = Recorder()
    train(faces, output, epochs=1, split="test", report=recorder, **TINY)
    assert len(recorder.notices) == 1
    assert FaceModel.load(output).training["images_in_split"] == 10


def test_too_few_images(tmp_path: Path, output: Path) -> None:
    one = write_faces(tmp_path / "one.h5", count=2, size=16, split=np.array([0, 1], dtype=np.uint8))
    assert refusal(DataError, one, output, epochs=1, **TINY) == (
        f"{one} has one image in the split train: training needs at least two."
    )
    assert refusal(DataError, one, output, epochs=1, split="test", **TINY) == (
        f"{one} has no images in the split test: name another split, or prepare again."
    )


@pytest.mark.parametrize(("size", "fitting"), [(1, 16), (15, 16), (20, 16), (96, 64), (127, 64)])
def test_faces_of_a_size_the_network_does_not_know(size: int, fitting: int, tmp_path: Path, output: Path) -> None:
    odd = write_faces(tmp_path / "odd.h5", count=6, size=size)
    assert refusal(DataError, odd, output, epochs=1, **TINY) == (
        f"{odd} holds faces of {size} x {size} pixels, which do not fit the network: "
        f"prepare them with --size {fitting} (a power of two from 16 to 512)."
    )
    assert not output.exists()


@pytest.mark.parametrize("name", ["vae.pt", "vae", "vae.safetensors.bak"])
def test_weights_of_another_name(faces: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert refusal(UsageError, faces, path) == f"Cannot write weights to {path}: their name must end in .safetensors."


def test_weights_over_the_faces(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces.safetensors", count=4, size=16)
    assert refusal(UsageError, faces, faces) == (
        f"{faces} is an input and would be overwritten: name another output with -o."
    )
    other = write_faces(tmp_path / "other.safetensors", count=4, size=16)
    assert refusal(UsageError, faces, other) == (
        f"{other} holds prepared faces and would be overwritten by VAE weights: name another output with -o."
    )


def test_defaults_are_the_files_of_the_workspace(workspace: Path) -> None:
    write_faces(workspace / "faces.h5", count=6, size=16)
    result = train(epochs=1, **TINY)
    assert result.files.weights == Path("vae.safetensors")
    assert sorted(path.name for path in workspace.iterdir()) == ["faces.h5", *OUTPUTS]


@pytest.mark.parametrize("stem", ["vae", "a/b", "my.vae", "vae/vae", "vae.previous"])
def test_names_of_the_files(stem: str) -> None:
    files = TrainFiles(Path(f"{stem}.safetensors"))
    assert files.checkpoint == Path(f"{stem}.checkpoint.safetensors")
    assert files.history == Path(f"{stem}.history.csv")
    assert files.plot == Path(f"{stem}.loss.png")
    assert files.all() == (files.weights, files.checkpoint, files.history, files.plot)


def test_faces_that_are_damaged(tmp_path: Path, output: Path) -> None:
    faces = write_faces(tmp_path / "faces.h5", count=12, size=16)
    with h5py.File(faces, "r+") as file:
        file.attrs["image_size"] = 32
    assert refusal(DataError, faces, output) == (
        f"{faces} is damaged (images are uint8 (12, 16, 16, 3)). Make one with: facevae prepare --celeba-dir DIR"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["faces.h5"]


def test_an_output_that_vanishes_is_a_data_error(faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()

    def report(event: Event) -> None:
        if isinstance(event, Progress) and folder.exists():
            folder.rmdir()

    message = refusal(DataError, faces, folder / "vae.safetensors", epochs=1, report=report, **TINY)
    assert message == f"{folder / 'vae.checkpoint.safetensors'} cannot be written: no such file or directory."


@pytest.mark.parametrize("epoch", [1, 3])
def test_an_evaluation_that_was_broken_off_is_made_up_for(
    faces: Path, output: Path, unbroken: TrainResult, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process of the training is lost in just that moment; the last epoch is no exception."""
    real = evaluate_loss
    calls: list[None] = []

    def lose(*arguments: Any) -> MeanLoss:
        calls.append(None)
        if len(calls) == epoch:
            raise LostRankError("Rank 0 of 2 lost another one.")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "evaluate_loss", lose)
        with pytest.raises(LostRankError) as refusal:
            train(faces, output, epochs=3, **TINY)
    assert str(refusal.value) == (
        f"Rank 0 of 2 lost another one. {TrainFiles(output).checkpoint} holds what was trained, {epoch}.00 epochs: "
        "go on from there with --resume."
    )
    resumed = train(faces, output, resume=True)
    assert_same_training(resumed, unbroken)
    columns = ("epoch", "split", "loss")
    assert [[row[name] for name in columns] for row in table(resumed)] == [
        [row[name] for name in columns] for row in table(unbroken)
    ]


@pytest.mark.parametrize("in_one_piece", [True, False])
def test_valid_images_that_are_trained_on_are_evaluated_all_the_same(
    tmp_path: Path, output: Path, in_one_piece: bool
) -> None:
    codes = np.repeat(np.array([0, 1, 2], dtype=np.uint8), (20, 8, 4))
    split = codes if in_one_piece else np.random.default_rng(0).permutation(codes)
    path = write_faces(tmp_path / "faces.h5", count=32, size=16, split=split)
    result = train(path, output, epochs=1, split="all", **TINY)
    vae = FaceModel.load(output).vae
    with Faces(path) as faces:
        images = torch.from_numpy(faces.images_of("valid"))
    assert result.valid_loss is not None
    assert result.valid_loss.loss == evaluate_loss(vae, images, TrainConfig(batch_size=12, seed=2)).total


def test_an_evaluation_is_made_up_for_without_a_training_point(
    faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process lost while the loss of an epoch's only step is read leaves no point of that epoch."""
    recorder, real = Recorder(), Trainer.read_loss
    options = {**TINY, "batch_size": 50}

    def lose(self: Trainer) -> MeanLoss:
        raise LostRankError("Rank 0 of 2 lost another one.")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "read_loss", lose)
        with pytest.raises(LostRankError):
            train(faces, output, epochs=2, **options)
    assert Trainer.read_loss is real
    resumed = train(faces, output, resume=True, report=recorder)
    assert resumed.valid_loss is not None
    assert resumed.valid_loss.epoch == 2.0
    assert recorder.notices[0].startswith("epoch 1/2: valid loss ")


def test_a_checkpoint_is_taken_by_time_between_two_points(
    faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty points an epoch are every second step here; a minute over makes for one more, and a checkpoint, at once."""
    monkeypatch.setattr(training_run, "CHECKPOINT_SECONDS", -1.0)
    saved: list[tuple[int, int]] = []
    real = save_checkpoint

    def save(path: Path, trainer: Trainer, **more: Any) -> None:
        saved.append((trainer.epoch, trainer.step))
        real(path, trainer, **more)

    monkeypatch.setattr(training_run, "save_checkpoint", save)
    result = train(faces, output, epochs=1, **{**TINY, "batch_size": 2})
    assert set(saved) >= {(0, step) for step in range(1, 20)}
    points = [float(row["epoch"]) * 20 for row in table(result) if row["split"] == "train"]
    assert points == pytest.approx(range(1, 21))

"""The training of the upscaler from faces to files: what it writes, how it goes on, what it says and what it refuses."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from facevae.config import UpscalerConfig
from facevae.errors import DataError, FacevaeError, MismatchError, TrainingError, UsageError
from facevae.model.upscaler_training import UpscalerTrainer, measure_gain
from facevae.progress import Event, Progress, silent
from facevae.storage.faces import Faces
from facevae.storage.kinds import UPSCALER, UPSCALER_CHECKPOINT, kind_of
from facevae.storage.training_files import TrainFiles
from facevae.storage.upscaler_checkpoint import load_upscaler_checkpoint
from facevae.storage.upscaler_file import Upscaler
from facevae.storage.weights import FaceModel
from facevae.version import __version__
from facevae.workflows import train_upscaler as workflow
from facevae.workflows import upscaler_data as data_module
from facevae.workflows.train_upscaler import TrainUpscalerResult, train_upscaler
from facevae.workflows.upscaler_data import reconstructed, split_rows, upscaler_data
from helpers import files, put_weights, run, succeed
from helpers import refusal as command_refusal
from support import Clock, Recorder, drawn_faces, same_state, write_faces

TINY: dict[str, Any] = {
    "batch_size": 12,
    "patch_size": 16,
    "learning_rate": 2e-3,
    "device": "cpu",
    "precision": "fp32",
    "seed": 2,
}
"""40 train images in batches of 12 make four steps an epoch."""
SHAPE = UpscalerConfig(depth=3, channels=4)
OUTPUTS = ["upscaler.checkpoint.safetensors", "upscaler.history.csv", "upscaler.loss.png", "upscaler.safetensors"]
COLUMNS = ["epoch", "split", "mse", "psnr", "gain", "patches_per_second"]
ONE_OF_NINE = np.resize(np.array([0] * 8 + [1], dtype=np.uint8), 36)


@pytest.fixture(scope="module", autouse=True)
def _small_network() -> Iterator[None]:
    """Three layers of four channels instead of the paper's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "UpscalerConfig", partial(UpscalerConfig, SHAPE.depth, SHAPE.channels))
        yield


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 faces of 32x32, of which 40 are train, 10 valid and 10 test."""
    return write_faces(tmp_path_factory.mktemp("faces") / "faces.h5")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 drawn faces of 48x48, of which four are valid."""
    path = tmp_path_factory.mktemp("drawn") / "faces.h5"
    return write_faces(path, count=36, size=48, split=ONE_OF_NINE, images=drawn_faces(36, 48))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 faces of 64x64, twice the size of the VAE's."""
    return write_faces(tmp_path_factory.mktemp("large") / "faces.h5", size=64)


@pytest.fixture(scope="module")
def unbroken(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainUpscalerResult:
    """Three epochs in one go."""
    return train_upscaler(faces, tmp_path_factory.mktemp("unbroken") / "upscaler.safetensors", epochs=3, **TINY)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "upscaler.safetensors"


def table(result: TrainUpscalerResult) -> list[dict[str, str]]:
    with result.files.history.open(newline="") as file:
        return list(csv.DictReader(file))


def timeless(result: TrainUpscalerResult) -> list[dict[str, str]]:
    return [{**row, "patches_per_second": ""} for row in table(result)]


def assert_same_training(one: TrainUpscalerResult, other: TrainUpscalerResult) -> None:
    """The same weights, gain and optimiser, bit for bit."""
    assert same_state(Upscaler.load(one.files.weights).network, Upscaler.load(other.files.weights).network)
    assert (one.psnr, one.gain, one.epochs) == (other.psnr, other.gain, other.epochs)
    halted, compared = load_upscaler_checkpoint(one.files.checkpoint), load_upscaler_checkpoint(other.files.checkpoint)
    assert (halted.epoch, halted.step, halted.train) == (compared.epoch, compared.step, compared.train)
    assert halted.tensors.keys() == compared.tensors.keys()
    assert all(torch.equal(value, compared.tensors[name]) for name, value in halted.tensors.items())


def refusal(kind: type[FacevaeError], *arguments: Path, **options: Any) -> str:
    with pytest.raises(kind) as error:
        train_upscaler(*arguments, **options)
    return str(error.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def interrupting(at: int, times: int = 1, number: int = signal.SIGINT, stage: str = "train") -> Callable[[Event], None]:
    """A `report` that sends this process a signal at the given progress event."""

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == stage and event.done == at:
            for _ in range(times):
                os.kill(os.getpid(), number)

    return report


# --------------------------------------------------------------------------------------------------- what it writes


def test_training_writes_its_four_files(unbroken: TrainUpscalerResult) -> None:
    assert sorted(path.name for path in unbroken.files.weights.parent.iterdir()) == OUTPUTS
    assert kind_of(unbroken.files.weights) == UPSCALER
    assert kind_of(unbroken.files.checkpoint) == UPSCALER_CHECKPOINT
    assert (unbroken.epochs, unbroken.stopped, unbroken.interrupted) == (3.0, "done", False)
    assert unbroken.inputs == "photographs"
    assert unbroken.seconds > 0


def test_history_has_the_points_of_every_epoch(unbroken: TrainUpscalerResult) -> None:
    rows = table(unbroken)
    assert list(rows[0]) == COLUMNS
    epochs = {split: [float(row["epoch"]) for row in rows if row["split"] == split] for split in ("train", "valid")}
    assert epochs == {"valid": [1.0, 2.0, 3.0], "train": [step / 4 for step in range(1, 13)]}
    for row in rows:
        numbers = {name: float(row[name]) for name in COLUMNS if name != "split"}
        assert all(math.isfinite(number) for number in numbers.values())
        assert (numbers["patches_per_second"] > 0) == (row["split"] == "train")
        if row["split"] == "train":
            assert numbers["psnr"] == pytest.approx(-10 * math.log10(numbers["mse"]), abs=1e-4)
    assert (float(rows[-1]["psnr"]), float(rows[-1]["gain"])) == pytest.approx((unbroken.psnr, unbroken.gain), rel=1e-5)
    # The network begins with the bicubic enlargement itself.
    assert float(rows[0]["gain"]) == 0.0
    assert float(rows[1]["gain"]) != 0.0


def test_plot_is_a_picture_with_both_curves(unbroken: TrainUpscalerResult) -> None:
    with Image.open(unbroken.files.plot) as picture:
        picture.load()
        assert picture.format == "PNG"
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours


def test_weights_carry_the_record_of_the_training(unbroken: TrainUpscalerResult, faces: Path) -> None:
    upscaler = Upscaler.load(unbroken.files.weights)
    training = upscaler.training
    with Faces(faces) as opened:
        fingerprint = opened.fingerprint
        held_out = upscaler_data(opened, "photographs", None, silent).held_out
    expected = {
        "inputs": "photographs",
        "epochs": 3,
        "batch_size": 12,
        "patch_size": 16,
        "learning_rate": 2e-3,
        "factors": [2, 3, 4],
        "seed": 2,
        "precision": "fp32",
        "epochs_done": 3.0,
        "faces": 40,
        "face_size": 32,
        "device": "cpu",
        "faces_fingerprint": fingerprint,
        "faces_source": "drawn by the tests",
        "vae": None,
        "valid": {"faces": 10, "psnr": unbroken.psnr, "gain": unbroken.gain},
        "versions": {"facevae": __version__, "torch": str(torch.__version__)},
    }
    assert {name: training[name] for name in expected} == expected
    assert upscaler.network.config == SHAPE
    # What the record says is true of the network in the file.
    measured = measure_gain(upscaler.network, held_out, torch.float32)
    assert (measured.psnr, measured.gain) == (unbroken.psnr, unbroken.gain)


def test_events_tell_of_steps_and_epochs(faces: Path, output: Path) -> None:
    recorder = Recorder()
    result = train_upscaler(faces, output, epochs=2, report=recorder, **TINY)
    assert [(event.stage, event.done, event.total, event.unit) for event in recorder.progress] == [
        ("train", done, 8, "steps") for done in range(1, 9)
    ]
    assert list(recorder.progress[0].values) == ["epoch", "gain, dB", "patches/s", "PSNR"]
    valid = [row for row in table(result) if row["split"] == "valid"]
    assert [text for text in recorder.notices if text.startswith("epoch ")] == [
        f"epoch {row['epoch']}/2: held-out faces at {float(row['psnr']):.2f} dB, {float(row['gain']):+.2f} against bicubic"
        for row in valid
    ]


def test_two_trainings_with_one_seed_are_equal(faces: Path, output: Path, unbroken: TrainUpscalerResult) -> None:
    again = train_upscaler(faces, output, epochs=3, **TINY)
    assert_same_training(again, unbroken)
    assert timeless(again) == timeless(unbroken)
    other = train_upscaler(faces, output.with_name("other.safetensors"), epochs=1, **{**TINY, "seed": 3})
    assert not same_state(Upscaler.load(other.files.weights).network, Upscaler.load(again.files.weights).network)


def test_defaults_are_the_files_of_the_workspace(workspace: Path) -> None:
    write_faces(workspace / "faces-96.h5", count=20)
    result = train_upscaler(epochs=1, **TINY)
    assert result.files.weights == Path("upscaler.safetensors")
    assert files() == sorted(["faces-96.h5", *OUTPUTS])


def test_names_may_be_strings(faces: Path, output: Path, workspace: Path) -> None:
    by_string = train_upscaler(str(faces), "a.safetensors", epochs=1, **TINY)
    by_path = train_upscaler(faces, Path("b.safetensors"), epochs=1, **TINY)
    assert by_string.files.weights == Path("a.safetensors")
    assert by_string.gain == by_path.gain


# --------------------------------------------------------------------------------------------------- held-out faces


def test_without_a_valid_split_every_tenth_face_is_held_out(tmp_path: Path, output: Path) -> None:
    faces = write_faces(tmp_path / "plain.h5", count=30, split=np.zeros(30, dtype=np.uint8))
    recorder = Recorder()
    train_upscaler(faces, output, epochs=1, report=recorder, **TINY)
    assert recorder.notices[0] == (
        f"{faces} has no valid split: every 10th face, 3 in all, is held out to measure the gain on."
    )
    training = Upscaler.load(output).training
    assert (training["faces"], training["valid"]["faces"]) == (27, 3)


@given(split=st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_no_face_is_both_learned_from_and_held_out(split: list[int]) -> None:
    rows = {name: np.flatnonzero(np.array(split) == code) for code, name in enumerate(("train", "valid", "test"))}
    faces = cast("Faces", SimpleNamespace(rows_of=rows.__getitem__, path="faces.h5"))
    if not len(rows["train"]) or (not len(rows["valid"]) and len(rows["train"]) < 10):
        with pytest.raises(DataError) as error:
            split_rows(faces, silent)
        assert str(error.value) == "faces.h5 holds too few faces: training needs at least 10. Prepare more."
        return
    train, held_out = split_rows(faces, silent)
    assert len(train)
    assert len(held_out)
    if len(rows["valid"]):
        assert (train.tolist(), held_out.tolist()) == (rows["train"].tolist(), rows["valid"].tolist())
    else:
        assert sorted([*train, *held_out]) == rows["train"].tolist()
        assert len(held_out) == len(rows["train"]) // 10


def test_only_so_many_faces_are_measured_spread_over_all(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "MEASURED_AT_MOST", 4)
    with Faces(faces) as opened:
        held_out = upscaler_data(opened, "photographs", None, silent).held_out
        valid = opened.images_of("valid")
    assert held_out.count == 4
    _, wanted = held_out.pair(torch.arange(4), 2, 0, torch.device("cpu"))
    expected = (torch.from_numpy(valid[[0, 3, 6, 9]]) / 255 @ torch.tensor([0.299, 0.587, 0.114]))[:, None]
    torch.testing.assert_close(wanted, expected)


# --------------------------------------------------------------------------------------------------- reconstructions


@pytest.mark.parametrize("batch", [2, 100])
def test_reconstructions_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Here of a model that decodes the negative of what it encodes: faces reduced as Pillow reduces them, up to rounding."""
    model = SimpleNamespace(
        image_size=32,
        encode=lambda images: (images.reshape(len(images), -1).astype(np.float32), None),
        decode=lambda latents: (255 - latents).astype(np.uint8).reshape(-1, 32, 32, 3),
    )
    monkeypatch.setattr(data_module, "_BATCH", batch)
    images = drawn_faces(5, 48)
    recorder = Recorder()
    made = reconstructed(images, cast("FaceModel", model), recorder)
    reduced = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)) for image in images]
    assert np.abs(255 - made.astype(int) - np.stack(reduced)).max() <= 1
    assert [(event.stage, event.done, event.total) for event in recorder.progress] == [
        ("reconstruct", min(done, 5), 5) for done in range(batch, 5 + batch, batch)
    ]


def test_training_on_reconstructions(large: Path, workspace: Path) -> None:
    """Half of the epochs in one go and half after: the VAE is found again, and the result is that of one go."""
    model = put_weights(workspace)
    options = {**TINY, "epochs": 2, "inputs": "reconstructions"}
    result = train_upscaler(large, **options)
    assert result.files.weights == Path("upscaler-reconstructions.safetensors")
    assert result.inputs == "reconstructions"
    upscaler = Upscaler.load(result.files.weights)
    assert upscaler.inputs == "reconstructions"
    assert upscaler.training["vae"] == model.hash()
    assert upscaler.training["face_size"] == 64
    with Faces(large) as opened:
        held_out = upscaler_data(opened, "reconstructions", model, silent).held_out
    enlarged, wanted = held_out.pair(torch.arange(10), 3, 0, torch.device("cpu"))
    assert enlarged.shape == wanted.shape == (10, 1, 96, 96)
    assert measure_gain(upscaler.network, held_out, torch.float32).gain == result.gain
    halves = train_upscaler(large, "b.safetensors", report=interrupting(5), **options)
    assert halves.interrupted
    halves = train_upscaler(large, "b.safetensors", resume=True, weights="vae.safetensors", device="cpu")
    assert_same_training(halves, result)


def test_resuming_with_another_vae(large: Path, workspace: Path) -> None:
    put_weights(workspace)
    options = {**TINY, "inputs": "reconstructions"}
    train_upscaler(large, epochs=1, **options)
    before = contents(workspace)
    model = FaceModel.load("vae.safetensors")
    with torch.no_grad():
        next(model.vae.parameters()).add_(0.1)
    model.save("other.safetensors")
    assert refusal(
        MismatchError, large, epochs=2, resume=True, weights="other.safetensors", inputs="reconstructions"
    ) == (
        "upscaler-reconstructions.checkpoint.safetensors was trained on the reconstructions of other weights: name those "
        "with --weights, or start a new training without --resume."
    )
    Path("other.safetensors").unlink()
    assert contents(workspace) == before


def test_weights_without_reconstructions(faces: Path, output: Path, weights_file: Path) -> None:
    expected = "Photographs need no weights: leave --weights out, or add --inputs reconstructions."
    assert refusal(UsageError, faces, output, weights=weights_file) == expected
    assert refusal(UsageError, faces, output, weights="faces-32", inputs="photographs") == expected
    assert not output.exists()


def test_a_vae_that_is_missing(large: Path, output: Path) -> None:
    missing = output.with_name("none.safetensors")
    assert refusal(DataError, large, output, weights=missing, inputs="reconstructions") == (
        f"There is no {missing}. Check its name and folder, use --weights faces-32 for those shipped, "
        "or train some with: facevae train"
    )


# --------------------------------------------------------------------------------------------------- faces that do not do


def test_faces_that_are_missing(workspace: Path) -> None:
    assert refusal(DataError, Path("faces-96.h5")) == (
        "There is no faces-96.h5. Prepare some with: facevae prepare --celeba-dir DIR --size 96 -o faces-96.h5"
    )
    assert files() == []


def test_faces_that_are_too_small(tmp_path: Path, output: Path, weights_file: Path) -> None:
    small = write_faces(tmp_path / "small.h5", count=12, size=31)
    assert refusal(MismatchError, small, output, **TINY) == (
        f"{small} holds faces of 31 x 31 pixels, too few to be reduced: prepare faces with --size 96."
    )
    small = write_faces(tmp_path / "small.h5", count=12, size=63)
    assert refusal(MismatchError, small, output, weights=weights_file, inputs="reconstructions", **TINY) == (
        f"{small} holds faces of 63 x 63 pixels, too few beside the 32 of {weights_file}: prepare faces with --size 96."
    )
    assert not output.exists()


def test_faces_that_are_too_few(tmp_path: Path, output: Path) -> None:
    few = write_faces(tmp_path / "few.h5", count=9, split=np.zeros(9, dtype=np.uint8))
    assert refusal(DataError, few, output, **TINY) == (
        f"{few} holds too few faces: training needs at least 10. Prepare more."
    )
    assert not output.exists()


def test_faces_that_are_none(weights_file: Path, output: Path) -> None:
    message = refusal(DataError, weights_file, output, **TINY)
    assert message.startswith(f"{weights_file} ")
    assert message.endswith("Make one with: facevae prepare --celeba-dir DIR")


# --------------------------------------------------------------------------------------------------- outputs


def test_outputs_that_are_refused(faces: Path, tmp_path: Path, weights_file: Path, faces_file: Path) -> None:
    assert refusal(UsageError, faces, tmp_path / "a.pt") == (
        f"Cannot write weights to {tmp_path / 'a.pt'}: their name must end in .safetensors."
    )
    assert refusal(UsageError, faces, weights_file) == (
        f"{weights_file} holds VAE weights and would be overwritten by upscaler weights: name another output with -o."
    )
    assert refusal(UsageError, faces_file, faces_file) == (
        f"{faces_file} is an input and would be overwritten: name another output with -o."
    )
    train_upscaler(faces, tmp_path / "u.safetensors", epochs=1, **TINY)
    checkpoint = tmp_path / "u.checkpoint.safetensors"
    assert refusal(UsageError, faces, checkpoint) == (
        f"{checkpoint} holds an upscaler's checkpoint and would be overwritten by upscaler weights: "
        "name another output with -o."
    )


def test_an_earlier_training_is_set_aside(faces: Path, output: Path) -> None:
    train_upscaler(faces, output, epochs=1, **TINY)
    before = contents(output.parent)
    recorder = Recorder()
    train_upscaler(faces, output, epochs=1, report=recorder, **{**TINY, "seed": 9})
    previous = output.with_name("upscaler.previous.safetensors")
    assert recorder.notices[0] == f"The earlier training is kept as {previous} (and the files beside it)."
    for name, content in before.items():
        assert output.with_name(name.replace("upscaler", "upscaler.previous", 1)).read_bytes() == content
    assert len(contents(output.parent)) == 8
    # What is set aside can itself be resumed.
    assert train_upscaler(faces, previous, epochs=2, resume=True, device="cpu").epochs == 2.0


def test_a_refused_training_sets_nothing_aside(faces: Path, output: Path, large: Path) -> None:
    train_upscaler(faces, output, epochs=1, **TINY)
    before = contents(output.parent)
    assert refusal(UsageError, faces, output, epochs=0) == "0 epochs are too few: use a whole number of at least 1."
    assert refusal(UsageError, faces, output, inputs="paintings") == (
        "There are no inputs paintings: use one of photographs, reconstructions."
    )
    refusal(UsageError, faces, output, device="gpu")
    refusal(UsageError, faces, output, precision="fp8")
    refusal(UsageError, faces, output, max_time="soon")
    refusal(DataError, output.with_name("missing.h5"), output)
    assert contents(output.parent) == before


# --------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("at", "number"),
    [(1, signal.SIGINT), (4, signal.SIGINT), (6, signal.SIGTERM), (6, signal.SIGINT), (11, signal.SIGINT)],
)
def test_an_interrupted_training_keeps_its_work_and_goes_on(
    faces: Path, output: Path, unbroken: TrainUpscalerResult, at: int, number: int
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    recorder, interrupt = Recorder(), interrupting(at, number=number)

    def report(event: Event) -> None:
        recorder(event)
        interrupt(event)

    halted = train_upscaler(faces, output, epochs=3, report=report, **TINY)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert (halted.interrupted, halted.stopped, halted.epochs) == (True, "interrupted", at / 4)
    assert "Interrupted: keeping what was trained." in recorder.notices
    assert (halted.gain is None) == (at < 4)
    upscaler = Upscaler.load(output)
    assert upscaler.training["epochs_done"] == halted.epochs
    assert (upscaler.training["valid"] is None) == (at < 4)
    assert sorted(path.name for path in output.parent.iterdir()) == OUTPUTS
    resumed = train_upscaler(faces, output, resume=True, device="cpu")
    assert not resumed.interrupted
    assert_same_training(resumed, unbroken)
    assert timeless(resumed) == timeless(unbroken)


def test_a_request_after_the_last_step_interrupts_nothing(
    faces: Path, output: Path, unbroken: TrainUpscalerResult
) -> None:
    done = train_upscaler(faces, output, epochs=3, report=interrupting(12), **TINY)
    assert (done.interrupted, done.stopped) == (False, "done")
    assert_same_training(done, unbroken)


def test_interrupted_three_times_breaks_off_at_once(faces: Path, output: Path, unbroken: TrainUpscalerResult) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_upscaler(faces, output, epochs=3, report=interrupting(6, times=3), **TINY)
    # What the first epoch left is whole.
    assert load_upscaler_checkpoint(TrainFiles(output).checkpoint).epoch == 1
    assert Upscaler.load(output).training["epochs_done"] == 1.0
    assert not list(output.parent.glob(".*"))
    assert_same_training(train_upscaler(faces, output, resume=True, device="cpu"), unbroken)


def test_an_interruption_while_faces_are_reconstructed_breaks_off_at_once(large: Path, workspace: Path) -> None:
    """Nothing is trained yet, and an earlier training stays where it is."""
    put_weights(workspace)
    options = {**TINY, "inputs": "reconstructions", "epochs": 1}
    train_upscaler(large, **options)
    before = contents(workspace)
    with pytest.raises(KeyboardInterrupt):
        train_upscaler(large, report=interrupting(40, stage="reconstruct"), **options)
    assert contents(workspace) == before


def test_a_training_stops_when_its_time_is_up_and_goes_on(
    faces: Path, output: Path, unbroken: TrainUpscalerResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is followed by a report: 45 seconds are over after the fifth."""
    with monkeypatch.context() as patch:
        clock = Clock(patch, workflow)
        halted = train_upscaler(faces, output, epochs=3, max_time="45s", report=clock.report, **TINY)
    assert (halted.epochs, halted.stopped, halted.interrupted) == (1.25, "max time", False)
    assert clock.notices[-1] == (
        "The time of 45s is up after 1.25 of 3 epochs: facevae train-upscaler --resume goes on."
    )
    checkpoint = load_upscaler_checkpoint(TrainFiles(output).checkpoint)
    assert (checkpoint.epoch, checkpoint.step, checkpoint.seconds) == (1, 1, 50.0)
    # The limit is that of a run: it is not remembered, and starts anew.
    resumed = train_upscaler(faces, output, resume=True, device="cpu", max_time="1h")
    assert (resumed.epochs, resumed.stopped) == (3.0, "done")
    assert resumed.seconds > 50.0
    assert_same_training(resumed, unbroken)


def test_the_notice_of_the_time_names_the_command_that_goes_on(large: Path, workspace: Path) -> None:
    put_weights(workspace)
    recorder = Recorder()
    train_upscaler(large, inputs="reconstructions", epochs=3, max_time=1e-6, report=recorder, **TINY)
    assert recorder.notices[-1] == (
        "The time of 1e-06s is up after 0.25 of 3 epochs: facevae train-upscaler --inputs reconstructions --resume goes on."
    )
    resumed = succeed(
        "train-upscaler", "--inputs", "reconstructions", "--resume", "--faces", large, "--json", "-q"
    ).json
    assert (resumed["epochs"], resumed["inputs"]) == (3.0, "reconstructions")


def test_one_step_at_a_time_is_the_same_training(faces: Path, output: Path, unbroken: TrainUpscalerResult) -> None:
    for step in range(1, 13):
        result = train_upscaler(faces, output, epochs=3, max_time=1e-6, resume=step > 1, **TINY)
        assert (result.epochs, result.stopped) == (step / 4, "max time" if step < 12 else "done")
    assert_same_training(result, unbroken)
    assert timeless(result) == timeless(unbroken)


def test_checkpoints_are_also_written_by_time(
    faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch, unbroken: TrainUpscalerResult
) -> None:
    """Between two points of the history, too: what is not in the history yet is put into it."""
    monkeypatch.setattr(workflow, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(workflow, "_POINTS_PER_EPOCH", 2)
    checkpoint = TrainFiles(output).checkpoint
    positions: list[tuple[int, int]] = []

    def report(event: Event) -> None:
        if isinstance(event, Progress) and checkpoint.exists():
            loaded = load_upscaler_checkpoint(checkpoint)
            positions.append((loaded.epoch, loaded.step))

    result = train_upscaler(faces, output, epochs=3, report=report, **TINY)
    assert_same_training(result, unbroken)
    assert positions == [(epoch, step) for epoch in range(3) for step in range(4)]
    assert timeless(result) == timeless(unbroken)


SLOW_TRAINING = """
import sys, time
from functools import partial
from facevae.config import UpscalerConfig
from facevae.progress import Progress
from facevae.workflows import train_upscaler as workflow
workflow.UpscalerConfig = partial(UpscalerConfig, 3, 4)
workflow.train_upscaler(
    sys.argv[1], sys.argv[2], epochs=3, batch_size=12, patch_size=16, learning_rate=2e-3, device="cpu", precision="fp32", seed=2,
    report=lambda event: time.sleep(1.0 if isinstance(event, Progress) and event.done == 6 else 0),
)
"""


def test_a_killed_process_can_be_resumed(faces: Path, output: Path, unbroken: TrainUpscalerResult) -> None:
    checkpoint = TrainFiles(output).checkpoint
    process = subprocess.Popen([sys.executable, "-c", SLOW_TRAINING, str(faces), str(output)])
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert load_upscaler_checkpoint(checkpoint).epoch == 1
    assert_same_training(train_upscaler(faces, output, resume=True, device="cpu"), unbroken)


@pytest.mark.parametrize("left", ["no plot", "no weights", "the weights of an epoch before", "damaged weights"])
def test_what_a_kill_after_the_last_checkpoint_left_undone_is_done(
    faces: Path, output: Path, unbroken: TrainUpscalerResult, left: str
) -> None:
    """The checkpoint is written first of all: after a kill right behind it, the other files are those of before."""
    for path in unbroken.files.all():
        shutil.copy(path, output.parent)
    if left == "no plot":
        TrainFiles(output).plot.unlink()
    elif left == "no weights":
        output.unlink()
    elif left == "damaged weights":
        output.write_bytes(output.read_bytes()[:-1])
    else:
        first = train_upscaler(faces, output.with_name("first.safetensors"), epochs=3, report=interrupting(8), **TINY)
        shutil.copy(first.files.weights, output)
    recorder = Recorder()
    result = train_upscaler(faces, output, resume=True, device="cpu", report=recorder)
    assert (result.epochs, result.stopped) == (3.0, "done")
    assert recorder.progress == []  # not a step more
    assert_same_training(result, unbroken)
    assert TrainFiles(output).plot.exists()
    refusal(UsageError, faces, output, resume=True)


def test_a_finished_training_asks_for_more_epochs(faces: Path, output: Path) -> None:
    train_upscaler(faces, output, epochs=2, **TINY)
    before = contents(output.parent)
    checkpoint = TrainFiles(output).checkpoint
    expected = f"{checkpoint} has been trained for 2 epochs already: ask for more with --epochs, such as --epochs 12."
    assert refusal(UsageError, faces, output, resume=True) == expected
    assert refusal(UsageError, faces, output, epochs=1, resume=True) == expected
    assert contents(output.parent) == before


def test_epochs_rate_and_precision_may_change(faces: Path, output: Path) -> None:
    train_upscaler(faces, output, epochs=1, **TINY)
    result = train_upscaler(
        faces, output, epochs=2, learning_rate=1e-4, precision="bf16", batch_size=12, seed=2, resume=True, device="cpu"
    )
    assert result.epochs == 2.0
    train = load_upscaler_checkpoint(result.files.checkpoint).train
    assert (train.epochs, train.learning_rate, train.precision, train.batch_size) == (2, 1e-4, "bf16", 12)
    assert [row["epoch"] for row in table(result) if row["split"] == "valid"] == ["1", "2"]
    assert not list(output.parent.glob("*previous*"))


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("inputs", "reconstructions", "inputs photographs, not reconstructions"),
        ("batch_size", 13, "batch size 12, not 13"),
        ("patch_size", 48, "patch size 16, not 48"),
        ("seed", 0, "seed 2, not 0"),
    ],
)
def test_resuming_with_another_option(
    unbroken: TrainUpscalerResult, faces: Path, option: str, value: int | str, shown: str
) -> None:
    message = refusal(UsageError, faces, unbroken.files.weights, resume=True, epochs=4, **{option: value})
    assert message == (
        f"{unbroken.files.checkpoint} was trained with {shown}: resume without that option, "
        "or start a new training without --resume."
    )


def test_resuming_with_other_faces(unbroken: TrainUpscalerResult, tmp_path: Path) -> None:
    other = write_faces(tmp_path / "other.h5", seed=5)
    assert refusal(MismatchError, other, unbroken.files.weights, resume=True, epochs=4) == (
        f"{unbroken.files.checkpoint} was trained on other faces than {other} holds: resume with those faces, "
        "or start a new training without --resume."
    )


def test_resuming_without_checkpoint(faces: Path, output: Path) -> None:
    assert refusal(DataError, faces, output, resume=True) == (
        f"There is no {output.with_name('upscaler.checkpoint.safetensors')} to resume from: "
        "start the training with facevae train-upscaler, without --resume."
    )


def test_resuming_from_a_damaged_checkpoint(faces: Path, output: Path) -> None:
    checkpoint = train_upscaler(faces, output, epochs=1, **TINY).files.checkpoint
    remedy = "Start a new training with: facevae train-upscaler (without --resume)"
    with safe_open(checkpoint, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    del tensors["optimizer.0.exp_avg"]
    save_file(tensors, checkpoint, metadata)
    assert refusal(DataError, faces, output, resume=True, epochs=2) == (
        f"{checkpoint} is damaged (the optimiser's state does not fit the network). {remedy}"
    )
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    assert refusal(DataError, faces, output, resume=True, epochs=2) == (
        f"{checkpoint} is not a file of an upscaler's checkpoint (not safetensors, or damaged). {remedy}"
    )
    shutil.copy(output, checkpoint)
    assert refusal(DataError, faces, output, resume=True, epochs=2) == (
        f"{checkpoint} does not hold an upscaler's checkpoint of facevae. {remedy}"
    )


# --------------------------------------------------------------------------------------------------- the trap


SO_FAR = (
    "That is less than 0.05 dB: so far the network adds next to nothing to the bicubic enlargement. If it stays so, "
)
IN_THE_END = " against the bicubic enlargement. Train for more epochs (--resume --epochs N), or anew with "


def test_a_training_that_learns_nothing_says_so(drawn: Path, output: Path) -> None:
    recorder = Recorder()
    result = train_upscaler(drawn, output, epochs=3, report=recorder, **{**TINY, "learning_rate": 1e-9})
    assert result.gain == pytest.approx(0.0, abs=0.001)
    epochs = [text for text in recorder.notices if text.startswith("epoch ")]
    assert len(epochs) == 3
    # Once after the first epoch, and in the end.
    assert recorder.notices == [
        epochs[0],
        f"{SO_FAR}train anew with a higher learning rate than 1e-09.",
        *epochs[1:],
        f"The network has learned next to nothing: +0.00 dB{IN_THE_END}a higher learning rate than 1e-09.",
    ]


def test_a_training_that_is_worse_than_bicubic_says_so(faces: Path, output: Path) -> None:
    """Of noise there is nothing to learn, and large steps end anywhere."""
    recorder = Recorder()
    result = train_upscaler(faces, output, epochs=1, report=recorder, **{**TINY, "learning_rate": 0.05})
    assert result.gain is not None
    assert result.gain < -0.1
    assert recorder.notices[1:] == [
        f"{SO_FAR}train anew with a lower learning rate than 0.05.",
        f"The network has learned next to nothing: {result.gain:+.2f} dB{IN_THE_END}a lower learning rate than 0.05.",
    ]


def test_a_training_that_gains_does_not_say_so(drawn: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "UpscalerConfig", partial(UpscalerConfig, 4, 8))
    recorder = Recorder()
    options = {**TINY, "batch_size": 8, "patch_size": 24, "learning_rate": 3e-3}
    result = train_upscaler(drawn, output, epochs=12, report=recorder, **options)
    assert result.gain is not None
    assert result.gain > 0.2
    assert not recorder.notices[-1].startswith("The network has learned next to nothing")
    assert recorder.notices[-1].startswith("epoch 12/12: ")


# --------------------------------------------------------------------------------------------------- not finite


def test_an_error_that_is_no_longer_finite(faces: Path, output: Path) -> None:
    message = refusal(TrainingError, faces, output, epochs=2, **{**TINY, "learning_rate": 1e30})
    assert message == (
        "The error is no longer finite after 0.50 epochs (no checkpoint had been written yet): "
        "try a lower learning rate than 1e+30."
    )
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("batch_size", [12, 500])
def test_a_last_step_that_ruins_the_network(
    faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """The error of a training step is that of before it: the gain must tell."""
    real = UpscalerTrainer.advance

    def ruin(self: UpscalerTrainer) -> int:
        patches = real(self)
        if self.step == 0:
            with torch.no_grad():
                next(self.network.parameters()).fill_(math.nan)
        return patches

    monkeypatch.setattr(UpscalerTrainer, "advance", ruin)
    assert refusal(TrainingError, faces, output, epochs=2, **{**TINY, "batch_size": batch_size}) == (
        "The error is no longer finite after 1.00 epochs (no checkpoint had been written yet): "
        "try a lower learning rate than 0.002."
    )
    assert list(output.parent.iterdir()) == []


def test_an_error_that_is_no_longer_finite_after_a_checkpoint(
    faces: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_upscaler(faces, output, epochs=1, **TINY)
    before = contents(output.parent)
    real = UpscalerTrainer.advance

    def ruin(self: UpscalerTrainer) -> int:
        with torch.no_grad():
            next(self.network.parameters()).fill_(math.nan)
        return real(self)

    monkeypatch.setattr(UpscalerTrainer, "advance", ruin)
    assert refusal(TrainingError, faces, output, epochs=2, resume=True) == (
        f"The error is no longer finite after 1.25 epochs (the state before is in {TrainFiles(output).checkpoint}): "
        "try a lower learning rate than 0.002."
    )
    assert contents(output.parent) == before


# --------------------------------------------------------------------------------------------------- the command

SMALL = ("--batch-size", 12, "--patch-size", 16, "--device", "cpu", "--seed", 2)


def test_the_command_prints_its_files(faces: Path, workspace: Path) -> None:
    outcome = succeed("train-upscaler", "--faces", faces, *SMALL, "-e", 1, "--learning-rate", 1e-9)
    assert outcome.lines == ["upscaler.safetensors", "upscaler.history.csv", "upscaler.loss.png"]
    assert files() == OUTPUTS
    lines = outcome.stderr.splitlines()
    assert lines[0].startswith("epoch 1/1: held-out faces at ")
    assert lines[2].startswith("The network has learned next to nothing: +0.00 dB")
    assert len(lines) == 3


def test_json_and_options(faces: Path, workspace: Path) -> None:
    outcome = succeed(
        *("train-upscaler", "--faces", faces, *SMALL, "-e", 1, "-o", "mine.safetensors", "--json", "--quiet"),
        *("--learning-rate", 0.001, "--precision", "fp32", "--inputs", "photographs", "--max-time", "1h"),
    )
    assert outcome.stderr == ""
    found = outcome.json
    assert set(found) == {"paths", "inputs", "epochs", "seconds", "interrupted", "stopped", "psnr", "gain"}
    assert found["paths"] == ["mine.safetensors", "mine.history.csv", "mine.loss.png"]
    assert (found["inputs"], found["epochs"], found["stopped"], found["interrupted"]) == (
        "photographs",
        1.0,
        "done",
        False,
    )
    training = Upscaler.load("mine.safetensors").training
    assert (training["batch_size"], training["patch_size"], training["seed"]) == (12, 16, 2)
    assert (training["learning_rate"], training["precision"]) == (0.001, "fp32")
    assert (found["psnr"], found["gain"]) == (training["valid"]["psnr"], training["valid"]["gain"])


def test_an_interruption_keeps_the_weights_and_leaves_with_130(
    faces: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as the signal handler sees it, after the second of four steps."""
    advance = UpscalerTrainer.advance

    def interrupted(trainer: UpscalerTrainer) -> int:
        patches = advance(trainer)
        if trainer.step == 2:
            signal.raise_signal(signal.SIGINT)
        return patches

    with monkeypatch.context() as patch:
        patch.setattr(UpscalerTrainer, "advance", interrupted)
        outcome = run("train-upscaler", "--faces", faces, *SMALL, "-e", 3, "--json")
    assert outcome.code == 130
    assert (outcome.json["interrupted"], outcome.json["epochs"], outcome.json["gain"]) == (True, 0.5, None)
    assert outcome.stderr.splitlines() == ["Interrupted: keeping what was trained.", "Interrupted."]
    assert Upscaler.load("upscaler.safetensors").training["epochs_done"] == 0.5
    assert succeed("train-upscaler", "--faces", faces, "--resume", "-q", "--json").json["epochs"] == 3


def test_an_interruption_before_the_first_step(faces: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was trained, and nothing is written."""
    built = workflow._Run.train

    def interrupted(self: Any, interruption: Any, max_seconds: float) -> Any:
        signal.raise_signal(signal.SIGINT)
        return built(self, interruption, max_seconds)

    monkeypatch.setattr(workflow._Run, "train", interrupted)
    outcome = run("train-upscaler", "--faces", faces, *SMALL)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (130, b"", "Interrupted.\n")
    assert files() == []


def test_a_time_limit_leaves_with_0(faces: Path, workspace: Path) -> None:
    outcome = succeed("train-upscaler", "--faces", faces, *SMALL, "--max-time", "0.001", "--json")
    assert (outcome.json["stopped"], outcome.json["epochs"], outcome.json["psnr"]) == ("max time", 0.25, None)


def test_refusals_of_the_command(faces: Path, workspace: Path) -> None:
    assert command_refusal("train-upscaler") == (
        "There is no faces-96.h5. Prepare some with: facevae prepare --celeba-dir DIR --size 96 -o faces-96.h5"
    )
    assert command_refusal("train-upscaler", "--inputs", "paintings", code=2) == (
        "There are no inputs paintings: use one of photographs, reconstructions."
    )
    assert command_refusal("train-upscaler", "--faces", faces, "--patch-size", 8, code=2) == (
        "A patch size of 8 is out of range: use a whole number from 12 to 512, such as 48."
    )
    assert command_refusal("train-upscaler", "--faces", faces, "--resume") == (
        "There is no upscaler.checkpoint.safetensors to resume from: "
        "start the training with facevae train-upscaler, without --resume."
    )
    assert files() == []


def test_info_of_a_checkpoint_and_of_what_was_trained(faces: Path, workspace: Path) -> None:
    succeed("train-upscaler", "--faces", faces, *SMALL, "-e", 2, "--precision", "fp32", "-q", "--max-time", 0.001)
    found = json.loads(succeed("info", "upscaler.checkpoint.safetensors", "--json").stdout)
    with Faces(faces) as opened:
        assert found["faces_fingerprint"] == opened.fingerprint
    assert found["kind"] == "upscaler checkpoint"
    training = found["training"]
    assert (found["epochs_finished"], found["steps_into_next"], training["inputs"]) == (0, 1, "photographs")
    assert (training["factors"], found["network"]) == ([2, 3, 4], {"depth": 3, "channels": 4})
    assert found["vae"] is None
    trained = json.loads(succeed("info", "upscaler.safetensors", "--json").stdout)
    assert (trained["kind"], trained["training"]["epochs_done"]) == ("upscaler weights", 0.25)

"""`facevae train` as a command: its files, words and refusals. The training itself has tests of its own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from facevae.storage.faces import Faces
from facevae.storage.weights import FaceModel
from helpers import files, pixels, put_weights, refusal, run, succeed
from support import ATTRIBUTE_NAMES, write_faces

TINY = ("--channels", "2", "--latent-dim", "3", "--batch-size", "20")
FILES = ["vae.safetensors", "vae.history.csv", "vae.loss.png"]


def test_the_files_it_writes(faces_file: Path, workspace: Path) -> None:
    outcome = succeed("train", *TINY, "--epochs", 2)
    assert outcome.lines == FILES
    assert files() == sorted([*FILES, "faces.h5", "vae.checkpoint.safetensors"])
    model = FaceModel.load("vae.safetensors")
    assert (model.vae.config.channels, model.latent_dim, model.image_size) == (2, 3, 32)
    assert model.attribute_names == ATTRIBUTE_NAMES
    assert (model.training["epochs"], model.training["batch_size"]) == (2, 20)
    assert model.training["reconstruction_weight"] == 2000
    with Faces(faces_file) as faces:
        assert model.training["faces_fingerprint"] == faces.fingerprint
    with Path("vae.history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows if row["split"] == "valid"] == ["1", "2"]
    assert pixels(Path("vae.loss.png")).std() > 5


def test_what_it_says(faces_file: Path, workspace: Path) -> None:
    outcome = succeed("train", *TINY, "-e", 1)
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("epoch 1/1: train loss ")
    assert "; valid loss " in lines[0]
    assert succeed("train", *TINY, "-e", 1, "-q").stderr == ""


def test_json_and_options(faces_file: Path, workspace: Path) -> None:
    outcome = succeed(
        *("train", *TINY, "-e", 1, "-o", "runs.safetensors", "--json", "--learning-rate", 0.001, "--seed", 5),
        *("--reconstruction-weight", 500, "--kl-weight", 0.5, "--split", "all", "--device", "cpu"),
    )
    found = outcome.json
    assert found["paths"] == ["runs.safetensors", "runs.history.csv", "runs.loss.png"]
    assert found["epochs"] == 1
    assert found["interrupted"] is False
    assert found["train_loss"]["split"] == "train"
    assert found["valid_loss"]["loss"] == pytest.approx(
        found["valid_loss"]["reconstruction"] + 0.5 * found["valid_loss"]["kl"], rel=1e-4
    )
    assert found["valid_loss"]["reconstruction"] == pytest.approx(500 * found["valid_loss"]["mse"], rel=1e-4)
    training = FaceModel.load("runs.safetensors").training
    assert (training["learning_rate"], training["seed"], training["split"]) == (0.001, 5, "all")
    assert training["images_in_split"] == 60


def test_resume_and_the_earlier_training(faces_file: Path, workspace: Path) -> None:
    succeed("train", *TINY, "-e", 1, "-q")
    assert succeed("train", "--resume", "-e", 2, "--json", "-q").json["epochs"] == 2
    assert FaceModel.load("vae.safetensors").training["epochs_done"] == 2
    outcome = succeed("train", *TINY, "-e", 1)
    assert outcome.stderr.splitlines()[0] == (
        "The earlier training is kept as vae.previous.safetensors (and the files beside it)."
    )
    assert FaceModel.load("vae.previous.safetensors").training["epochs_done"] == 2
    assert FaceModel.load("vae.safetensors").training["epochs_done"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-e", "0"], "0 epochs are too few: use a whole number of at least 1."),
        (["--batch-size", "1"], "A batch size of 1 is too small: batch normalisation needs at least 2 images."),
        (["--learning-rate", "0"], "A learning rate of 0.0 is out of range: use a number above 0."),
        (["--reconstruction-weight", "-1"], "A reconstruction weight of -1.0 is out of range: use a number above 0."),
        (["--kl-weight", "-1"], "A KL weight of -1.0 is out of range: use a number from 0 on."),
        (["--seed", "-1"], "A seed of -1 is out of range: use a whole number from 0 to 2^63 - 1."),
        (["--split", "training"], "There is no split training: use one of train, valid, test, all."),
        (
            ["--channels", "0"],
            "A width of 0 channels is out of range: use a whole number from 1 to 4096 (reference: 128).",
        ),
        (
            ["--latent-dim", "0"],
            "A latent dimension of 0 is out of range: use a whole number from 1 to 65536 (reference: 200).",
        ),
        (["--device", "tpu"], "There is no device tpu: use one of auto, cpu, cuda, mps."),
        (["-o", "weights.h5"], "Cannot write weights to weights.h5: their name must end in .safetensors."),
        (["-o", "faces.h5"], "faces.h5 is an input and would be overwritten: name another output with -o."),
    ],
)
def test_wrong_options(faces_file: Path, workspace: Path, options: list[str], message: str) -> None:
    assert refusal("train", *options, code=2) == message
    assert files() == ["faces.h5"]


def test_wrong_files(latents_file: Path, workspace: Path) -> None:
    put_weights(workspace)
    remedy = "Make one with: facevae prepare --celeba-dir DIR"
    assert refusal("train") == f"There is no faces.h5. {remedy}"
    assert refusal("train", "--faces", "latents.h5", "-o", "new.safetensors") == (
        f"latents.h5 holds latents, not prepared faces. {remedy}"
    )
    assert refusal("train", "--faces", "vae.safetensors", "-o", "new.safetensors") == (
        f"vae.safetensors is not a file of prepared faces (not HDF5). {remedy}"
    )
    assert refusal("train", "-o", "no/vae.safetensors") == (
        "There is no folder no to write vae.safetensors into: create it first."
    )
    assert files() == ["latents.h5", "vae.safetensors"]


def test_resume_without_a_checkpoint_or_with_other_faces(faces_file: Path, workspace: Path) -> None:
    assert refusal("train", "--resume") == (
        "There is no vae.checkpoint.safetensors to resume from: start the training with facevae train, without --resume."
    )
    succeed("train", *TINY, "-e", 1, "-q")
    assert refusal("train", "--resume", "-e", 1, code=2) == (
        "vae.checkpoint.safetensors has been trained for 1 epochs already: ask for more with --epochs, such as --epochs 11."
    )
    assert refusal("train", "--resume", "--latent-dim", "4", code=2) == (
        "vae.checkpoint.safetensors was trained with latent dim 3, not 4: resume without that option, "
        "or start a new training without --resume."
    )
    write_faces(Path("others.h5"), seed=3)
    assert refusal("train", "--resume", "--faces", "others.h5", "-e", "2") == (
        "vae.checkpoint.safetensors was trained on other faces than others.h5 holds: resume with those faces, "
        "or start a new training without --resume."
    )


def test_an_interruption_keeps_the_weights_and_leaves_with_130(
    faces_file: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as the signal handler sees it, after the second of three steps."""
    import signal

    from facevae.model.training import Trainer

    advance = Trainer.advance

    def interrupted(trainer: Trainer) -> int:
        images = advance(trainer)
        if trainer.step == 1:
            signal.raise_signal(signal.SIGINT)
        return images

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", interrupted)
        outcome = run("train", *TINY, "-e", 3, "--json")
    assert outcome.code == 130
    assert outcome.json["interrupted"] is True
    assert outcome.json["epochs"] == 0.5
    assert outcome.stderr.splitlines() == [
        "Interrupted: keeping what was trained.",
        "Interrupted.",
    ]
    assert FaceModel.load("vae.safetensors").directions is not None
    assert succeed("train", "--resume", "-q", "--json").json["epochs"] == 3

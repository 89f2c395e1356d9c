"""`facevae train` as a command: its files, words and refusals. The training itself has tests of its own."""

from __future__ import annotations

import csv
import json
import re
import sys
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
    assert model.training["reconstruction_weight"] == 200_000
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
    assert re.search(r"; valid loss [\d.]+ \(reconstruction [\d.]+, KL [\d.]+, [0-3] active units\)$", lines[0])
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
    assert (found["stopped"], found["best_epoch"]) == ("done", None)
    assert found["valid_loss"]["active_units"] in range(4)
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
        (["--schedule", "linear"], "There is no schedule linear: use one of constant, cosine."),
        (["--optimizer", "sgd"], "There is no optimizer sgd: use one of adam, muon."),
        (["--recipe", "details"], "There is no recipe details: use one of detail, note. Did you mean detail?"),
        (
            ["--warmup", "3", "-e", "2"],
            "A warm-up of 3.0 epochs is out of range: use a number from 0 up to the 2 of the training.",
        ),
        (
            ["--patience", "-1"],
            "A patience of -1 epochs is out of range: use a whole number from 1, or 0 for none.",
        ),
        (
            ["--max-time", "5 minutes"],
            "A time of 5 minutes is not understood: use 90s, 30m, 1.5h or 1h30m, or seconds.",
        ),
        (["--max-time", "0s"], "A time of 0s is out of range: use more than 0 seconds."),
        (
            ["--log", "-"],
            "A training log cannot go to standard output, which carries the results: name a file with --log.",
        ),
        (["--log", "faces.h5"], "faces.h5 is another file of this training: name another log with --log."),
        (
            ["--log", "vae.checkpoint.safetensors"],
            "vae.checkpoint.safetensors is another file of this training: name another log with --log.",
        ),
        (["--log", "."], ". is a folder: name a file to write to."),
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


def test_a_time_limit_leaves_with_0(faces_file: Path, workspace: Path) -> None:
    outcome = succeed("train", *TINY, "-e", 3, "--max-time", "0.000001s", "--json")
    assert (outcome.json["epochs"], outcome.json["stopped"], outcome.json["interrupted"]) == (0.5, "max time", False)
    assert outcome.stderr.splitlines() == [
        "The time of 1e-06s is up after 0.50 of 3 epochs: facevae train --resume goes on."
    ]
    assert FaceModel.load("vae.safetensors").directions is not None
    resumed = succeed("train", "--resume", "--json", "-q").json
    assert (resumed["epochs"], resumed["stopped"]) == (3, "done")


def test_patience_leaves_with_0(faces_file: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facevae.model.training import evaluate_loss
    from facevae.workflows import training_run

    losses = iter([3.0, 4.0, 5.0])
    monkeypatch.setattr(
        training_run,
        "evaluate_loss",
        lambda *arguments, **options: evaluate_loss(*arguments, **options)._replace(total=next(losses)),
    )
    outcome = succeed("train", *TINY, "-e", 9, "--patience", 2, "--json")
    assert (outcome.json["epochs"], outcome.json["stopped"], outcome.json["best_epoch"]) == (3, "patience", 1)
    assert outcome.stderr.splitlines()[-2:] == [
        "No lower loss on valid for 2 epochs: stopped after 3 of 9.",
        "The weights are those of epoch 1, with the lowest loss on valid.",
    ]
    assert refusal("train", "--resume", code=2) == (
        "vae.checkpoint.safetensors ends at epoch 3, 2 after the lowest loss on valid, with a patience of 2: go on with a "
        "higher --patience, such as --patience 12, or with --patience 0 to the last epoch."
    )


def test_patience_without_a_valid_split(faces_without_attributes: Path, workspace: Path) -> None:
    assert refusal("train", "--faces", "plain.h5", "--patience", 3, code=2) == (
        "plain.h5 has no valid split, whose loss --patience watches: train without --patience."
    )
    assert files() == ["plain.h5"]


def test_a_log_beside_the_result(faces_file: Path, workspace: Path) -> None:
    outcome = succeed("train", *TINY, "-e", 1, "--log", "run.jsonl", "--schedule", "cosine", "--warmup", 0.25)
    assert outcome.lines == FILES
    found = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
    assert [event["event"] for event in found] == ["start", "train", "train", "valid", "checkpoint", "end"]
    assert (found[0]["train"]["schedule"], found[0]["train"]["warmup"]) == ("cosine", 0.25)
    Path("notes.txt").write_text("mine\n")
    assert refusal("train", "--log", "notes.txt", code=2) == (
        "notes.txt holds something other than a training log: name another file with --log."
    )
    assert Path("notes.txt").read_text() == "mine\n"


def test_tensorboard_without_the_package(faces_file: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert refusal("train", "--tensorboard", "board", code=2) == (
        "--tensorboard needs the package tensorboard: pip install 'facevae[tensorboard]'"
    )
    assert files() == ["faces.h5"]


def test_tensorboard_as_an_option(faces_file: Path, workspace: Path) -> None:
    pytest.importorskip("tensorboard")
    outcome = succeed("train", *TINY, "-e", 1, "--tensorboard", "board", "-q")
    assert (outcome.lines, outcome.stderr) == (FILES, "")
    assert [name.startswith("events.out.tfevents.") for name in files("board")] == [True]
    assert refusal("train", *TINY, "-e", 1, "--tensorboard", "board", code=2) == (
        "board holds the TensorBoard events of an earlier training: name another folder with --tensorboard, or remove it."
    )

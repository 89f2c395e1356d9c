"""Training the judge that `evaluate` asks about edits and samples. No command does this: facevae comes with a trained one."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facevae.config import FACES_FILE, SplitName
from facevae.errors import DataError, MismatchError
from facevae.model.judge import JUDGE_SIZE, Judge, judge_images
from facevae.model.judge_training import Accuracies, JudgeRecipe, JudgeTrainer, accuracies, new_judge
from facevae.model.precision import resolve_precision
from facevae.progress import Progress, Report, silent
from facevae.storage.faces import Faces
from facevae.storage.judge_file import AttributeJudge
from facevae.storage.kinds import JUDGE
from facevae.storage.output import StrPath, check_output
from facevae.version import __version__

JUDGE_FILE = Path("judge.safetensors")


@dataclass(frozen=True)
class TrainJudgeResult:
    """What `train_judge` made: the file, the judge in it, and how often it is right on valid (None without valid faces)."""

    path: Path
    judge: AttributeJudge
    valid: Accuracies | None


def train_judge(
    faces: StrPath = FACES_FILE,
    output: StrPath = JUDGE_FILE,
    *,
    recipe: JudgeRecipe | None = None,
    precision: str = "auto",
    report: Report = silent,
) -> TrainJudgeResult:
    """Train a judge on the train split of `faces.h5`, on the CPU, and write it. It cannot be broken off and resumed.

    On one core of an AMD EPYC an epoch of 32,611 faces takes some 40 seconds in bfloat16. One thread is best where others use the
    machine, see `facevae.model.workers`; another number of threads, or precision, gives another judge in the last digits.

    Args:
        faces: the prepared faces, 32x32 and with attributes.
        output: the file to write.
        recipe: how to train, see `JudgeRecipe`.
        precision: of the convolutions: fp32, bf16, or auto for bf16 where the processor has it.
        report: is called with progress after every epoch.

    Raises:
        DataError: a file is missing or damaged or cannot be written, or the faces have no attributes.
        MismatchError: the faces are of another size.
        TrainingError: the loss is no longer finite.
        UsageError: a value is out of range, or the output holds data of another kind.
    """
    path, recipe = Path(output), recipe or JudgeRecipe()
    check_output(path, inputs=[Path(faces)], kind=JUDGE)
    chosen = resolve_precision(precision, torch.device("cpu"))
    start = time.monotonic()
    with Faces(faces) as opened:
        _check(opened)
        images, attributes = _split(opened, "train")
        network = new_judge(len(opened.attribute_names), recipe)
        losses = _train(JudgeTrainer(network, images, attributes, recipe, chosen.dtype), report)
        _round(network)
        valid = _judged(network, *_split(opened, "valid")) if len(opened.rows_of("valid")) else None
        record = {
            "recipe": recipe.to_dict(),
            "precision": chosen.name,
            "threads": torch.get_num_threads(),
            "faces_fingerprint": opened.fingerprint,
            "images": len(images),
            "losses": [round(loss, 5) for loss in losses],
            "seconds": round(time.monotonic() - start),
            "valid": _valid_record(opened.attribute_names, valid),
            "versions": {"facevae": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
        }
        judge = AttributeJudge(network.eval(), opened.attribute_names, record, str(path))
    judge.save(path)
    return TrainJudgeResult(path, judge, valid)


def _check(faces: Faces) -> None:
    if faces.image_size != JUDGE_SIZE:
        raise MismatchError(
            f"{faces.path} holds faces of {faces.image_size} x {faces.image_size} pixels, but the judge takes "
            f"{JUDGE_SIZE} x {JUDGE_SIZE}: prepare them with --size {JUDGE_SIZE}."
        )
    if faces.attributes is None:
        raise DataError(
            f"{faces.path} holds no attributes to learn: prepare faces with an attribute table (list_attr_celeba.txt)."
        )


def _split(faces: Faces, split: SplitName) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    images = faces.images_of(split)
    assert faces.attributes is not None
    return images, faces.attributes[faces.rows_of(split)]


def _train(trainer: JudgeTrainer, report: Report) -> list[float]:
    losses = []
    for epoch in range(1, trainer.recipe.epochs + 1):
        losses.append(trainer.run_epoch())
        report(Progress("judge", epoch, trainer.recipe.epochs, "epochs", {"loss": losses[-1]}))
    return losses


def _round(network: Judge) -> None:
    """Give the network the values that its file will have, so that what is said of it is true of the file."""
    network.half().float()


def _judged(network: Judge, images: NDArray[np.uint8], attributes: NDArray[np.int8]) -> Accuracies:
    return accuracies(judge_images(network, images).logits, attributes)


def _valid_record(names: Sequence[str], valid: Accuracies | None) -> dict[str, Any] | None:
    if valid is None:
        return None
    rounded = [[None if np.isnan(value) else round(float(value), 4) for value in side] for side in valid]
    return {
        "mean_accuracy": round(float(valid.plain.mean()), 4),
        "mean_balanced_accuracy": round(float(np.nanmean(valid.balanced)), 4),
        "accuracy": dict(zip(names, rounded[0], strict=True)),
        "balanced_accuracy": dict(zip(names, rounded[1], strict=True)),
        "majority": dict(zip(names, rounded[2], strict=True)),
    }

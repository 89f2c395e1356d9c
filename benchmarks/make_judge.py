"""Train the judge that comes with facevae:  python benchmarks/make_judge.py faces.h5 judge.safetensors

Prints the loss of each epoch; then how often the judge is right on valid, on valid blurred by a pixel, and on what 100 principal
components leave of it, and how often it says yes in each, which should not change much; and last the file's SHA-256. It takes one
thread unless told otherwise: another number gives another judge in the last digits.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facevae.model.judge_training import JudgeRecipe, accuracies, blur_matrices, principal_components, truncate
from facevae.progress import Event, Progress
from facevae.storage.faces import Faces
from facevae.storage.judge_file import AttributeJudge
from facevae.workflows.train_judge import train_judge

TRUNCATED_TO = 100


def blurred(images: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Return images (N, 32, 32, 3) blurred by a Gaussian of `sigma` pixels."""
    matrix = blur_matrices(torch.tensor([sigma]))[0].numpy()
    soft = np.einsum("ij,njkc,lk->nilc", matrix, images.astype(np.float32), matrix, optimize=True)
    rounded: NDArray[np.uint8] = np.clip(np.rint(soft), 0, 255).astype(np.uint8)
    return rounded


def tell(event: Event) -> None:
    """Print an epoch's loss."""
    if isinstance(event, Progress):
        print(f"epoch {event.done}/{event.total}  loss {event.values['loss']:.4f}", flush=True)


def main() -> None:
    """Train, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=JudgeRecipe().epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = JudgeRecipe(epochs=arguments.epochs, seed=arguments.seed)
    result = train_judge(arguments.faces, arguments.output, recipe=recipe, report=tell)
    if result.valid is not None:
        _print(arguments.faces, AttributeJudge.load(result.path))
    print(f"SHA-256 {hashlib.sha256(result.path.read_bytes()).hexdigest()}  {result.path.stat().st_size:,} bytes")


def _print(path: Path, judge: AttributeJudge) -> None:
    with Faces(path) as faces:
        assert faces.attributes is not None
        images, attributes = faces.images_of("valid"), faces.attributes[faces.rows_of("valid")]
        components = principal_components(faces.images_of("train"))
    truncated = truncate(images, components, np.full(len(images), TRUNCATED_TO))
    columns = {"has it": (attributes > 0).mean(axis=0)}
    for what, shown in {"": images, " blur": blurred(images, 1.0), " trunc": truncated}.items():
        logits = judge.look(shown).logits
        found = accuracies(logits, attributes)
        columns |= {
            f"right{what}": found.plain,
            f"balanced{what}": found.balanced,
            f"yes{what}": (logits > 0).mean(axis=0),
        }
    print(f"{'on valid, in %':<22}" + "".join(f"{name:>15}" for name in columns))
    for index, name in enumerate(judge.attribute_names):
        print(f"{name:<22}" + "".join(f"{100 * column[index]:15.1f}" for column in columns.values()))
    print(f"{'mean':<22}" + "".join(f"{100 * np.nanmean(column):15.1f}" for column in columns.values()))


if __name__ == "__main__":
    main()

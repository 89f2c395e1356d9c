"""Makes the upscalers that come with facevae:  python benchmarks/make_upscalers.py CELEBA_DIR WORKSPACE

Prepares the faces whose files carry detail at 96 pixels, trains both upscalers, and rounds them to half precision. Started again
in the same workspace it goes on where it was stopped. Prints the SHA-256 of each for `storage/shipped.py`.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import facevae
from facevae.config import UPSCALER_FACES_FILE, UPSCALER_FACES_SIZE, UpscalerInputs
from facevae.progress import Event, Notice
from facevae.storage.shipped import SHIPPED_NAME, UPSCALERS
from facevae.storage.training_files import TrainFiles
from facevae.storage.upscaler_file import Upscaler

EPOCHS = 12
LEAST_SIDE = 89
"""Files of fewer pixels a side have nothing to teach at 96."""


def tell(event: Event) -> None:
    """Print notices, one for each epoch among them."""
    if isinstance(event, Notice):
        print(event.text, flush=True)


def trained(faces: Path, weights: Path, inputs: UpscalerInputs) -> Upscaler:
    """Return the upscaler trained on `faces`, resumed where there is a checkpoint and taken as it is where it is complete."""
    if weights.exists() and Upscaler.load(weights).training["epochs_done"] == EPOCHS:
        return Upscaler.load(weights)
    resume = TrainFiles(weights).checkpoint.exists()
    vae = SHIPPED_NAME if inputs == "reconstructions" else None
    facevae.train_upscaler(faces, weights, inputs=inputs, weights=vae, epochs=EPOCHS, resume=resume, report=tell)
    return Upscaler.load(weights)


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("celeba_dir", type=Path, help="CelebA in any form that facevae prepare takes")
    parser.add_argument("workspace", type=Path, help="a folder for what is made")
    arguments = parser.parse_args()
    arguments.workspace.mkdir(parents=True, exist_ok=True)
    faces = arguments.workspace / UPSCALER_FACES_FILE
    if not faces.exists():
        facevae.prepare(arguments.celeba_dir, faces, size=UPSCALER_FACES_SIZE, min_side=LEAST_SIDE, report=tell)
    for inputs, name in UPSCALERS.items():
        path = arguments.workspace / name
        trained(faces, path.with_stem(f"{path.stem}.full"), inputs).save(path, half=True)
        print(f"{path}, {path.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()

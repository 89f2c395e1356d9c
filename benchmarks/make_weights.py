"""Makes the weights that come with facevae:  python benchmarks/make_weights.py CELEBA_DIR WORKSPACE

Prepares the faces, trains the default recipe on their train split for 60 epochs, and rounds the network to half precision.
Started again in the same workspace it goes on where it was stopped. Prints the SHA-256 for `storage/shipped.py`, and the hash of
the network, which is the same for the same training (the file's is not: safetensors writes its metadata in any order).
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import facevae
from facevae.progress import Event, Notice
from facevae.storage.shipped import WEIGHTS

EPOCHS = 60


def tell(event: Event) -> None:
    """Print notices, one for each epoch among them."""
    if isinstance(event, Notice):
        print(event.text, flush=True)


def trained(faces: Path, weights: Path) -> facevae.FaceModel:
    """Return the model trained on `faces`, resumed where there is a checkpoint and taken as it is where it is complete."""
    if weights.exists():
        model = facevae.FaceModel.load(weights)
        counted = model.directions is not None and model.directions.together is not None
        if counted and model.prior is not None and model.training["epochs_done"] == EPOCHS:
            return model
    resume = weights.with_name("vae.checkpoint.safetensors").exists()
    facevae.train(faces, weights, epochs=EPOCHS, resume=resume, report=tell)
    return facevae.FaceModel.load(weights)


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("celeba_dir", type=Path, help="CelebA in any form that facevae prepare takes")
    parser.add_argument("workspace", type=Path, help="a folder for what is made")
    arguments = parser.parse_args()
    arguments.workspace.mkdir(parents=True, exist_ok=True)
    faces = arguments.workspace / "faces.h5"
    if not faces.exists():
        facevae.prepare(arguments.celeba_dir, faces, report=tell)
    path = arguments.workspace / WEIGHTS
    trained(faces, arguments.workspace / "vae.safetensors").save(path, half=True)
    print(f"{path}, {path.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    print(f"network {facevae.FaceModel.load(path).hash()}")


if __name__ == "__main__":
    main()

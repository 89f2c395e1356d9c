"""`demo`: the whole tool on faces it draws itself, from nothing to a page of pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevae.config import DEMO_DIRECTORY, DEMO_FACES, FACES_FILE, LATENTS_FILE, WEIGHTS_FILE
from facevae.drawing import MARKER_NAME, write_drawn_faces
from facevae.errors import UsageError
from facevae.figures.canvas import Grid, draw_grid
from facevae.figures.gallery import GalleryItem, gallery_page
from facevae.figures.picture import image_bytes
from facevae.progress import Notice, Report, silent
from facevae.storage.faces import Faces
from facevae.storage.images import open_image
from facevae.storage.output import StrPath, make_folder, write_bytes
from facevae.workflows.activations import activations
from facevae.workflows.encode import encode
from facevae.workflows.morph import morph
from facevae.workflows.prepare import prepare
from facevae.workflows.reconstruct import reconstruct
from facevae.workflows.sample import sample
from facevae.workflows.train import train
from facevae.workflows.umap import umap

EPOCHS = 10
BATCH_SIZE = 50
CHANNELS = 64
FOCUS = 0.0
"""A minute on a laptop's processor asks for half the reference's width and small batches, and in that time a focus on the face
would leave the backgrounds without their colours; see docs/training.md."""

MORPHS = ("Smiling", "Eyeglasses", "Male", "Blond_Hair", "Attractive")
_MORPH_FACES = 4
_FEWEST = 100
_TITLE = "facevae on drawn faces"
_INTRODUCTION = (
    "These faces were drawn by a program and depict nobody. A variational autoencoder learned them from 32 x 32 pixels; "
    "each picture below comes from one command, which works the same on photographs of CelebA."
)


@dataclass(frozen=True)
class DemoResult:
    """What `demo` made: the page, its pictures, and how long it took in seconds."""

    index: Path
    pictures: tuple[GalleryItem, ...]
    seconds: float


def demo(
    out: StrPath = DEMO_DIRECTORY,
    *,
    count: int = DEMO_FACES,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    report: Report = silent,
) -> DemoResult:
    """Draw faces in CelebA's layout, run every stage on them, and write all pictures and an `index.html`.

    Args:
        out: the folder to work in; made if it does not exist.
        count: how many faces to draw.
        epochs: rounds of training, by default `EPOCHS`.
        seed: of the drawn faces, the training and the samples.
        device: auto, cpu, cuda or mps.
        report: is called with progress and notices.

    Raises:
        DataError: the folder cannot be written to.
        UsageError: a value is out of range, or the folder holds faces of someone else's.
    """
    if count < _FEWEST:
        raise UsageError(f"{count} faces are too few for the demo: ask for at least {_FEWEST}.")
    out = Path(out)
    _refuse_workspace(out)
    started = time.monotonic()
    make_folder(out)
    run = _Demo(out, seed, device, report)
    run.make_data(count)
    run.train(EPOCHS if epochs is None else epochs)
    items = tuple(run.draw())
    index = out / "index.html"
    write_bytes(index, gallery_page(_TITLE, _INTRODUCTION, items, out).encode())
    return DemoResult(index, items, time.monotonic() - started)


def _refuse_workspace(out: Path) -> None:
    """Keep the demo out of a folder where someone works: it would replace their faces and latents by its own."""
    if (out / "celeba" / MARKER_NAME).exists():
        return
    for name in (FACES_FILE, WEIGHTS_FILE, LATENTS_FILE):
        if (out / name).exists():
            raise UsageError(f"{out} holds a {name} that is not the demo's: name another folder with --out.")


class _Demo:
    """The stages, each with its files in one folder."""

    def __init__(self, out: Path, seed: int, device: str, report: Report) -> None:
        self._out, self._seed, self._device, self._report = out, seed, device, report
        self._celeba, self._faces, self._latents = out / "celeba", out / "faces.h5", out / "latents.h5"
        self._weights = out / "vae.safetensors"
        self._epochs = EPOCHS

    def _announce(self, text: str) -> None:
        self._report(Notice(f"demo: {text}"))

    def make_data(self, count: int) -> None:
        """Draw the faces and prepare them."""
        self._announce(f"drawing {count:,} faces into {self._celeba}")
        write_drawn_faces(self._celeba, count, seed=self._seed, report=self._report)
        self._announce("preparing them")
        prepare(self._celeba, self._faces, report=self._report)

    def train(self, epochs: int) -> None:
        """Train, and encode what was trained on."""
        self._epochs = epochs
        self._announce(f"training for {epochs} epoch{'s' if epochs != 1 else ''}")
        train(
            self._faces,
            self._weights,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            channels=CHANNELS,
            focus=FOCUS,
            seed=self._seed,
            device=self._device,
            processes=1,  # more would take longer to start than to train
            report=self._report,
        )
        self._announce("encoding all faces")
        encode(output=self._latents, faces=self._faces, weights=self._weights, device=self._device, report=self._report)

    def draw(self) -> Iterator[GalleryItem]:
        """Make every picture."""
        self._announce("drawing the pictures")
        yield self._drawn_faces()
        yield GalleryItem(
            self._out / "vae.loss.png",
            "The loss while training",
            "The loss falls on the faces it learns from (train) and on faces it never saw (valid).",
            f"facevae train --epochs {self._epochs} --batch-size {BATCH_SIZE} --channels {CHANNELS} --focus {FOCUS:g}",
        )
        yield self._reconstructions()
        yield self._samples()
        for attribute in MORPHS:
            yield self._morph(attribute)
        yield self._smile_animation()
        yield self._activations()
        yield self._map()

    def _valid_faces(self, attribute: str, value: int, count: int) -> list[Path]:
        """Return the files of the first valid faces with this value of an attribute."""
        with Faces(self._faces) as faces:
            rows = faces.rows_of("valid")
            if faces.attributes is not None:
                column = faces.attributes[rows, faces.attribute_names.index(attribute)]
                matching = rows[column == value]
                # A rare attribute may be missing among few faces: any face then serves.
                rows = matching if len(matching) else rows
            return [self._celeba / "img_align_celeba" / faces.names[row] for row in rows[:count]]

    def _drawn_faces(self) -> GalleryItem:
        path = self._out / "faces.png"
        files = sorted((self._celeba / "img_align_celeba").glob("*.jpg"))[:20]
        size = 110
        tiles = [open_image(file).resize((size, size * 218 // 178)).crop((0, 12, size, size + 12)) for file in files]
        grid = Grid([tiles[start : start + 10] for start in range(0, len(tiles), 10)], size)
        write_bytes(path, image_bytes(draw_grid(grid)))
        return GalleryItem(
            path,
            "What it learns from",
            "Drawn faces in CelebA's own layout, with its 40 attributes: the drawing follows the attributes.",
            f"facevae prepare --celeba-dir {self._celeba}",
        )

    def _reconstructions(self) -> GalleryItem:
        path = self._out / "reconstructions.png"
        reconstruct(output=path, faces=self._faces, weights=self._weights, device=self._device, report=self._report)
        return GalleryItem(
            path,
            "Reconstructions",
            "Faces it never saw, and what comes back through 200 numbers; under each the mean squared error.",
            "facevae reconstruct",
        )

    def _samples(self) -> GalleryItem:
        path = self._out / "samples.png"
        sample(output=path, seed=self._seed, weights=self._weights, device=self._device, report=self._report)
        return GalleryItem(
            path,
            "New faces",
            "Forty random points of the latent space, decoded: nobody drew these.",
            f"facevae sample -n 40 --seed {self._seed}",
        )

    def _morph(self, attribute: str) -> GalleryItem:
        path = self._out / f"morph-{attribute}.png"
        faces = self._valid_faces(attribute, -1, _MORPH_FACES)
        morph(faces, attribute, path, steps="-3,3", weights=self._weights, device=self._device, report=self._report)
        return GalleryItem(
            path,
            f"Along {attribute.replace('_', ' ')}",
            "Each face moved from -3 to +3 times the difference between the means of those with and without it.",
            f"facevae morph {' '.join(face.name for face in faces)} --attr {attribute} --steps -3,3",
        )

    def _smile_animation(self) -> GalleryItem:
        path = self._out / "morph-Smiling.gif"
        faces = self._valid_faces("Smiling", -1, _MORPH_FACES)
        morph(faces, "Smiling", path, steps="-2,3", weights=self._weights, device=self._device, report=self._report)
        return GalleryItem(
            path, "A smile, there and back", "The same walk as a looped animation.", "facevae morph ... --format gif"
        )

    def _activations(self) -> GalleryItem:
        face = self._valid_faces("Eyeglasses", 1, 1)[0]
        result = activations(
            face, self._out / "activations", weights=self._weights, device=self._device, report=self._report
        )
        return GalleryItem(
            result.paths[0],
            "What the layers see",
            "One face on its way through the network; the folder holds every channel of all nine convolutions.",
            f"facevae activations {face.name}",
        )

    def _map(self) -> GalleryItem:
        path = self._out / "umap.png"
        result = umap(self._latents, path, report=self._report)
        share = result.counts[0] / sum(result.counts) if result.counts else 0.0
        return GalleryItem(
            path,
            "A map of all faces",
            f"The latents of all faces in two dimensions; {share:.0%} are labelled Attractive, a label that goes with others.",
            "facevae umap --attr Attractive",
        )

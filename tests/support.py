"""Small faces, weights and latents for the tests, made from seeds. Nothing heavier than NumPy is imported up here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facevae.progress import Event, Notice, Progress

if TYPE_CHECKING:
    from types import ModuleType

    import pytest
    from numpy.typing import NDArray

    from facevae.config import ModelConfig
    from facevae.model.vae import VAE
    from facevae.storage.weights import FaceModel

ATTRIBUTE_NAMES = ("Attractive", "Bald", "Male", "Smiling", "Wearing_Hat")
"""Every face is drawn with these but `Bald`, which none has: the attribute without a direction."""
SPLIT_PATTERN = (0, 0, 1, 0, 0, 2)
"""Two thirds train, the rest valid and test, in alternation: no split is a run of rows."""
HOPPER_EYES = np.array([[219.0, 191.5], [310.0, 188.0]])
"""The pupils in Matplotlib's picture of Grace Hopper, read off it by eye."""


class Recorder:
    """A `report` that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    @property
    def progress(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]


def random_faces(count: int, size: int = 32, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Blurred blobs (count, size, size, 3) with attributes (count, A) that show: light, red, a bright mouth, a dark top."""
    random = np.random.default_rng(seed)
    has = random.random((count, len(ATTRIBUTE_NAMES))) < 0.5
    has[:, ATTRIBUTE_NAMES.index("Bald")] = False
    rows, columns = np.mgrid[0:size, 0:size] / size
    face = np.exp(-(((rows - 0.5) / 0.35) ** 2 + ((columns - 0.5) / 0.28) ** 2))
    base = random.uniform(30, 90, (count, 1, 1, 3))
    images = base + 80.0 * face[None, :, :, None] * random.uniform(0.7, 1.3, (count, 1, 1, 3))
    of = {name: has[:, index] for index, name in enumerate(ATTRIBUTE_NAMES)}
    images[of["Attractive"]] += 40.0
    images[of["Male"], :, :, 0] += 50.0
    images[of["Smiling"], size * 5 // 8 : size * 6 // 8, size // 4 : size * 3 // 4] += 60.0
    images[of["Wearing_Hat"], : size // 4] *= 0.3
    images += random.normal(0, 4, images.shape)
    return np.clip(images, 0, 255).astype(np.uint8), np.where(has, 1, -1).astype(np.int8)


def random_images(count: int, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """The images of `random_faces`."""
    return random_faces(count, size, seed)[0]


def drawn_faces(count: int, size: int) -> NDArray[np.uint8]:
    """Drawn faces (count, size, size, 3), which have edges to learn. Each takes some hundredths of a second, once."""
    return np.stack([_drawn_face(number, size) for number in range(1, count + 1)])


@cache
def _drawn_face(number: int, size: int) -> NDArray[np.uint8]:
    from facevae.drawing import draw_face
    from facevae.drawing.dataset import drawn_traits

    return np.asarray(draw_face(drawn_traits(0, number), (size, size)))


def hopper() -> NDArray[np.uint8]:
    """A photograph with one face: that of Grace Hopper in Matplotlib, uint8 (600, 512, 3)."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as picture:
        return np.array(picture.convert("RGB"))


def write_faces(
    path: Path,
    *,
    count: int = 60,
    size: int = 32,
    seed: int = 0,
    attributes: bool = True,
    split: NDArray[np.uint8] | None = None,
    images: NDArray[np.uint8] | None = None,
) -> Path:
    """Write `random_faces`, or other `images` (count, size, size, 3), as a `faces.h5`, by default with all three splits."""
    from facevae.storage.faces import FacesWriter

    blobs, table = random_faces(count, size, seed)
    images = blobs if images is None else images
    if split is None:
        split = np.resize(np.array(SPLIT_PATTERN, dtype=np.uint8), count)
    with FacesWriter(
        path,
        image_size=size,
        attribute_names=ATTRIBUTE_NAMES if attributes else (),
        resize_rule="none: drawn at this size",
        split_rule="by row",
        source="drawn by the tests",
        facevae_version="0",
    ) as writer:
        names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
        writer.append(images, names, split, table if attributes else None)
        writer.finish()
    return path


def make_model(
    config: ModelConfig | None = None, *, seed: int = 0, attribute_names: tuple[str, ...] = ATTRIBUTE_NAMES
) -> FaceModel:
    """An untrained model, by default 32x32, 4 channels and 6 latent units, with a random direction for each attribute."""
    from facevae.config import ModelConfig
    from facevae.model.latent_space import AttributeDirections
    from facevae.model.training import new_vae
    from facevae.storage.weights import FaceModel

    config = config or ModelConfig(image_size=32, channels=4, latent_dim=6)
    random = np.random.default_rng(seed)
    deltas = random.normal(0, 1, (len(attribute_names), config.latent_dim)).astype(np.float32)
    positive = random.integers(5, 30, len(attribute_names))
    if "Bald" in attribute_names:
        deltas[attribute_names.index("Bald")] = 0.0
        positive[attribute_names.index("Bald")] = 0
    directions = AttributeDirections(deltas, positive, 40 - positive) if attribute_names else None
    vae = new_vae(config, seed).eval()
    return FaceModel(vae, {"seed": seed, "epochs_done": 0.0}, attribute_names, directions, "vae.safetensors")


def randomised(config: ModelConfig, seed: int = 7) -> VAE:
    """A network in which no norm and no bias is at its initial value, as if it had been trained."""
    import torch

    from facevae.model.training import new_vae

    vae = new_vae(config, seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    for name, tensor in vae.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return vae


def write_latents(path: Path, model: FaceModel, faces: Path) -> Path:
    """Encode a `faces.h5` into a `latents.h5`."""
    from facevae.storage.faces import Faces
    from facevae.storage.latents import LatentsWriter

    with (
        Faces(faces) as opened,
        LatentsWriter(
            path,
            latent_dim=model.latent_dim,
            attribute_names=opened.attribute_names,
            with_split=True,
            weights_hash=model.hash(),
            faces_fingerprint=opened.fingerprint,
            facevae_version="0",
        ) as writer,
    ):
        mean, log_variance = model.encode(opened.read(0, opened.count))
        writer.append(mean, log_variance, opened.names, opened.split, opened.attributes)
        writer.finish()
    return path


def same_state(first: Any, second: Any) -> bool:
    """Whether two networks have bit-equal weights and running statistics."""
    import torch

    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Clock:
    """A `time` module, in place of that of `module`, whose clock moves ten seconds with every report of progress."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        self.now = 100.0
        self.notices: list[str] = []
        monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now

    def report(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.now += 10.0
        else:
            self.notices.append(event.text)

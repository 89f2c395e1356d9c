"""The whole chain on drawn faces, where the truth is known: what a morph should change can be drawn exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facevae.drawing import FaceTraits, draw_face, random_traits, write_drawn_faces

SIZE = 32
MOUTH = (slice(19, 26), slice(10, 22))
EYES = (slice(13, 19), slice(7, 25))
SERIOUS = {"mouth_curve": -0.2, "mouth_open": 0.0}
SMILE = {"mouth_curve": 0.85, "mouth_open": 0.7}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights trained on a thousand drawn faces, by a network narrower than the reference, for speed."""
    from facevae import prepare, train

    folder = tmp_path_factory.mktemp("drawn")
    write_drawn_faces(folder / "celeba", 1000, seed=5)
    prepare(folder / "celeba", folder / "faces.h5")
    train(
        folder / "faces.h5",
        folder / "vae.safetensors",
        epochs=12,
        batch_size=25,
        channels=40,
        latent_dim=32,
    )
    return folder


def at_32(traits: FaceTraits) -> NDArray[np.uint8]:
    """Return a drawn face as the network takes it."""
    return np.asarray(draw_face(traits).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def unseen_faces(count: int, **changes: Any) -> list[FaceTraits]:
    """Return faces of another seed than the training's, all with the given traits."""
    plain: dict[str, Any] = {"glasses": "none", "hat": "none", "blur": 0.0} | changes
    return [replace(random_traits(np.random.default_rng([77, number])), **plain) for number in range(count)]


def true_change(faces: list[FaceTraits], **changes: Any) -> NDArray[np.float64]:
    """Return the mean change of the picture (32, 32, 3) when the faces are drawn with other traits."""
    after = [at_32(replace(face, **changes)).astype(float) for face in faces]
    change: NDArray[np.float64] = np.mean(after, axis=0) - np.mean([at_32(face) for face in faces], axis=0)
    return change


def morphed_change(folder: Path, faces: list[FaceTraits], attribute: str, step: float) -> NDArray[np.float64]:
    """Return each face's change (N, 32, 32, 3) from its reconstruction when `morph` moves it by `step`."""
    from facevae import morph

    files = []
    for number, face in enumerate(faces):
        files.append(folder / f"unseen-{number:02}.png")
        draw_face(face).save(files[-1])
    result = morph(files, attribute, folder / "morph.png", steps=[0.0, step], weights=folder / "vae.safetensors")
    before, after = (result.morphs[:, index].astype(np.float64) for index in (0, 1))
    difference: NDArray[np.float64] = after - before
    return difference


def agreement(change: NDArray[np.float64], truth: NDArray[np.float64], where: tuple[slice, slice]) -> float:
    """Return the cosine between two changes within a region."""
    first, second = change[where].ravel(), truth[where].ravel()
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def strength(change: NDArray[np.float64], where: tuple[slice, slice]) -> float:
    """Return the root mean square of a change within a region, in grey levels."""
    return float(np.sqrt(np.square(change[where]).mean()))


@pytest.mark.parametrize(
    ("attribute", "before", "after", "where"),
    [
        ("Smiling", SERIOUS, SMILE, MOUTH),
        ("Eyeglasses", {"glasses": "none"}, {"glasses": "clear"}, EYES),
    ],
)
def test_a_morph_does_to_the_picture_what_the_attribute_means(
    trained: Path, attribute: str, before: dict[str, Any], after: dict[str, Any], where: tuple[slice, slice]
) -> None:
    faces = unseen_faces(16, **before)
    truth = true_change(faces, **after)
    changes = morphed_change(trained, faces, attribute, 2.0)
    assert agreement(changes.mean(axis=0), truth, where) > 0.6
    # ... for nearly every single face, and visibly: by a good part of what drawing it anew changes.
    assert np.mean([agreement(change, truth, where) > 0.3 for change in changes]) >= 0.8
    assert strength(changes.mean(axis=0), where) > 0.3 * strength(truth, where)


def test_the_opposite_step_makes_the_opposite_change(trained: Path) -> None:
    faces = unseen_faces(16, **SMILE)
    truth = true_change(faces, **SERIOUS)
    assert agreement(morphed_change(trained, faces, "Smiling", -2.0).mean(axis=0), truth, MOUTH) > 0.6


def test_reconstructions_are_closer_to_their_face_than_to_any_other(trained: Path) -> None:
    from facevae import FaceModel

    model = FaceModel.load(trained / "vae.safetensors")
    faces = np.stack([at_32(face) for face in unseen_faces(24)])
    mean, _ = model.encode(faces)
    difference = model.decode(mean)[:, None].astype(float) - faces[None]
    errors = np.square(difference).mean(axis=(2, 3, 4))
    assert np.mean(errors.argmin(axis=1) == np.arange(len(faces))) > 0.9

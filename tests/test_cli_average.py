"""`facevae average`: the mean face of images, of all latents, and of the faces without and with an attribute."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facevae.errors import UsageError
from facevae.figures.canvas import GAP, MARGIN
from facevae.storage.images import load_face
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from facevae.workflows import average as workflow
from facevae.workflows.average import average
from helpers import (
    border,
    files,
    pixels,
    put_latents,
    put_other_weights,
    put_pictures,
    put_upscaler,
    put_weights,
    refusal,
    succeed,
    tile,
)
from support import Recorder


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


def enlarged(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(face).resize((96, 96), Image.Resampling.BICUBIC))


def near(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> bool:
    """Equal up to the last bit of a mean."""
    return int(np.abs(found.astype(int) - expected).max()) <= 1


def mean_of(model: FaceModel, paths: list[Path]) -> NDArray[np.uint8]:
    mean, _ = model.encode(np.stack([load_face(path, 32) for path in paths]))
    faces = model.decode(mean.astype(np.float64).mean(axis=0, keepdims=True).astype(np.float32))
    return np.asarray(faces[0])


def class_mean(model: FaceModel, path: Path, attribute: str, value: int) -> NDArray[np.uint8]:
    with Latents(path) as latents:
        assert latents.attributes is not None
        rows = latents.attributes[:, latents.attribute_names.index(attribute)] == value
        mean = latents.mean()[rows].astype(np.float64).mean(axis=0, keepdims=True)
    return np.asarray(model.decode(mean.astype(np.float32))[0])


# ------------------------------------------------------------------------------------------ images


def test_the_mean_of_images_is_a_face_and_nothing_else(model: FaceModel) -> None:
    paths = put_pictures(Path("faces"), 5, size=44)
    outcome = succeed("average", *paths)
    assert (outcome.lines, outcome.stderr) == (["average.png"], "")
    picture = pixels(Path("average.png"))
    assert near(picture, enlarged(mean_of(model, paths)))
    assert not near(picture, enlarged(mean_of(model, paths[:4])))
    succeed("average", *paths, "--scale", 1, "-o", "small.png")
    assert near(pixels(Path("small.png")), mean_of(model, paths))
    succeed("morph", "small.png", "-a", "Male")  # a face like any other


def test_paths_from_standard_input_in_batches(model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "ENCODE_BATCH", 2)
    paths = put_pictures(Path("my faces"), 5)
    outcome = succeed("average", "-", "--json", stdin="\n".join(map(str, paths)).encode())
    assert outcome.json == {"paths": ["average.png"], "faces": 5, "skipped": []}
    assert near(pixels(Path("average.png")), enlarged(mean_of(model, paths)))
    recorder = Recorder()
    average(paths, io.BytesIO(), report=recorder)
    assert [(event.stage, event.done, event.total) for event in recorder.progress] == [
        ("average", 2, 5),
        ("average", 4, 5),
        ("average", 5, 5),
    ]


def test_unreadable_images_are_left_out_or_with_strict_an_error(model: FaceModel) -> None:
    paths = put_pictures(Path("faces"), 2)
    Path("notes.txt").write_text("these are notes, no image")
    reason = "notes.txt is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    outcome = succeed("average", paths[0], "notes.txt", paths[1], "--json")
    assert outcome.json["faces"] == 2
    assert outcome.json["skipped"] == [{"name": "notes.txt", "reason": reason}]
    assert outcome.stderr == f"Skipped 1 image (--strict makes this an error):\n  {reason}\n"
    assert near(pixels(Path("average.png")), enlarged(mean_of(model, paths)))
    assert refusal("average", paths[0], "notes.txt", "--strict") == reason
    assert refusal("average", "notes.txt") == reason
    assert refusal("average", "notes.txt", "notes.txt") == f"None of the 2 images could be used. The first: {reason}"


# ------------------------------------------------------------------------------------------ latents


def test_the_mean_of_all_latents(model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_latents(Path())
    monkeypatch.setattr(workflow, "_READ_LATENTS", 7)
    outcome = succeed("average", "--json")
    assert outcome.json == {"paths": ["average.png"], "faces": 60, "skipped": []}
    with Latents(path) as latents:
        mean = latents.mean().astype(np.float64).mean(axis=0, keepdims=True).astype(np.float32)
    assert near(pixels(Path("average.png")), enlarged(model.decode(mean)[0]))
    np.testing.assert_allclose(average(output=io.BytesIO()).latents, mean, rtol=1e-5, atol=1e-6)


def test_a_row_for_each_attribute(model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_latents(Path())
    monkeypatch.setattr(workflow, "_READ_LATENTS", 7)
    outcome = succeed("average", "--attr", "male", "-a", "wearing hat", "--json")
    with Latents(path) as latents:
        assert latents.attributes is not None
        counts = {
            name: int((column > 0).sum())
            for name, column in zip(latents.attribute_names, latents.attributes.T, strict=True)
        }
    assert outcome.json == {
        "paths": ["average.png"],
        "attributes": [
            {"name": name, "without": 60 - counts[name], "with": counts[name]} for name in ("Male", "Wearing_Hat")
        ],
    }
    picture = pixels(Path("average.png"))
    assert (border(picture) == 255).all()
    left = picture.shape[1] - MARGIN - 2 * 96 - GAP
    for row, name in enumerate(("Male", "Wearing_Hat")):
        for column, value in enumerate((-1, 1)):
            found = tile(picture, left + column * (96 + GAP), MARGIN + 20 + row * (96 + 20 + GAP), 96)
            assert near(found, enlarged(class_mean(model, path, name, value)))
    assert not near(class_mean(model, path, "Male", 1), class_mean(model, path, "Male", -1))


def test_the_library_gives_means_by_attribute(model: FaceModel) -> None:
    path = put_latents(Path())
    made = average(attribute="Male", output="m.png")
    assert (made.path, made.attributes, made.skipped) == (Path("m.png"), ("Male",), ())
    assert (made.latents.shape, made.faces.shape, sum(made.counts)) == ((2, 6), (2, 32, 32, 3), 60)
    from facevae.model.latent_space import attribute_directions

    with Latents(path) as latents:
        assert latents.attributes is not None
        index = latents.attribute_names.index("Male")
        directions = attribute_directions(latents.mean(), latents.attributes[:, index : index + 1])
    np.testing.assert_allclose(made.latents[1] - made.latents[0], directions.deltas[0], atol=1e-5)


def test_enlarged_by_the_network(model: FaceModel) -> None:
    upscaler = put_upscaler(Path("upscaler-reconstructions.safetensors"), "reconstructions", seed=9)
    paths = put_pictures(Path("faces"), 2)
    succeed("average", *paths, "--upscale", 3)
    made = average(paths, io.BytesIO())
    assert np.array_equal(pixels(Path("average.png")), upscaler.upscale(made.faces)[0])


# ------------------------------------------------------------------------------------------ refusals


def test_attributes_are_those_of_latents() -> None:
    paths = put_pictures(Path("faces"), 1)
    assert refusal("average", *paths, "-a", "Male", code=2) == (
        "Single images have no attributes: leave --attr out, or the images, to average faces of latents.h5."
    )
    put_latents(Path())
    assert refusal("average", "-a", "mael", code=2) == "There is no attribute mael in latents.h5. Did you mean Male?"
    assert refusal("average", "-a", "bald") == (
        "latents.h5 has no faces with Bald: choose another attribute, or encode more faces."
    )
    put_latents(Path(), attributes=False)
    assert refusal("average", "-a", "male").startswith("latents.h5 holds no attributes: ")
    assert not Path("average.png").exists()


def test_latents_of_other_weights_or_none() -> None:
    assert refusal("average") == "There is no latents.h5. Make one with: facevae encode > latents.h5"
    put_latents(Path())
    put_other_weights(Path("other.safetensors"))
    assert refusal("average", "-w", "other.safetensors").startswith("latents.h5 was not made by other.safetensors but")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-o", "a.gif"],
            "Cannot write a picture to a.gif: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (
            ["-o", "faces/face1.png"],
            "faces/face1.png is an input and would be overwritten: name another output with -o.",
        ),
        (["-o", "-", "--json"], "The result and JSON cannot both go to standard output: name a file with -o FILE."),
        (["--scale", "33"], "A scale of 33 is out of range: use a whole number from 1 to 32."),
    ],
)
def test_wrong_options(options: list[str], message: str) -> None:
    paths = put_pictures(Path("faces"), 1)
    before = files()
    assert refusal("average", *paths, *options, code=2) == message
    assert files() == before


def test_too_much_or_nothing() -> None:
    message = "There is no face to average: name image files or folders, or send paths to standard input."
    assert refusal("average", "-", code=2) == message
    with pytest.raises(UsageError) as error:
        average([])
    assert str(error.value) == message
    with pytest.raises(UsageError) as error:
        average(attribute=["Male"] * 101)
    assert str(error.value) == "101 attributes do not fit into one picture: name up to 100."

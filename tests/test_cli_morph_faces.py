"""`facevae morph` of faces that are no pictures: of the latents by name, and drawn at random; and pictures left out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import support
from facevae.errors import UsageError
from facevae.figures.canvas import GAP, MARGIN, font
from facevae.storage.faces import Faces
from facevae.storage.images import load_face
from facevae.storage.latents import Latents, LatentsWriter
from facevae.storage.weights import FaceModel
from facevae.workflows.morph import MorphResult, morph
from facevae.workflows.sample import sample
from helpers import (
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

TOP = MARGIN + 30 + 20 + 20
"""Where the tiles begin: under the title, the subtitle and the column labels."""
NO_FACE = (
    "There is no face to morph: name an image file, or a face of the latents with --name, or draw one with --sample."
)


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def latents(model: FaceModel) -> Path:
    return put_latents(Path())


def mean(path: Path, row: int) -> NDArray[np.float32]:
    with Latents(path) as opened:
        return opened.mean(row, row + 1)


def columns(
    picture: NDArray[np.uint8], count: int, label: str, row: int = 0, left: int = MARGIN
) -> list[NDArray[np.uint8]]:
    """The tiles of a row of a strip of unenlarged faces, the first column of which has this label."""
    width = max(32, int(font(13).getlength(label)) + 1)
    lefts = [left + column * (width + GAP) + (width - 32) // 2 for column in range(count)]
    return [tile(picture, each, TOP + row * (32 + GAP), 32) for each in lefts]


# ------------------------------------------------------------------------------------------ faces of the latents


def test_a_face_by_name_is_moved_from_its_stored_mean(model: FaceModel, faces_file: Path, latents: Path) -> None:
    outcome = succeed("morph", "--name", "000005.jpg", "-a", "Smiling", "-s", "0,1,2", "--scale", 1, "--json")
    assert outcome.stderr == ""
    assert outcome.json["faces"] == ["000005"]
    moved = mean(latents, 4) + np.arange(3, dtype=np.float32)[:, None] * model.direction("Smiling")
    with Faces(faces_file) as faces:
        expected = [faces.read(4, 5)[0], *model.decode(moved)]
    shown = columns(pixels(Path("morph.png")), 4, "original")
    for found, wanted in zip(shown, expected, strict=True):
        assert np.array_equal(found, wanted)
    assert not np.array_equal(expected[0], expected[1])


def test_the_stored_mean_is_taken_as_it_is(model: FaceModel) -> None:
    """Not that of the prepared face encoded anew: it may be of other numbers, as after `--precision bf16`."""
    z = np.random.default_rng(5).normal(0, 1, (2, model.latent_dim)).astype(np.float32)
    with LatentsWriter(
        Path("mine.h5"),
        latent_dim=model.latent_dim,
        attribute_names=(),
        with_split=False,
        weights_hash=model.hash(),
        faces_fingerprint="",
        facevae_version="0",
    ) as writer:
        writer.append(z, np.zeros_like(z), ["party/anna.jpg", "party/anna.jpg#2"])
        writer.finish()
    outcome = succeed(
        "morph", "--name", "party/anna.jpg#2", "--among", "mine.h5", "-a", "Male", "-s", "1", "--scale", 1, "--json"
    )
    assert outcome.json["faces"] == ["anna #2"]
    assert outcome.stderr == (
        "mine.h5 was made from single images, not from prepared faces: its faces are shown as decoded from their latents.\n"
    )
    original, moved = columns(pixels(Path("morph.png")), 2, "decoded")
    assert np.array_equal(original, model.decode(z[1:])[0])
    assert np.array_equal(moved, model.decode(z[1:] + model.direction("Male"))[0])


def test_without_the_prepared_faces_what_the_latent_decodes_to_is_shown(model: FaceModel, latents: Path) -> None:
    support.write_faces(Path("faces.h5"), count=5)  # others
    arguments = ("morph", "--name", "000002.jpg", "-s", "0", "--scale", 1)
    notice = "There is no faces.h5 with the faces of latents.h5: its faces are shown as decoded from their latents.\n"
    assert succeed(*arguments).stderr == notice
    first, nought = columns(pixels(Path("morph.png")), 2, "decoded")
    assert np.array_equal(first, nought)
    assert np.array_equal(first, model.decode(mean(latents, 1))[0])
    Path("faces.h5").unlink()
    assert succeed(*arguments).stderr == notice
    assert succeed(*arguments, "-o", "walk.gif").stderr == ""  # no original is shown


def test_a_face_of_a_shard_has_its_own_original(model: FaceModel, faces_file: Path) -> None:
    succeed("encode", "--shard", "2/3", "-o", "part.h5", "-q")
    outcome = succeed("morph", "--name", "000025.jpg", "--among", "part.h5", "-s", "0", "--scale", 1)
    assert outcome.stderr == ""
    with Faces(faces_file) as faces:
        assert np.array_equal(columns(pixels(Path("morph.png")), 2, "original")[0], faces.read(24, 25)[0])


def test_a_grid_of_a_named_face(model: FaceModel, faces_file: Path, latents: Path) -> None:
    result = morph(name="000003.jpg", attribute="Smiling", steps=[0, 1], attribute2="Male", steps2=[-1, 0, 2])
    smile, male = model.direction("Smiling"), model.direction("Male")
    z = mean(latents, 2)
    for row, n2 in enumerate((-1, 0, 2)):
        expected = model.decode(z + np.float32(n2) * male + np.array([[0], [1]], dtype=np.float32) * smile)
        assert np.array_equal(result.morphs[row], expected)
    assert result.names == ("000003",)


def test_names_that_are_not_there(latents: Path) -> None:
    assert refusal("morph", "--name", "00005.jpg", code=2) == (
        "There is no face 00005.jpg in latents.h5. Did you mean 000005.jpg?"
    )
    assert refusal("morph", "--name", "zzz", code=2) == (
        "There is no face zzz in latents.h5. Its names are such as 000001.jpg."
    )
    assert refusal("morph", "--name", "000001.jpg", "--among", "no.h5") == (
        "There is no no.h5. Make one with: facevae encode > latents.h5"
    )
    assert not Path("morph.png").exists()


def test_latents_of_other_weights(latents: Path) -> None:
    put_other_weights(Path("other.safetensors"))
    assert refusal("morph", "--name", "000001.jpg", "-w", "other.safetensors") == (
        "latents.h5 was not made by other.safetensors but by other weights: encode the faces again "
        "(facevae encode > latents.h5), or name the weights that made it with --weights."
    )


def test_the_latents_are_not_written_over(latents: Path) -> None:
    latents.rename("latents.png")
    assert refusal("morph", "--name", "000001.jpg", "--among", "latents.png", "-o", "latents.png", code=2) == (
        "latents.png is an input and would be overwritten: name another output with -o."
    )


# ------------------------------------------------------------------------------------------ faces drawn at random


def test_a_drawn_face_is_that_of_sample(model: FaceModel) -> None:
    succeed("sample", "-n", "1", "--seed", "3", "--scale", 1, "-o", "sampled.png")
    drawn = tile(pixels(Path("sampled.png")), MARGIN, MARGIN, 32)
    outcome = succeed("morph", "--sample", "3", "--steps", "0", "--scale", 1, "--json")
    assert (outcome.stderr, outcome.json["faces"], outcome.json["steps"]) == ("", ["random 3"], [0])
    first, nought = columns(pixels(Path("morph.png")), 2, "decoded")
    assert np.array_equal(drawn, sample(1, io.BytesIO(), seed=3).faces[0])
    assert np.array_equal(first, drawn)
    assert np.array_equal(nought, drawn)
    result = morph(sample=3, attribute="Smiling", steps=[0.0, 1.5])
    moved = model.draw(1, seed=3) + np.float32(1.5) * model.direction("Smiling")
    assert np.array_equal(result.morphs[0, 1], model.decode(moved)[0])


def test_the_temperature_is_that_of_sample() -> None:
    for temperature in (0.0, 0.5):
        succeed("sample", "-n", "1", "--seed", "4", "--temperature", temperature, "--scale", 1, "-o", "sampled.png")
        drawn = tile(pixels(Path("sampled.png")), MARGIN, MARGIN, 32)
        succeed("morph", "--sample", "4", "--temperature", temperature, "-s", "0", "--scale", 1)
        assert np.array_equal(columns(pixels(Path("morph.png")), 2, "decoded")[0], drawn)
    cold, warm = (morph(sample=4, temperature=t, steps=[0]).morphs for t in (0.5, 1.0))
    assert not np.array_equal(cold, warm)


def test_one_row_each_in_the_order_of_pictures_names_and_seeds(
    model: FaceModel, faces_file: Path, latents: Path
) -> None:
    of_inputs = put_upscaler(Path("upscaler.safetensors"), seed=8)
    of_decoded = put_upscaler(Path("upscaler-reconstructions.safetensors"), "reconstructions", seed=9)
    pictures = put_pictures(Path("pictures"), 1)
    arguments: list[str | Path] = [
        "--sample",
        "7",
        pictures[0],
        "--name",
        "000009.jpg",
        "--sample",
        "1",
        "--name",
        "000002.jpg",
    ]
    outcome = succeed("morph", *arguments, "-a", "Male", "-s", "0", "--upscale", "3", "--json")
    assert outcome.json["faces"] == ["face1", "000009", "000002", "random 7", "random 1"]
    result = morph(pictures, "Male", io.BytesIO(), name=["000009.jpg", "000002.jpg"], sample=[7, 1], steps=[0])
    assert result.names == tuple(outcome.json["faces"])
    with Faces(faces_file) as faces:
        originals = [load_face(pictures[0], 32), faces.read(8, 9)[0], faces.read(1, 2)[0]]
    expected = [*of_inputs.upscale(originals), *of_decoded.upscale([model.sample(1, seed=seed)[0] for seed in (7, 1)])]
    picture = pixels(Path("morph.png"))
    left = picture.shape[1] - MARGIN - 2 * 96 - GAP
    for row, face in enumerate(expected):
        assert np.array_equal(tile(picture, left, TOP + row * (96 + GAP), 96), face)


def test_the_steps_that_the_explorer_asks_for() -> None:
    assert morph(sample=1, steps="1").steps == (1,)
    assert morph(sample=1, steps="0,0.25,0.5,0.75,1").steps == (0, 0.25, 0.5, 0.75, 1)
    outcome = succeed(
        "morph", "--sample", "1", "--attr", "Smiling=1.5", "--attr", "Male=-0.35", "--steps", "1", "--json"
    )
    assert outcome.json["attributes"] == [{"name": "Smiling", "weight": 1.5}, {"name": "Male", "weight": -0.35}]
    assert outcome.json["steps"] == [1]


def test_an_animation_of_faces_without_pictures(latents: Path) -> None:
    outcome = succeed("morph", "--sample", "1", "--name", "000001.jpg", "-o", "walk.gif", "-s", "0,1")
    assert (outcome.lines, outcome.stderr) == (["walk.gif"], "")
    with Image.open("walk.gif") as animation:
        assert animation.n_frames == 48  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------ pictures left out


def test_one_bad_picture_of_several_is_left_out(model: FaceModel) -> None:
    first, second = put_pictures(Path("faces"), 2)
    Path("notes.txt").write_text("these are notes, no image")
    reason = "notes.txt is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    outcome = succeed("morph", first, "notes.txt", second, "-a", "Male", "--json")
    assert outcome.json["faces"] == ["face1", "face2"]
    assert outcome.json["skipped"] == [{"name": "notes.txt", "reason": reason}]
    assert outcome.stderr == f"Skipped 1 image (--strict makes this an error):\n  {reason}\n"
    whole: MorphResult = morph([first, second], "Male", "two.png")
    assert Path("morph.png").read_bytes() == Path("two.png").read_bytes()
    assert whole.skipped == ()
    assert refusal("morph", first, "notes.txt", "--strict") == reason


def test_pictures_of_which_none_is_left() -> None:
    Path("notes.txt").write_text("these are notes, no image")
    assert refusal("morph", "notes.txt", "no.png") == (
        "None of the 2 images could be used. The first: notes.txt is not an image that can be read: "
        "give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )
    outcome = succeed("morph", "notes.txt", "no.png", "--sample", "1", "--json")
    assert (outcome.json["faces"], len(outcome.json["skipped"])) == (["random 1"], 2)


def test_a_single_picture_is_never_left_out() -> None:
    Path("notes.txt").write_text("these are notes, no image")
    assert refusal("morph", "notes.txt", "--sample", "1").startswith("notes.txt is not an image that can be read")
    assert not Path("morph.png").exists()


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], NO_FACE),
        (["--attr", "Smiling"], NO_FACE),
        (
            ["--sample", "1", "--among", "latents.h5"],
            "--among says in which latents the face of --name is: give a name, or leave it out.",
        ),
        (
            ["--name", "000001.jpg", "--temperature", "0.5"],
            "--temperature is about faces drawn with --sample: give it a seed, or leave --temperature out.",
        ),
        (
            ["--sample", "1", "--temperature", "-1"],
            "A temperature of -1 is out of range: use a number from 0 to 100, such as 0.8.",
        ),
        (
            ["--sample", "1", "--temperature", "nan"],
            "A temperature of nan is out of range: use a number from 0 to 100, such as 0.8.",
        ),
        (["--sample", "-1"], "A seed of -1 is out of range: use a whole number from 0 on."),
        (
            ["--sample", "1", "--face", "2"],
            "--face is about images, and none is given: name some, or leave it out.",
        ),
        (
            ["--name", "000001.jpg", "--no-align"],
            "--no-align is about images, and none is given: name some, or leave it out.",
        ),
        (
            ["--sample", "1", "--paste"],
            "--paste goes back into a photograph, and a face by --sample has none: name an image file, or leave --paste out.",
        ),
        (
            ["face.png", "--name", "000001.jpg", "--paste"],
            "--paste goes back into a photograph, and a face by --name has none: name an image file, or leave --paste out.",
        ),
        (
            ["--sample", "1", "--name", "000001.jpg", "--attr2", "Male"],
            "A grid of two directions is of one face, not of 2: name one, or leave --attr2 out.",
        ),
        (
            ["--sample", "1"] * 6 + ["--steps", "1,1000"],
            "6 faces at 1000 steps do not fit into one picture: name fewer, or fewer steps.",
        ),
    ],
)
def test_what_does_not_go(arguments: list[str], message: str) -> None:
    before = files()
    assert refusal("morph", *arguments, code=2) == message
    assert files() == before


def test_the_library_takes_none_and_empty_lists() -> None:
    nothings: list[list[str] | None] = [None, []]
    for nothing in nothings:
        with pytest.raises(UsageError) as caught:
            morph(nothing, name=[], sample=[])
        assert str(caught.value) == NO_FACE

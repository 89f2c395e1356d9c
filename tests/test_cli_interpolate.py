"""`facevae interpolate`: from one face to the next, as a strip or an animation."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facevae.errors import UsageError
from facevae.figures.canvas import GAP, MARGIN
from facevae.model.interpolation import linear, spherical
from facevae.storage.images import load_face
from facevae.storage.weights import FaceModel
from facevae.workflows.interpolate import interpolate
from helpers import border, files, pixels, put_pictures, put_upscaler, put_weights, refusal, run, succeed, tile
from support import Recorder

TOP = MARGIN + 20 + 20
"""Where the tiles begin: under the subtitle and the column labels."""


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def faces() -> list[Path]:
    return put_pictures(Path("faces"), 3, size=44)


def inputs(faces: list[Path]) -> NDArray[np.uint8]:
    return np.stack([load_face(path, 32) for path in faces])


def enlarged(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(face).resize((96, 96), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("options", "way"), [([], linear), (["--spherical"], spherical)])
def test_a_strip_from_face_to_face(model: FaceModel, faces: list[Path], options: list[str], way: object) -> None:
    assert callable(way)
    outcome = succeed("interpolate", *faces[:2], *options)
    assert (outcome.lines, outcome.stderr) == (["interpolation.png"], "")
    originals = inputs(faces[:2])
    mean, _ = model.encode(originals)
    between = model.decode(way(*mean, np.linspace(0, 1, 9, dtype=np.float32)))
    picture = pixels(Path("interpolation.png"))
    assert picture.shape == (TOP + 96 + MARGIN, 2 * MARGIN + 11 * (96 + GAP) - GAP, 3)
    assert (border(picture) == 255).all()
    for column, face in enumerate([originals[0], *between, originals[1]]):
        assert np.array_equal(tile(picture, MARGIN + column * (96 + GAP), TOP, 96), enlarged(face))
    assert np.abs(between[0].astype(int) - between[-1]).mean() > 2  # equal faces would prove nothing


def test_the_two_ways_differ_in_the_middle_and_not_at_the_ends(faces: list[Path]) -> None:
    straight = interpolate(faces[:2], io.BytesIO(), steps=3)
    round_about = interpolate(faces[:2], io.BytesIO(), steps=3, spherical=True)
    np.testing.assert_allclose(straight.latents[0, [0, 2]], round_about.latents[0, [0, 2]], rtol=1e-5)
    lengths = np.linalg.norm(straight.latents[0], axis=1), np.linalg.norm(round_about.latents[0], axis=1)
    assert lengths[0][1] < lengths[1][1] == pytest.approx((lengths[1][0] + lengths[1][2]) / 2)


def test_a_chain_has_a_row_for_each_pair(model: FaceModel, faces: list[Path]) -> None:
    outcome = succeed("interpolate", *faces, "--steps", 3, "-o", "chain.png", "--json")
    originals = inputs(faces)
    mean, _ = model.encode(originals)
    assert outcome.json == {
        "paths": ["chain.png"],
        "faces": ["face1", "face2", "face3"],
        "t": [0.0, 0.5, 1.0],
        "spherical": False,
        "distances": pytest.approx(np.linalg.norm(np.diff(mean, axis=0), axis=1).tolist()),
    }
    picture = pixels(Path("chain.png"))
    left = picture.shape[1] - MARGIN - 5 * 96 - 4 * GAP
    assert left > MARGIN  # room for the names of the pairs
    for row in range(2):
        between = model.decode(linear(mean[row], mean[row + 1], np.array([0, 0.5, 1], dtype=np.float32)))
        for column, face in enumerate([originals[row], *between, originals[row + 1]]):
            assert np.array_equal(tile(picture, left + column * (96 + GAP), TOP + row * (96 + GAP), 96), enlarged(face))


def test_the_library_gives_latents_and_faces(model: FaceModel, faces: list[Path]) -> None:
    recorder = Recorder()
    made = interpolate([faces[0], faces[1].read_bytes(), str(faces[2])], steps=4, report=recorder)
    assert (made.path, made.names) == (Path("interpolation.png"), ("face1", "stdin", "face3"))
    assert made.places == (0.0, 1 / 3, 2 / 3, 1.0)
    assert (made.latents.shape, made.faces.shape) == ((2, 4, 6), (2, 4, 32, 32, 3))
    assert np.array_equal(made.latents[0, -1], made.latents[1, 0])
    assert np.array_equal(made.faces[1], model.decode(made.latents[1]))
    assert [(event.stage, event.done, event.total) for event in recorder.progress] == [
        *(("read", number, 3) for number in (1, 2, 3)),
        ("interpolate", 1, 2),
        ("interpolate", 2, 2),
    ]


def test_enlarged_by_the_networks(model: FaceModel, faces: list[Path]) -> None:
    of_inputs = put_upscaler(Path("upscaler.safetensors"), seed=8)
    of_decoded = put_upscaler(Path("upscaler-reconstructions.safetensors"), "reconstructions", seed=9)
    outcome = succeed("interpolate", *faces[:2], "-s", 2, "--upscale", 3)
    assert outcome.stderr == ""
    first, second = of_inputs.upscale(inputs(faces[:2]))
    between = of_decoded.upscale(interpolate(faces[:2], io.BytesIO(), steps=2).faces[0])
    for column, face in enumerate([first, *between, second]):
        assert np.array_equal(tile(pixels(Path("interpolation.png")), MARGIN + column * (96 + GAP), TOP, 96), face)


# ------------------------------------------------------------------------------------------ animations


def test_an_animation_there_and_back(model: FaceModel, faces: list[Path]) -> None:
    """Exact, as APNG: the face moves between the two that it is between; the middle one of three is shown once."""
    outcome = succeed("interpolate", *faces, "--steps", 5, "--scale", 2, "--format", "apng")
    assert outcome.lines == ["interpolation.apng"]
    made = interpolate(faces, io.BytesIO(), steps=5)
    originals = inputs(faces)
    forth = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)]
    with Image.open("interpolation.apng") as animation:
        assert animation.info["loop"] == 0
        assert animation.n_frames == 9 + 7  # type: ignore[attr-defined]
        for number, (pair, step) in enumerate(forth + forth[-2:0:-1]):
            animation.seek(number)
            shown = np.array(animation.convert("RGB"))
            left = (shown.shape[1] - 3 * 64 - 2 * GAP) // 2
            for column, face in enumerate([originals[pair], made.faces[pair, step], originals[pair + 1]]):
                expected = np.array(Image.fromarray(face).resize((64, 64), Image.Resampling.BICUBIC))
                found = tile(shown, left + column * (64 + GAP), MARGIN + 20, 64)
                assert np.array_equal(found, expected), (number, column)


@pytest.mark.parametrize(
    ("arguments", "path", "kind"),
    [
        (["-o", "walk.gif"], "walk.gif", "GIF"),
        (["--format", "gif"], "interpolation.gif", "GIF"),
        (["--format", "webp"], "interpolation.webp", "WEBP"),
        (["-o", "walk.apng"], "walk.apng", "PNG"),
    ],
)
def test_formats_of_animations(faces: list[Path], arguments: list[str], path: str, kind: str) -> None:
    assert succeed("interpolate", *faces[:2], "--scale", 1, *arguments).lines == [path]
    with Image.open(path) as animation:
        assert animation.format == kind
        assert animation.n_frames == 25 + 23  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_an_mp4_through_ffmpeg(faces: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path("bin/ffmpeg").absolute()
    program.parent.mkdir()
    code = (
        "import pathlib, sys\nsize = len(sys.stdin.buffer.read())\npathlib.Path(sys.argv[-1]).write_text(str(size))\n"
    )
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert succeed("interpolate", *faces[:2], "-s", 3, "-o", "walk.mp4").lines == ["walk.mp4"]
    width, height = 2 * MARGIN + 3 * 96 + 2 * GAP, 2 * MARGIN + 20 + 96
    assert Path("walk.mp4").read_text() == str(4 * 3 * width * height)  # four frames there and back
    assert (
        succeed("interpolate", *faces[:2], "-s", 3, "--format", "mp4", "-o", "-").stdout
        == Path("walk.mp4").read_bytes()
    )


# ------------------------------------------------------------------------------------------ streams and refusals


def test_a_face_from_standard_input_and_the_picture_to_standard_output(faces: list[Path]) -> None:
    outcome = succeed("interpolate", "-", faces[1], "-o", "-", stdin=faces[0].read_bytes())
    assert outcome.stderr == ""
    succeed("interpolate", *faces[:2])
    found, expected = pixels(outcome.stdout), pixels(Path("interpolation.png"))
    assert np.array_equal(found[TOP:], expected[TOP:])  # the one is labelled "stdin"
    assert succeed("interpolate", *faces[:2], "--format", "gif", "-o", "-").stdout.startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-s", "1"], "1 steps from face to face are out of range: use a whole number from 2 to 1,000."),
        (["-s", "1001"], "1001 steps from face to face are out of range: use a whole number from 2 to 1,000."),
        (["--scale", "0"], "A scale of 0 is out of range: use a whole number from 1 to 32."),
        (
            ["--scale", "3", "--upscale", "3"],
            "--scale and --upscale both say how much larger to show faces: leave one of the two out.",
        ),
        (["--upscaler", "photographs"], "--upscaler says what enlarges faces: use it with --upscale 2, 3 or 4."),
        (["--format", "jpg"], "There is no format jpg: use png, gif, webp, apng or mp4."),
        (["--format", "gif", "-o", "a.png"], "a.png does not go with --format gif: name a .gif file."),
        (["-o", "-", "--json"], "The result and JSON cannot both go to standard output: name a file with -o FILE."),
        (
            ["-o", "faces/face2.png"],
            "faces/face2.png is an input and would be overwritten: name another output with -o.",
        ),
    ],
)
def test_wrong_options(faces: list[Path], options: list[str], message: str) -> None:
    before = files()
    assert refusal("interpolate", *faces[:2], *options, code=2) == message
    assert files() == before


def test_one_face_leads_nowhere(faces: list[Path]) -> None:
    message = "An interpolation goes from one face to another: name at least two image files."
    assert refusal("interpolate", faces[0], code=2) == message
    with pytest.raises(UsageError) as error:
        interpolate([])
    assert str(error.value) == message
    assert "Missing argument 'FACE" in run("interpolate").stderr


def test_more_than_a_picture_can_hold(faces: list[Path]) -> None:
    assert refusal("interpolate", *[faces[0]] * 7, "-s", 1000, code=2) == (
        "7 faces with 1000 steps between them do not fit into one picture: name fewer, or fewer steps."
    )


def test_faces_that_are_none(faces: list[Path]) -> None:
    Path("notes.txt").write_text("these are notes, no image")
    assert refusal("interpolate", faces[0], "notes.txt") == (
        "notes.txt is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )
    example = "send an image to it, as in: facevae interpolate - < face.jpg"
    assert refusal("interpolate", "-", faces[0], code=2) == f"Standard input is empty: {example}"
    assert (
        refusal("interpolate", "-", "-", code=2, stdin=faces[0].read_bytes()) == f"Standard input is empty: {example}"
    )


def test_a_face_and_itself(faces: list[Path]) -> None:
    made = interpolate([faces[0], faces[0]], io.BytesIO(), spherical=True, steps=3)
    assert made.distances == (0.0,)
    assert np.array_equal(made.faces[0, 0], made.faces[0, 1])

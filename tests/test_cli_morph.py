"""`facevae morph`: z + n delta, decoded; the steps; the strip and the animation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facevae.errors import UsageError
from facevae.figures.canvas import GAP, MARGIN, font
from facevae.storage.images import load_face
from facevae.storage.latents import Latents
from facevae.storage.upscaler_file import Upscaler
from facevae.storage.weights import FaceModel
from facevae.workflows.morph import morph, parse_steps
from helpers import (
    border,
    pixels,
    put_latents,
    put_other_weights,
    put_pictures,
    put_upscaler,
    put_weights,
    refusal,
    succeed,
    tile,
    tiny_upscaler,
)
from support import Recorder

TOP = MARGIN + 30 + 20 + 20
"""Where the tiles begin: under the title, the subtitle and the column labels."""


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def face() -> Path:
    return put_pictures(Path("faces"), 1, size=44)[0]


# ------------------------------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("-3,3", (-3, -2, -1, 0, 1, 2, 3)),
        ("3,-3", (3, 2, 1, 0, -1, -2, -3)),
        ("0,0", (0,)),
        ("0,1", (0, 1)),
        ("0,0.5", (0, 0.5)),
        ("-1,1.5", (-1, 0, 1, 1.5)),
        ("1.2,3.2", (1.2, 2.2, 3.2)),
        ("-2.7,-1.7", (-2.7, -1.7)),
        ("-3,0,3", (-3, 0, 3)),
        ("3,1,2,1", (3, 1, 2, 1)),
        (" -1 , 1 ", (-1, 0, 1)),
        ("2", (2,)),
        ("1e1,1.1e1", (10, 11)),
    ],
)
def test_two_numbers_are_a_range_and_more_the_list(text: str, steps: tuple[float, ...]) -> None:
    assert parse_steps(text) == pytest.approx(steps)


numbers = st.floats(-500, 500).map(lambda number: round(number, 2))


@given(low=numbers, high=numbers)
def test_a_range_goes_by_whole_steps_and_ends_on_its_end(low: float, high: float) -> None:
    steps = parse_steps(f"{low},{high}")
    assert steps[0] == low or low == pytest.approx(high, abs=1e-9)
    assert steps[-1] == high
    gaps = np.diff(steps) * (1 if high >= low else -1)
    assert np.allclose(gaps[:-1], 1)
    assert (gaps > 1e-6).all()
    assert (gaps <= 1 + 1e-6).all()


@given(low=st.integers(-400, 400), high=st.integers(-400, 400))
def test_a_range_of_whole_numbers_is_exact(low: int, high: int) -> None:
    sign = 1 if high >= low else -1
    assert parse_steps(f"{low},{high}") == tuple(range(low, high + sign, sign))


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_any_other_count_is_the_list_itself(values: list[float]) -> None:
    if len(values) != 2:
        assert parse_steps(",".join(map(repr, values))) == tuple(values)


@given(text=st.text(alphabet="0123456789.,-+eE naif", max_size=12))
def test_any_text_gives_finite_steps_or_a_usage_error(text: str) -> None:
    try:
        steps = parse_steps(text)
    except UsageError:
        return
    assert 1 <= len(steps) <= 1000
    assert np.isfinite(steps).all()


@pytest.mark.parametrize("text", ["x", "", ",", "1,", "1,,2", "1;2", "-3..3", "nan", "inf,1", "1,2,nan", "-3 3"])
def test_steps_that_are_none(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_steps(text)
    assert str(caught.value) == (
        f"Cannot read the steps {text!r}: write a range such as -3,3 or a list such as -3,-1,0,1,3."
    )


@pytest.mark.parametrize("text", ["0,1000", "-1e300,1e300", ",".join("1" * 1001)])
def test_too_many_steps(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_steps(text)
    assert str(caught.value) == f"The steps {text[:40]!r} are more than 1000: take a smaller range."


def test_the_most_steps() -> None:
    assert len(parse_steps("1,1000")) == 1000


# ------------------------------------------------------------------------------------------ the strip


@pytest.mark.parametrize("arguments", [["--steps", "-3,3"], ["--steps=-3,3"], ["-s", "-3,3"], ["-s-3,3"], []])
def test_the_walk_is_decoded_mean_plus_n_delta(model: FaceModel, face: Path, arguments: list[str]) -> None:
    outcome = succeed("morph", face, "--attr", "Smiling", "--scale", 1, *arguments)
    assert (outcome.lines, outcome.stderr) == (["morph.png"], "")
    picture = pixels(Path("morph.png"))
    assert (border(picture) == 255).all()
    original = load_face(face, 32)
    mean, _ = model.encode(original[None])
    delta = model.direction("Smiling")
    expected = [original, *(model.decode(mean + np.float32(n) * delta)[0] for n in range(-3, 4))]
    # The longest label, "original", is wider than a face, which then stands in the middle of its column.
    width = int(font(13).getlength("original")) + 1
    assert width > 32
    lefts = [MARGIN + column * (width + GAP) + (width - 32) // 2 for column in range(8)]
    for left, image in zip(lefts, expected, strict=True):
        assert np.array_equal(tile(picture, left, TOP, 32), image)
    assert np.array_equal(expected[4], model.decode(mean)[0])  # n = 0 is the reconstruction
    assert np.abs(expected[1].astype(int) - expected[7]).max() > 5
    assert picture.shape[:2] == (TOP + 32 + MARGIN, 2 * MARGIN + 8 * (width + GAP) - GAP)
    assert (picture[TOP:, lefts[-1] + 32 :] == 255).all()


@pytest.mark.parametrize(
    "options",
    [["--format", "png", "-o", "a.png"], ["--format", "png", "-o", "a.PNG"], ["--format", "png"], ["-o", "a.jpg"]],
)
def test_a_format_that_goes_with_the_name_or_none(face: Path, options: list[str]) -> None:
    name = options[-1] if "-o" in options else "morph.png"
    assert succeed("morph", face, *options).lines == [name]
    with Image.open(name) as picture:
        assert picture.format == ("JPEG" if name.endswith("jpg") else "PNG")


def test_a_list_of_steps_makes_as_many_columns(face: Path) -> None:
    outcome = succeed("morph", face, "--steps", "-2.5,0,1", "--json")
    assert outcome.json["steps"] == [-2.5, 0, 1]
    assert pixels(Path("morph.png")).shape[1] == 2 * MARGIN + 4 * 96 + 3 * GAP


def test_one_row_a_face(model: FaceModel) -> None:
    faces = put_pictures(Path("faces"), 3)
    result = morph(faces, "Male", steps=[0.0, 1.0])
    originals = np.stack([load_face(path, 32) for path in faces])
    mean, _ = model.encode(originals)
    assert result.morphs.shape == (3, 2, 32, 32, 3)
    assert np.array_equal(result.morphs[:, 0], model.decode(mean))
    assert np.array_equal(result.morphs[:, 1], model.decode(mean + model.direction("Male")))
    picture = pixels(Path("morph.png"))
    left = picture.shape[1] - MARGIN - 3 * 96 - 2 * GAP
    assert left > MARGIN  # room for the names of the faces
    for row in range(3):
        expected = np.array(Image.fromarray(originals[row]).resize((96, 96), Image.Resampling.BICUBIC))
        assert np.array_equal(tile(picture, left, TOP + row * (96 + GAP), 96), expected)


def test_the_strip_enlarged_by_the_networks(model: FaceModel) -> None:
    """The column "original" as photographs, the others as reconstructions."""
    of_inputs = put_upscaler(Path("upscaler.safetensors"), seed=8)
    of_decoded = put_upscaler(Path("upscaler-reconstructions.safetensors"), "reconstructions", seed=9)
    faces = put_pictures(Path("faces"), 2)
    outcome = succeed("morph", *faces, "-a", "Male", "-s", "0,1,2.5", "--upscale", 3)
    assert (outcome.lines, outcome.stderr) == (["morph.png"], "")
    result = morph(faces, "Male", io.BytesIO(), steps=[0.0, 1.0, 2.5], upscale=3)
    assert result.morphs.shape == (2, 3, 32, 32, 3)
    originals = np.stack([load_face(path, 32) for path in faces])
    picture = pixels(Path("morph.png"))
    left = picture.shape[1] - MARGIN - 4 * 96 - 3 * GAP
    for row in range(2):
        expected = [of_inputs.upscale(originals[row : row + 1])[0], *of_decoded.upscale(result.morphs[row])]
        for column, face in enumerate(expected):
            assert np.array_equal(tile(picture, left + column * (96 + GAP), TOP + row * (96 + GAP), 96), face)


def test_a_gif_enlarged_by_the_network(face: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames of all faces in one call; 256 colours are left of them."""
    mine = tiny_upscaler("reconstructions", seed=9)
    with torch.no_grad():
        list(mine.network.parameters())[-1].sub_(0.4)  # darkens, by more than a palette blurs
    mine.save("mine.safetensors")
    given: list[int] = []
    original = Upscaler.upscale

    def upscale(this: Upscaler, images: Any, *options: Any, **more: Any) -> Any:
        given.append(len(images))
        return original(this, images, *options, **more)

    monkeypatch.setattr(Upscaler, "upscale", upscale)
    options = ["-s", "-3,2", "--upscale", "2", "--upscaler", "mine.safetensors"]
    assert succeed("morph", face, face, "-a", "Smiling", "--format", "gif", *options).lines == ["morph.gif"]
    assert given == [2 * 25]
    result = morph(face, "Smiling", io.BytesIO(), steps=[-3.0, 2.0])
    with Image.open("morph.gif") as animation:
        for frame, face_32 in ((0, result.morphs[0, 0]), (24, result.morphs[0, -1])):
            animation.seek(frame)
            shown = np.array(animation.convert("RGB"))
            (enlarged,) = original(mine, [face_32], 2)
            bicubic = np.array(Image.fromarray(face_32).resize((64, 64), Image.Resampling.BICUBIC))
            for left in (MARGIN, MARGIN + 64 + GAP):
                found = tile(shown, left, shown.shape[0] - MARGIN - 64, 64).astype(int)
                assert np.abs(found - enlarged).mean() < 0.5 * np.abs(found - bicubic).mean()


def test_the_column_labels_are_the_steps(face: Path) -> None:
    """The strip is the same wherever the label is the same, and only there."""
    succeed("morph", face, "-s", "0,1,2", "-o", "a.png")
    succeed("morph", face, "-s", "0,1,-2", "-o", "b.png")
    labels = [pixels(Path(name))[TOP - 20 : TOP] for name in ("a.png", "b.png")]
    differ = (labels[0] != labels[1]).any(axis=(0, 2))
    assert not differ[: MARGIN + 3 * (96 + GAP)].any()
    assert differ[MARGIN + 3 * (96 + GAP) :].any()


@pytest.mark.parametrize("name", ["wearing hat", "WEARING_HAT", "Wearing-Hat", " wearing_hat "])
def test_attribute_names_in_any_spelling(face: Path, name: str) -> None:
    outcome = succeed("morph", face, "--attr", name, "--json")
    assert outcome.json["attribute"] == "Wearing_Hat"


def test_the_length_of_the_direction_is_told(model: FaceModel, face: Path) -> None:
    outcome = succeed("morph", face, "--attr", "male", "--json")
    length = np.linalg.norm(model.direction("Male"))
    assert outcome.json == {
        "paths": ["morph.png"],
        "faces": ["face1"],
        "attribute": "Male",
        "attributes": [{"name": "Male", "weight": 1.0}],
        "direction": "mean",
        "kept": [],
        "steps": [-3, -2, -1, 0, 1, 2, 3],
        "delta_length": pytest.approx(length),
        "side_effects": None,
        "skipped": [],
    }


def test_the_face_may_come_from_standard_input(face: Path) -> None:
    outcome = succeed("morph", "-", "-a", "Smiling", "-o", "-", stdin=face.read_bytes())
    assert outcome.stderr == ""
    succeed("morph", face, "-a", "Smiling")
    assert outcome.stdout == Path("morph.png").read_bytes()


def test_many_faces_report_their_progress() -> None:
    recorder = Recorder()
    morph(put_pictures(Path("faces"), 2), "Male", report=recorder)
    told = [(event.stage, event.done, event.total) for event in recorder.progress]
    assert told == [("read", 1, 2), ("read", 2, 2), ("morph", 1, 2), ("morph", 2, 2)]


# ------------------------------------------------------------------------------------------ latents


def test_the_direction_of_latents_is_their_difference_of_class_means(model: FaceModel, face: Path) -> None:
    path = put_latents(Path())
    outcome = succeed("morph", face, "-a", "male", "--latents", path, "-s", "0,2", "--json")
    with Latents(path) as latents:
        assert latents.attributes is not None
        has = latents.attributes[:, latents.attribute_names.index("Male")] > 0
        delta = latents.mean()[has].mean(axis=0) - latents.mean()[~has].mean(axis=0)
    assert outcome.json["delta_length"] == pytest.approx(float(np.linalg.norm(delta)), rel=1e-5)
    result = morph([face], "Male", latents=path, steps="0,2")
    mean, _ = model.encode(load_face(face, 32)[None])
    expected = model.decode(mean + np.float32(2) * delta)[0].astype(int)
    assert np.abs(result.morphs[0, 2] - expected).max() <= 1
    assert np.abs(result.morphs[0, 0] - expected).max() > 1


def test_latents_of_other_weights(face: Path) -> None:
    path = put_latents(Path())
    put_other_weights(Path("other.safetensors"))
    assert refusal("morph", face, "--latents", path, "-w", "other.safetensors") == (
        "latents.h5 was not made by other.safetensors but by other weights: encode the faces again "
        "(facevae encode > latents.h5), or name the weights that made it with --weights."
    )


def test_latents_that_are_missing_or_something_else(face: Path, faces_file: Path) -> None:
    remedy = "Make one with: facevae encode > latents.h5"
    assert refusal("morph", face, "--latents", "no.h5") == f"There is no no.h5. {remedy}"
    assert refusal("morph", face, "--latents", "faces.h5") == f"faces.h5 holds prepared faces, not latents. {remedy}"
    assert refusal("morph", face, "--latents", "vae.safetensors") == (
        f"vae.safetensors is not a file of latents (not HDF5). {remedy}"
    )


# ------------------------------------------------------------------------------------------ animations


@pytest.mark.parametrize(
    "arguments", [["--format", "gif"], ["-o", "morph.gif"], ["-o", "morph.gif", "--format", "gif"]]
)
def test_a_gif_walks_there_and_back_for_ever(model: FaceModel, face: Path, arguments: list[str]) -> None:
    outcome = succeed("morph", face, "-a", "Smiling", "--scale", 1, "-s", "-3,2", *arguments)
    assert outcome.lines == ["morph.gif"]
    mean, _ = model.encode(load_face(face, 32)[None])
    multipliers = np.linspace(-3, 2, 25, dtype=np.float32)
    walk = model.decode(mean + multipliers[:, None] * model.direction("Smiling")).astype(int)
    with Image.open("morph.gif") as animation:
        assert animation.info["loop"] == 0
        assert animation.n_frames == 25 + 23  # type: ignore[attr-defined]
        for frame, place in ((0, 0), (12, 12), (24, 24), (36, 12), (47, 1)):
            animation.seek(frame)
            shown = np.array(animation.convert("RGB"))
            found = tile(shown, MARGIN, shown.shape[0] - MARGIN - 32, 32)
            # 256 colours for all frames leave a difference, but that to the other places of the walk is larger.
            differences = np.abs(found - walk).mean(axis=(1, 2, 3))
            assert abs(int(differences.argmin()) - place) <= 1
            assert differences.max() > 1.5 * differences.min()


@pytest.mark.parametrize(
    ("arguments", "path", "kind"),
    [
        (["--format", "webp"], "morph.webp", "WEBP"),
        (["--format", "apng"], "morph.apng", "PNG"),
        (["--format", "apng", "-o", "walk.png"], "walk.png", "PNG"),
        (["-o", "walk.apng"], "walk.apng", "PNG"),
    ],
)
def test_other_animations(model: FaceModel, face: Path, arguments: list[str], path: str, kind: str) -> None:
    outcome = succeed("morph", face, "-a", "Smiling", "--scale", 1, "-s", "-3,2", *arguments)
    assert outcome.lines == [path]
    mean, _ = model.encode(load_face(face, 32)[None])
    ends = model.decode(mean + np.array([[-3], [2]], dtype=np.float32) * model.direction("Smiling")).astype(int)
    with Image.open(path) as animation:
        assert (animation.format, animation.info["loop"], animation.n_frames) == (kind, 0, 48)  # type: ignore[attr-defined]
        for frame, end in ((0, 0), (24, 1)):
            animation.seek(frame)
            shown = np.array(animation.convert("RGB"))
            found = tile(shown, MARGIN, shown.shape[0] - MARGIN - 32, 32)
            # An untrained network decodes noise, of which a lossy WebP keeps hardly the colours.
            assert kind == "WEBP" or np.array_equal(found, ends[end])


def test_a_name_in_webp_alone_is_a_strip(face: Path) -> None:
    succeed("morph", face, "-o", "walk.webp")
    with Image.open("walk.webp") as picture:
        assert not picture.is_animated  # type: ignore[attr-defined]


def test_an_mp4_needs_ffmpeg(face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = (
        "An MP4 needs the program ffmpeg, which is not installed or not on the PATH: install it, or use --format gif, webp or "
        "apng."
    )
    assert refusal("morph", face, "--format", "mp4") == message
    assert refusal("morph", face, "-o", "a.mp4") == message


def test_a_gif_on_standard_output(face: Path) -> None:
    outcome = succeed("morph", face, "--format", "gif", "-o", "-")
    assert outcome.stdout.startswith(b"GIF89a")
    with Image.open(io.BytesIO(outcome.stdout)) as animation:
        assert animation.is_animated  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-a", "Smilling"], "There is no attribute Smilling in vae.safetensors. Did you mean Smiling?"),
        (
            ["-a", "zzz"],
            "There is no attribute zzz in vae.safetensors. It has Attractive, Bald, Male, Smiling and others: "
            "facevae info vae.safetensors lists them.",
        ),
        (
            ["--steps", "x"],
            "Cannot read the steps 'x': write a range such as -3,3 or a list such as -3,-1,0,1,3.",
        ),
        (["--steps", "0,5000"], "The steps '0,5000' are more than 1000: take a smaller range."),
        (["--scale", "0"], "A scale of 0 is out of range: use a whole number from 1 to 32."),
        (
            ["--scale", "3", "--upscale", "3"],
            "--scale and --upscale both say how much larger to show faces: leave one of the two out.",
        ),
        (["--upscale", "5"], "Pictures cannot be upscaled 5 times: use one of 2, 3, 4."),
        (["--upscaler", "photographs"], "--upscaler says what enlarges faces: use it with --upscale 2, 3 or 4."),
        (["--format", "jpg"], "There is no format jpg: use png, gif, webp, apng or mp4."),
        (["--format", "png", "-o", "a.gif"], "a.gif does not go with --format png: name a .png file."),
        (["--format", "gif", "-o", "a.png"], "a.png does not go with --format gif: name a .gif file."),
        (["--format", "gif", "-o", "a"], "a does not go with --format gif: name a .gif file."),
        (["--format", "png", "-o", "a.jpg"], "a.jpg does not go with --format png: name a .png file."),
        (["--format", "png", "-o", "a.webp"], "a.webp does not go with --format png: name a .png file."),
        (["--format", "png", "-o", "a.bmp"], "a.bmp does not go with --format png: name a .png file."),
        (["--format", "png", "-o", "png"], "png does not go with --format png: name a .png file."),
        (
            ["-o", "a.txt"],
            "Cannot write a picture to a.txt: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (["-o", "-", "--json"], "The result and JSON cannot both go to standard output: name a file with -o FILE."),
        (["--device", "tpu"], "There is no device tpu: use one of auto, cpu, cuda, mps."),
    ],
)
def test_wrong_options(face: Path, options: list[str], message: str) -> None:
    assert refusal("morph", face, *options, code=2) == message
    assert not Path("morph.png").exists()


def test_a_direction_that_is_not_known(face: Path) -> None:
    assert refusal("morph", face, "-a", "bald") == (
        "vae.safetensors knows no direction for Bald: its faces all have the same value of it. "
        "Choose another attribute, or train on faces of both kinds."
    )
    path = put_latents(Path())
    assert refusal("morph", face, "-a", "bald", "--latents", path) == (
        "latents.h5 knows no direction for Bald: its faces all have the same value of it. "
        "Choose another attribute, or train on faces of both kinds."
    )


def test_weights_and_latents_without_attributes(face: Path) -> None:
    put_other_weights(Path("plain.safetensors"), attributes=False)
    reason = (
        "holds no attributes: it was made from single images, or from faces without an attribute table. "
        "Prepare faces with one (list_attr_celeba.txt) and begin from there."
    )
    assert refusal("morph", face, "-w", "plain.safetensors") == f"plain.safetensors {reason}"
    path = put_latents(Path(), attributes=False)
    assert refusal("morph", face, "--latents", path) == f"latents.h5 {reason}"


def test_faces_that_are_none(face: Path) -> None:
    Path("notes.txt").write_text("these are notes, no image")
    assert refusal("morph", "notes.txt") == (
        "notes.txt is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )
    assert refusal("morph", "faces/fase1.png") == "There is no file faces/fase1.png. Did you mean face1.png?"
    assert refusal("morph", "-", stdin=b"no image at all") == (
        "stdin is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )
    assert refusal("morph", face, "notes.txt", "-o", "two.png", "--strict").startswith("notes.txt is not an image")
    assert not Path("two.png").exists()


def test_standard_input_without_an_image() -> None:
    example = "send an image to it, as in: facevae morph - < face.jpg"
    assert refusal("morph", "-", code=2) == f"Standard input is empty: {example}"
    assert refusal("morph", "-", code=2, terminal="stdin") == f"Standard input is a terminal: {example}"


def test_wrong_weights(face: Path, latents_file: Path) -> None:
    remedy = "Train some with: facevae train (or name another file with --weights)"
    assert refusal("morph", face, "-w", "latents.h5") == (
        f"latents.h5 is not a file of VAE weights (not safetensors, or damaged). {remedy}"
    )
    assert refusal("morph", face, "-w", "vea.safetensors") == (
        "There is no vea.safetensors. Did you mean vae.safetensors?"
    )
    Path("vae.safetensors").unlink()
    assert refusal("morph", face, "-w", "vae.safetensors") == (
        "There is no vae.safetensors. Check its name and folder, use --weights faces-32 for those shipped, "
        "or train some with: facevae train"
    )


def test_a_face_is_not_written_over(face: Path) -> None:
    before = face.read_bytes()
    assert refusal("morph", face, "-o", face, code=2) == (
        "faces/face1.png is an input and would be overwritten: name another output with -o."
    )
    assert face.read_bytes() == before
    assert refusal("morph", face, "-o", "no/a.png") == "There is no folder no to write a.png into: create it first."


def test_more_than_a_picture_can_hold(face: Path) -> None:
    assert refusal("morph", *[face] * 6, "--steps", "1,1000", code=2) == (
        "6 faces at 1000 steps do not fit into one picture: name fewer, or fewer steps."
    )


def test_the_library_refuses_what_the_command_cannot_ask(face: Path) -> None:
    with pytest.raises(UsageError) as caught:
        morph([face], steps=[])
    assert str(caught.value) == "Cannot morph by the steps []: give at least one finite number."

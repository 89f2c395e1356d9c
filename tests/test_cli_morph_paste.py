"""`facevae morph --paste`: the edit goes back into the photograph, and everything else stays as it was."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facevae.model.alignment import FRAME_HEIGHT, FRAME_WIDTH
from facevae.model.pasting import pasted, soft_mask
from facevae.storage.images import load_face, squashed
from facevae.storage.weights import FaceModel
from facevae.workflows.morph import morph
from facevae.workflows.morph_photograph import PASTE_FRAMES_SIDE
from helpers import FakeFaces, files, pixels, put_photographs, put_pictures, put_weights, refusal, run, succeed


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def frame(workspace: Path) -> Path:
    """A picture of CelebA's size, so that no face is looked for."""
    noise = np.random.default_rng(3).integers(0, 256, (FRAME_HEIGHT, FRAME_WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save("frame.png")
    return Path("frame.png")


WHOLE = np.array([[1.0, 0, 0], [0, 1.0, 0]])


def change(model: FaceModel, image: NDArray[np.uint8], step: float, attribute: str = "Smiling") -> NDArray[np.float32]:
    """What a step changes in the decoded face, by the definition: decoded(z + n delta) - decoded(z)."""
    mean, _ = model.encode(image[None])
    moved = mean + np.float32(step) * model.direction(attribute)
    before, after = (model.decode_levels(latents)[0] for latents in (mean, moved))
    return np.asarray(after - before)


def expected(model: FaceModel, path: Path, step: float) -> NDArray[np.uint8]:
    """What becomes of a picture that is a frame as a whole."""
    return pasted(pixels(path), change(model, load_face(path, 32), step), WHOLE)


# ------------------------------------------------------------------------------------------ what is written


def test_one_step_is_one_photograph_with_the_difference_in_it(model: FaceModel, frame: Path) -> None:
    outcome = succeed("morph", frame, "-a", "Smiling", "--paste", "-s", "2", "--json")
    assert outcome.json["paths"] == ["frame-morph.png"]
    assert outcome.json["steps"] == [2.0]
    assert outcome.json["faces"] == ["frame"]
    written = pixels(Path("frame-morph.png"))
    np.testing.assert_array_equal(written, expected(model, frame, 2))
    assert (written != pixels(frame)).mean() > 0.1


def test_without_steps_it_is_one_step(model: FaceModel, frame: Path) -> None:
    assert succeed("morph", frame, "-a", "Smiling", "--paste").lines == ["frame-morph.png"]
    np.testing.assert_array_equal(pixels(Path("frame-morph.png")), expected(model, frame, 1))


@pytest.mark.parametrize(
    ("name", "options", "wanted", "kind"),
    [
        ("anna.jpg", [], ["anna-morph.jpg"], "JPEG"),
        ("anna.JPEG", [], ["anna-morph.JPEG"], "JPEG"),
        ("a.b.webp", [], ["a.b-morph.webp"], "WEBP"),
        ("anna.tif", [], ["anna-morph.tif"], "TIFF"),
        ("anna.bmp", [], ["anna-morph.png"], "PNG"),
        ("anna.gif", [], ["anna-morph.png"], "PNG"),
        ("anna", [], ["anna-morph.png"], "PNG"),
        ("anna.jpg", ["--format", "png"], ["anna-morph.png"], "PNG"),
        ("anna.jpg", ["--format", "gif"], ["anna-morph.gif"], "GIF"),
        (
            "anna.jpg",
            ["--steps", "-1,0.5"],
            ["anna-morph_n-1.jpg", "anna-morph_n+0.jpg", "anna-morph_n+0.5.jpg"],
            "JPEG",
        ),
    ],
)
def test_the_photograph_has_a_name_of_its_own(
    frame: Path, name: str, options: list[str], wanted: list[str], kind: str
) -> None:
    """In the current folder, and apart from the strip's, which stays."""
    Path("photos").mkdir()
    Path("morph.png").write_bytes(b"the strip")
    picture = Path("photos") / name
    Image.open(frame).save(picture, format={".gif": "GIF", "": "PNG"}.get(picture.suffix) or None)
    assert succeed("morph", picture, "--paste", *options).lines == wanted
    for line in wanted:
        with Image.open(line) as written:
            assert written.format == kind
    assert Path("morph.png").read_bytes() == b"the strip"


def test_a_photograph_from_standard_input_has_a_name_too(frame: Path) -> None:
    assert succeed("morph", "-", "--paste", stdin=frame.read_bytes()).lines == ["stdin-morph.png"]


def test_n_of_nought_gives_the_photograph_back(frame: Path) -> None:
    succeed("morph", frame, "-a", "Smiling", "--paste", "-s", "0", "-o", "same.png")
    np.testing.assert_array_equal(pixels(Path("same.png")), pixels(frame))


def test_several_steps_are_several_files(model: FaceModel, frame: Path) -> None:
    outcome = succeed("morph", frame, "-a", "Smiling", "--paste", "-s", "-2,0,0.5", "-o", "new.png")
    assert outcome.lines == ["new_n-2.png", "new_n+0.png", "new_n+0.5.png"]
    for line, step in zip(outcome.lines, (-2, 0, 0.5), strict=True):
        np.testing.assert_array_equal(pixels(Path(line)), expected(model, frame, step))


def test_a_step_that_is_named_twice_is_written_once(frame: Path) -> None:
    assert succeed("morph", frame, "--paste", "-s", "1,1,1", "-o", "new.png").lines == ["new_n+1.png"]


def test_to_standard_output(model: FaceModel, frame: Path) -> None:
    outcome = succeed("morph", "-", "-a", "Smiling", "--paste", "-o", "-", stdin=frame.read_bytes())
    np.testing.assert_array_equal(pixels(outcome.stdout), expected(model, frame, 1))


def test_faces_that_were_found_are_edited_where_they_lie(model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFaces(monkeypatch)
    (photo,) = put_photographs(Path("photos"), 2)
    before = pixels(photo)
    for arguments, numbers in (((), [1]), (("--face", "2"), [2]), (("--face", "all"), [1, 2])):
        succeed("morph", photo, "-a", "Smiling", "--paste", "-s", "3", "-o", "out.png", *arguments)
        wanted = before
        for number in numbers:
            image = squashed(Image.fromarray(FakeFaces.frame(photo, number)), 32)
            wanted = pasted(wanted, change(model, image, 3), FakeFaces.face(number).to_frame.matrix)
        # Several faces decoded at once may differ in a last digit, which may turn a half the other way.
        apart = pixels(Path("out.png")).astype(int) - wanted
        assert np.abs(apart).max() <= 1
        assert (apart != 0).mean() < 0.001
        assert (wanted != before).mean() > 0.05


def test_pixels_away_from_the_face_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFaces(monkeypatch)
    (photo,) = put_photographs(Path("photos"), 2)
    succeed("morph", photo, "-a", "Smiling", "--paste", "-s", "-30", "--face", "2", "-o", "out.png")
    before, after = pixels(photo), pixels(Path("out.png"))
    rows, columns = np.indices(before.shape[:2])
    centres = np.stack([columns + 0.5, rows + 0.5], axis=-1)
    outside = soft_mask(FakeFaces.face(2).to_frame(centres)) == 0
    assert 0.1 < outside.mean() < 0.9
    np.testing.assert_array_equal(after[outside], before[outside])
    assert (after[~outside] != before[~outside]).mean() > 0.5


def test_a_square_frame_is_stretched(model: FaceModel) -> None:
    (face,) = put_pictures(Path("faces"), 1, size=48)
    succeed("morph", face, "-a", "Smiling", "--paste", "-s", "2")
    stretched = np.array([[FRAME_WIDTH / 48, 0, 0], [0, FRAME_HEIGHT / 48, 0]])
    wanted = pasted(pixels(face), change(model, load_face(face, 32), 2), stretched)
    np.testing.assert_array_equal(pixels(Path("face1-morph.png")), wanted)


def test_transparency_and_colour_profile_stay(frame: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.open(frame).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save("seen.png", icc_profile=profile)
    succeed("morph", "seen.png", "-a", "Smiling", "--paste", "-s", "2", "-o", "out.png")
    with Image.open("out.png") as written:
        assert written.mode == "RGBA"
        assert written.info["icc_profile"] == profile
        np.testing.assert_array_equal(np.array(written.getchannel("A")), np.array(picture.getchannel("A")))


def test_as_a_jpeg(model: FaceModel, frame: Path) -> None:
    succeed("morph", frame, "-a", "Smiling", "--paste", "-s", "2", "-o", "out.jpg")
    with Image.open("out.jpg") as written:
        assert written.format == "JPEG"
        difference = np.asarray(written).astype(float) - expected(model, frame, 2)
    assert np.sqrt(np.square(difference).mean()) < 12  # noise is the hardest to compress


def test_an_animation_of_the_photograph(model: FaceModel, frame: Path) -> None:
    succeed("morph", frame, "-a", "Smiling", "--paste", "-o", "walk.apng")
    with Image.open("walk.apng") as animation:
        assert (animation.size, animation.n_frames) == ((FRAME_WIDTH, FRAME_HEIGHT), 48)  # type: ignore[attr-defined]
        first = np.array(animation.convert("RGB"))
        animation.seek(24)
        last = np.array(animation.convert("RGB"))
    np.testing.assert_array_equal(first, expected(model, frame, -3))
    np.testing.assert_array_equal(last, expected(model, frame, 3))


@pytest.mark.slow
def test_a_large_photograph_is_reduced_for_an_animation(frame: Path) -> None:
    Image.open(frame).resize((1780, 2180), Image.Resampling.BICUBIC).save("large.png")
    outcome = succeed(
        "morph", "large.png", "-a", "Smiling", "--paste", "--no-align", "-s", "0,1", "--format", "webp", "-o", "a.webp"
    )
    width = round(1780 * PASTE_FRAMES_SIDE / 2180)
    assert (
        f"The photograph of 1780 x 2180 pixels is shown reduced to {width} x {PASTE_FRAMES_SIDE}.\n" in outcome.stderr
    )
    with Image.open("a.webp") as animation:
        assert animation.size == (width, PASTE_FRAMES_SIDE)


def test_from_the_library(model: FaceModel, frame: Path) -> None:
    stream = io.BytesIO()
    result = morph(frame, "Smiling", stream, steps=[2], paste=True)
    assert (result.path, result.paths, result.steps, result.names) == (None, (), (2.0,), ("frame",))
    np.testing.assert_array_equal(pixels(stream.getvalue()), expected(model, frame, 2))
    result = morph(frame, "Smiling", "out.png", steps=[1, 2], paste=True)
    assert (result.path, result.paths) == (None, (Path("out_n+1.png"), Path("out_n+2.png")))
    assert result.morphs.shape == (1, 2, 32, 32, 3)


# ------------------------------------------------------------------------------------------ what does not go


def test_what_does_not_go_with_it(frame: Path) -> None:
    before = files()
    assert refusal("morph", frame, frame, "--paste", code=2) == (
        "--paste goes back into one photograph, not into 2: name one."
    )
    assert refusal("morph", frame, "--paste", "--attr2", "Male", code=2) == (
        "--paste goes along one direction: leave --attr2 out, or add it with another --attr."
    )
    for option in (("--scale", "3"), ("--upscale", "3"), ("--upscaler", "photographs")):
        assert refusal("morph", frame, "--paste", *option, code=2) == (
            f"--paste keeps the photograph's own size: leave {option[0]} out."
        )
    assert refusal("morph", frame, "--paste", "--steps", "1,2,3", "-o", "-", code=2) == (
        "3 photographs cannot all go to standard output: take one step, as in --steps 1, or name a file with -o."
    )
    assert files() == before


def test_the_photograph_itself_is_never_replaced(frame: Path) -> None:
    original = frame.read_bytes()
    sentence = "{} is an input and would be overwritten: name another output with -o."
    assert refusal("morph", frame, "--paste", "-o", "frame.png", code=2) == sentence.format("frame.png")
    frame.rename("frame_n+2.png")
    arguments = ("morph", "frame_n+2.png", "--paste", "--steps", "1,2,3", "-o", "frame.png")
    assert refusal(*arguments, code=2) == sentence.format("frame_n+2.png")
    assert files() == ["frame_n+2.png", "vae.safetensors"]
    assert Path("frame_n+2.png").read_bytes() == original


def test_a_format_that_is_too_small_is_told(model: FaceModel) -> None:
    Image.new("RGB", (17_000, 20)).save("wide.png")
    outcome = run("morph", "wide.png", "--paste", "--no-align", "-o", "out.webp")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert outcome.stderr == (
        "Error: out.webp cannot hold 17000 x 20 pixels, as 16,383 a side are the most for its format: name a .png file.\n"
    )
    assert not Path("out.webp").exists()

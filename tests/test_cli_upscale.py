"""`facevae upscale`: pictures of any size enlarged, where they go, and which upscaler enlarges them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import facevae
from facevae.config import UpscalerConfig
from facevae.errors import UsageError
from facevae.figures.picture import check_image_size
from facevae.progress import Progress
from facevae.storage import images as storage_images
from facevae.storage import shipped
from facevae.storage.upscaler_file import REMEDY, Upscaler
from facevae.workflows import upscale as workflow
from helpers import (
    files,
    pixels,
    put_pictures,
    put_upscaler,
    put_weights,
    refusal,
    run,
    ship_upscalers,
    succeed,
    tiny_upscaler,
)
from support import Recorder

UPSCALER = "upscaler.safetensors"


@pytest.fixture(autouse=True)
def upscaler(workspace: Path) -> Upscaler:
    return put_upscaler(workspace / UPSCALER)


@pytest.fixture
def face() -> Path:
    return put_pictures(Path("faces"), 1)[0]


def expected(path: Path | bytes, factor: int = 3, upscaler: Upscaler | None = None) -> NDArray[np.uint8]:
    """What becomes of a picture."""
    return (upscaler or tiny_upscaler()).upscale([pixels(path)], factor)[0]


# ------------------------------------------------------------------------------------------ what is written where


def test_a_picture_three_times_enlarged_into_the_current_folder(face: Path) -> None:
    outcome = succeed("upscale", face)
    assert (outcome.lines, outcome.stderr) == (["face1-x3.png"], "")
    assert np.array_equal(pixels(Path("face1-x3.png")), expected(face))
    bicubic = np.array(Image.fromarray(pixels(face)).resize((96, 96), Image.Resampling.BICUBIC))
    assert np.abs(expected(face).astype(int) - bicubic).max() > 10  # or any enlargement would pass here
    assert succeed("upscale", face).lines == ["face1-x3.png"]


@pytest.mark.parametrize(("options", "factor"), [(["-x", 2], 2), (["--factor", 4], 4), (["-x3"], 3)])
def test_the_factor(face: Path, options: list[str | int], factor: int) -> None:
    assert succeed("upscale", face, *options).lines == [f"face1-x{factor}.png"]
    assert np.array_equal(pixels(Path(f"face1-x{factor}.png")), expected(face, factor))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 2), (40, 13)])
def test_any_size(size: tuple[int, int]) -> None:
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save("a.png")
    succeed("upscale", "a.png")
    assert np.array_equal(pixels(Path("a-x3.png")), expected(Path("a.png")))


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("a.tiff", "TIFF")]
)
def test_the_suffix_of_the_output_decides_the_format(face: Path, name: str, kind: str) -> None:
    assert succeed("upscale", face, "-o", name).lines == [name]
    with Image.open(name) as picture:
        assert (picture.format, picture.size) == (kind, (96, 96))


def test_several_pictures_into_a_folder_that_is_made() -> None:
    paths = put_pictures(Path("faces"), 3)
    outcome = succeed("upscale", *paths, "-o", "large/of/faces")
    assert outcome.lines == [f"large/of/faces/face{number}-x3.png" for number in (1, 2, 3)]
    for path, written in zip(paths, outcome.lines, strict=True):
        assert np.array_equal(pixels(Path(written)), expected(path))


def test_one_picture_into_a_folder(face: Path) -> None:
    Path("there.is").mkdir()
    assert succeed("upscale", face, "-o", "there.is").lines == ["there.is/face1-x3.png"]
    assert succeed("upscale", face, "-o", "new").lines == ["new/face1-x3.png"]


def test_several_pictures_go_into_the_current_folder() -> None:
    paths = put_pictures(Path("faces"), 2)
    assert succeed("upscale", *paths, "-x", 2).lines == ["face1-x2.png", "face2-x2.png"]


def test_from_standard_input_to_standard_output(face: Path) -> None:
    outcome = succeed("upscale", "-", "-o", "-", stdin=face.read_bytes())
    assert outcome.stdout.startswith(b"\x89PNG")
    assert outcome.stderr == ""
    assert np.array_equal(pixels(outcome.stdout), expected(face))
    assert succeed("upscale", "-", stdin=face.read_bytes()).lines == ["stdin-x3.png"]
    assert Path("stdin-x3.png").read_bytes() == outcome.stdout


def test_pictures_are_turned_upright_and_laid_on_white() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save("turned.png", exif=exif)
    clear = np.dstack([noise, np.zeros((6, 9), np.uint8)])
    clear[2:4, 3:5, 3] = 255
    Image.fromarray(clear).save("clear.png")
    succeed("upscale", "turned.png", "clear.png")
    upright = np.ascontiguousarray(np.rot90(noise, -1))
    assert np.array_equal(pixels(Path("turned-x3.png")), tiny_upscaler().upscale([upright])[0])
    on_white = np.where(clear[:, :, 3:] > 0, noise, 255).astype(np.uint8)
    assert np.array_equal(pixels(Path("clear-x3.png")), tiny_upscaler().upscale([on_white])[0])


def test_json(face: Path) -> None:
    Image.new("RGB", (5, 8)).save("b.png")
    assert succeed("upscale", face, "b.png", "-x", 2, "--json").json == {
        "paths": ["face1-x2.png", "b-x2.png"],
        "factor": 2,
        "upscaler": UPSCALER,
        "pictures": [
            {"name": "faces/face1.png", "path": "face1-x2.png", "size": [32, 32], "enlarged": [64, 64]},
            {"name": "b.png", "path": "b-x2.png", "size": [5, 8], "enlarged": [10, 16]},
        ],
        "skipped": [],
    }


def test_the_library_does_the_same(face: Path) -> None:
    result = facevae.upscale(str(face))
    assert result.paths == (Path("face1-x3.png"),)
    assert (result.factor, result.upscaler, result.skipped) == (3, UPSCALER, ())
    stream = io.BytesIO()
    made = facevae.upscale([face.read_bytes()], stream, factor=2)
    assert np.array_equal(pixels(stream.getvalue()), expected(face, 2))
    assert made.paths == ()
    assert (made.pictures[0].name, made.pictures[0].size, made.pictures[0].enlarged) == ("stdin", (32, 32), (64, 64))
    assert made.pictures[0].path is None


# ------------------------------------------------------------------------------------------ together and one by one


class Watched:
    """An upscaler that remembers how many pictures it was given at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[list[tuple[int, ...]]] = []
        original = Upscaler.upscale

        def upscale(this: Upscaler, images: Sequence[NDArray[np.uint8]], *options: object, **more: object) -> object:
            self.groups.append([image.shape[:2] for image in images])
            return original(this, images, *options, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(Upscaler, "upscale", upscale)


def test_forty_faces_are_enlarged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    succeed("upscale", *put_pictures(Path("faces"), 40), "-o", "out")
    assert [len(group) for group in watched.groups] == [40]


def test_large_pictures_are_enlarged_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "_GROUP_PIXELS", 9 * 200)
    sides = [10, 10, 14, 20, 20, 5]
    for number, side in enumerate(sides):
        noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"{number}.png")
    watched = Watched(monkeypatch)
    report = Recorder()
    facevae.upscale([f"{number}.png" for number in range(6)], report=report)
    assert [[height for height, _ in group] for group in watched.groups] == [[10, 10], [14], [20], [20], [5]]
    for number in range(6):
        assert np.array_equal(pixels(Path(f"{number}-x3.png")), expected(Path(f"{number}.png")))
    assert report.progress == [
        Progress("upscale", done, 6, "images", {"tile": tile, "of": tiles})
        for done, tiles in ((0, 2), (2, 1), (3, 1), (4, 1), (5, 1))
        for tile in range(1, tiles + 1)
    ]


def test_one_picture_reports_its_tiles(monkeypatch: pytest.MonkeyPatch, face: Path) -> None:
    monkeypatch.setattr("facevae.model.upscaling.TILE", 48)
    report = Recorder()
    facevae.upscale(face, report=report)
    assert report.progress == [Progress("upscale", tile, 4, "tiles") for tile in (1, 2, 3, 4)]


# ------------------------------------------------------------------------------------------ which upscaler


def test_the_shipped_one_where_the_folder_has_none(face: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path(UPSCALER).unlink()
    package = ship_upscalers(tmp_path / "package", monkeypatch)
    outcome = succeed("upscale", face, "--json")
    assert (outcome.json["upscaler"], outcome.stderr) == ("photographs", "")
    assert np.array_equal(pixels(Path("face1-x3.png")), expected(face, upscaler=package["photographs"]))


@pytest.mark.parametrize("name", ["photographs", "reconstructions"])
def test_the_shipped_ones_by_name(face: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = ship_upscalers(tmp_path / "package", monkeypatch)
    Path(name).mkdir()  # a folder of pictures, say, is no file of that name
    outcome = succeed("upscale", face, "--upscaler", name, "--json")
    assert (outcome.json["upscaler"], outcome.stderr) == (name, "")
    assert np.array_equal(pixels(Path("face1-x3.png")), expected(face, upscaler=package[name]))
    Path(name).rmdir()
    Path(UPSCALER).rename(name)
    assert succeed("upscale", face, "--upscaler", name, "--json").json["upscaler"] == name
    assert np.array_equal(pixels(Path("face1-x3.png")), expected(face))


def test_a_file_of_one_s_own(face: Path) -> None:
    mine = put_upscaler(Path("mine.safetensors"), seed=3)
    outcome = succeed("upscale", face, "--upscaler", "mine.safetensors", "--json")
    assert (outcome.json["upscaler"], outcome.stderr) == ("mine.safetensors", "")
    assert np.array_equal(pixels(Path("face1-x3.png")), expected(face, upscaler=mine))


def test_a_file_that_learned_to_enlarge_something_else_is_told(face: Path) -> None:
    put_upscaler(Path(UPSCALER), "reconstructions")
    assert succeed("upscale", face).stderr == (
        "upscaler.safetensors was trained to enlarge reconstructions, and enlarges photographs here.\n"
    )
    assert succeed("upscale", face, "-q").stderr == ""
    put_upscaler(Path(UPSCALER), "unknown things")
    assert succeed("upscale", face).stderr == ""


def test_the_package_holds_both(face: Path) -> None:
    """The files that are really shipped: of the size that the paper's network has in half precision, and as recorded."""
    for inputs in shipped.UPSCALERS:
        path = shipped.shipped_upscaler(inputs)
        assert path.stat().st_size <= 3_000_000
        loaded = Upscaler.load(path)
        assert loaded.inputs == inputs
        assert loaded.network.config == UpscalerConfig()
    Path(UPSCALER).unlink()
    assert succeed("upscale", face, "-x", 2).lines == ["face1-x2.png"]
    assert pixels(Path("face1-x2.png")).shape == (64, 64, 3)


def test_a_damaged_package(face: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ship_upscalers(tmp_path / "package", monkeypatch)
    path = tmp_path / "package" / UPSCALER
    path.write_bytes(path.read_bytes() + b"x")
    Path(UPSCALER).unlink()
    sentence = (
        f"{path}, which comes with facevae, is damaged (its SHA-256 is not that of this version): reinstall facevae."
    )
    assert refusal("upscale", face) == sentence
    assert refusal("upscale", face, "--upscaler", "photographs") == sentence
    path.unlink()
    assert refusal("upscale", face) == f"{path}, which comes with facevae, is missing: reinstall facevae."


def test_upscalers_that_are_none(face: Path) -> None:
    put_weights(Path())
    assert refusal("upscale", face, "--upscaler", "no.safetensors") == f"There is no no.safetensors. {REMEDY}"
    assert refusal("upscale", face, "--upscaler", "vae.safetensors") == (
        f"vae.safetensors does not hold upscaler weights of facevae. {REMEDY}"
    )
    assert refusal("upscale", face, "--upscaler", face) == (
        f"faces/face1.png is not a file of upscaler weights (not safetensors, or damaged). {REMEDY}"
    )
    Path(UPSCALER).unlink()
    Path(UPSCALER).symlink_to("gone")
    assert refusal("upscale", face) == f"There is no upscaler.safetensors. {REMEDY}"
    assert files() == ["faces", "upscaler.safetensors", "vae.safetensors"]


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-x", "1"], "Pictures cannot be upscaled 1 times: use one of 2, 3, 4."),
        (["--factor", "5"], "Pictures cannot be upscaled 5 times: use one of 2, 3, 4."),
        (["-x", "-2"], "Pictures cannot be upscaled -2 times: use one of 2, 3, 4."),
        (["--precision", "fp16"], "There is no precision fp16: use one of auto, fp32, bf16."),
        (["--device", "tpu"], "There is no device tpu: use one of auto, cpu, cuda, mps."),
        (
            ["-o", "a.bmp"],
            "Cannot write a picture to a.bmp: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (["-o", "-", "--json"], "The result and JSON cannot both go to standard output: name a file with -o FILE."),
    ],
)
def test_wrong_options(face: Path, options: list[str], message: str) -> None:
    assert refusal("upscale", face, *options, code=2) == message
    assert files() == ["faces", UPSCALER]


def test_a_terminal_gets_no_binary(face: Path) -> None:
    assert refusal("upscale", face, "-o", "-", code=2, terminal="stdout") == (
        "Standard output is a terminal and the result is binary: "
        "name a file with -o FILE, or send it on with a pipe or >."
    )


def test_standard_input_without_an_image() -> None:
    example = "send an image to it, as in: facevae upscale - < face.jpg"
    assert refusal("upscale", "-", code=2) == f"Standard input is empty: {example}"
    assert refusal("upscale", "-", code=2, terminal="stdin") == f"Standard input is a terminal: {example}"
    assert refusal("upscale", "-", stdin=b"no image at all") == (
        "stdin is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )


def test_an_image_must_be_named() -> None:
    outcome = run("upscale")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert "Missing argument 'IMAGE" in outcome.stderr
    with pytest.raises(UsageError) as caught:
        facevae.upscale([])
    assert str(caught.value) == "There is no image to enlarge: name at least one image file."


def test_several_pictures_do_not_go_into_one_file_or_stream() -> None:
    paths = put_pictures(Path("faces"), 2)
    assert refusal("upscale", *paths, "-o", "-", code=2) == (
        "2 pictures cannot all go to standard output: name a folder with -o."
    )
    assert refusal("upscale", *paths, "-o", "a.png", code=2) == (
        "2 pictures cannot all go to a.png: name a folder with -o."
    )
    Path("file").write_text("mine")
    assert refusal("upscale", *paths, "-o", "file") == "file cannot be made a folder: file exists."
    assert Path("file").read_text() == "mine"


def test_two_pictures_of_one_name_are_refused_before_anything_is_done() -> None:
    one, two = put_pictures(Path("a"), 1)[0], put_pictures(Path("b"), 1, suffix=".jpg")[0]
    assert refusal("upscale", one, two, code=2) == (
        "a/face1.png and b/face1.jpg would both be written to face1-x3.png: "
        "enlarge them one by one, each with its own -o."
    )
    assert refusal("upscale", one, one, "-o", "out", code=2) == (
        "a/face1.png and a/face1.png would both be written to out/face1-x3.png: "
        "enlarge them one by one, each with its own -o."
    )
    assert files() == ["a", "b", UPSCALER]


def test_an_input_is_not_written_over(face: Path) -> None:
    before = face.read_bytes()
    sentence = "is an input and would be overwritten: name another output with -o."
    assert refusal("upscale", face, "-o", face, code=2) == f"faces/face1.png {sentence}"
    assert face.read_bytes() == before
    Path("face1-x3.png").write_bytes(before)
    assert refusal("upscale", face, "face1-x3.png", code=2) == f"face1-x3.png {sentence}"
    assert refusal("upscale", "face1-x3.png", face, code=2) == f"face1-x3.png {sentence}"
    assert Path("face1-x3.png").read_bytes() == before


def test_places_that_cannot_be_written(face: Path) -> None:
    assert refusal("upscale", face, "-o", "no/a.png") == "There is no folder no to write a.png into: create it first."
    Path(UPSCALER).rename("mine.png")
    assert refusal("upscale", face, "-o", "mine.png", code=2) == (
        "mine.png holds upscaler weights and would be overwritten by a picture: name another output with -o."
    )
    Path("face1-x3.png").mkdir()
    assert refusal("upscale", face, code=2) == "face1-x3.png is a folder: name a file to write to."


# ------------------------------------------------------------------------------------------ images that cannot be enlarged


def test_an_unreadable_image_among_several_is_left_out() -> None:
    paths = put_pictures(Path("faces"), 2)
    Path("notes.txt").write_text("these are notes, no image")
    reason = "notes.txt is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    outcome = succeed("upscale", paths[0], "notes.txt", paths[1])
    assert outcome.lines == ["face1-x3.png", "face2-x3.png"]
    assert outcome.stderr == f"Skipped 1 image (--strict makes this an error):\n  {reason}\n"
    found = succeed("upscale", paths[0], "notes.txt", "-q", "--json")
    assert found.json["skipped"] == [{"name": "notes.txt", "reason": reason}]
    assert found.stderr == ""
    assert refusal("upscale", *paths, "notes.txt", "--strict", "-o", "strict") == reason
    assert not Path("strict").exists()
    assert refusal("upscale", "notes.txt") == reason
    assert (
        refusal("upscale", "notes.txt", "no.png", "-o", "none") == f"None of the 2 images could be enlarged. {reason}"
    )
    assert not Path("none").exists()


def test_a_file_that_is_not_there(face: Path) -> None:
    assert refusal("upscale", "faces/fase1.png") == "There is no file faces/fase1.png. Did you mean face1.png?"
    assert refusal("upscale", "faces") == (
        "faces is a folder, where an image file is expected: name files, such as faces/*.jpg."
    )


def test_results_of_too_many_pixels_are_refused_from_the_header(monkeypatch: pytest.MonkeyPatch, face: Path) -> None:
    monkeypatch.setattr(storage_images, "MAX_PIXELS", 64 * 64)
    sentence = (
        "faces/face1.png has 32 x 32 pixels and would have more than 4,096 when enlarged 3 times: "
        "reduce it first, or enlarge it less."
    )
    content = face.read_bytes()
    face.write_bytes(content[:-40])  # damaged, which is not found out, for it is not decoded
    assert refusal("upscale", face) == sentence
    face.write_bytes(content)
    assert succeed("upscale", face, "-x", 2).lines == ["face1-x2.png"]
    Image.new("RGB", (8, 8)).save("small.png")
    assert succeed("upscale", face, "small.png").stderr.splitlines()[1:] == [f"  {sentence}"]


def test_the_real_limit_is_that_of_inputs() -> None:
    """A picture of 20,000 x 1,200 pixels is read, but not enlarged; as black it is a small file."""
    Image.new("L", (20_000, 1_200)).save("wide.png")
    assert refusal("upscale", "wide.png") == (
        "wide.png has 20000 x 1200 pixels and would have more than 200,000,000 when enlarged 3 times: "
        "reduce it first, or enlarge it less."
    )


def test_a_format_that_cannot_hold_the_result() -> None:
    Image.new("L", (5_462, 1)).save("wide.png")
    assert refusal("upscale", "wide.png", "-o", "a.webp", code=2) == (
        "a.webp cannot hold 16386 x 3 pixels, as 16,383 a side are the most for its format: name a .png file."
    )
    check_image_size("a.webp", 16_383, 1)
    check_image_size("a.png", 10**6, 1)
    with pytest.raises(UsageError):
        check_image_size("a.jpg", 1, 65_501)


@pytest.mark.skipif(os.name == "nt", reason="POSIX names")
def test_names_that_are_no_text() -> None:
    name = os.fsdecode(b"f\xe4ce.png")
    Image.new("RGB", (4, 4)).save(name)
    assert run("upscale", name).code == 0
    assert Path(os.fsdecode(b"f\xe4ce-x3.png")).is_file()

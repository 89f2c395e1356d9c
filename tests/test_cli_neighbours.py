"""`facevae neighbours`: the nearest faces of a latents file, as lines, as JSON and as a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist

import support
from facevae.errors import UsageError
from facevae.figures.canvas import GAP, MARGIN
from facevae.storage.faces import Faces
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from facevae.workflows import neighbours as workflow
from facevae.workflows.neighbours import neighbours
from helpers import (
    border,
    files,
    lively_model,
    pixels,
    put_latents,
    put_other_weights,
    put_pictures,
    put_upscaler,
    put_weights,
    refusal,
    run,
    succeed,
    tile,
)
from support import Recorder

TOP = MARGIN + 20


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def latents(faces_file: Path) -> Path:
    """The latents of all 60 faces of `faces.h5`."""
    return support.write_latents(Path("latents.h5"), lively_model(), faces_file)


@pytest.fixture
def face() -> Path:
    return put_pictures(Path("mine"), 1, size=44)[0]


def means(path: Path) -> NDArray[np.float64]:
    with Latents(path) as opened:
        return opened.mean().astype(np.float64)


def prepared(rows: list[int]) -> NDArray[np.uint8]:
    with Faces("faces.h5") as opened:
        return np.concatenate([opened.read(row, row + 1) for row in rows])


def encoded(model: FaceModel, path: Path) -> NDArray[np.float64]:
    from facevae.storage.images import load_face

    return model.encode(load_face(path, 32)[None])[0].astype(np.float64)


def expected(model: FaceModel, face: Path, latents: Path, metric: str) -> tuple[list[int], NDArray[np.float64]]:
    """Rows and distances of all latents, the nearest first, from SciPy."""
    apart = cdist(encoded(model, face), means(latents), metric)[0]
    order = np.argsort(apart)
    return order.tolist(), apart[order]


def enlarged(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(face).resize((96, 96), Image.Resampling.BICUBIC))


# ------------------------------------------------------------------------------------------ lines and JSON


@pytest.mark.parametrize(
    ("options", "metric"),
    [([], "cosine"), (["--metric", "cosine"], "cosine"), (["--metric", "euclidean"], "euclidean")],
)
def test_names_and_distances_as_lines(
    model: FaceModel, face: Path, latents: Path, options: list[str], metric: str
) -> None:
    outcome = succeed("neighbours", face, *options)
    rows, apart = expected(model, face, latents, metric)
    assert outcome.stderr == ""
    assert [line.split("\t")[0] for line in outcome.lines] == [f"{row + 1:06d}.jpg" for row in rows[:8]]
    assert [float(line.split("\t")[1]) for line in outcome.lines] == pytest.approx(apart[:8].tolist(), abs=1e-4)
    assert files() == ["faces.h5", "latents.h5", "mine", "vae.safetensors"]


def test_with_several_faces_each_line_begins_with_its_own(latents: Path) -> None:
    faces = put_pictures(Path("mine"), 2)
    outcome = succeed("neighbours", *faces, "-n", 3, "--name", "000005.jpg")
    queries = [str(path) for path in faces] + ["000005.jpg"]
    assert [line.split("\t")[0] for line in outcome.lines] == [query for query in queries for _ in range(3)]
    alone = succeed("neighbours", faces[1], "-n", 3).lines
    assert [line.partition("\t")[2] for line in outcome.lines[3:6]] == alone


def test_as_json(model: FaceModel, face: Path, latents: Path) -> None:
    rows, apart = expected(model, face, latents, "cosine")
    assert succeed("neighbours", face, "-n", 2, "--json").json == {
        "paths": [],
        "metric": "cosine",
        "faces": [
            {
                "name": "mine/face1.png",
                "neighbours": [
                    {"name": f"{rows[number] + 1:06d}.jpg", "distance": pytest.approx(apart[number], abs=1e-6)}
                    for number in range(2)
                ],
            }
        ],
    }


def test_a_face_that_is_in_the_file_comes_first(latents: Path) -> None:
    Image.fromarray(prepared([11])[0]).save("twelve.png")
    first = succeed("neighbours", "twelve.png", "-n", 1).lines
    assert first == ["000012.jpg\t0.0000"]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_face_of_the_file_by_its_name_leaves_itself_out(latents: Path, metric: str) -> None:
    outcome = succeed("neighbours", "--name", "000012.jpg", "-n", 59, "--metric", metric)
    z = means(latents)
    apart = cdist(z[11:12], z, metric)[0]
    order = [row for row in np.argsort(apart).tolist() if row != 11]
    assert [float(line.split("\t")[1]) for line in outcome.lines] == pytest.approx(apart[order].tolist(), abs=1e-4)
    assert "000012.jpg" not in {line.split("\t")[0] for line in outcome.lines}
    assert len(succeed("neighbours", "--name", "000012.jpg", "-n", 1000).lines) == 59


def test_the_library_reads_in_slices(
    model: FaceModel, face: Path, latents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = neighbours(face)
    monkeypatch.setattr(workflow, "_READ_LATENTS", 7)
    recorder = Recorder()
    found = neighbours(face.read_bytes(), report=recorder)
    assert found.path is None
    assert found.queries[0].query == "stdin"
    assert [near.row for near in found.queries[0].neighbours] == [near.row for near in whole.queries[0].neighbours]
    assert [event.done for event in recorder.progress] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    rows, apart = expected(model, face, latents, "cosine")
    near = found.queries[0].neighbours
    assert [(face.name, face.row) for face in near] == [(f"{row + 1:06d}.jpg", row) for row in rows[:8]]
    assert [face.distance for face in near] == pytest.approx(apart[:8].tolist(), abs=1e-6)


def test_a_face_from_standard_input(face: Path, latents: Path) -> None:
    outcome = succeed("neighbours", "-", stdin=face.read_bytes())
    assert outcome == succeed("neighbours", face)


# ------------------------------------------------------------------------------------------ the picture


def test_the_picture_shows_the_prepared_faces(model: FaceModel, face: Path, latents: Path) -> None:
    from facevae.storage.images import load_face

    outcome = succeed("neighbours", face, "-n", 4, "-o", "n.png")
    assert (outcome.lines, outcome.stderr) == (["n.png"], "")
    picture = pixels(Path("n.png"))
    assert picture.shape == (TOP + 96 + 2 * 20 + MARGIN, 2 * MARGIN + 5 * (96 + GAP) - GAP, 3)
    assert (border(picture) == 255).all()
    rows, _ = expected(model, face, latents, "cosine")
    for column, shown in enumerate([load_face(face, 32), *prepared(rows[:4])]):
        assert np.array_equal(tile(picture, MARGIN + column * (96 + GAP), TOP, 96), enlarged(shown))
    under = picture[TOP + 96 :]
    for column in range(5):
        left = MARGIN + column * (96 + GAP)
        lines = under[:20, left : left + 96], under[20:40, left : left + 96]
        assert [bool((line < 255).any()) for line in lines] == [True, column > 0]  # the query has a name only


def test_many_neighbours_stand_ten_a_row(model: FaceModel, face: Path, latents: Path) -> None:
    succeed("neighbours", face, "-n", 13, "-o", "n.png", "--scale", 3)
    picture = pixels(Path("n.png"))
    pitch = 96 + 2 * 20 + GAP
    assert picture.shape == (TOP + 2 * pitch - GAP + MARGIN, 2 * MARGIN + 11 * (96 + GAP) - GAP, 3)
    rows, _ = expected(model, face, latents, "cosine")
    for number, shown in enumerate(prepared(rows[:13])):
        row, column = divmod(number, 10)
        found = tile(picture, MARGIN + (column + 1) * (96 + GAP), TOP + row * pitch, 96)
        assert np.array_equal(found, enlarged(shown))
    assert (tile(picture, MARGIN, TOP + pitch, 96) == 255).all()  # under the query there is a hole


def test_a_query_by_name_is_shown_too(latents: Path) -> None:
    face = put_pictures(Path("mine"), 1)[0]
    outcome = succeed("neighbours", face, "--name", "000012.jpg", "-n", 2, "-o", "-")
    picture = pixels(outcome.stdout)
    second = TOP + 96 + 2 * 20 + GAP
    assert np.array_equal(tile(picture, MARGIN, TOP, 96), enlarged(pixels(face)))
    assert np.array_equal(tile(picture, MARGIN, second, 96), enlarged(prepared([11])[0]))
    z = means(latents)
    nearest = int(np.argsort(cdist(z[11:12], z, "cosine")[0])[1])
    assert np.array_equal(tile(picture, MARGIN + 96 + GAP, second, 96), enlarged(prepared([nearest])[0]))


def test_without_the_prepared_faces_they_are_decoded(model: FaceModel, face: Path, latents: Path) -> None:
    rows, _ = expected(model, face, latents, "cosine")
    decoded = model.decode(means(latents)[rows[:2]].astype(np.float32))
    reason = (
        "There is no faces.h5 with the faces of latents.h5: the neighbours are shown as decoded from their latents.\n"
    )
    Path("faces.h5").rename("moved.h5")
    shown = succeed("neighbours", face, "-n", 2, "-o", "a.png", "--faces", "moved.h5")
    assert shown.stderr == ""
    support.write_faces(Path("faces.h5"), seed=5)  # others, of the same names
    for path in ("b.png", "c.png"):
        outcome = succeed("neighbours", face, "-n", 2, "-o", path)
        assert (outcome.lines, outcome.stderr) == ([path], reason)
        picture = pixels(Path(path))
        for column, expected_face in enumerate(decoded, start=1):
            assert np.array_equal(tile(picture, MARGIN + column * (96 + GAP), TOP, 96), enlarged(expected_face))
        Path("faces.h5").unlink(missing_ok=True)


def test_latents_of_single_images(model: FaceModel) -> None:
    paths = put_pictures(Path("mine"), 12)
    succeed("encode", *paths, "-o", "friends.h5", "-q")
    outcome = succeed("neighbours", paths[3], "-n", 2, "--latents", "friends.h5", "-o", "n.png")
    assert outcome.stderr == (
        "friends.h5 was made from single images, not from prepared faces: the neighbours are shown as decoded from their "
        "latents.\n"
    )
    lines = succeed("neighbours", paths[3], "-n", 2, "--latents", "friends.h5").lines
    assert lines[0] == "mine/face4.png\t0.0000"


def test_a_shard_shows_the_faces_of_its_own_rows(faces_file: Path) -> None:
    succeed("encode", "--shard", "2/3", "-o", "part.h5", "-q")
    succeed("neighbours", "--name", "000025.jpg", "-n", 1, "--latents", "part.h5", "-o", "n.png")
    assert np.array_equal(tile(pixels(Path("n.png")), MARGIN, TOP, 96), enlarged(prepared([24])[0]))


def test_enlarged_by_the_networks(model: FaceModel, face: Path, latents: Path) -> None:
    """The prepared faces as photographs, decoded ones as reconstructions."""
    of_photographs = put_upscaler(Path("upscaler.safetensors"), seed=8)
    of_decoded = put_upscaler(Path("upscaler-reconstructions.safetensors"), "reconstructions", seed=9)
    rows, _ = expected(model, face, latents, "cosine")
    for upscaler, plain in (
        (of_photographs, prepared(rows[:1])),
        (of_decoded, model.decode(means(latents)[rows[:1]].astype(np.float32))),
    ):
        succeed("neighbours", face, "-n", 1, "-o", "n.png", "--upscale", 3)
        found = tile(pixels(Path("n.png")), MARGIN + 96 + GAP, TOP, 96)
        assert np.array_equal(found, upscaler.upscale(plain)[0])
        Path("faces.h5").unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------ refusals


def test_latents_of_other_weights(face: Path, latents: Path) -> None:
    put_other_weights(Path("other.safetensors"))
    assert refusal("neighbours", face, "-w", "other.safetensors") == (
        "latents.h5 was not made by other.safetensors but by other weights: encode the faces again "
        "(facevae encode > latents.h5), or name the weights that made it with --weights."
    )


def test_missing_latents(face: Path) -> None:
    assert refusal("neighbours", face) == "There is no latents.h5. Make one with: facevae encode > latents.h5"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-n", "0"], "0 neighbours cannot be looked for: ask for 1 to 10,000."),
        (["-n", "10001"], "10001 neighbours cannot be looked for: ask for 1 to 10,000."),
        (
            ["-n", "2000", "-o", "a.png"],
            "2,001 faces do not fit into one picture, but 2,000: ask for fewer neighbours, or leave -o out.",
        ),
        (["--metric", "l1"], "There is no metric l1: use cosine or euclidean."),
        (["--name", "00012.jpg"], "There is no face 00012.jpg in latents.h5. Did you mean 000012.jpg?"),
        (["--name", "12"], "There is no face 12 in latents.h5. Its names are such as 000001.jpg."),
        (["--upscale", "5"], "Pictures cannot be upscaled 5 times: use one of 2, 3, 4."),
        (
            ["-o", "a.gif"],
            "Cannot write a picture to a.gif: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (["-o", "mine/face1.png"], "mine/face1.png is an input and would be overwritten: name another output with -o."),
        (["-o", "-", "--json"], "The result and JSON cannot both go to standard output: name a file with -o FILE."),
    ],
)
def test_wrong_options(face: Path, latents: Path, options: list[str], message: str) -> None:
    before = files()
    assert refusal("neighbours", face, *options, code=2) == message
    assert files() == before


def test_no_face(latents: Path) -> None:
    message = "There is no face to find neighbours of: name an image file, or a face of the latents with --name."
    assert refusal("neighbours", code=2) == message
    with pytest.raises(UsageError) as error:
        neighbours([], name=[])
    assert str(error.value) == message
    assert refusal("neighbours", *["x.png"] * 201, code=2) == "201 faces are too many at once: name up to 200."


def test_nothing_else_to_find(face: Path) -> None:
    succeed("encode", face, "-o", "one.h5", "-q")
    assert refusal("neighbours", "--name", face, "--latents", "one.h5") == (
        "one.h5 holds no other face to find: encode more faces."
    )


def test_a_name_that_was_never_text(model: FaceModel) -> None:
    """Printed as far as the stream can show it."""
    folder = Path("mine")
    put_pictures(folder, 2)
    (folder / "face1.png").rename(folder / "fäce 1.png")
    succeed("encode", folder / "fäce 1.png", folder / "face2.png", "-o", "two.h5", "-q")
    outcome = run("neighbours", folder / "face2.png", "--latents", "two.h5", "-o", "n.png", "-q")
    assert (outcome.code, outcome.lines) == (0, ["n.png"])
    assert "mine/fäce 1.png" in succeed("neighbours", folder / "face2.png", "--latents", "two.h5").stdout.decode()


def test_latents_without_attributes_will_do(face: Path) -> None:
    put_latents(Path(), attributes=False)
    stream = io.BytesIO()
    result = neighbours(face, stream, count=3)
    assert len(result.queries[0].neighbours) == 3
    assert pixels(stream.getvalue()).shape[0] > 96

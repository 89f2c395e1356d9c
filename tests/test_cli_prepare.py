"""`facevae prepare`: what it writes, and what it refuses."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facevae.drawing import ATTRIBUTE_NAMES, write_drawn_faces
from facevae.storage.faces import Faces
from facevae.storage.images import load_face
from facevae.workflows.prepare import prepare
from helpers import files, put_pictures, refusal, run, succeed
from support import Recorder

COUNT = 20


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty drawn faces in CelebA's layout: 17 train, 2 valid, 1 test."""
    return write_drawn_faces(tmp_path_factory.mktemp("drawn"), COUNT)


@pytest.fixture
def celeba(drawn: Path, workspace: Path) -> Path:
    """A copy of the drawn faces as `data` in the workspace, to do harm to."""
    shutil.copytree(drawn, workspace / "data")
    return Path("data")


@pytest.fixture
def faces(workspace: Path) -> Iterator[Faces]:
    """The `faces.h5` that was written by the time the fixture is used first."""
    succeed("prepare", "--celeba-dir", "data", "-q")
    with Faces(Path("faces.h5")) as opened:
        yield opened


def test_images_names_splits_and_attributes(celeba: Path, faces: Faces) -> None:
    names = [f"{number:06}.jpg" for number in range(1, COUNT + 1)]
    assert faces.names == names
    expected = np.stack([load_face(celeba / "img_align_celeba" / name, 32) for name in names])
    assert np.array_equal(faces.read(0, COUNT), expected)
    assert faces.attribute_names == ATTRIBUTE_NAMES
    table = (celeba / "list_attr_celeba.txt").read_text().splitlines()[2:]
    assert faces.attributes is not None
    assert faces.attributes.tolist() == [[int(value) for value in row.split()[1:]] for row in table]
    assert faces.split.tolist() == [0] * 17 + [1] * 2 + [2]
    parts = (expected, faces.split, faces.attributes)
    digests = b"".join(hashlib.sha256(part.tobytes()).digest() for part in parts)
    assert faces.fingerprint == hashlib.sha256(digests).hexdigest()
    assert faces.record["source"] == "img_align_celeba"
    assert faces.record["split_rule"] == "CelebA's own partition"
    assert faces.record["resize_rule"] == "whole frame to a square, Pillow bilinear, antialiased"


def test_what_it_says(celeba: Path) -> None:
    outcome = succeed("prepare", "--celeba-dir", celeba)
    assert outcome.lines == ["faces.h5"]
    assert outcome.stderr == "20 faces (17 train, 2 valid, 1 test) with 40 attributes.\n"


def test_quiet_says_nothing_but_the_path(celeba: Path) -> None:
    outcome = succeed("prepare", "--celeba-dir", celeba, "--quiet")
    assert (outcome.lines, outcome.stderr) == (["faces.h5"], "")


def test_json(celeba: Path) -> None:
    outcome = succeed("prepare", "--celeba-dir", celeba, "--json", "-o", "other.h5", "--limit", 18)
    with Faces(Path("other.h5")) as faces:
        assert outcome.json == {
            "paths": ["other.h5"],
            "faces": 18,
            "splits": {"train": 16, "valid": 2, "test": 0},  # faces 10 and 20 are left out
            "attributes": list(ATTRIBUTE_NAMES),
            "skipped": [],
            "too_small": 0,
            "fingerprint": faces.fingerprint,
        }


def write_partition(data: Path, splits: list[int]) -> None:
    """Put the drawn faces into other splits."""
    lines = [f"{number:06}.jpg {split}" for number, split in enumerate(splits, start=1)]
    (data / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")


def zipped(data: Path) -> None:
    """The official archive with its tables beside it, still packed."""
    with zipfile.ZipFile(data / "img_align_celeba.zip", "w") as archive:
        for path in sorted((data / "img_align_celeba").iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
    shutil.rmtree(data / "img_align_celeba")


def kaggles(data: Path) -> None:
    """A doubled folder and csv tables."""
    (data / "img_align_celeba").rename(data / "inner")
    (data / "img_align_celeba").mkdir()
    (data / "inner").rename(data / "img_align_celeba" / "img_align_celeba")
    for name, header in (("list_attr_celeba", None), ("list_eval_partition", "image_id,partition")):
        rows = (data / f"{name}.txt").read_text().splitlines()
        if header is None:
            header, rows = "image_id," + ",".join(rows[1].split()), rows[2:]
        lines = [header, *(",".join(row.split()) for row in rows)]
        (data / f"{name}.csv").write_text("\n".join(lines) + "\n")
        (data / f"{name}.txt").unlink()


@pytest.mark.parametrize("change", [zipped, kaggles])
def test_other_layouts_give_the_same_file(celeba: Path, faces: Faces, change: object) -> None:
    assert callable(change)
    change(celeba)
    outcome = succeed("prepare", "--celeba-dir", celeba, "-o", "again.h5")
    assert outcome.stderr == "20 faces (17 train, 2 valid, 1 test) with 40 attributes.\n"
    with Faces(Path("again.h5")) as again:
        assert again.fingerprint == faces.fingerprint
        assert again.names == faces.names
        assert np.array_equal(again.attributes, faces.attributes)  # type: ignore[arg-type]
        assert np.array_equal(again.split, faces.split)


def test_the_current_folder_and_the_image_folder_may_be_named(celeba: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = succeed("prepare", "--celeba-dir", celeba, "--json").json
    second = succeed("prepare", "--celeba-dir", celeba / "img_align_celeba", "--json").json
    monkeypatch.chdir(celeba)
    third = succeed("prepare", "--celeba-dir", ".", "--json").json
    assert first == second == third


def test_a_plain_folder_has_no_attributes_and_every_tenth_face_is_valid(workspace: Path) -> None:
    pictures = put_pictures(Path("mine"), 11, size=40)
    (Path("mine") / "notes.txt").write_text("no image")
    outcome = succeed("prepare", "--celeba-dir", "mine")
    assert outcome.stderr == (
        "mine has no CelebA tables: without attributes, morph and the colouring of umap will not work; "
        "train, valid and test are split by rule.\n"
        "11 faces (10 train, 1 valid, 0 test) with 0 attributes.\n"
    )
    with Faces(Path("faces.h5")) as faces:
        assert faces.names == sorted(path.name for path in pictures)
        assert faces.attributes is None
        assert faces.attribute_names == ()
        assert np.flatnonzero(faces.split == 1).tolist() == [9]
        expected = [load_face(Path("mine") / name, 32) for name in faces.names]
        assert np.array_equal(faces.read(0, 11), np.stack(expected))
        assert faces.record["split_rule"] == "every 10th face in name order is valid, the others train"


def test_no_attributes_keeps_the_partition(celeba: Path) -> None:
    (celeba / "list_attr_celeba.txt").unlink()
    outcome = succeed("prepare", "--celeba-dir", celeba, "--no-attributes")
    assert outcome.stderr == "20 faces (17 train, 2 valid, 1 test) with 0 attributes.\n"


@pytest.mark.parametrize("size", [16, 64])
def test_size(celeba: Path, size: int) -> None:
    succeed("prepare", "--celeba-dir", celeba, "--size", size, "--limit", 2)
    with Faces(Path("faces.h5")) as faces:
        assert faces.image_size == size
        source = celeba / "img_align_celeba" / "000011.jpg"
        assert np.array_equal(faces.read(1, 2)[0], load_face(source, size))


@pytest.mark.parametrize(
    ("limit", "rows"),
    [
        (1, [0]),
        (2, [0, 10]),
        (3, [0, 6, 13]),
        (7, [0, 2, 5, 8, 11, 14, 17]),
        (10, list(range(0, 20, 2))),
        (19, list(range(19))),
        (20, list(range(20))),
    ],
)
def test_a_limit_takes_faces_evenly_from_all(celeba: Path, limit: int, rows: list[int]) -> None:
    """CelebA's splits follow each other: the first N faces would all be train."""
    table = [row.split()[1:] for row in (celeba / "list_attr_celeba.txt").read_text().splitlines()[2:]]
    write_partition(celeba, [0] * 10 + [1] * 6 + [2] * 4)
    succeed("prepare", "--celeba-dir", celeba, "--limit", limit)
    with Faces(Path("faces.h5")) as faces:
        assert faces.names == [f"{row + 1:06}.jpg" for row in rows]
        assert faces.split.tolist() == [0 if row < 10 else 1 if row < 16 else 2 for row in rows]
        assert faces.attributes is not None
        assert faces.attributes.tolist() == [[int(value) for value in table[row]] for row in rows]
        expected = [load_face(celeba / "img_align_celeba" / name, 32) for name in faces.names]
        assert np.array_equal(faces.read(0, limit), np.stack(expected))


def test_a_limit_leaves_every_split_its_share(celeba: Path) -> None:
    write_partition(celeba, [0] * 10 + [1] * 6 + [2] * 4)
    outcome = succeed("prepare", "--celeba-dir", celeba, "--limit", 10)
    assert outcome.stderr == "10 faces (5 train, 3 valid, 2 test) with 40 attributes.\n"


def test_a_limit_takes_the_splits_that_all_faces_would_have(workspace: Path) -> None:
    """Without a partition, too, a face is in the same split with a limit as without."""
    put_pictures(Path("mine"), 30)
    succeed("prepare", "--celeba-dir", "mine", "-o", "all.h5")
    succeed("prepare", "--celeba-dir", "mine", "-o", "some.h5", "--limit", 12)
    with Faces(Path("all.h5")) as whole, Faces(Path("some.h5")) as some:
        split = dict(zip(whole.names, whole.split.tolist(), strict=True))
        assert [split[name] for name in some.names] == some.split.tolist()
        assert some.names == [whole.names[row * 30 // 12] for row in range(12)]


def test_damaged_images_are_not_made_up_for(celeba: Path) -> None:
    (celeba / "img_align_celeba" / "000011.jpg").write_bytes(b"")
    outcome = succeed("prepare", "--celeba-dir", celeba, "--limit", 2, "--json").json
    assert (outcome["faces"], [skipped["name"] for skipped in outcome["skipped"]]) == (1, ["000011.jpg"])


def test_a_limit_above_all_takes_all(celeba: Path) -> None:
    assert succeed("prepare", "--celeba-dir", celeba, "--limit", 1000, "--json").json["faces"] == COUNT


def test_running_again_replaces_the_file(celeba: Path) -> None:
    succeed("prepare", "--celeba-dir", celeba, "--limit", 2)
    succeed("prepare", "--celeba-dir", celeba, "--limit", 3)
    with Faces(Path("faces.h5")) as faces:
        assert faces.count == 3
    assert files() == ["data", "faces.h5"]


# ------------------------------------------------------------------------------------------ damage


def test_damaged_images_are_left_out_counted_and_named(celeba: Path) -> None:
    folder = celeba / "img_align_celeba"
    (folder / "000003.jpg").write_bytes((folder / "000003.jpg").read_bytes()[:2000])
    (folder / "000018.jpg").write_text("not an image")
    outcome = succeed("prepare", "--celeba-dir", celeba)
    assert outcome.stderr == (
        "Skipped 2 images (--strict makes this an error):\n"
        "  000003.jpg begins as a JPEG image but is damaged or cut short: save or fetch it again.\n"
        "  000018.jpg is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file.\n"
        "18 faces (16 train, 1 valid, 1 test) with 40 attributes.\n"
    )
    with Faces(Path("faces.h5")) as faces:
        kept = [number for number in range(1, 21) if number not in (3, 18)]
        assert faces.names == [f"{number:06}.jpg" for number in kept]
        rows = (celeba / "list_attr_celeba.txt").read_text().splitlines()[2:]
        assert faces.attributes is not None
        assert faces.attributes.tolist() == [[int(value) for value in rows[n - 1].split()[1:]] for n in kept]
        assert np.array_equal(faces.read(2, 3)[0], load_face(folder / "000004.jpg", 32))


def test_only_the_first_damaged_images_are_named(celeba: Path) -> None:
    for number in range(1, 8):
        (celeba / "img_align_celeba" / f"{number:06}.jpg").write_bytes(b"")
    outcome = succeed("prepare", "--celeba-dir", celeba, "--json")
    lines = outcome.stderr.splitlines()
    assert lines[0] == "Skipped 7 images (--strict makes this an error):"
    assert lines[1] == "  000001.jpg is empty, where an image is expected."
    assert lines[6] == "  and 2 more."
    assert len(lines) == 8
    assert outcome.json["skipped"][6] == {
        "name": "000007.jpg",
        "reason": "000007.jpg is empty, where an image is expected.",
    }


def test_strict_stops_at_a_damaged_image_and_leaves_nothing(celeba: Path) -> None:
    (celeba / "img_align_celeba" / "000003.jpg").write_bytes(b"")
    sentence = refusal("prepare", "--celeba-dir", celeba, "--strict")
    assert sentence == "000003.jpg is empty, where an image is expected."
    assert files() == ["data"]


def test_strict_stops_at_an_image_that_the_tables_lack(celeba: Path) -> None:
    shutil.copy(celeba / "img_align_celeba" / "000001.jpg", celeba / "img_align_celeba" / "000099.jpg")
    assert refusal("prepare", "--celeba-dir", celeba, "--strict") == (
        "000099.jpg cannot be used: not in list_attr_celeba.txt. Leave out --strict to skip it."
    )
    outcome = succeed("prepare", "--celeba-dir", celeba)
    assert outcome.stderr.startswith(
        "Skipped 1 image (--strict makes this an error):\n  000099.jpg: not in list_attr_celeba.txt\n20 faces"
    )


def test_nothing_but_damage(workspace: Path) -> None:
    Path("mine").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (Path("mine") / name).write_text("text")
    outcome = run("prepare", "--celeba-dir", "mine", "--quiet")
    assert (outcome.code, outcome.stdout) == (1, b"")
    assert outcome.stderr == (
        "Error: None of the 2 images in mine could be read: b.jpg is not an image that can be read: "
        "give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file.\n"
    )
    assert files() == ["mine"]


# ------------------------------------------------------------------------------------------ sizes


UPSCALER = "Faces of {0} x {0} pixels are for the upscaler: facevae train takes powers of two, such as 32 or 64."


def shrink(data: Path, numbers: Iterable[int], size: tuple[int, int] = (64, 64)) -> None:
    """Make some of the faces smaller."""
    for number in numbers:
        path = data / "img_align_celeba" / f"{number:06}.jpg"
        with Image.open(path) as image:
            image.resize(size).save(path)


@settings(max_examples=8, deadline=None)
@given(size=st.integers(16, 130), count=st.integers(1, 5))
def test_any_size_gives_the_frames_resized_to_it(
    size: int, count: int, drawn: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    output, report = tmp_path_factory.mktemp("sized") / "faces.h5", Recorder()
    result = prepare(drawn, output, size=size, limit=count, report=report)
    assert report.notices == ([] if size & (size - 1) == 0 else [UPSCALER.format(size)])
    with Faces(output) as faces:
        assert (faces.count, faces.image_size, faces.fingerprint) == (count, size, result.fingerprint)
        expected = [load_face(drawn / "img_align_celeba" / name, size) for name in faces.names]
        assert np.array_equal(faces.read(0, count), np.stack(expected))


def test_a_size_for_the_upscaler_is_told_and_train_refuses_it(celeba: Path) -> None:
    outcome = succeed("prepare", "--celeba-dir", celeba, "--size", 96, "--limit", 3, "-o", "faces-96.h5")
    assert outcome.stderr == UPSCALER.format(96) + "\n3 faces (3 train, 0 valid, 0 test) with 40 attributes.\n"
    assert refusal("train", "--faces", "faces-96.h5") == (
        "faces-96.h5 holds faces of 96 x 96 pixels, which do not fit the network: "
        "prepare them with --size 64 (a power of two from 16 to 512)."
    )
    assert files() == ["data", "faces-96.h5"]


def test_small_images_are_left_out_and_counted(celeba: Path) -> None:
    shrink(celeba, [1, 2, 11])
    shrink(celeba, [4], (300, 63))
    shrink(celeba, [5], (64, 300))
    shrink(celeba, [6, 20], (65, 65))
    outcome = succeed("prepare", "--celeba-dir", celeba, "--min-side", 65)
    assert outcome.stderr == (
        "5 images with a side of less than 65 pixels were left out (--min-side).\n"
        "15 faces (12 train, 2 valid, 1 test) with 40 attributes.\n"
    )
    rows = (celeba / "list_attr_celeba.txt").read_text().splitlines()[2:]
    kept = [number for number in range(1, COUNT + 1) if number not in (1, 2, 4, 5, 11)]
    with Faces(Path("faces.h5")) as faces:
        assert faces.min_side == 65
        assert faces.names == [f"{number:06}.jpg" for number in kept]
        assert faces.split.tolist() == [0 if number <= 17 else 1 if number <= 19 else 2 for number in kept]
        assert faces.attributes is not None
        assert faces.attributes.tolist() == [[int(value) for value in rows[n - 1].split()[1:]] for n in kept]
        expected = [load_face(celeba / "img_align_celeba" / name, 32) for name in faces.names]
        assert np.array_equal(faces.read(0, len(kept)), np.stack(expected))


def test_without_a_smallest_side_every_image_is_taken_and_the_file_does_not_speak_of_one(celeba: Path) -> None:
    shrink(celeba, [1], (3, 2))
    assert succeed("prepare", "--celeba-dir", celeba, "--json").json["faces"] == COUNT
    with Faces(Path("faces.h5")) as faces:
        assert faces.min_side is None


def test_one_small_image_is_told_in_the_singular_and_counted_in_json(celeba: Path) -> None:
    shrink(celeba, [3])
    (celeba / "img_align_celeba" / "000018.jpg").write_bytes(b"")
    outcome = succeed("prepare", "--celeba-dir", celeba, "--min-side", 65, "--json")
    assert (outcome.json["faces"], outcome.json["too_small"]) == (18, 1)
    assert outcome.json["skipped"] == [
        {"name": "000018.jpg", "reason": "000018.jpg is empty, where an image is expected."}
    ]
    assert outcome.stderr == (
        "1 image with a side of less than 65 pixels was left out (--min-side).\n"
        "Skipped 1 image (--strict makes this an error):\n"
        "  000018.jpg is empty, where an image is expected.\n"
        "18 faces (16 train, 1 valid, 1 test) with 40 attributes.\n"
    )


def test_strict_does_not_stop_at_small_images(celeba: Path) -> None:
    shrink(celeba, [3])
    outcome = succeed("prepare", "--celeba-dir", celeba, "--min-side", 65, "--strict", "--json").json
    assert (outcome["faces"], outcome["too_small"]) == (19, 1)
    (celeba / "img_align_celeba" / "000018.jpg").write_bytes(b"")
    assert refusal("prepare", "--celeba-dir", celeba, "--min-side", 65, "--strict").startswith("000018.jpg is empty")


def test_a_limit_counts_small_images_too(celeba: Path) -> None:
    """Their size is known only once they are read."""
    shrink(celeba, [1, 2])
    outcome = succeed("prepare", "--celeba-dir", celeba, "--min-side", 65, "--limit", 10, "--json").json
    assert (outcome["faces"], outcome["too_small"]) == (9, 1)
    with Faces(Path("faces.h5")) as faces:
        assert faces.names == [f"{number:06}.jpg" for number in range(3, COUNT + 1, 2)]


def test_nothing_but_small_images(celeba: Path) -> None:
    remedy = "has sides of at least 300 pixels: give a smaller --min-side, or leave it out."
    assert refusal("prepare", "--celeba-dir", celeba, "--min-side", 300, "-q") == (
        f"None of the 20 images in data/img_align_celeba {remedy}"
    )
    (celeba / "img_align_celeba" / "000018.jpg").write_bytes(b"")
    assert refusal("prepare", "--celeba-dir", celeba, "--min-side", 300, "-q") == (
        f"None of the 19 images in data/img_align_celeba that could be read {remedy}"
    )
    assert files() == ["data"]


# ------------------------------------------------------------------------------------------ refusals


def test_the_folder_must_be_named(workspace: Path) -> None:
    outcome = run("prepare")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert "Missing option '--celeba-dir'" in outcome.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--size", "15"],
            "A size of 15 pixels is out of range: use a whole number from 16 to 512, such as 32 or 64.",
        ),
        (
            ["--size", "513"],
            "A size of 513 pixels is out of range: use a whole number from 16 to 512, such as 32 or 64.",
        ),
        (["--min-side", "0"], "A smallest side of 0 pixels is out of range: use a whole number of at least 1."),
        (["--min-side", "-3"], "A smallest side of -3 pixels is out of range: use a whole number of at least 1."),
        (["--limit", "0"], "A limit of 0 faces is out of range: use a whole number of at least 1."),
        (["--limit", "-5"], "A limit of -5 faces is out of range: use a whole number of at least 1."),
        (["-o", "data"], "data is a folder: name a file to write to."),
    ],
)
def test_wrong_options(celeba: Path, options: list[str], message: str) -> None:
    assert refusal("prepare", "--celeba-dir", celeba, *options, code=2) == message
    assert files() == ["data"]


def test_missing_folders(celeba: Path) -> None:
    remedy = "give the folder that holds img_align_celeba.zip, or a folder of images."
    assert refusal("prepare", "--celeba-dir", "nowhere") == f"There is no folder nowhere: {remedy}"
    Path("empty").mkdir()
    assert refusal("prepare", "--celeba-dir", "empty") == f"empty is empty: {remedy}"
    assert refusal("prepare", "--celeba-dir", celeba, "-o", "nowhere/faces.h5") == (
        "There is no folder nowhere to write faces.h5 into: create it first."
    )


def test_missing_tables(celeba: Path) -> None:
    (celeba / "list_attr_celeba.txt").unlink()
    assert refusal("prepare", "--celeba-dir", celeba) == (
        "list_attr_celeba.txt is missing in data and data/img_align_celeba: put it beside img_align_celeba, "
        "or pass --no-attributes to go on without attributes."
    )


def test_no_source_is_written_over(celeba: Path) -> None:
    """Neither an image of the folder nor the archive; nor an empty image, which faces may replace elsewhere."""
    image = celeba / "img_align_celeba" / "000003.jpg"
    before = image.read_bytes()
    remedy = "holds something other than prepared faces and would be overwritten: name another output with -o."
    assert refusal("prepare", "--celeba-dir", celeba, "-o", image, code=2) == f"{image} {remedy}"
    assert image.read_bytes() == before
    image.write_bytes(b"")
    assert refusal("prepare", "--celeba-dir", celeba, "-o", image, code=2) == (
        f"{image} is an input and would be overwritten: name another output with -o."
    )
    assert image.read_bytes() == b""
    image.write_bytes(before)
    zipped(celeba)
    archive = celeba / "img_align_celeba.zip"
    assert refusal("prepare", "--celeba-dir", celeba, "-o", archive, code=2) == f"{archive} {remedy}"
    assert zipfile.is_zipfile(archive)


def test_weights_are_not_written_over(celeba: Path, weights_file: Path) -> None:
    assert refusal("prepare", "--celeba-dir", celeba, "-o", "vae.safetensors", code=2) == (
        "vae.safetensors holds VAE weights and would be overwritten by prepared faces: name another output with -o."
    )

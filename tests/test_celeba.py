from __future__ import annotations

import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facevae.errors import DataError
from facevae.storage import celeba
from facevae.storage.celeba import FaceSource, find_faces
from facevae.storage.celeba_tables import read_attribute_table, read_partition
from facevae.storage.image_kinds import IMAGE_SUFFIXES

NAMES = ("000001.jpg", "000002.jpg", "000003.jpg")
ATTRIBUTES = ("Bald", "Smiling")
VALUES = ((-1, 1), (1, -1), (1, 1))
SPLITS = (0, 1, 2)
SUFFIXES = ", ".join(sorted(IMAGE_SUFFIXES))
NO_PARTITION = "There is no list_eval_partition.txt: train, valid and test are split by rule."


def picture(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 5), (value, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


PICTURES = {name: picture(place) for place, name in enumerate(NAMES)}


def put_archive(path: Path, prefix: str = "img_align_celeba/", names: tuple[str, ...] = NAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._000001.jpg", b"rubbish")
        for name in reversed(names):
            archive.writestr(prefix + name, PICTURES[name])


def put_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / name).write_bytes(PICTURES[name])
    (folder / "._000001.jpg").write_bytes(b"rubbish")
    (folder / "notes.md").write_text("rubbish")


def put_text_tables(attributes: Path, partition: Path | None = None) -> None:
    rows = [f"{name} {first:2d} {second:2d}\r\n" for name, (first, second) in zip(NAMES, VALUES, strict=True)]
    attributes.mkdir(parents=True, exist_ok=True)
    (attributes / "list_attr_celeba.txt").write_bytes(f"3\r\nBald Smiling \r\n{''.join(rows)}".encode())
    (partition or attributes).mkdir(parents=True, exist_ok=True)
    splits = [f"{name} {split}\n" for name, split in zip(NAMES, SPLITS, strict=True)]
    ((partition or attributes) / "list_eval_partition.txt").write_text("".join(splits))


def put_csv_tables(folder: Path) -> None:
    rows = [f"{name},{first},{second}\n" for name, (first, second) in zip(NAMES, VALUES, strict=True)]
    (folder / "list_attr_celeba.csv").write_text("image_id,Bald,Smiling\n" + "".join(rows))
    splits = [f"{name},{split}\n" for name, split in zip(NAMES, SPLITS, strict=True)]
    (folder / "list_eval_partition.csv").write_text("image_id,partition\n" + "".join(splits))


def check(source: FaceSource, location: Path, notices: tuple[str, ...] = ()) -> None:
    """Check that all three faces, their attributes and splits, and their files are there."""
    assert source.location == location
    assert source.names == NAMES
    assert source.attribute_names == ATTRIBUTES
    assert source.attributes is not None
    assert source.split is not None
    assert (source.attributes.dtype, source.split.dtype) == (np.dtype(np.int8), np.dtype(np.uint8))
    assert source.attributes.tolist() == [list(row) for row in VALUES]
    assert source.split.tolist() == list(SPLITS)
    assert source.notices == notices
    assert source.left_out == ()
    check_files(source, PICTURES)


def check_files(source: FaceSource, expected: dict[str, bytes]) -> None:
    with source.open() as reader:
        assert {name: reader.read(name) for name in source.names} == expected


def refusal(directory: Path, *, with_attributes: bool = True) -> str:
    with pytest.raises(DataError) as caught:
        find_faces(directory, with_attributes=with_attributes)
    return str(caught.value)


# ------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("place", ["", "Img", "celeba", "celeba/Img", "CelebA/Img", "img_align_celeba"])
@pytest.mark.parametrize("tables", [put_text_tables, put_csv_tables])
def test_the_archive_is_read_where_people_have_it(place: str, tables: object, tmp_path: Path) -> None:
    put_archive(tmp_path / place / "img_align_celeba.zip")
    assert callable(tables)
    tables(tmp_path / place)
    directory = tmp_path / place if place == "img_align_celeba" else tmp_path
    check(find_faces(directory), tmp_path / place / "img_align_celeba.zip")


@pytest.mark.parametrize("place", ["", "CelebA"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_the_official_folders(place: str, unpacked: bool, tmp_path: Path) -> None:
    root = tmp_path / place
    put_text_tables(root / "Anno", root / "Eval")
    if unpacked:
        put_folder(root / "Img" / "img_align_celeba")
    else:
        put_archive(root / "Img" / "img_align_celeba.zip")
    location = root / "Img" / ("img_align_celeba" if unpacked else "img_align_celeba.zip")
    check(find_faces(tmp_path), location)
    check(find_faces(root / "Img"), location)


def test_torchvisions_folder_and_its_root(tmp_path: Path) -> None:
    put_folder(tmp_path / "celeba" / "img_align_celeba")
    put_text_tables(tmp_path / "celeba")
    for directory in (tmp_path, tmp_path / "celeba", tmp_path / "celeba" / "img_align_celeba"):
        check(find_faces(directory), tmp_path / "celeba" / "img_align_celeba")


def test_kaggles_doubled_folder(tmp_path: Path) -> None:
    put_folder(tmp_path / "img_align_celeba" / "img_align_celeba")
    put_csv_tables(tmp_path)
    inner = tmp_path / "img_align_celeba" / "img_align_celeba"
    for directory in (tmp_path, inner.parent, inner):
        check(find_faces(directory), inner)


def test_tables_inside_the_image_folder(tmp_path: Path) -> None:
    put_folder(tmp_path / "img_align_celeba")
    put_text_tables(tmp_path / "img_align_celeba")
    for directory in (tmp_path, tmp_path / "img_align_celeba"):
        check(find_faces(directory), tmp_path / "img_align_celeba")


def test_tables_beside_images_in_any_folder(tmp_path: Path) -> None:
    put_folder(tmp_path / "faces")
    put_text_tables(tmp_path / "faces")
    check(find_faces(tmp_path / "faces"), tmp_path / "faces")


def test_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_folder(tmp_path / "img_align_celeba")
    put_text_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    check(find_faces(Path()), Path("img_align_celeba"))
    monkeypatch.chdir(tmp_path / "img_align_celeba")
    source = find_faces(Path())
    assert (source.names, source.attribute_names) == (NAMES, ATTRIBUTES)


def test_the_archive_itself_may_be_named(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    put_text_tables(tmp_path)
    check(find_faces(tmp_path / "img_align_celeba.zip"), tmp_path / "img_align_celeba.zip")


def test_an_archive_of_another_name_and_no_folder_inside(tmp_path: Path) -> None:
    put_archive(tmp_path / "subset.ZIP", prefix="")
    put_text_tables(tmp_path)
    check(find_faces(tmp_path / "subset.ZIP"), tmp_path / "subset.ZIP")


def test_the_archive_goes_before_the_folder_unless_that_is_named(tmp_path: Path) -> None:
    archive, folder = tmp_path / "img_align_celeba.zip", tmp_path / "img_align_celeba"
    put_archive(archive)
    put_folder(folder)
    put_text_tables(tmp_path)
    notice = f"{archive} is read, not the folder {folder} beside it: name that folder to read it instead."
    check(find_faces(tmp_path), archive, (notice,))
    check(find_faces(folder), folder)


def test_tables_nearest_to_the_images_are_taken(tmp_path: Path) -> None:
    put_archive(tmp_path / "celeba" / "img_align_celeba.zip")
    put_text_tables(tmp_path / "celeba")
    (tmp_path / "list_attr_celeba.txt").write_text("Other\n000001.jpg 1\n")
    (tmp_path / "celeba" / "list_attr_celeba.csv").write_text("image_id,Other\n000001.jpg,1\n")
    check(find_faces(tmp_path), tmp_path / "celeba" / "img_align_celeba.zip")


def test_rows_are_put_in_the_order_of_the_images(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    (tmp_path / "list_attr_celeba.txt").write_text("Bald Smiling\n000003.jpg 1 1\n000001.jpg 0 1\n000002.jpg 1 0\n")
    (tmp_path / "list_eval_partition.txt").write_text("000002.jpg 1\n000003.jpg 2\n000001.jpg 0\n")
    check(find_faces(tmp_path), tmp_path / "img_align_celeba.zip")


def test_images_that_a_table_lacks_are_left_out(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    (tmp_path / "list_attr_celeba.txt").write_text("Bald\n000001.jpg 1\n000002.jpg -1\n000009.jpg 1\n")
    (tmp_path / "list_eval_partition.txt").write_text("000002.jpg 1\n")
    source = find_faces(tmp_path)
    assert source.names == ("000002.jpg",)
    assert source.attributes is not None
    assert source.attributes.tolist() == [[-1]]
    assert source.split is not None
    assert source.split.tolist() == [1]
    assert source.left_out == (
        ("000001.jpg", "not in list_eval_partition.txt"),
        ("000003.jpg", "not in list_attr_celeba.txt"),
    )
    assert source.notices == (
        f"list_attr_celeba.txt lists 3 images, of which {tmp_path / 'img_align_celeba.zip'} holds 2.",
    )


# ------------------------------------------------------------------------------- without attributes


def test_without_attributes_the_partition_is_used_where_there_is_one(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    put_text_tables(tmp_path)
    (tmp_path / "list_attr_celeba.txt").write_text("rubbish that nobody looks at")
    source = find_faces(tmp_path, with_attributes=False)
    assert (source.names, source.attribute_names, source.attributes) == (NAMES, (), None)
    assert source.split is not None
    assert source.split.tolist() == list(SPLITS)
    assert (source.notices, source.left_out) == ((), ())


def test_without_attributes_no_table_is_needed(tmp_path: Path) -> None:
    put_folder(tmp_path / "img_align_celeba")
    source = find_faces(tmp_path, with_attributes=False)
    assert (source.names, source.attribute_names, source.attributes, source.split) == (NAMES, (), None, None)
    assert (source.notices, source.left_out) == ((NO_PARTITION,), ())
    check_files(source, PICTURES)


def plain_notice(location: Path) -> str:
    return (
        f"{location} has no CelebA tables: without attributes, morph and the colouring of umap will not work; "
        "train, valid and test are split by rule."
    )


@pytest.mark.parametrize("with_attributes", [True, False])
def test_a_plain_folder_is_searched_to_its_depths(with_attributes: bool, tmp_path: Path) -> None:
    files = {"b.png": 1, "a/deep er/z.JPG": 2, "a/y.webp": 3}
    hidden = {".hidden.jpg": 4, ".thumbnails/x.jpg": 5, "a/.git/x.jpg": 6, "a/read.me": 7}
    for name, value in (files | hidden).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(value))
    source = find_faces(tmp_path, with_attributes=with_attributes)
    assert (source.location, source.names) == (tmp_path, ("a/deep er/z.JPG", "a/y.webp", "b.png"))
    assert (source.attribute_names, source.attributes, source.split, source.left_out) == ((), None, None, ())
    assert source.notices == (plain_notice(tmp_path),)
    check_files(source, {name: picture(value) for name, value in files.items()})


def test_a_plain_archive(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one/face.png", picture(1))
        archive.writestr("two/face.png", picture(2))
    source = find_faces(path)
    assert (source.names, source.notices) == (("one/face.png", "two/face.png"), (plain_notice(path),))
    check_files(source, {"one/face.png": picture(1), "two/face.png": picture(2)})


def test_names_that_are_not_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(picture(1))
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.png")
    try:
        Path(odd).write_bytes(picture(2))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = find_faces(tmp_path)
    assert (source.names, source.left_out) == (("good.png",), (("odd\\xff.png", "its name is not in UTF-8"),))
    (tmp_path / "good.png").unlink()
    assert refusal(tmp_path) == f"None of the 1 images of {tmp_path} has a name in UTF-8: rename them."


# ------------------------------------------------------------------------------- what is missing


def test_no_such_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "data") == (
        f"There is no folder {tmp_path / 'data'}: give the folder that holds img_align_celeba.zip, "
        "or a folder of images."
    )
    assert refusal(tmp_path / "img_align_celeba.zip") == (
        f"There is no folder {tmp_path / 'img_align_celeba.zip'}: give the folder that holds img_align_celeba.zip, "
        "or a folder of images."
    )


def test_a_file_where_a_folder_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(picture(1))
    assert refusal(path) == (
        f"{path} is a file: give the folder that holds img_align_celeba.zip, or a folder of images."
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path} is empty: give the folder that holds img_align_celeba.zip, or a folder of images."
    )


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    assert refusal(tmp_path) == (
        f"{tmp_path} holds no images ({SUFFIXES}): "
        "give the folder that holds img_align_celeba.zip, or a folder of images."
    )


@pytest.mark.parametrize("unpacked", [False, True])
def test_celeba_that_lies_deeper(unpacked: bool, tmp_path: Path) -> None:
    deep = tmp_path / "downloads" / "faces"
    if unpacked:
        put_folder(deep / "img_align_celeba")
    else:
        put_archive(deep / "img_align_celeba.zip")
    assert refusal(tmp_path) == f"CelebA seems to lie deeper, in {deep}: give that folder."


def test_no_attribute_table(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    put_text_tables(tmp_path)
    (tmp_path / "list_attr_celeba.txt").unlink()
    assert refusal(tmp_path) == (
        f"list_attr_celeba.txt is missing in {tmp_path}: put it beside img_align_celeba.zip, "
        "or pass --no-attributes to go on without attributes."
    )


def test_no_partition(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    put_csv_tables(tmp_path)
    (tmp_path / "list_eval_partition.csv").unlink()
    assert refusal(tmp_path) == (
        f"list_eval_partition.csv is missing in {tmp_path}: put it beside img_align_celeba.zip, "
        "or pass --no-attributes to go on without attributes and to split by rule."
    )


def test_no_tables_and_all_the_places_where_they_might_be(tmp_path: Path) -> None:
    put_folder(tmp_path / "Img" / "img_align_celeba")
    (tmp_path / "Anno").mkdir()
    places = f"{tmp_path / 'Img'}, {tmp_path}, {tmp_path / 'Anno'} and {tmp_path / 'Img' / 'img_align_celeba'}"
    assert refusal(tmp_path) == (
        f"list_attr_celeba.txt and list_eval_partition.txt are missing in {places}: put them beside img_align_celeba, "
        "or pass --no-attributes to go on without attributes and to split by rule."
    )


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("list_attr_celeba.txt", "to go on without attributes."),
        ("list_eval_partition.txt", "to go on without attributes and to split by rule."),
    ],
)
def test_a_table_missing_among_images_of_ones_own(tmp_path: Path, missing: str, remedy: str) -> None:
    """The tables of such a folder belong into it, not beside it."""
    put_folder(tmp_path / "faces")
    put_text_tables(tmp_path / "faces")
    (tmp_path / "faces" / missing).unlink()
    folder = tmp_path / "faces"
    assert (
        refusal(folder) == f"{missing} is missing in {folder}: put it into {folder}, or pass --no-attributes {remedy}"
    )
    put_text_tables(folder)
    assert find_faces(folder).split is not None


def test_a_table_missing_beside_an_archive_of_another_name(tmp_path: Path) -> None:
    put_archive(tmp_path / "mine.ZIP")
    put_text_tables(tmp_path)
    (tmp_path / "list_attr_celeba.txt").unlink()
    assert refusal(tmp_path / "mine.ZIP") == (
        f"list_attr_celeba.txt is missing in {tmp_path}: put it beside mine.ZIP, "
        "or pass --no-attributes to go on without attributes."
    )


@pytest.mark.parametrize("with_attributes", [True, False])
def test_tables_without_images(with_attributes: bool, tmp_path: Path) -> None:
    put_text_tables(tmp_path)
    assert refusal(tmp_path, with_attributes=with_attributes) == (
        f"img_align_celeba.zip is missing in {tmp_path}: put it, or the unpacked folder img_align_celeba, "
        "beside list_attr_celeba.txt."
    )


def test_containers_without_images(tmp_path: Path) -> None:
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    assert refusal(tmp_path) == f"{folder} holds no images ({SUFFIXES})."
    archive = tmp_path / "img_align_celeba.zip"
    put_archive(archive, names=())
    assert refusal(tmp_path) == f"{archive} holds no images ({SUFFIXES})."


def test_tables_of_other_images(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    put_text_tables(tmp_path)
    (tmp_path / "list_attr_celeba.txt").write_text("Bald\n000001.png 1\n")
    assert refusal(tmp_path) == (
        f"None of the 3 images of {tmp_path / 'img_align_celeba.zip'} is in {tmp_path / 'list_attr_celeba.txt'}, "
        "which begins with 000001.png where they begin with 000001.jpg: the two do not belong together."
    )


def test_an_archive_that_holds_a_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one/000001.jpg", picture(1))
        archive.writestr("two/000001.jpg", picture(2))
    assert refusal(tmp_path) == (
        f"{path} holds several images of the same name, which CelebA's does not: fetch it again."
    )


@pytest.mark.parametrize("content", [b"", b"<html>Too many users have viewed this file</html>", "cut"])
def test_an_archive_that_is_none(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "img_align_celeba.zip"
    put_archive(path)
    path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[:-40])
    assert refusal(tmp_path) == (
        f"{path} is not a complete zip file, as after an interrupted or a refused download: fetch it again."
    )


# ------------------------------------------------------------------------------- reading


def test_several_threads_read_one_archive(tmp_path: Path) -> None:
    put_archive(tmp_path / "img_align_celeba.zip")
    put_text_tables(tmp_path)
    source = find_faces(tmp_path)
    with source.open() as reader, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(reader.read, source.names * 200))
    assert found == [PICTURES[name] for name in source.names * 200]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("face.png", b"begin" + bytes(range(256)) + b"end")
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(data)
    source = find_faces(path)
    with source.open() as reader:
        with pytest.raises(DataError) as caught:
            reader.read("face.png")
        assert str(caught.value) == f"face.png in {path} is damaged: fetch the archive again."
        with pytest.raises(DataError) as caught:
            reader.read("other.png")
        assert str(caught.value) == f"{path} holds no other.png."


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("face.png", picture(1))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with find_faces(path).open() as reader, pytest.raises(DataError) as caught:
        reader.read("face.png")
    assert str(caught.value) == (
        f"face.png in {path} is encrypted or packed in an unknown way: unpack the archive and name the folder."
    )


def test_files_that_have_gone(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(picture(1))
    source = find_faces(tmp_path)
    with source.open() as reader:
        (tmp_path / "face.png").unlink()
        with pytest.raises(DataError) as caught:
            reader.read("face.png")
    assert str(caught.value) == f"{tmp_path / 'face.png'} cannot be read: no such file or directory."
    path = tmp_path / "faces.zip"
    put_archive(path)
    source = find_faces(path)
    path.unlink()
    with pytest.raises(DataError) as caught, source.open():
        pass
    assert str(caught.value) == f"{path} cannot be read: no such file or directory."


# ------------------------------------------------------------------------------- tables


def written(tmp_path: Path, content: str | bytes, name: str = "list_attr_celeba.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "2\r\nBald Smiling \r\na.jpg -1  1\r\nb.jpg  1 -1\r\n",
        "2\nBald Smiling\na.jpg -1 1\nb.jpg 1 -1",
        "Bald Smiling\na.jpg 0 1\nb.jpg 1 0\n",
        "Bald\tSmiling\na.jpg\t-1\t1\n\n  \nb.jpg\t1\t-1\n\n",
        "image_id Bald Smiling\na.jpg -1 1\nb.jpg 1 -1\n",
        "image_id,Bald,Smiling\na.jpg,-1,1\nb.jpg,1,-1\n",
        '\ufeffimage_id,"Bald",Smiling\r\n"a.jpg",-1, 1\r\nb.jpg,1,"-1"\r\n',
        "2\nimage_id,Bald,Smiling\na.jpg,0,1\nb.jpg,1,0\n",
    ],
)
def test_every_dialect_of_the_attribute_table(content: str, tmp_path: Path) -> None:
    table = read_attribute_table(written(tmp_path, content))
    assert (table.names, table.images) == (("Bald", "Smiling"), ("a.jpg", "b.jpg"))
    assert (table.values.dtype, table.values.tolist()) == (np.dtype(np.int8), [[-1, 1], [1, -1]])


FORTY = " ".join(f"Attribute_{number}" for number in range(40))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"2\n{FORTY}\na.jpg{' 1' * 40}\nb.jpg{' 1' * 38}\n", "line 4: 38 values where 40 are expected."),
        ("Bald\na.jpg 1 1\n", "line 2: 2 values where 1 is expected."),
        ("Bald Smiling\na.jpg\n", "line 2: 0 values where 2 are expected."),
        ("Bald Smiling\n\na.jpg 1\n", "line 3: 1 value where 2 are expected."),
        ("Bald Smiling\na.jpg 1 yes\n", "line 2: the value of Smiling is 'yes', not -1, 0 or 1."),
        ("Bald Smiling\na.jpg 2 1\n", "line 2: the value of Bald is '2', not -1, 0 or 1."),
        ("Bald\na.jpg 1\nb.jpg -1\na.jpg 1\n", "line 4: a.jpg is listed for the second time."),
        ("a.jpg 1 -1\nb.jpg 1 1\n", "line 1: the names of the attributes are expected here."),
        ("2\n", "line 2: the names of the attributes are expected here."),
        ("2\na.jpg 1 -1\nb.jpg 1 1\n", "line 2: the names of the attributes are expected here."),
        ("Bald SMILING bald\na.jpg 1 1 1\n", "line 1: the attribute bald is named for the second time."),
        ("image_id,\na.jpg,1\n", "line 1: the names of the attributes are expected here."),
        ("image_id,Bald,Smiling\na.jpg,,1\n", "line 2: the value of Bald is '', not -1, 0 or 1."),
        ("image_id,Bald,Smiling\na.jpg,1\n", "line 2: 1 value where 2 are expected."),
        ("image_id,Bald\n,1\n", "line 2: the name of the image is missing."),
        ('image_id,Bald\n"a.jpg,1\n', "line 2: the quotes or separators are not those of csv."),
    ],
)
def test_the_bad_line_of_an_attribute_table_is_named(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_attribute_table(written(tmp_path, content))
    assert str(caught.value) == f"list_attr_celeba.txt, {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: fetch it again."),
        (b"\xef\xbb\xbf \r\n\n", "is empty: fetch it again."),
        (b"Bald Smiling\n", "lists no images: fetch it again."),
        ("Bald\na.jpg 1".encode("utf-16"), "is not a text file in UTF-8: fetch it again, or save it as one."),
        (
            b"10\nBald\na.jpg 1\nb.jpg 1\n",
            "announces 10 rows but holds 2: fetch it again, or correct its first line if you edited it.",
        ),
        (
            b"1\nBald\na.jpg 1\nb.jpg 1\n",
            "announces 1 row but holds 2: fetch it again, or correct its first line if you edited it.",
        ),
    ],
)
def test_unusable_attribute_tables(content: bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_attribute_table(path)
    assert str(caught.value) == f"{path} {message}"


@pytest.mark.parametrize("read", [read_attribute_table, read_partition])
def test_tables_that_cannot_be_opened(read: object, tmp_path: Path) -> None:
    assert callable(read)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "table.txt")
    assert str(caught.value) == f"There is no file {tmp_path / 'table.txt'}."
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path} cannot be read: is a directory."


@pytest.mark.parametrize(
    "content",
    [
        "a.jpg 0\nb.jpg 2\n",
        "a.jpg 0\r\n\r\nb.jpg  2",
        "2\na.jpg 0\nb.jpg 2\n",
        "image_id partition\na.jpg 0\nb.jpg 2\n",
        "image_id,partition\na.jpg,0\nb.jpg,2\n",
        'a.jpg,0\n"b.jpg",2\n',
    ],
)
def test_every_dialect_of_the_partition(content: str, tmp_path: Path) -> None:
    assert read_partition(written(tmp_path, content)) == {"a.jpg": 0, "b.jpg": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.jpg 0\nb.jpg\n", ", line 2: 1 field where an image and its split are expected."),
        ("a.jpg 0 1\n", ", line 1: 3 fields where an image and its split are expected."),
        ("a.jpg 0\nb.jpg 3\n", ", line 2: the split of b.jpg is '3', not 0 (train), 1 (valid) or 2 (test)."),
        ("a.jpg 0\nb.jpg 1\na.jpg 0\n", ", line 3: a.jpg is listed for the second time."),
        ("3\na.jpg 0\n", " announces 3 rows but holds 1: fetch it again, or correct its first line if you edited it."),
        ("image_id,partition\n", " lists no images: fetch it again."),
        ("", " is empty: fetch it again."),
    ],
)
def test_unusable_partitions(content: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, content, "list_eval_partition.txt")
    with pytest.raises(DataError) as caught:
        read_partition(path)
    start = "list_eval_partition.txt" if message.startswith(",") else str(path)
    assert str(caught.value) == start + message


words = st.text(st.characters(min_codepoint=65, max_codepoint=0x2FF, categories=["L"]), min_size=1, max_size=8)
tables = st.integers(1, 5).flatmap(
    lambda columns: st.tuples(
        st.lists(words, min_size=columns, max_size=columns, unique_by=str.casefold),
        st.dictionaries(
            words.map(lambda word: word + ".jpg"),
            st.lists(st.sampled_from([-1, 1]), min_size=columns, max_size=columns),
            min_size=1,
            max_size=6,
        ),
    )
)
per_example = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(
    table=tables,
    counted=st.booleans(),
    as_csv=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    zeros=st.booleans(),
    wide=st.booleans(),
)
@per_example
def test_attribute_tables_read_as_they_were_written(
    table: tuple[list[str], dict[str, list[int]]],
    counted: bool,
    as_csv: bool,
    end: str,
    zeros: bool,
    wide: bool,
    tmp_path: Path,
) -> None:
    names, rows = table
    names = [f"{name}_" for name in names]
    separator = "," if as_csv else " "
    lines = [str(len(rows))] if counted else []
    lines.append(separator.join(["image_id", *names] if as_csv else names))
    for image, values in rows.items():
        written_values = [str(0 if zeros and value == -1 else value).rjust(2 if wide else 1) for value in values]
        lines.append(separator.join([image, *written_values]))
    read = read_attribute_table(written(tmp_path, end.join(lines) + end))
    assert (read.names, read.images) == (tuple(names), tuple(rows))
    assert read.values.tolist() == list(rows.values())


@given(
    splits=st.dictionaries(words.map(lambda word: word + ".jpg"), st.integers(0, 2), min_size=1, max_size=6),
    as_csv=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
@per_example
def test_partitions_read_as_they_were_written(splits: dict[str, int], as_csv: bool, end: str, tmp_path: Path) -> None:
    lines = ["image_id,partition"] if as_csv else []
    lines += [f"{image}{',' if as_csv else ' '}{split}" for image, split in splits.items()]
    assert read_partition(written(tmp_path, end.join(lines))) == splits


rubbish = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.lists(
        st.sampled_from(["1", "-1", "0", ",", " ", "\n", "\r", '"', "a.jpg", "Bald", "image_id", "\0", "\x85"]),
        max_size=30,
    ).map(lambda parts: "".join(parts).encode()),
)


@given(content=rubbish)
@settings(per_example, max_examples=200)
def test_rubbish_is_refused_in_one_way_only(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with suppress(DataError):
        table = read_attribute_table(path)
        assert table.values.shape == (len(table.images), len(table.names))
        assert np.isin(table.values, (-1, 1)).all()
    with suppress(DataError):
        assert set(read_partition(path).values()) <= {0, 1, 2}


def test_a_long_line_is_quoted_in_part(tmp_path: Path) -> None:
    path = written(tmp_path, "x" * 100_000 + " 7\n")
    with pytest.raises(DataError) as error:
        read_partition(path)
    assert str(error.value) == (
        f"{path.name}, line 1: the split of {'x' * 60}... is '7', not 0 (train), 1 (valid) or 2 (test)."
    )


def test_what_commands_a_terminal_is_not_passed_on(tmp_path: Path) -> None:
    path = written(tmp_path, "\x1b[2J.jpg 0\n\x1b[2J.jpg 0\n")
    with pytest.raises(DataError) as error:
        read_partition(path)
    assert str(error.value) == f"{path.name}, line 2: \\x1b[2J.jpg is listed for the second time."


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.jpg")
    with find_faces(tmp_path).open() as reader:
        assert reader.read("1.jpg") == b""


def test_an_image_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celeba, "_LARGEST", 1 << 22)
    (tmp_path / "1.jpg").symlink_to("/dev/zero")
    with find_faces(tmp_path).open() as reader, pytest.raises(DataError) as error:
        reader.read("1.jpg")
    assert str(error.value) == f"{tmp_path / '1.jpg'} cannot be read: file too large."

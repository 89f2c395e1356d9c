"""`faces.h5`: what is written comes back, and what is broken is called so."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevae.config import SPLIT_CODES, SPLIT_NAMES
from facevae.errors import DataError
from facevae.storage import faces as faces_module
from facevae.storage.faces import Faces, FacesWriter, expected_size
from support import ATTRIBUTE_NAMES, SPLIT_PATTERN, random_faces, write_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

REMEDY = "Make one with: facevae prepare --celeba-dir DIR"
# HDF5 ends a string at a NUL, and no file name holds one.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        Faces(path)
    return str(error.value)


@settings(max_examples=20)
@given(data=st.data())
def test_whatever_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    names = data.draw(st.lists(NAMES, max_size=9))
    attribute_names = data.draw(st.lists(NAMES, max_size=3, unique=True))
    size, count = data.draw(st.sampled_from([1, 16, 33, 96])), len(names)
    min_side = data.draw(st.none() | st.integers(1, 2**40))
    texts = {key: data.draw(NAMES) for key in ("resize_rule", "split_rule", "source", "facevae_version")}
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    images = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    split = random.integers(0, 3, count, dtype=np.uint8)
    table = random.choice(np.array([-1, 1], dtype=np.int8), (count, len(attribute_names)))
    batch = data.draw(st.integers(1, 4))
    with FacesWriter(path, image_size=size, attribute_names=attribute_names, min_side=min_side, **texts) as writer:
        for start in range(0, count, batch):
            rows = slice(start, start + batch)
            writer.append(images[rows], names[rows], split[rows], table[rows] if attribute_names else None)
        fingerprint = writer.finish()
    with Faces(path) as faces:
        assert (faces.path, faces.count, faces.image_size, faces.min_side) == (path, count, size, min_side)
        assert faces.names == names
        np.testing.assert_array_equal(faces.split, split)
        np.testing.assert_array_equal(faces.read(0, count), images)
        assert faces.attribute_names == tuple(attribute_names)
        if attribute_names:
            np.testing.assert_array_equal(faces.attributes, table)
        else:
            assert faces.attributes is None
        assert faces.record == texts
        parts = [images.tobytes(), split.tobytes(), table.tobytes() if attribute_names else b""]
        whole = b"".join(hashlib.sha256(part).digest() for part in parts)
        assert faces.fingerprint == fingerprint == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("read_at_once", [1, 7, 60, 4096])
def test_images_of_a_split_are_those_of_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_at_once: int
) -> None:
    monkeypatch.setattr(faces_module, "_READ_IMAGES", read_at_once)
    images, _ = random_faces(60)
    with Faces(write_faces(tmp_path / "faces.h5")) as faces:
        for name in SPLIT_NAMES:
            rows = np.arange(60) if name == "all" else np.flatnonzero(faces.split == SPLIT_CODES[name])
            np.testing.assert_array_equal(faces.rows_of(name), rows)  # type: ignore[arg-type]
            np.testing.assert_array_equal(faces.images_of(name), images[rows])  # type: ignore[arg-type]


@given(split=st.lists(st.integers(0, 2), min_size=1, max_size=40), read_at_once=st.integers(1, 11))
@settings(max_examples=20)
def test_any_split_is_picked_out_whole(
    tmp_path_factory: pytest.TempPathFactory, split: list[int], read_at_once: int
) -> None:
    codes = np.array(split, dtype=np.uint8)
    path = write_faces(tmp_path_factory.mktemp("faces") / "faces.h5", count=len(split), size=1, split=codes)
    with pytest.MonkeyPatch.context() as patch, Faces(path) as faces:
        patch.setattr(faces_module, "_READ_IMAGES", read_at_once)
        whole = faces.read(0, faces.count)
        for name in ("train", "valid", "test"):
            if SPLIT_CODES[name] in split:
                np.testing.assert_array_equal(faces.images_of(name), whole[codes == SPLIT_CODES[name]])


@pytest.mark.parametrize("size", [1, 7, 20, 60, 100])
def test_batches_are_the_images_in_order(faces_file: Path, size: int) -> None:
    with Faces(faces_file) as faces:
        batches = list(faces.batches(size))
        assert [len(images) for _, images in batches[:-1]] == [size] * (len(batches) - 1)
        assert [row for rows, _ in batches for row in range(rows.start, rows.stop)] == list(range(60))
        np.testing.assert_array_equal(np.concatenate([images for _, images in batches]), faces.read(0, 60))


def test_split_pattern_of_the_fixture(faces_file: Path) -> None:
    with Faces(faces_file) as faces:
        assert faces.split.tolist() == list(SPLIT_PATTERN) * 10
        assert faces.attribute_names == ATTRIBUTE_NAMES


def test_an_empty_split(faces_without_attributes: Path) -> None:
    with Faces(faces_without_attributes) as faces, pytest.raises(DataError) as error:
        faces.images_of("valid")
    assert str(error.value) == (
        f"{faces_without_attributes} has no images in the split valid: name another split, or prepare again."
    )


def written(path: Path, **changes: Any) -> str:
    """Write ten faces, with some datasets or texts changed, and return the fingerprint that is read back."""
    images, table = random_faces(10)
    content: dict[str, Any] = {
        "images": images,
        "split": np.resize(np.array(SPLIT_PATTERN, dtype=np.uint8), 10),
        "attributes": table,
        "names": [f"{number}.jpg" for number in range(10)],
        "attribute_names": ATTRIBUTE_NAMES,
        "source": "here",
    } | changes
    texts = {"resize_rule": "", "split_rule": "", "facevae_version": "", "source": content["source"]}
    with FacesWriter(path, image_size=32, attribute_names=content["attribute_names"], **texts) as writer:
        writer.append(content["images"], content["names"], content["split"], content["attributes"])
        fingerprint = writer.finish()
    with Faces(path) as faces:
        assert faces.fingerprint == fingerprint
    return fingerprint


def test_fingerprint_tells_pictures_splits_and_attributes_apart(tmp_path: Path) -> None:
    """One pixel, one split, one attribute or none: each is another set of faces to train on."""
    images, table = random_faces(10)
    one_pixel, one_attribute = images.copy(), table.copy()
    one_pixel[9, 31, 31, 2] ^= 1
    one_attribute[9, 4] *= -1
    split = np.resize(np.array(SPLIT_PATTERN, dtype=np.uint8), 10)
    one_split = split.copy()
    one_split[9] = (one_split[9] + 1) % 3
    path = tmp_path / "faces.h5"
    fingerprints = [
        written(path),
        written(path, images=one_pixel),
        written(path, split=one_split),
        written(path, attributes=one_attribute),
        written(path, attributes=None, attribute_names=()),
        written(path, images=images[::-1], split=split[::-1], attributes=table[::-1]),
    ]
    assert len(set(fingerprints)) == len(fingerprints)


def test_fingerprint_does_not_depend_on_names_and_origin(tmp_path: Path) -> None:
    path = tmp_path / "faces.h5"
    renamed = {"names": list("abcdefghij"), "attribute_names": tuple("ABCDE"), "source": "there"}
    assert written(path, **renamed) == written(path)


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "faces.h5"
    assert refusal(path) == f"There is no {path}. {REMEDY}"


def test_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a file of prepared faces. {REMEDY}"


@pytest.mark.parametrize("content", [b"", b"faces", b"\x89PNG\r\n\x1a\n" + bytes(600), bytes(4096)])
def test_a_file_that_is_not_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "faces.h5"
    path.write_bytes(content)
    assert refusal(path) == f"{path} is not a file of prepared faces (not HDF5). {REMEDY}"


def test_latents_are_not_faces(latents_file: Path) -> None:
    assert refusal(latents_file) == f"{latents_file} holds latents, not prepared faces. {REMEDY}"


def test_somebody_elses_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["data"] = [1, 2, 3]
    assert refusal(path) == f"{path} holds something else, not prepared faces. {REMEDY}"


def test_a_format_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = [1, 2, 3]
    assert refusal(path) == f"{path} holds something else, not prepared faces. {REMEDY}"


def test_a_file_without_its_end(faces_file: Path) -> None:
    content = faces_file.read_bytes()
    faces_file.write_bytes(content[: len(content) // 2])
    message = refusal(faces_file)
    # The reason is HDF5's own.
    assert message.startswith(f"{faces_file} cannot be read as HDF5: unable to synchronously open file (truncated file")
    assert message.endswith(f". {REMEDY}")


def test_a_file_that_was_never_finished(tmp_path: Path) -> None:
    path = tmp_path / "faces.h5"
    texts: dict[str, Any] = dict.fromkeys(("resize_rule", "split_rule", "source", "facevae_version"), "")
    with FacesWriter(path, image_size=16, attribute_names=(), **texts) as writer:
        images, _ = random_faces(3, 16)
        writer.append(images, ["a", "b", "c"], np.zeros(3, dtype=np.uint8), None)
    assert refusal(path) == f"{path} is not complete: the run that wrote it was cut off. {REMEDY}"


def test_a_file_of_the_future(faces_file: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        file.attrs["format_version"] = 2
    assert refusal(faces_file) == (
        f"{faces_file} is of format version 2, newer than this facevae reads: update facevae."
    )


def replacing(name: str, values: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return edit


def setting(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def a_group_for_images(file: h5py.File) -> None:
    del file["images"]
    file.create_group("images")


def zeros(*shape: int, dtype: type = np.uint8) -> NDArray[Any]:
    return np.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (replacing("images", zeros(60, 32, 16, 3)), "images are uint8 (60, 32, 16, 3)"),
        (replacing("images", zeros(60, 32, 32, 3, dtype=np.float32)), "images are float32 (60, 32, 32, 3)"),
        (replacing("images", zeros(60, 32, 32)), "images are uint8 (60, 32, 32)"),
        (replacing("images", zeros(59, 32, 32, 3)), "its datasets differ in length"),
        (replacing("split", zeros(59)), "its datasets differ in length"),
        (replacing("split", zeros(60, 2)), "split is uint8 (60, 2)"),
        (replacing("split", zeros(60, dtype=np.float32)), "split is float32 (60,)"),
        (replacing("names", ["a"] * 61), "its datasets differ in length"),
        (replacing("names", zeros(60)), "'numpy.uint8' object has no attribute 'decode'"),
        (replacing("attributes", zeros(60, 4, dtype=np.int8)), "attributes are int8 (60, 4) for 5 names"),
        (replacing("attributes", zeros(60, dtype=np.int8)), "attributes are int8 (60,) for 5 names"),
        (replacing("attributes", zeros(60, 5)), "attributes are uint8 (60, 5) for 5 names"),
        (replacing("attributes", zeros(12, 5, dtype=np.int8)), "its datasets differ in length"),
        (setting("image_size", 16), "images are uint8 (60, 32, 32, 3)"),
        (a_group_for_images, "'Group' object has no attribute 'shape'"),
        (setting("min_side", "some"), "invalid literal for int() with base 10: 'some'"),
        (setting("format_version", "one"), "invalid literal for int() with base 10: 'one'"),
    ],
)
def test_contents_that_do_not_fit_together(faces_file: Path, edit: Callable[[h5py.File], None], reason: str) -> None:
    with h5py.File(faces_file, "r+") as file:
        edit(file)
    assert refusal(faces_file) == f"{faces_file} is damaged ({reason}). {REMEDY}"


@pytest.mark.parametrize("name", ["images", "names", "split", "attributes"])
def test_a_missing_dataset(faces_file: Path, name: str) -> None:
    with h5py.File(faces_file, "r+") as file:
        del file[name]
    message = refusal(faces_file)
    # The reason is h5py's own: it differs from version to version, but says what is missing.
    assert message.startswith(f"{faces_file} is damaged (")
    assert f"object '{name}' doesn't exist" in message
    assert message.endswith(f"). {REMEDY}")


@pytest.mark.parametrize(
    "name", ["image_size", "fingerprint", "source", "resize_rule", "split_rule", "facevae_version"]
)
def test_a_missing_attribute(faces_file: Path, name: str) -> None:
    with h5py.File(faces_file, "r+") as file:
        del file.attrs[name]
    message = refusal(faces_file)
    assert message.startswith(f"{faces_file} is damaged (")
    assert f"attribute: '{name}'" in message


def test_a_refused_file_is_closed_again(faces_file: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        file.attrs["image_size"] = 16
    refusal(faces_file)
    # HDF5 would refuse to open for writing what is still open for reading.
    with h5py.File(faces_file, "r+") as file:
        file.attrs["image_size"] = 32
    Faces(faces_file).close()


FUZZ = """
import sys
from pathlib import Path

import numpy as np

from facevae.errors import DataError
from facevae.storage.faces import Faces
from facevae.storage.latents import Latents

outcomes = {"read": 0, "refused": 0}
for kind, name in ((Faces, sys.argv[1]), (Latents, sys.argv[2])):
    whole = Path(name).read_bytes()
    damaged = Path(name).with_suffix(".damaged.h5")
    for seed in range(60):
        random = np.random.default_rng(seed)
        content = bytearray(whole)
        if seed % 3 == 0:
            del content[int(random.integers(len(content))):]
        else:
            # HDF5 keeps its structures at the beginning, where a wrong byte hurts most.
            reach = 8000 if seed % 3 == 1 else len(content)
            for place in random.integers(0, reach, int(random.integers(1, 6))):
                content[place] ^= int(random.integers(1, 256))
        damaged.write_bytes(content)
        try:
            with kind(damaged) as opened:
                if kind is Faces:
                    opened.read(0, opened.count)
                else:
                    opened.mean(), opened.log_variance()
            outcomes["read"] += 1
        except DataError as error:
            assert str(damaged) in str(error), error
            outcomes["refused"] += 1
print(outcomes["read"], outcomes["refused"])
"""


def test_damage_is_never_more_than_a_data_error(faces_file: Path, latents_file: Path) -> None:
    """In a process of its own, so that a crash inside the HDF5 library is a failure and not the end of all tests."""
    command = [sys.executable, "-c", FUZZ, str(faces_file), str(latents_file)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    read, refused = map(int, finished.stdout.split())
    assert read + refused == 120
    assert refused > 30


@pytest.mark.parametrize(
    ("count", "size", "attributes", "name"),
    [
        (1, 32, 0, "a"),
        (1, 511, 0, "a"),
        (129, 97, 40, "000001.jpg"),
        (300, 32, 40, "000001.jpg"),
        (5000, 16, 40, "000001.jpg"),
        (5000, 16, 5, "\N{SNOWMAN}" * 60),
    ],
)
def test_no_file_is_larger_than_expected(count: int, size: int, attributes: int, name: str, tmp_path: Path) -> None:
    names = [name] * count
    with FacesWriter(
        tmp_path / "faces.h5",
        image_size=size,
        attribute_names=[f"Attribute_{number}" for number in range(attributes)],
        resize_rule="any",
        split_rule="any",
        source="any",
        facevae_version="0",
    ) as writer:
        for start in range(0, count, 1000):
            rows = len(names[start : start + 1000])
            images = np.zeros((rows, size, size, 3), np.uint8)
            table = np.ones((rows, attributes), np.int8) if attributes else None
            writer.append(images, names[:rows], np.zeros(rows, np.uint8), table)
        writer.finish()
    found = (tmp_path / "faces.h5").stat().st_size
    assert found <= expected_size(size, names, attributes) < 1.5 * found + 2**21

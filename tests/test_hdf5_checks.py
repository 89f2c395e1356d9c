"""What is refused of an HDF5 file before it is read: ways out of it, more than it holds, and strings that HDF5 never ends."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from facevae.errors import DataError
from facevae.storage.faces import REMEDY, Faces
from facevae.storage.hdf5_checks import check_attributes, check_datasets, format_of
from facevae.storage.kinds import kind_of
from facevae.storage.latents import Latents
from facevae.workflows.info import info
from fuzzing_hdf5 import Edit, bombs, links_out, put_secret


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        Faces(path)
    return str(error.value)


def edit(path: Path, label: str, *, bomb: bool = False) -> None:
    with h5py.File(path, "r+") as file:
        known: dict[str, Edit] = dict(bombs(file) if bomb else links_out(file))
        known[label](file)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("images: external link", "images is a link, which is not followed"),
        ("names: external link", "names is a link, which is not followed"),
        ("split: a soft link to an external link", "split is a link, which is not followed"),
        ("images: virtual", "images lies in another file, which is not read"),
        ("attributes: external storage", "attributes lies in another file, which is not read"),
    ],
)
def test_no_other_file_is_read(faces_file: Path, label: str, reason: str) -> None:
    put_secret(faces_file.parent)
    edit(faces_file, label)
    assert refusal(faces_file) == f"{faces_file} is damaged ({reason}). {REMEDY}"


def test_a_link_among_what_nobody_asks_for_is_refused_too(faces_file: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        file["more"] = h5py.ExternalLink("other.h5", "/")
    assert refusal(faces_file) == f"{faces_file} is damaged (more is a link, which is not followed). {REMEDY}"


@pytest.mark.parametrize("name", ["images", "split", "attributes"])
def test_more_is_declared_than_the_file_holds(faces_file: Path, name: str) -> None:
    edit(faces_file, f"{name}: huge, unallocated", bomb=True)
    with h5py.File(faces_file) as file:
        declared = file[name].size
    assert refusal(faces_file) == (
        f"{faces_file} is damaged ({name} declares {declared:,} bytes, of which the file holds 0). {REMEDY}"
    )


def test_a_few_packed_kilobytes_that_are_gigabytes(faces_file: Path) -> None:
    edit(faces_file, "images: zeros, packed", bomb=True)
    assert refusal(faces_file).startswith(f"{faces_file} is damaged (images declares 2,14")


def test_one_text_under_many_names(faces_file: Path) -> None:
    edit(faces_file, "names: one text many times", bomb=True)
    assert refusal(faces_file).startswith(f"{faces_file} is damaged (names declares 4,294,967,296 bytes, of which the")


def test_a_file_that_was_packed_by_another_tool_is_read(faces_file: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        for name, options in (("images", {"compression": "gzip", "shuffle": True}), ("split", {"compression": "lzf"})):
            values = file[name][:]
            del file[name]
            file.create_dataset(name, data=values, chunks=True, **options)
        names = file["names"][:]
        del file["names"]
        file.create_dataset("names", data=names, dtype=h5py.string_dtype("utf-8"), chunks=(7,), compression="gzip")
    with Faces(faces_file) as faces:
        assert len(faces.read(0, 60)) == len(faces.names) == len(faces.split) == 60


def test_what_takes_a_plug_in_is_refused(faces_file: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        del file["split"]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((60,))
        how.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(file.id, b"split", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((60,)), dcpl=how)
    assert refusal(faces_file) == f"{faces_file} is damaged (split is packed in a way that takes a plug-in). {REMEDY}"


def spoil_heap(path: Path, *, length: int) -> None:
    """Let the rest of the first heap of strings have a length, as where a part of the file was never written."""
    data = bytearray(path.read_bytes())
    start = data.find(b"GCOL")
    stop, place = start + int.from_bytes(data[start + 8 : start + 16], "little"), start + 16
    while place + 16 <= stop and data[place : place + 2] != b"\0\0":
        place += 16 + (int.from_bytes(data[place + 8 : place + 16], "little") + 7) // 8 * 8
    data[place + 8 : place + 16] = length.to_bytes(8, "little")
    path.write_bytes(data)


def test_a_heap_that_hdf5_would_never_leave(faces_file: Path) -> None:
    """HDF5 2.0 hangs on it: https://github.com/HDFGroup/hdf5/issues/1707."""
    spoil_heap(faces_file, length=0)
    reason = "a part of it reads as zeros"
    assert refusal(faces_file) == f"{faces_file} is damaged ({reason}). {REMEDY}"
    assert kind_of(faces_file) == "HDF5 data"
    with pytest.raises(DataError) as error:
        info(faces_file)
    assert str(error.value) == f"{faces_file} cannot be read as HDF5: {reason}."


def test_a_heap_that_leads_out_of_itself(faces_file: Path) -> None:
    spoil_heap(faces_file, length=2**64 - 8)
    assert refusal(faces_file) == f"{faces_file} is damaged (a text in it is longer than its place). {REMEDY}"


def test_whole_files_pass(faces_file: Path, latents_file: Path) -> None:
    for path, name in ((faces_file, "facevae faces"), (latents_file, "facevae latents")):
        with h5py.File(path) as file:
            check_attributes(file, path)
            check_datasets(file, path)
        assert format_of(path)[0] == name


@pytest.mark.parametrize("name", ["format_version", "image_size"])
def test_complex_numbers(faces_file: Path, name: str) -> None:
    """NumPy would take their real part, and warn."""
    with h5py.File(faces_file, "r+") as file:
        file.attrs[name] = 1 + 0j
    assert refusal(faces_file) == f"{faces_file} is damaged ({name} is a complex number). {REMEDY}"


def test_numbers_beyond_single_precision(latents_file: Path) -> None:
    with h5py.File(latents_file, "r+") as file:
        del file["mean"]
        file["mean"] = np.full((60, 6), 1e300)
    with Latents(latents_file) as latents, pytest.raises(DataError) as error:
        latents.mean()
    assert str(error.value) == (
        f"{latents_file} is damaged (mean holds values that are not finite). Make one with: facevae encode > latents.h5"
    )


def test_a_shape_that_hdf5_cannot_tell(faces_file: Path) -> None:
    """Whatever h5py raises, `info` ends in a sentence."""
    data = bytearray(faces_file.read_bytes())
    place = data.find(b"format\0\0")
    data[place + 8 : place + 24] = b"\xff" * 16
    faces_file.write_bytes(data)
    with pytest.raises(DataError) as error:
        info(faces_file)
    assert str(error.value).startswith(f"{faces_file} ")

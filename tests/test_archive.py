"""Reading members out of a zip: the same bytes as `zipfile` gives, or an error, from any zip."""

from __future__ import annotations

import os
import random
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevae.errors import DataError
from facevae.storage.archive import open_archive_reader, read_members

CONTENT = {f"faces/{number}.jpg": random.Random(number).randbytes(200) * 5 for number in range(8)}


def put(path: Path, method: int = zipfile.ZIP_DEFLATED, extra: bytes = b"", prefix: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(prefix)
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in CONTENT.items():
                info = zipfile.ZipInfo(name)
                info.extra, info.compress_type = extra, method
                archive.writestr(info, data)
    return path


def read_all(path: Path) -> dict[str, bytes]:
    with open_archive_reader(path, {member.name: member for member in read_members(path)}) as reader:
        return {name: reader.read(name) for name in CONTENT}


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("pread", [True, False])
def test_members_of_every_kind(method: int, pread: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not pread:  # as on Windows
        monkeypatch.delattr(os, "pread")
    assert read_all(put(tmp_path / "faces.zip", method)) == CONTENT


def test_a_zip_behind_a_program(tmp_path: Path) -> None:
    assert read_all(put(tmp_path / "faces.zip", prefix=bytes(1000))) == CONTENT


def test_a_long_header_before_each_member(tmp_path: Path) -> None:
    """Longer than what is read at once with the member."""
    extra = struct.pack("<HH", 0xCAFE, 2000) + bytes(2000)
    assert read_all(put(tmp_path / "faces.zip", extra=extra)) == CONTENT


def test_of_a_name_that_stands_twice_the_later_file_counts(tmp_path: Path) -> None:
    path = put(tmp_path / "faces.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("faces/3.jpg", b"later")
    assert read_all(path) == {**CONTENT, "faces/3.jpg": b"later"}


def test_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "faces.zip")
    names = list(CONTENT) * 50
    for pread in (True, False):
        if not pread:
            monkeypatch.delattr(os, "pread")
        with (
            open_archive_reader(path, {member.name: member for member in read_members(path)}) as reader,
            ThreadPoolExecutor(8) as pool,
        ):
            assert list(pool.map(reader.read, names)) == [CONTENT[name] for name in names]


def test_stamps_tell_contents_apart(tmp_path: Path) -> None:
    path = put(tmp_path / "faces.zip")
    with open_archive_reader(path, {member.name: member for member in read_members(path)}) as reader:
        stamps = {name: reader.stamp(name) for name in CONTENT}
        assert reader.stamp("nowhere.jpg") == "none"
    assert len(set(stamps.values())) == len(CONTENT)
    again = put(tmp_path / "again.zip", zipfile.ZIP_STORED)
    with open_archive_reader(again, {member.name: member for member in read_members(again)}) as reader:
        assert {name: reader.stamp(name) for name in CONTENT} == stamps


def test_a_member_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("face.jpg", bytes(10_000_000))
    [member] = read_members(path)
    with open_archive_reader(path, {"face.jpg": member._replace(size=1000)}) as reader:
        with pytest.raises(DataError) as caught:
            reader.read("face.jpg")
        assert str(caught.value) == f"face.jpg in {path} is damaged: fetch the archive again."


@given(place=st.integers(0), value=st.integers(1, 255), method=st.sampled_from(list(METHODS.values())))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_never_gives_other_bytes(
    place: int, value: int, method: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = put(tmp_path_factory.mktemp("archive") / "faces.zip", method)
    members = {member.name: member for member in read_members(path)}
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= value
    path.write_bytes(data)
    with open_archive_reader(path, members) as reader:
        for name, content in CONTENT.items():
            with suppress(DataError):
                assert reader.read(name) == content


def zeros(size: int) -> bytes:
    """Zeros, deflated: one piece of 16 MiB again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * (size >> 24) + b"\3\0"


def put_packed(path: Path, packed: bytes, size: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("face.jpg", packed)
    data = bytearray(path.read_bytes())
    for signature, method, place in ((b"PK\3\4", 8, 22), (b"PK\1\2", 10, 24)):
        start = data.find(signature)
        data[start + method : start + method + 2] = (8).to_bytes(2, "little")
        data[start + place : start + place + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)


def test_a_bomb(tmp_path: Path) -> None:
    """Two gigabytes of zeros in two megabytes: refused before any memory is spent on them."""
    path = tmp_path / "faces.zip"
    put_packed(path, zeros(1 << 31), 1 << 31)
    [member] = read_members(path)
    with open_archive_reader(path, {"face.jpg": member}) as reader, pytest.raises(DataError) as caught:
        reader.read("face.jpg")
    assert str(caught.value) == f"face.jpg in {path} unpacks to 2,147,483,648 bytes, more than an image has."


def test_a_picture_of_one_colour_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("face.bmp", bytes(20_000_000))
    [member] = read_members(path)
    with open_archive_reader(path, {"face.bmp": member}) as reader:
        assert reader.read("face.bmp") == bytes(20_000_000)


def test_files_that_overlap(tmp_path: Path) -> None:
    """The bomb that unpacks one file under many names, and a directory that says more than there is."""
    path = put(tmp_path / "faces.zip", zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    start = data.find(b"PK\1\2")
    data[start + 20 : start + 24] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_members(path)
    assert str(caught.value) == (f"{path} holds files that overlap, which no archive of images has: fetch it again.")


def test_a_dictionary_of_gigabytes(tmp_path: Path) -> None:
    """LZMA takes the memory for it before it has unpacked anything."""
    path = put(tmp_path / "faces.zip", zipfile.ZIP_LZMA)
    [first, *_] = read_members(path)
    data = bytearray(path.read_bytes())
    start = first.offset + 30 + len(first.name)
    data[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with open_archive_reader(path, {first.name: first}) as reader, pytest.raises(DataError) as caught:
        reader.read(first.name)
    assert str(caught.value) == f"{first.name} in {path} is damaged: fetch the archive again."

"""What is looked at in an HDF5 file from elsewhere before it is read: that it reads no other, and takes no more than it holds.

HDF5 follows links into other files, loads plug-ins to unpack with, gives memory for what a file merely declares, and goes round
for ever in a global heap (where strings lie) of which a part reads as zeros. None of that is an error to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from facevae.errors import DataError

_HEAP = b"GCOL\x01\0\0\0"
_HEAP_HEADER, _OBJECT_HEADER = 16, 16
_STRING_PLACE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
_MOST_METADATA = 1 << 30
"""Bytes beside the numbers of the datasets: those of facevae's files are some dozens for each name."""
_SMALL = 1 << 26
_MOST_PACKED = 100
"""How many times as large as on the disk a dataset of more than `_SMALL` bytes may be in memory."""
_PLUG_INS = 256
"""From this number on, filters are not of HDF5 itself; h5py brings one of them."""
_LZF = 32000


def check_attributes(file: h5py.File, path: Path) -> None:
    """Raise a `ValueError` unless the attributes of the root can be read: before this none may be.

    HDF5 would go round for ever in a global heap that is damaged. All of the file is searched for them, but the numbers of its
    datasets.

    Raises:
        ValueError: as said, or what holds the strings is too long to be searched.
    """
    taken = sorted(_numbers(file))
    size = path.stat().st_size
    gaps = [(end, start) for (_, end), (start, _) in pairwise([(0, 0), *taken, (size, size)]) if end < start]
    if sum(stop - start for start, stop in gaps) > _MOST_METADATA:
        raise ValueError("it holds other data than facevae's")
    with path.open("rb") as stream:
        for start, stop in gaps:
            _check_heaps(_read(stream, start, stop))
    for name in file.attrs:
        if file.attrs.get_id(name).dtype.kind == "c":  # NumPy takes the real part, with a warning
            raise ValueError(f"{name} is a complex number")


def check_datasets(file: h5py.File, path: Path) -> None:
    """Raise a `ValueError` unless all in the root of the file lies in the file, in full and packed by HDF5 itself.

    Raises:
        ValueError: as said.
    """
    size = path.stat().st_size
    for name in file:
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is a link, which is not followed")
        if file.get(name, getclass=True) is h5py.Dataset:
            _check_dataset(file[name], name, path, size)


def _check_dataset(dataset: h5py.Dataset, name: str, path: Path, file_size: int) -> None:
    how = dataset.id.get_create_plist()
    if dataset.is_virtual or how.get_external_count():
        raise ValueError(f"{name} lies in another file, which is not read")
    filters = [how.get_filter(number)[0] for number in range(how.get_nfilters())]
    if any(number >= _PLUG_INS and number != _LZF for number in filters):
        raise ValueError(f"{name} is packed in a way that takes a plug-in")
    if not dataset.shape:
        return
    if dataset.dtype.kind == "c":
        raise ValueError(f"{name} holds complex numbers")
    stored = min(dataset.id.get_storage_size(), file_size)
    largest = max(prod(dataset.shape), prod(dataset.chunks or ())) * dataset.dtype.itemsize
    if largest > max(_SMALL, _MOST_PACKED * stored):
        raise ValueError(f"{name} declares {largest:,} bytes, of which the file holds {stored:,}")
    if h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype.kind == "O":
        total = sum(_text_lengths(dataset, path, file_size))
        if total > max(_SMALL, _MOST_PACKED * file_size):
            raise ValueError(f"{name} declares {total:,} bytes, of which the file holds {file_size:,}")


def _text_lengths(dataset: h5py.Dataset, path: Path, file_size: int) -> Iterator[int]:
    """Yield how long the texts are, a part of them at a time, reading none of them: they may all be the same one."""
    if dataset.id.get_create_plist().get_nfilters() == 0 and dataset.chunks is not None:
        for place in _chunk_places(dataset):
            yield _sum_of_lengths(dataset.id.read_direct_chunk(place)[1])
    elif (start := dataset.id.get_offset()) is not None:
        with path.open("rb") as stream:
            yield _sum_of_lengths(_read(stream, start, start + dataset.id.get_storage_size()))
    else:  # packed, which facevae's are not: a few at a time, as each may be as long as the file
        rows = max(1, _SMALL // file_size)
        for row in range(0, len(dataset), rows):
            yield sum(len(text) for text in dataset[row : row + rows].flat)


def _sum_of_lengths(places: bytes) -> int:
    return int(np.frombuffer(places, _STRING_PLACE)["length"].sum(dtype=np.int64))


def _chunk_places(dataset: h5py.Dataset) -> list[tuple[int, ...]]:
    places: list[tuple[int, ...]] = []
    dataset.id.chunk_iter(lambda chunk: places.append(chunk.chunk_offset))
    return places


def _numbers(file: h5py.File) -> Iterator[tuple[int, int]]:
    """Yield from where to where in the file the numbers of the datasets lie, in which there can be no heap."""
    for name in file:
        if (
            not isinstance(file.get(name, getlink=True), h5py.HardLink)
            or file.get(name, getclass=True) is not h5py.Dataset
        ):
            continue
        dataset = file[name]
        if dataset.dtype.kind not in "iufb" or dataset.is_virtual:
            continue
        if dataset.chunks is not None:
            pieces: list[tuple[int, int]] = []
            dataset.id.chunk_iter(
                lambda chunk, into=pieces: into.append((chunk.byte_offset, chunk.byte_offset + chunk.size))
            )
            yield from pieces
        elif (start := dataset.id.get_offset()) is not None:
            yield start, start + dataset.id.get_storage_size()


def _read(stream: BinaryIO, start: int, stop: int) -> bytes:
    stream.seek(start)
    return stream.read(stop - start)


def _check_heaps(data: bytes) -> None:
    place = data.find(_HEAP)
    while place >= 0:
        size = int.from_bytes(data[place + 8 : place + 16], "little")
        if place + size <= len(data):  # HDF5 itself refuses what is longer than the file
            _check_heap(data, place + _HEAP_HEADER, place + size)
        place = data.find(_HEAP, place + _HEAP_HEADER)


def _check_heap(data: bytes, place: int, stop: int) -> None:
    """Go through the objects of a heap as HDF5 does: number 0 is the rest, whose length includes its header."""
    while place + _OBJECT_HEADER <= stop:
        length = int.from_bytes(data[place + 8 : place + 16], "little")
        if data[place : place + 2] == b"\0\0":
            if not length:
                raise ValueError("a part of it reads as zeros")
            place += length
        else:
            place += _OBJECT_HEADER + (length + 7) // 8 * 8
        if place > stop:
            raise ValueError("a text in it is longer than its place")


def format_of(path: Path) -> tuple[str, str]:
    """Return the root attributes `format` and `command` of an HDF5 file, empty where it has none.

    Raises:
        DataError: it is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            check_attributes(file, path)
            return str(file.attrs.get("format", "")), str(file.attrs.get("command", ""))
    except Exception as error:  # a damaged file: h5py raises whatever its library does
        raise DataError(f"{path} cannot be read as HDF5: {' '.join(str(error).split())[:200]}.") from error

"""A list of strings from the root of an HDF5 file, read without h5py, whose import takes longer than a shell may wait.

Read is what h5py writes for `attribute_names`: a superblock of version 0, an object header of version 1 with its continuations,
and the global heap. Of anything else nothing is read. See the "HDF5 File Format Specification", version 3.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import error as StructError
from struct import unpack_from
from typing import BinaryIO

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ROOT_HEADER = 64
"""Where a superblock of version 0 has the address of the root's object header."""
_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_VARIABLE_LENGTH, _AS_STRING = 9, 1
_LONGEST_BLOCK = 1 << 20
_MOST_BLOCKS = 1000


def root_strings(path: Path, name: str) -> tuple[str, ...]:
    """Return the strings of the attribute `name` of the root; none where the file has none, is no HDF5, or is damaged."""
    if not path.is_file():  # A pipe would be waited for.
        return ()
    try:
        with path.open("rb") as file:
            if _read(file, 0, 9) != _SIGNATURE + b"\0":
                return ()
            (root,) = unpack_from("<Q", _read(file, _ROOT_HEADER, 8))
            for kind, body in _messages(file, root):
                if kind == _ATTRIBUTE and (places := _places(body, name)) is not None:
                    return tuple(_strings(file, places))
    except (OSError, StructError, UnicodeDecodeError, ValueError, LookupError, OverflowError):
        pass
    return ()


def _read(file: BinaryIO, address: int, length: int) -> bytes:
    if length > _LONGEST_BLOCK:
        raise ValueError("a block is too long")
    file.seek(address)
    data = file.read(length)
    if len(data) < length:
        raise ValueError("a block is cut short")
    return data


def _messages(file: BinaryIO, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of an object header: kind and body."""
    version, _, _, length = unpack_from("<BxHII", _read(file, address, 12))
    if version != 1:
        raise ValueError("not a header of version 1")
    blocks = [(address + 16, length)]
    for number in range(_MOST_BLOCKS):
        if number == len(blocks):
            return
        block, at = _read(file, *blocks[number]), 0
        while at + 8 <= len(block):
            kind, size = unpack_from("<HH", block, at)
            body = block[at + 8 : at + 8 + size]
            if kind == _CONTINUATION:
                blocks.append(unpack_from("<QQ", body))
            yield kind, body
            at += 8 + size


def _places(message: bytes, name: str) -> list[tuple[int, int, int]] | None:
    """Return where the strings of an attribute are, as (length, heap, number in it); None if it is another attribute."""
    version, flags, *sizes = unpack_from("<BBHHH", message)
    at, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(message[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    found, kind, space = parts
    if found.rstrip(b"\0") != name.encode():
        return None
    if (
        version not in (1, 2, 3)
        or (version > 1 and flags)
        or kind[0] & 15 != _VARIABLE_LENGTH
        or kind[1] & 15 != _AS_STRING
    ):
        raise ValueError("not a list of strings")
    dimensions = unpack_from("<Q", space, 8 if space[0] == 1 else 4) if space[1] == 1 else (1,)
    return [unpack_from("<IQI", message, at + 16 * row) for row in range(min(dimensions[0], _LONGEST_BLOCK))]


def _strings(file: BinaryIO, places: list[tuple[int, int, int]]) -> Iterator[str]:
    heaps: dict[int, dict[int, bytes]] = {}
    for length, address, number in places:
        if address not in heaps:
            heaps[address] = dict(_heap_objects(file, address))
        yield heaps[address][number][:length].decode()


def _heap_objects(file: BinaryIO, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield the objects of a collection of the global heap: number and content."""
    signature, size = unpack_from("<4s4xQ", _read(file, address, 16))
    if signature != b"GCOL":
        raise ValueError("not a global heap")
    collection, at = _read(file, address, size), 16
    while at + 16 <= size:
        number, length = unpack_from("<H6xQ", collection, at)
        if number == 0:
            return
        yield number, collection[at + 16 : at + 16 + length]
        at += 16 + -(-length // 8) * 8

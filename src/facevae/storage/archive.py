"""Reading many small files out of a zip, from several threads at once.

`zipfile` reads a member through half a dozen objects, one thread at a time. The members' places are taken from it once; after
that a read is one system call, and a check sum.
"""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from facevae.errors import DataError
from facevae.storage.output import describe_os_error

_LOCAL_HEADER = 30
_ENCRYPTED = 0x0041  # either of the two kinds of encryption
_PATCHED = 0x0020
_LARGEST = 1 << 30
"""Bytes that a member may unpack to: no image of facevae's has more."""
_SMALL = 1 << 26
_MOST_PACKED = 100
"""How many times a member of more than `_SMALL` bytes may be as large as it is packed; images hardly pack at all."""


class Member(NamedTuple):
    """Where a file lies in a zip, how it is packed, and what it must come to."""

    name: str
    offset: int
    packed_size: int
    size: int
    crc: int
    method: int
    flags: int


def read_members(path: Path) -> list[Member]:
    """Return what a zip holds.

    Raises:
        DataError: it cannot be read, or is none.
    """
    with _open_archive(path) as archive:
        if sum(one.compress_size for one in archive.filelist) > path.stat().st_size:
            raise DataError(f"{path} holds files that overlap, which no archive of images has: fetch it again.")
        # A name may stand in it twice: the later file counts, as when it is unpacked.
        return [
            Member(name, one.header_offset, one.compress_size, one.file_size, one.CRC, one.compress_type, one.flag_bits)
            for name, one in archive.NameToInfo.items()
        ]


class ArchiveReader:
    """Gives the bytes of the members of an open zip; several threads may call it at once."""

    def __init__(self, path: Path, file: BinaryIO, members: Mapping[str, Member]) -> None:
        self._path, self._file, self._members = path, file, members
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None  # for the members that only `zipfile` unpacks

    def close(self) -> None:
        """Close what was opened for members that are packed in an uncommon way."""
        if self._archive is not None:
            self._archive.close()

    def stamp(self, name: str) -> str:
        """Return what changes when a file does."""
        member = self._members.get(name)
        return f"{member.crc:08x}:{member.size}" if member is not None else "none"

    def read(self, name: str) -> bytes:
        """Return a member, by the name it has in `members`. Raises DataError when it is missing or damaged."""
        member = self._members.get(name)
        if member is None:
            raise DataError(f"{self._path} holds no {name}.")
        try:
            return self._read(member)
        except OSError as error:
            raise DataError(f"{name} in {self._path} cannot be read: {describe_os_error(error)}.") from error
        except DataError:
            raise
        except RuntimeError as error:
            raise DataError(
                f"{name} in {self._path} is encrypted or packed in an unknown way: "
                "unpack the archive and name the folder."
            ) from error
        except Exception as error:  # damaged bytes fail as zlib.error, BadZipFile, EOFError, struct.error, ...
            raise DataError(f"{name} in {self._path} is damaged: fetch the archive again.") from error

    def _read(self, member: Member) -> bytes:
        if member.size > min(_LARGEST, max(_SMALL, _MOST_PACKED * member.packed_size)):
            raise DataError(f"{member.name} in {self._path} unpacks to {member.size:,} bytes, more than an image has.")
        plain = member.method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if member.method == zipfile.ZIP_LZMA and self._dictionary(member) > _SMALL:
            raise zipfile.BadZipFile
        if not plain or member.flags & (_ENCRYPTED | _PATCHED):
            with self._lock:
                if self._archive is None:
                    self._archive = zipfile.ZipFile(self._path)
                return self._archive.read(member.name)
        data = self._unpack(member, self._packed(member))
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise zipfile.BadZipFile
        return data

    def _packed(self, member: Member) -> bytes:
        """Return the packed bytes, which lie behind a header that repeats the name and may carry more."""
        length = _LOCAL_HEADER + 4 * len(member.name) + 64 + member.packed_size
        block = self._at(member.offset, length)
        if not block.startswith(b"PK\x03\x04"):
            raise zipfile.BadZipFile
        start = _LOCAL_HEADER + int.from_bytes(block[26:28], "little") + int.from_bytes(block[28:30], "little")
        if start + member.packed_size > length:
            block, start = self._at(member.offset + start, member.packed_size), 0
        return block[start : start + member.packed_size]

    def _dictionary(self, member: Member) -> int:
        """Return how much memory LZMA will take for a member, whatever its size."""
        return int.from_bytes(self._packed(member)[5:9], "little")

    @staticmethod
    def _unpack(member: Member, packed: bytes) -> bytes:
        if member.method == zipfile.ZIP_STORED:
            return packed
        # One byte more than announced shows a member that unpacks to more, and no bomb unpacks any further.
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)

    def _at(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), length, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


@contextmanager
def open_archive_reader(path: Path, members: Mapping[str, Member]) -> Iterator[ArchiveReader]:
    """Open a zip, of which `members` are known by the names they will be read by.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {describe_os_error(error)}.") from error
    with file, closing(ArchiveReader(path, file, members)) as reader:
        yield reader


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {describe_os_error(error)}.") from error
    except Exception as error:  # see ArchiveReader.read
        raise DataError(
            f"{path} is not a complete zip file, as after an interrupted or a refused download: fetch it again."
        ) from error
    with archive:
        yield archive

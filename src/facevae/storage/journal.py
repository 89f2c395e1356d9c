"""`faces.h5.unfinished`: the faces that a run of `prepare` has done so far, for the run that goes on after it was stopped.

HDF5 does not survive a kill in the middle of a write: its chunks, the tree that finds them and its caches are written in an
order of its own. This file is only ever added to, so all that a kill can do is to cut its last record short. In it follow

- `MAGIC`, then the length and CRC-32 of what follows (two uint32), then a JSON object: what the images depend on besides the
  files they come from, such as their size. It is flushed to the disk before the first image is added.
- records, each of a head (little-endian: `FVR1`; rows, length of the skipped, CRC-32 of the rest of the record, all uint32;
  SHA-256 that tells the rows' sources), then JSON `[[row in the record, reason], ...]` of the images left out, where the reason
  is null for those that are too small, then the images, uint8 (rows - left out, S, S, 3).

The next run takes the records from the first on until one is cut short, has another check sum (blocks that a power cut kept
from the disk read as zeros) or was made from other sources. Records are not flushed to the disk one by one: a kill of the
process loses nothing that was handed to the system, and a power cut what the system had not yet written of its own
accord, half a minute or so.

The file is locked while a run writes to it. The system takes the lock back when a process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError, UsageError
from facevae.storage.closing import Closing
from facevae.storage.output import describe_os_error

MAGIC = b"facevae unfinished faces, version 1\n"
SUFFIX = ".unfinished"

_START = struct.Struct("<II")
_TAG = b"FVR1"
_HEAD = struct.Struct("<4sIII32s")
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Prepared:
    """Some consecutive rows, prepared.

    Attributes:
        rows: how many.
        skipped: of those that cannot be read, the place among the rows and the reason.
        images: uint8 (rows - skipped - too_small, S, S, 3).
        digest: 32 bytes that tell the sources.
        too_small: of those smaller than was asked for, the place among the rows.
    """

    rows: int
    skipped: list[tuple[int, str]]
    images: NDArray[np.uint8]
    digest: bytes
    too_small: list[int] = field(default_factory=list)


class _Record(NamedTuple):
    """The head of a record, and where its images begin."""

    rows: int
    skipped: list[tuple[int, str]]
    too_small: list[int]
    images_at: int
    digest: bytes


def journal_path(output: Path) -> Path:
    """Return where the unfinished faces of an output lie: beside it, or beside what it links to."""
    target = output.resolve() if output.is_symlink() else output
    name = target.name + SUFFIX
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{target.name[:40]}-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}{SUFFIX}"
    return target.with_name(name)


class Journal(Closing):
    """The open and locked file beside an output. Call `resume`, or `begin`, and then `append`.

    Attributes:
        path: of the file.
        rows: done, readable or not.
        faces: images among them.
        skipped: the rows that cannot be read, in order, each with the reason.
        too_small: the rows that were left out because the image is smaller than was asked for, in order.

    Raises:
        DataError: another process is writing the same output, or the file cannot be opened.
        UsageError: a file of that name is something else.
    """

    def __init__(self, output: Path) -> None:
        self.path = journal_path(output)
        self.rows = self.faces = 0
        self.skipped: list[tuple[int, str]] = []
        self.too_small: list[int] = []
        self._shape = (0, 0, 3)
        self._first = self._end = 0
        self._in_use = False
        with self._errors():
            self._file = _open_locked(self.path, output)
        try:
            with self._errors():
                self._check_kind()
        except BaseException:
            self._file.close()
            raise

    def _check_kind(self) -> None:
        # A full disk may have cut the very first line short.
        is_file = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        if not is_file or not MAGIC.startswith(self._file.read(len(MAGIC))):
            raise UsageError(f"{self.path} is not what an unfinished run left: move it away, or name another output.")

    @property
    def found(self) -> bool:
        """Whether an earlier run left anything."""
        return os.fstat(self._file.fileno()).st_size > len(MAGIC)

    def begin(self, record: Mapping[str, object], image_size: int) -> None:
        """Throw away what there is, and begin anew with images (S, S, 3) that `record` tells of.

        Raises:
            DataError: the file cannot be written.
        """
        self._reset(image_size)
        self._in_use = True
        text = json.dumps(record, sort_keys=True).encode()
        with self._errors():
            self._file.seek(0)
            self._file.truncate()
            self._write(MAGIC + _START.pack(len(text), zlib.crc32(text)) + text)
            os.fsync(self._file.fileno())
            self._first = self._end = self._file.tell()

    def resume(self, record: Mapping[str, object], image_size: int, digest_of: Callable[[int, int], bytes]) -> bool:
        """Take over what an earlier run of the same `record` did, as far as it is whole and its sources are the same.

        `digest_of(start, stop)` is to tell the sources of these rows as they are now. Returns whether there was anything;
        otherwise call `begin`.

        Raises:
            DataError: the file cannot be read.
        """
        self._reset(image_size)
        with self._errors("read"):
            self._file.seek(len(MAGIC))
            start = self._file.read(_START.size)
            if len(start) < _START.size:
                return False
            length, check = _START.unpack(start)
            text = self._file.read(min(length, os.fstat(self._file.fileno()).st_size))
            if zlib.crc32(text) != check or text != json.dumps(record, sort_keys=True).encode():
                return False
            self._first = self._end = self._file.tell()
            while (found := self._record(self._end, check=True)) is not None:
                if found.digest != digest_of(self.rows, self.rows + found.rows):
                    break
                self._count(found)
                self._end = found.images_at + self._bytes_of(found)
            self._file.truncate(self._end)
        self._in_use = self.rows > 0
        return self._in_use

    def append(self, prepared: Prepared) -> None:
        """Add a record.

        Raises:
            DataError: it cannot be written; what was there before stays.
        """
        left_out = [*prepared.skipped, *((place, None) for place in prepared.too_small)]
        text = json.dumps(left_out).encode() if left_out else b""
        images = prepared.images.reshape(-1).data
        check = zlib.crc32(images, _check(prepared.rows, prepared.digest, text))
        head = _HEAD.pack(_TAG, prepared.rows, len(text), check, prepared.digest)
        with self._errors():
            self._file.seek(self._end)
            try:
                self._write(b"".join((head, text, images)))
            except BaseException:
                with suppress(OSError):
                    self._file.truncate(self._end)
                raise
        self._end = self._file.tell()
        self._count(prepared)

    def images(self, block: int) -> Iterator[NDArray[np.uint8]]:
        """Yield all images in order, `block` at a time, however they were added; each array is valid until the next.

        Raises:
            DataError: the file cannot be read.
        """
        buffer = np.empty((block, *self._shape), dtype=np.uint8)
        flat, capacity, filled = buffer.reshape(-1).data, buffer.nbytes, 0
        place = self._first
        while place < self._end:
            with self._errors("read"):
                record = self._record(place, check=False)
            if record is None:
                raise self._changed()
            left, place = self._bytes_of(record), record.images_at
            while left:
                with self._errors("read"):
                    self._file.seek(place)
                    got = self._file.readinto(flat[filled : min(filled + left, capacity)])
                if not got:
                    raise self._changed()
                filled, left, place = filled + got, left - got, place + got
                if filled == capacity:
                    yield buffer
                    filled = 0
        if filled:
            yield buffer[: filled // (capacity // block)]

    def remove(self) -> None:
        """Remove the file: what it was for is done. After that only `close` may be called."""
        if sys.platform == "win32":
            self._file.close()  # an open file cannot be removed there
        # While it is still locked, so that no other run can have begun to write to it.
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Close the file, which frees it for other processes; in use and without any face in it, it is removed."""
        if not self._file.closed:
            if not self.faces and (self._in_use or not self.found):
                self.remove()
            self._file.close()

    def _reset(self, image_size: int) -> None:
        self.rows = self.faces = 0
        self.skipped = []
        self.too_small = []
        self._shape = (image_size, image_size, 3)

    def _count(self, added: Prepared | _Record) -> None:
        self.skipped += [(self.rows + place, reason) for place, reason in added.skipped]
        self.too_small += [self.rows + place for place in added.too_small]
        self.rows += added.rows
        self.faces += _faces(added)

    def _bytes_of(self, record: _Record) -> int:
        return _faces(record) * self._shape[0] * self._shape[1] * self._shape[2]

    def _record(self, place: int, *, check: bool) -> _Record | None:
        """Read the record there, or return None where it is cut short or, if that is to be checked, damaged."""
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(place)
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        tag, rows, length, expected, digest = _HEAD.unpack(head)
        images_at = place + _HEAD.size + length
        if tag != _TAG or not rows or images_at > size:
            return None
        content = self._file.read(length)
        try:
            left_out = [(row, reason) for row, reason in json.loads(content or b"[]")]
        except (ValueError, TypeError, RecursionError):
            return None
        if not _are_left_out(left_out, rows):
            return None
        skipped = [(row, reason) for row, reason in left_out if reason is not None]
        too_small = [row for row, reason in left_out if reason is None]
        record = _Record(rows, skipped, too_small, images_at, digest)
        if not 0 <= self._bytes_of(record) <= size - images_at:
            return None
        if check and zlib.crc32(self._file.read(self._bytes_of(record)), _check(rows, digest, content)) != expected:
            return None
        return record

    def _write(self, data: bytes) -> None:
        """Write all of it: a system call may take only a part, as when the disk fills up."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    @contextmanager
    def _errors(self, verb: str = "written") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.path} cannot be {verb}: {describe_os_error(error)}.") from error

    def _changed(self) -> DataError:
        return DataError(f"{self.path} was changed by another program meanwhile: run the same command again.")


def _are_left_out(left_out: list[tuple[object, object]], rows: int) -> bool:
    """Return whether these are different places among the rows, each with a reason or None."""
    places = {row for row, _ in left_out if type(row) is int and 0 <= row < rows}
    return len(places) == len(left_out) and all(reason is None or isinstance(reason, str) for _, reason in left_out)


def _faces(added: Prepared | _Record) -> int:
    """Return how many images there are of these rows."""
    return added.rows - len(added.skipped) - len(added.too_small)


def _check(rows: int, digest: bytes, left_out: bytes) -> int:
    """Return the check sum of a record as far as its images, with which it goes on."""
    return zlib.crc32(left_out, zlib.crc32(digest, rows))


def _open_locked(path: Path, output: Path) -> FileIO:
    """Open the file for reading and writing, alone: the one that lies there, not one that was just removed."""
    while True:
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+")
        try:
            if not _lock(file):
                raise DataError(
                    f"Another facevae prepare is writing {output}: wait for it, or name another output with -o."
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: FileIO) -> bool:
        file.seek(2**40)  # a lock keeps others from reading there, so not where anything is
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            file.seek(0)
        return True

else:
    import fcntl

    def _lock(file: FileIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # some network file systems have no locks
        return True

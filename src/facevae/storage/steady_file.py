"""A file for HDF5 to write to that never fails it: the first error is kept, and told when HDF5 has closed the file.

HDF5 holds what it could not write in its cache and tries again when the process ends, which crashes there on a full disk. So
after an error everything seems to succeed, and nothing is written any more.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


class SteadyFile(io.RawIOBase):
    """A new file, empty, for reading and writing.

    Attributes:
        error: the first error, None as long as there is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._end = 0
        self._place = 0
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the first error again, if there was one."""
        if self.error is not None:
            raise self.error

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, as in any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._end}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Write all of `data`, or seem to."""
        view = memoryview(data).cast("B")
        self._attempt(lambda: self._write_all(view), None)
        self._place += len(view)
        self._end = max(self._end, self._place)
        return len(view)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer
        """Fill a buffer: with nought where the file should hold something that was never written."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._end - self._place))
        read = self._attempt(lambda: self._read(view[:count]), 0)
        view[read:count] = bytes(count - read)
        self._place += count
        return count

    def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file, or seem to."""
        end = self._place if size is None else size
        self._attempt(lambda: self._file.truncate(end), 0)
        self._end = end
        return end

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error
        super().close()

    def _attempt(self, action: Callable[[], Result], otherwise: Result) -> Result:
        if self.error is None:
            try:
                return action()
            except OSError as error:
                self.error = error
        return otherwise

    def _write_all(self, view: memoryview) -> None:
        self._file.seek(self._place)
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])

    def _read(self, view: memoryview) -> int:
        self._file.seek(self._place)
        return self._file.readinto(view) or 0

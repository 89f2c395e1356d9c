"""A training log as JSON lines: one object a line, appended and never truncated, so that it can be followed while it grows.

`docs/files.md` lists the events and their entries.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facevae.errors import DataError, UsageError
from facevae.storage.output import describe_os_error

FIRST_EVENT = "start"
"""Every run begins with it, and so does every log."""
_LONGEST_FIRST_LINE = 1_000_000


def check_run_log(path: Path, *, inputs: Iterable[Path] = (), outputs: Iterable[Path] = ()) -> None:
    """Refuse early a log that could not be written, or that would be added to something else.

    Raises:
        UsageError: `path` is a folder, a pipe or device, one of `inputs` or `outputs`, or a file that is no training log.
        DataError: it cannot be written or read, or its folder does not exist.
    """
    if path == Path("-"):
        raise UsageError(
            "A training log cannot go to standard output, which carries the results: name a file with --log."
        )
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file to write to.")
        if not path.parent.is_dir():
            raise DataError(f"There is no folder {path.parent} to write {path.name} into: create it first.")
        for other in (*inputs, *outputs):
            if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
                raise UsageError(f"{path} is another file of this training: name another log with --log.")
        if path.exists():
            if not path.is_file():
                raise UsageError(f"{path} is not a regular file: name another log with --log.")
            if not _is_log(path):
                raise UsageError(f"{path} holds something other than a training log: name another file with --log.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise DataError(f"{path} cannot be written: permission denied.")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {describe_os_error(error)}.") from error


def _is_log(path: Path) -> bool:
    """Return whether a file is empty or begins as a log does."""
    with path.open("rb") as file:
        line = file.readline(_LONGEST_FIRST_LINE)
    if not line:
        return True
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("event") == FIRST_EVENT


class RunLog:
    """Appends the events of one run to a log file, each at once."""

    def __init__(self, path: Path) -> None:
        """Open the log, or make it.

        Raises:
            DataError: it cannot be opened.
        """
        self.name = str(path)
        try:
            # Unbuffered: a line is one write, and is there for others to read when `write` returns.
            self._file = path.open("ab", buffering=0)
            self._unfinished = _ends_within_a_line(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {describe_os_error(error)}.") from error

    def write(self, event: str, values: Mapping[str, Any]) -> None:
        """Append one event with the time; numbers that are not finite become null.

        Raises:
            OSError: it cannot be written.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(_as_json({"event": event, "time": time, **values}), allow_nan=False) + "\n"
        data = (b"\n" if self._unfinished else b"") + line.encode()
        written = self._file.write(data)
        # A full disk takes a part without complaint, and complains at the next write.
        self._unfinished = written < len(data)
        if self._unfinished:
            self._file.write(data[written:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ends_within_a_line(path: Path) -> bool:
    """Return whether the last line lacks its end, as after a full disk: the next event must begin a line of its own."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")


def _as_json(value: Any) -> Any:  # noqa: ANN401
    """Return a value with null for what JSON has no number for, and text for paths."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value

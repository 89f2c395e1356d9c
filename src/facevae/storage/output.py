"""Writing results: to a temporary sibling that is renamed into place, or to a stream such as standard output.

A killed run never leaves half a file under the final name. Running a command again replaces its own earlier output; it
never replaces one of its inputs, a folder, or data of another kind (weights by latents, say).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from facevae.errors import DataError, UsageError
from facevae.storage.kinds import DATA_KINDS, kind_of
from facevae.temporary import HOST, is_gone, temporary_folder

StrPath = str | Path

Output = Path | BinaryIO
"""Where a result goes: a path, or an open binary stream such as `sys.stdout.buffer`."""


_REMAINS = re.compile(rf"\..{{1,40}}\.{HOST}-([0-9]+)\.part", re.DOTALL)


def describe_os_error(error: OSError) -> str:
    """Return the operating system's own words for `error`, without number or path."""
    return (error.strerror or str(error)).lower()


def check_output(output: Output, *, inputs: Iterable[Path] = (), kind: str = "picture", option: str = "-o") -> None:
    """Refuse early an output that could not be written in the end, or that would destroy something.

    `kind` is what will be written: one of `kinds.DATA_KINDS`, or "picture". Data replaces only data of its own kind; a picture
    replaces anything but data. `option` is the one to name in errors.

    Raises:
        UsageError: `output` is one of `inputs`, a folder, a pipe or device, or an existing file of another kind.
        DataError: its folder does not exist or cannot be written to.
    """
    if not isinstance(output, Path):
        return
    if output == Path("-"):
        raise UsageError(f"This result cannot go to standard output: name a file with {option}.")
    try:
        if output.is_dir():
            raise UsageError(f"{output} is a folder: name a file to write to.")
        if not output.parent.is_dir():
            raise DataError(f"There is no folder {output.parent} to write {output.name} into: create it first.")
        if output.exists():
            for source in inputs:
                if source.exists() and output.samefile(source):
                    raise UsageError(
                        f"{output} is an input and would be overwritten: name another output with {option}."
                    )
            # A pipe would block the reading of its first bytes, and a device would be replaced by a file.
            if not output.is_file():
                raise UsageError(f"{output} is not a regular file: name another output with {option}.")
            _check_kind(output, kind, option)
        if not os.access(output.parent, os.W_OK):
            raise DataError(f"The folder {output.parent} cannot be written to: name another output with {option}.")
    except OSError as error:
        raise DataError(f"{output} cannot be written: {describe_os_error(error)}.") from error


def _check_kind(output: Path, kind: str, option: str) -> None:
    existing = kind_of(output)
    if existing is not None and existing != kind:
        new = kind if kind in DATA_KINDS else f"a {kind}"
        raise UsageError(
            f"{output} holds {existing} and would be overwritten by {new}: name another output with {option}."
        )
    if existing is None and kind in DATA_KINDS and output.stat().st_size:
        raise UsageError(
            f"{output} holds something other than {kind} and would be overwritten: name another output with {option}."
        )


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        DataError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made a folder: {describe_os_error(error)}.") from error


def as_output(output: str | Output) -> Output:
    """Return an output named by a string as a path."""
    return Path(output) if isinstance(output, str) else output


def output_name(output: Output) -> str:
    """Return the file name that decides a picture's format: PNG for a stream."""
    return output.name if isinstance(output, Path) else "picture.png"


@contextmanager
def output_path(output: Output) -> Iterator[Path]:
    """Yield a temporary path to write the result to; when the block ends well it becomes `output`, else it is removed."""
    if isinstance(output, Path):
        with _replacing(output) as temporary:
            yield temporary
        return
    with temporary_folder() as folder:
        temporary = folder / "output"
        try:
            yield temporary
        except OSError as error:
            raise DataError(
                f"{folder.parent}, where the result is kept until it is whole, cannot be written to: "
                f"{describe_os_error(error)}: make room there, set TMPDIR to another folder, or name a file with -o."
            ) from error
        with temporary.open("rb") as file:
            to_stream(output, lambda stream: shutil.copyfileobj(file, stream))


def to_stream(output: BinaryIO, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` write to a stream such as standard output. That its reader has gone is passed on as a BrokenPipeError.

    Raises:
        DataError: the stream cannot be written to.
    """
    try:
        write(output)
        output.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError(f"Standard output cannot be written to: {describe_os_error(error)}.") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    # Only the name's beginning: a long name with the rest would be too long for the system.
    stem = f".{path.name[:40]}.{HOST}-"
    # A link stays a link: what it points to is replaced.
    target = path.resolve()
    temporary = target.with_name(f"{stem}{os.getpid()}.part")
    _remove_remains(target.parent)
    try:
        yield temporary
        # Without the flush to disk a power cut could leave an empty file under the final name.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {describe_os_error(error)}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@cache
def _remove_remains(folder: Path) -> None:
    """Remove the temporary files that killed runs on this machine left in a folder, once a process and folder."""
    with suppress(OSError):
        for remains in folder.iterdir():
            match = _REMAINS.fullmatch(remains.name)
            if match and is_gone(int(match[1])):
                with suppress(OSError):
                    remains.unlink()


def write_bytes(output: Output, data: bytes) -> None:
    """Write `data` to `output`, atomically when it is a path.

    Raises:
        DataError: the file cannot be written.
    """
    if isinstance(output, Path):
        with _replacing(output) as temporary:
            temporary.write_bytes(data)
        return
    to_stream(output, lambda stream: stream.write(data))

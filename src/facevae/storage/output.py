"""Writing results: to a temporary sibling that is renamed into place, or to a stream such as standard output.

A killed run never leaves half a file under the final name. Running a command again replaces its own earlier output; it
never replaces one of its inputs, a folder, or a file of another kind (weights over latents, say).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from facevae.errors import DataError, UsageError

Output = Path | BinaryIO
"""Where a result goes: a path, or an open binary stream such as `sys.stdout.buffer`."""

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def describe_os_error(error: OSError) -> str:
    """Return the operating system's own words for `error`, without number or path."""
    return (error.strerror or str(error)).lower()


def _kind_of(path: Path) -> str | None:
    """Return "HDF5" or "safetensors" for a file of one of these kinds, else None; told by its first bytes, not its name."""
    with path.open("rb") as file:
        head = file.read(9)
    is_safetensors = len(head) == 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000
    if head.startswith(_HDF5_SIGNATURE):
        return "HDF5"
    return "safetensors" if is_safetensors else None


def check_output(output: Output, *, inputs: Iterable[Path] = (), kind: str = "picture") -> None:
    """Refuse early an output that could not be written in the end, or that would destroy something.

    `kind` is what will be written: "HDF5", "safetensors" or anything else ("picture", "table").

    Raises:
        UsageError: `output` is one of `inputs`, a folder, a pipe or device, or an existing file of another kind.
        DataError: its folder does not exist or cannot be written to.
    """
    if not isinstance(output, Path):
        return
    try:
        if output.is_dir():
            raise UsageError(f"{output} is a folder: name a file to write to.")
        if not output.parent.is_dir():
            raise DataError(f"There is no folder {output.parent} to write {output.name} into: create it first.")
        if output.exists():
            for source in inputs:
                if source.exists() and output.samefile(source):
                    raise UsageError(f"{output} is an input and would be overwritten: name another output with -o.")
            # A pipe would block the reading of its first bytes, and a device would be replaced by a file.
            if not output.is_file():
                raise UsageError(f"{output} is not a regular file: name another output with -o.")
            existing = _kind_of(output)
            if existing is not None and existing != kind:
                raise UsageError(
                    f"{output} is a {existing} file and would be overwritten by a {kind}: name another output with -o."
                )
        if not os.access(output.parent, os.W_OK):
            raise DataError(f"The folder {output.parent} cannot be written to: name another output with -o.")
    except OSError as error:
        raise DataError(f"{output} cannot be written: {describe_os_error(error)}.") from error


@contextmanager
def output_path(output: Output) -> Iterator[Path]:
    """Yield a temporary path to write the result to; when the block ends well it becomes `output`, else it is removed."""
    if isinstance(output, Path):
        with _replacing(output) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="facevae-") as folder:
        temporary = Path(folder) / "output"
        yield temporary
        with temporary.open("rb") as file:
            shutil.copyfileobj(file, output)
        output.flush()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    # Only the name's beginning: a long name with the rest would be too long for the system.
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}.part")
    try:
        yield temporary
        # Without the flush to disk a power cut could leave an empty file under the final name.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {describe_os_error(error)}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(output: Output, data: bytes) -> None:
    """Write `data` to `output`, atomically when it is a path.

    Raises:
        DataError: the file cannot be written.
    """
    if isinstance(output, Path):
        with _replacing(output) as temporary:
            temporary.write_bytes(data)
        return
    output.write(data)
    output.flush()

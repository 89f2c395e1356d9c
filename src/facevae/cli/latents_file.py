"""Latents as an argument: a file, or `-` for those on standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facevae.cli.console import missing_stdin
from facevae.errors import FacevaeError
from facevae.temporary import temporary_folder


@contextmanager
def local_latents(latents: str, command: str) -> Iterator[Path]:
    """Yield the latents as a file: HDF5 needs one, so standard input is copied to a temporary file first.

    `command` is named in errors.

    Raises:
        UsageError: standard input is asked for, and is a terminal or empty.
    """
    if latents != "-":
        yield Path(latents)
        return
    missing = missing_stdin("latents", f"facevae encode | facevae {command} -")
    if sys.stdin.isatty():
        raise missing
    import shutil

    with temporary_folder() as folder:
        path = folder / "stdin.h5"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if path.stat().st_size == 0:
            raise missing
        try:
            yield path
        except FacevaeError as error:
            raise type(error)(str(error).replace(str(path), "stdin")) from None

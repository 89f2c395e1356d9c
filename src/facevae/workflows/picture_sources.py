"""Pictures as users name them, a file or the bytes of one, and what to call them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facevae.storage.output import StrPath

PictureSource = Path | bytes
"""A picture: a file, or the bytes of one (as read from standard input)."""

STDIN_NAME = "stdin"


def as_source(picture: StrPath | bytes) -> PictureSource:
    """Return a picture named by a string as a path."""
    return Path(picture) if isinstance(picture, str) else picture


def as_sources(pictures: Sequence[StrPath | bytes] | StrPath | bytes) -> list[PictureSource]:
    """Return pictures named by strings as paths; a single one is a list of one."""
    if isinstance(pictures, str | Path | bytes):
        return [as_source(pictures)]
    return [as_source(picture) for picture in pictures]


def source_name(source: PictureSource) -> str:
    """Return what to call a picture in messages and files: its path, or "stdin" for bytes."""
    return str(source) if isinstance(source, Path) else STDIN_NAME


def short_name(source: PictureSource) -> str:
    """Return what to call a picture in a picture: its file name without folder and suffix."""
    return source.stem if isinstance(source, Path) else STDIN_NAME

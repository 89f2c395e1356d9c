"""Folders of pictures, named where image files may be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from facevae.errors import DataError
from facevae.storage.celeba import find_pictures


def is_folder(path: Path) -> bool:
    """Return whether this is a folder; of a name that the system refuses, an error tells when it is opened."""
    try:
        return path.is_dir()
    except OSError:  # a name too long, say
        return False


def pictures_in(folder: Path) -> list[str]:
    """List the pictures in a folder and below it that are not hidden, told by their suffixes, in the order of their names.

    Returns:
        their paths relative to the folder, with slashes; at least one.

    Raises:
        DataError: there is none, or a folder cannot be read.
    """
    names = find_pictures(folder)
    if not names:
        raise no_pictures(folder)
    return names


def no_pictures(folder: Path) -> DataError:
    """Return the error for a folder without pictures."""
    return DataError(f"{folder} holds no images: name a folder with photographs, or image files.")


def with_folders_listed(paths: Iterable[Path]) -> list[Path]:
    """Return files as they are, and in place of each folder the pictures in it, see `pictures_in`.

    Raises:
        DataError: a folder holds no picture, or cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        found += [path / name for name in pictures_in(path)] if is_folder(path) else [path]
    return found

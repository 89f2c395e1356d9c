"""CelebA and plain folders of faces: where the images lie, what the tables say of them, and how to read them.

CelebA reaches people in several shapes: the official folders (`Img`, `Anno`, `Eval`), torchvision's `celeba` folder,
Kaggle's doubled folder with csv tables, or just the archive with the tables beside it. All of them are recognised, and
the archive is read without unpacking it. Source: Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from facevae.errors import DataError
from facevae.storage.archive import Member, open_archive_reader, read_members
from facevae.storage.celeba_tables import AttributeTable, in_short, read_attribute_table, read_partition
from facevae.storage.image_kinds import IMAGE_SUFFIXES
from facevae.storage.output import describe_os_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_FOLDER = "img_align_celeba"
ARCHIVE = "img_align_celeba.zip"
ATTRIBUTE_TABLE = "list_attr_celeba"
PARTITION_TABLE = "list_eval_partition"

_TABLE_SUFFIXES = (".txt", ".csv")
_BASES = ("", "celeba", "CelebA")
_PARTS = ("", "Img", "Anno", "Eval")


class FaceReader(Protocol):
    """Gives the bytes of the images of a `FaceSource`; several threads may call it at once."""

    def read(self, name: str) -> bytes:
        """Return the file of one image. Raises DataError when it is missing or damaged."""

    def stamp(self, name: str) -> str:
        """Return what changes when the file of an image does, without reading it."""


def digest_of(reader: FaceReader, names: Sequence[str]) -> bytes:
    """Return 32 bytes that change when one of these images is another one: by name, size and time or check sum."""
    lines = [f"{name}\n{reader.stamp(name)}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).digest()


@dataclass(frozen=True, eq=False)
class FaceSource:
    """The images found, what the tables say of them, and what the user should know.

    Attributes:
        location: the archive or folder that holds the images.
        names: N file names, sorted: base names (`000001.jpg`) for CelebA, relative POSIX paths for anything else.
        attribute_names: A names in the table's order, empty where there are none.
        attributes: int8 array (N, A) in {-1, 1}, or None.
        split: uint8 array (N) with 0 train, 1 valid, 2 test, or None.
        notices: sentences for the user.
        left_out: names of images that the tables do not hold, each with the reason.
    """

    location: Path
    names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    attributes: NDArray[np.int8] | None
    split: NDArray[np.uint8] | None
    notices: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    members: Mapping[str, Member] = field(default_factory=dict, repr=False)  # of the archive, by name

    @contextmanager
    def open(self) -> Iterator[FaceReader]:
        """Open the archive, once, or the folder, and give its reader."""
        if self.location.is_dir():
            yield _FolderReader(self.location)
            return
        with open_archive_reader(self.location, self.members) as reader:
            yield reader


def find_faces(directory: Path, *, with_attributes: bool = True) -> FaceSource:
    """Find the images and tables of CelebA, or a plain folder of images, in a directory.

    Args:
        directory: any of the layouts in the module's description, the image folder itself, or a zip file.
        with_attributes: whether the attribute table is read. Without, the partition is used where there is one;
            with, CelebA must have both.

    Raises:
        DataError: the directory, the images or a table is missing or unreadable; the text says which, and where it
            was looked for.
    """
    try:
        return _find_faces(directory, with_attributes)
    except OSError as error:
        raise DataError(f"{error.filename or directory} cannot be read: {describe_os_error(error)}.") from error


def _find_faces(directory: Path, with_attributes: bool) -> FaceSource:
    _check_directory(directory)
    images = _find_images(directory)
    tables = _find_tables(directory, images)
    if images is None:
        images = _find_plain_images(directory, tables)
    images, left_out = _without_odd_names(images)
    if not images.is_celeba and not tables.found:
        return _plain_source(images, left_out)
    attribute_path, partition_path = tables.attributes, tables.partition
    if with_attributes and (attribute_path is None or partition_path is None):
        raise _missing_tables(images.location, tables)
    table = read_attribute_table(attribute_path) if with_attributes and attribute_path is not None else None
    partition = read_partition(partition_path) if partition_path is not None else None
    return _join(
        images,
        (attribute_path, table) if attribute_path is not None and table is not None else None,
        (partition_path, partition) if partition_path is not None and partition is not None else None,
        left_out,
    )


@dataclass(frozen=True)
class _Images:
    location: Path
    names: tuple[str, ...]
    is_celeba: bool  # found under CelebA's own name, so that its tables are expected
    notices: tuple[str, ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)  # of an archive


@dataclass(frozen=True)
class _Tables:
    attributes: Path | None
    partition: Path | None
    looked_in: tuple[Path, ...]

    @property
    def found(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.attributes, self.partition) if path is not None)


def _check_directory(directory: Path) -> None:
    if directory.is_dir() or (directory.is_file() and directory.suffix.lower() == ".zip"):
        return
    if directory.exists():
        raise DataError(f"{directory} is a file: give the folder that holds {ARCHIVE}, or a folder of images.")
    raise DataError(f"There is no folder {directory}: give the folder that holds {ARCHIVE}, or a folder of images.")


def _find_images(directory: Path) -> _Images | None:
    """Find images under CelebA's names, or in the archive that was given itself."""
    if directory.is_file():
        return _archive_images(directory)
    if _actual_name(directory) == IMAGE_FOLDER and not (directory / ARCHIVE).is_file():
        return _folder_images(directory)
    for place in _existing(directory / base / part for base in _BASES for part in _PARTS):
        archive, folder = place / ARCHIVE, place / IMAGE_FOLDER
        if archive.is_file():
            # Of the two the archive is read: one open file instead of 200,000, and never half unpacked. Someone who
            # edited the unpacked images can name that folder, and the notice says so.
            images = _archive_images(archive)
            if not folder.is_dir():
                return images
            notice = f"{archive} is read, not the folder {folder} beside it: name that folder to read it instead."
            return replace(images, notices=(notice,))
        if folder.is_dir():
            return _folder_images(folder)
    return None


def _archive_images(path: Path) -> _Images:
    is_celeba = path.name == ARCHIVE
    members = [member for member in read_members(path) if _is_image(member.name)]
    if not members:
        raise DataError(f"{path} holds no images ({_suffixes()}).")
    parts = [member.name.rpartition("/") for member in members]
    by_base = {base: member for (_, _, base), member in zip(parts, members, strict=True)}
    if len(by_base) < len(members) and is_celeba:
        raise DataError(f"{path} holds several images of the same name, which CelebA's does not: fetch it again.")
    is_flat = len({folder for folder, _, _ in parts}) == 1
    by_name = by_base if is_celeba or is_flat else {member.name: member for member in members}
    return _Images(path, tuple(sorted(by_name)), is_celeba, members=by_name)


def _folder_images(folder: Path) -> _Images:
    """List CelebA's image folder, or the one of the same name that Kaggle's archive puts inside it."""
    for candidate in (folder, folder / IMAGE_FOLDER):
        names = _list_images(candidate) if candidate.is_dir() else []
        if names:
            return _Images(candidate, tuple(names), is_celeba=True)
    raise DataError(f"{folder} holds no images ({_suffixes()}).")


def _list_images(folder: Path) -> list[str]:
    return sorted(filter(_is_image, os.listdir(folder)))  # noqa: PTH208


def _find_plain_images(directory: Path, tables: _Tables) -> _Images:
    """Find images that do not lie under CelebA's names: beside tables, or anywhere in a folder without tables."""
    if tables.found:
        names = _list_images(directory)
        if not names:
            beside = tables.found[0]
            raise DataError(
                f"{ARCHIVE} is missing in {beside.parent}: put it, or the unpacked folder {IMAGE_FOLDER}, "
                f"beside {beside.name}."
            )
        return _Images(directory, tuple(names), is_celeba=False)
    names = _walk_images(directory)
    if not names:
        is_empty = next(directory.iterdir(), None) is None
        what = "is empty" if is_empty else f"holds no images ({_suffixes()})"
        raise DataError(f"{directory} {what}: give the folder that holds {ARCHIVE}, or a folder of images.")
    return _Images(directory, tuple(names), is_celeba=False)


def find_pictures(directory: Path) -> list[str]:
    """List every image below a folder that is not hidden, as relative POSIX paths, in order.

    Raises:
        DataError: the folder, or one below it, cannot be read.
    """
    try:
        return _walk_images(directory, with_celeba=True)
    except OSError as error:
        raise DataError(f"{error.filename or directory} cannot be read: {describe_os_error(error)}.") from error


def _walk_images(directory: Path, *, with_celeba: bool = False) -> list[str]:
    """List every image below a folder that is not hidden, as relative POSIX paths; refuse CelebA's own, unless `with_celeba`."""
    names: list[str] = []
    for folder, subfolders, files in os.walk(directory, onerror=_refuse):
        relative = Path(folder).relative_to(directory).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        if not with_celeba and (IMAGE_FOLDER in subfolders or ARCHIVE in files):
            raise DataError(f"CelebA seems to lie deeper, in {folder}: give that folder.")
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        names += [prefix + name for name in files if _is_image(name)]
    return sorted(names)


def _refuse(error: OSError) -> None:
    raise error  # `os.walk` would pass over a folder that it may not read


def _is_image(name: str) -> bool:
    """Whether a file name is that of an image; hidden files, such as macOS's `._000001.jpg`, are none."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return stem != "" and stem[0] != "." and f".{suffix.lower()}" in IMAGE_SUFFIXES


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _find_tables(directory: Path, images: _Images | None) -> _Tables:
    """Find the two tables, nearest to the images first."""
    bases = [images.location.parent] if images is not None else []
    if directory.is_dir():
        bases += [directory / base for base in _BASES]
    if images is not None and images.location.is_dir():
        bases.append(images.location)
    # The tables of an image folder that was given itself lie beside it, and Kaggle doubles that folder; the official
    # `Img` has them in `Anno` and `Eval` beside it.
    for base in tuple(bases):
        while _actual_name(base) in (IMAGE_FOLDER, "Img"):
            base = _parent(base)
            bases.append(base)
    places = _existing(base / part for base in bases for part in _PARTS)
    return _Tables(_find_table(ATTRIBUTE_TABLE, places), _find_table(PARTITION_TABLE, places), places)


def _find_table(name: str, places: Sequence[Path]) -> Path | None:
    paths = (place / (name + suffix) for place in places for suffix in _TABLE_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _existing(places: Iterator[Path]) -> tuple[Path, ...]:
    """Return the directories among `places`, each once, also where `celeba` and `CelebA` are the same folder."""
    found: dict[tuple[int, int], Path] = {}
    for place in places:
        if place.is_dir():
            status = place.stat()
            found.setdefault((status.st_dev, status.st_ino), place)
    return tuple(found.values())


def _actual_name(directory: Path) -> str:
    """Return the name of a directory, also of `.`."""
    return directory.name if directory.name not in ("", "..") else directory.resolve().name


def _parent(directory: Path) -> Path:
    return directory.parent if directory.name not in ("", "..") else directory.resolve().parent


def _missing_tables(location: Path, tables: _Tables) -> DataError:
    suffix = tables.found[0].suffix if tables.found else ".txt"
    pairs = ((tables.attributes, ATTRIBUTE_TABLE), (tables.partition, PARTITION_TABLE))
    missing = [name + suffix for path, name in pairs if path is None]
    verb, pronoun = ("is", "it") if len(missing) == 1 else ("are", "them")
    where = _listed([str(place) for place in tables.looked_in])
    remedy = "to go on without attributes" + ("" if tables.partition else " and to split by rule")
    is_celeba = location.name == IMAGE_FOLDER or location.suffix.lower() == ".zip"
    place = f"beside {location.name}" if is_celeba else f"into {location}"
    return DataError(
        f"{' and '.join(missing)} {verb} missing in {where}: put {pronoun} {place}, or pass --no-attributes {remedy}."
    )


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _without_odd_names(images: _Images) -> tuple[_Images, dict[str, str]]:
    """Set aside images whose names are not text: they can be neither written to a file nor shown."""
    odd = [name for name in images.names if not _is_text(name)]
    if not odd:
        return images, {}
    names = tuple(name for name in images.names if _is_text(name))
    if not names:
        raise DataError(f"None of the {len(odd):,} images of {images.location} has a name in UTF-8: rename them.")
    reasons = {os.fsencode(name).decode(errors="backslashreplace"): "its name is not in UTF-8" for name in odd}
    return replace(images, names=names), reasons


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_source(images: _Images, left_out: dict[str, str]) -> FaceSource:
    notice = (
        f"{images.location} has no CelebA tables: without attributes, morph and the colouring of umap will not work; "
        "train, valid and test are split by rule."
    )
    left_out_in_order = tuple(sorted(left_out.items()))
    return FaceSource(
        images.location, images.names, (), None, None, (*images.notices, notice), left_out_in_order, images.members
    )


def _join(
    images: _Images,
    attributes: tuple[Path, AttributeTable] | None,
    partition: tuple[Path, dict[str, int]] | None,
    left_out: dict[str, str],
) -> FaceSource:
    """Put the rows of the tables in the order of the images, leaving out images that a table lacks."""
    notices = list(images.notices)
    left_out = dict(left_out)
    rows: dict[str, int] = {}
    if attributes is not None:
        rows = {name: row for row, name in enumerate(attributes[1].images)}
        _compare(images, attributes[0], rows, left_out, notices)
    if partition is not None:
        _compare(images, partition[0], partition[1], left_out, notices)
    else:
        notices.append(f"There is no {PARTITION_TABLE}.txt: train, valid and test are split by rule.")
    names = tuple(name for name in images.names if name not in left_out)
    table = attributes[1] if attributes is not None else None
    return FaceSource(
        location=images.location,
        names=names,
        attribute_names=table.names if table is not None else (),
        attributes=table.values[[rows[name] for name in names]] if table is not None else None,
        split=np.array([partition[1][name] for name in names], np.uint8) if partition is not None else None,
        notices=tuple(notices),
        left_out=tuple(sorted(left_out.items())),
        members=images.members,
    )


def _compare(images: _Images, path: Path, known: dict[str, int], left_out: dict[str, str], notices: list[str]) -> None:
    """Note the images that a table lacks in `left_out`, and that a table holds more than there are in `notices`."""
    absent = [name for name in images.names if name not in known]
    if len(absent) == len(images.names):
        raise DataError(
            f"None of the {len(absent):,} images of {images.location} is in {path}, which begins with "
            f"{in_short(next(iter(known)))} where they begin with {in_short(absent[0])}: the two do not belong together."
        )
    for name in absent:
        left_out.setdefault(name, f"not in {path.name}")
    present = len(images.names) - len(absent)
    if present < len(known):
        notices.append(f"{path.name} lists {len(known):,} images, of which {images.location} holds {present:,}.")


# Of a pipe that lies in the folder nothing is waited for.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_MOST = 1 << 16
"""Bytes of an image read at once, more than a face of CelebA has."""


_LARGEST = 1 << 30
"""Bytes of an image: a link may lead to what has no end."""


def _rest(descriptor: int) -> bytes:
    parts: list[bytes] = []
    while part := os.read(descriptor, _MOST << 4):
        parts.append(part)
        if len(parts) * (_MOST << 4) > _LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return b"".join(parts)


class _FolderReader:
    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    # `pathlib` would take as long as the system does to open and read a face, and a file object as long again: it asks
    # the system three times more, and each time another thread may take the interpreter's lock.

    def read(self, name: str) -> bytes:
        path = os.path.join(self._folder, name)  # noqa: PTH118
        try:
            descriptor = os.open(path, _READ)
            try:
                data = os.read(descriptor, _MOST)
                return data + _rest(descriptor)  # a network's file system may give less than there is
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {describe_os_error(error)}.") from error

    def stamp(self, name: str) -> str:
        try:
            status = os.stat(os.path.join(self._folder, name))  # noqa: PTH116, PTH118
        except OSError:
            return "none"
        return f"{status.st_size}:{status.st_mtime_ns}"

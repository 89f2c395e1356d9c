"""What facevae's HDF5 files share: a format name and version on the root, and errors in the user's words."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError
from facevae.provenance import command
from facevae.storage.closing import Closing
from facevae.storage.hdf5_checks import check_attributes, check_datasets
from facevae.storage.kinds import HDF5_KINDS
from facevae.storage.output import describe_os_error
from facevae.storage.steady_file import SteadyFile

FORMAT_VERSION = 1
STRING = h5py.string_dtype("utf-8")


def open_hdf5(path: Path, format_name: str, remedy: str) -> h5py.File:
    """Open `path` for reading after checking that it is an HDF5 file of `format_name`.

    `remedy` is the sentence that ends the errors, such as "Make one with  facevae prepare --celeba-dir DIR".

    Raises:
        DataError: there is no such file, it is not HDF5, holds something else, or was written by a newer facevae.
    """
    if not path.exists():
        raise DataError(f"There is no {path}. {remedy}")
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file of {HDF5_KINDS[format_name]}. {remedy}")
    try:
        is_hdf5 = h5py.is_hdf5(path)
        file = h5py.File(path, "r") if is_hdf5 else None
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5: {describe_os_error(error)[:200]}. {remedy}") from error
    if file is None:
        raise DataError(f"{path} is not a file of {HDF5_KINDS[format_name]} (not HDF5). {remedy}")
    try:
        with damaged_as_data_error(path, remedy):
            _check_format(file, path, format_name, remedy)
    except BaseException:
        file.close()
        raise
    return file


def _check_format(file: h5py.File, path: Path, format_name: str, remedy: str) -> None:
    check_attributes(file, path)
    found = str(file.attrs.get("format"))
    if found != format_name:
        what = HDF5_KINDS.get(found, "something else")
        raise DataError(f"{path} holds {what}, not {HDF5_KINDS[format_name]}. {remedy}")
    version = int(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise DataError(f"{path} is of format version {version}, newer than this facevae reads: update facevae.")
    if not bool(file.attrs.get("complete", False)):
        raise DataError(f"{path} is not complete: the run that wrote it was cut off. {remedy}")
    check_datasets(file, path)


@contextmanager
def damaged_as_data_error(path: Path, remedy: str) -> Iterator[None]:
    """Turn h5py's and NumPy's errors about broken or missing datasets into a `DataError` about `path`."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(f"{path} is damaged ({' '.join(str(error).split())[:120]}). {remedy}") from error


def _begin(stream: SteadyFile, format_name: str, record: Mapping[str, Any]) -> h5py.File:
    """Begin a file of one of facevae's formats, which is not complete yet."""
    file = h5py.File(stream, "w")
    file.attrs["format"] = format_name
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["complete"] = False
    made_by = {"command": command()} if command() else {}
    for name, value in {**made_by, **record}.items():
        file.attrs[name] = value
    return file


@contextmanager
def written(path: Path, format_name: str, record: Mapping[str, Any]) -> Iterator[h5py.File]:
    """Give a new file of one of facevae's formats, which is complete when the block ends well.

    Raises:
        OSError: it could not be written.
    """
    with closing(SteadyFile(path)) as stream, _begin(stream, format_name, record) as file:
        yield file
        file.attrs["complete"] = True
    stream.check()


class _OpenFile(Closing):
    """A holder of an open HDF5 file."""

    _file: h5py.File

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Writer(_OpenFile):
    """A new HDF5 file of one of facevae's formats: not complete until `finish`, with the columns that all of them share.

    These are `names`, and, where wanted, `split` and `attributes`.
    """

    def __init__(
        self, path: Path, format_name: str, attribute_names: Sequence[str], record: dict[str, Any], *, with_split: bool
    ) -> None:
        self._stream = SteadyFile(path)
        self._file = _begin(self._stream, format_name, record)
        attributes = self._file.attrs
        self._names = growing(self._file, "names", (), STRING, 4096)
        self._split = growing(self._file, "split", (), np.uint8, 65536) if with_split else None
        self._attributes: h5py.Dataset | None = None
        if attribute_names:
            attributes.create("attribute_names", list(attribute_names), dtype=STRING)
            self._attributes = growing(self._file, "attributes", (len(attribute_names),), np.int8, 4096)

    def _append_companions(
        self, names: list[str], split: NDArray[np.uint8] | None, attributes: NDArray[np.int8] | None
    ) -> None:
        append(self._names, names)
        if self._split is not None and split is not None:
            append(self._split, split)
        if self._attributes is not None and attributes is not None:
            append(self._attributes, attributes)
        self._stream.check()

    def _complete(self) -> None:
        """Mark the file complete, and close it.

        Raises:
            OSError: it could not be written.
        """
        self._file.attrs["complete"] = True
        self.close()
        self._stream.check()

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._stream.close()


class Columns(NamedTuple):
    """What a file says of some of its faces: N names, and splits uint8 (N) and attributes int8 (N, A) where it has them."""

    names: list[str]
    split: NDArray[np.uint8] | None
    attributes: NDArray[np.int8] | None


class Reader(_OpenFile):
    """An HDF5 file of one of facevae's formats, open for reading; a subclass names the format and loads what it needs.

    Names, splits and attributes are read on first use, all of them, or by `columns` for some rows: there may be millions.
    """

    format_name: ClassVar[str]
    remedy: ClassVar[str]
    count: int
    attribute_names: tuple[str, ...]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_hdf5(self.path, self.format_name, self.remedy)
        self._stamp = _stamp(self._file)
        try:
            with self._reading():
                self._load()
        except BaseException:
            self._file.close()
            raise

    def _load(self) -> None:
        raise NotImplementedError

    @cached_property
    def names(self) -> list[str]:
        """The N names."""
        return self._read_names(slice(None))

    @cached_property
    def split(self) -> NDArray[np.uint8] | None:
        """The splits uint8 (N), or None where the file has none."""
        return self._read_array("split", slice(None)) if self._has("split") else None

    @cached_property
    def attributes(self) -> NDArray[np.int8] | None:
        """The attributes int8 (N, A) in {-1, 1}, or None where the file has none."""
        return self._read_array("attributes", slice(None)) if self.attribute_names else None

    def columns(self, start: int, stop: int) -> Columns:
        """Return names, splits and attributes of the rows `start` up to `stop`, without reading the others."""
        rows = slice(start, stop)
        split = self._read_array("split", rows) if self._has("split") else None
        attributes = self._read_array("attributes", rows) if self.attribute_names else None
        return Columns(self._read_names(rows), split, attributes)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise a `DataError` where the block cannot read, or where the file was written to since it was opened."""
        with damaged_as_data_error(self.path, self.remedy):
            yield
        # HDF5 reads zeros where a file was cut short, and whatever it finds where it was written anew.
        if _stamp(self._file) != self._stamp:
            raise DataError(
                f"{self.path} was changed by another program while it was read: run the same command again when that is done."
            )

    def _has(self, name: str) -> bool:
        with self._reading():
            return name in self._file

    def _read_names(self, rows: slice) -> list[str]:
        with self._reading():
            return read_strings(self._file["names"], rows)

    def _read_array(self, name: str, rows: slice) -> NDArray[Any]:
        with self._reading():
            values: NDArray[Any] = self._file[name][rows]
        return values

    def _check_columns(self) -> None:
        """Raise what `damaged_as_data_error` expects unless names, splits and attributes fit the number of faces."""
        file = self._file
        read_strings(file["names"], slice(0, 1))
        split = file.get("split")
        attributes = file["attributes"] if self.attribute_names else None
        check_companions(self.count, file["names"], split, attributes, self.attribute_names)


def _stamp(file: h5py.File) -> tuple[int, int]:
    """Return what shows that an open file is written to; one that another is renamed over stays as it is, and open."""
    if os.name != "posix":
        return 0, 0  # the number that HDF5 has for the file means nothing to Python
    status = os.fstat(file.id.get_vfd_handle())
    return status.st_size, status.st_mtime_ns


def as_single(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers in single precision; those that are too large for it become infinite, without a warning."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def growing(file: h5py.File, name: str, row_shape: tuple[int, ...], dtype: Any, rows: int) -> h5py.Dataset:  # noqa: ANN401
    """Create an empty dataset that grows by rows, stored in chunks of `rows`."""
    return file.create_dataset(
        name, shape=(0, *row_shape), maxshape=(None, *row_shape), dtype=dtype, chunks=(rows, *row_shape)
    )


def append(dataset: h5py.Dataset, rows: NDArray[Any] | list[str]) -> None:
    """Add rows at the end of a `growing` dataset."""
    start = dataset.shape[0]
    dataset.resize(start + len(rows), axis=0)
    dataset[start:] = rows if isinstance(rows, np.ndarray) else encode_strings(rows)


def encode_strings(strings: Sequence[str]) -> list[bytes]:
    """Return strings as UTF-8, and file names that are not text as the bytes they are: see `read_strings`."""
    return [string.encode("utf-8", "surrogateescape") for string in strings]


def read_strings(dataset: h5py.Dataset, rows: slice = slice(None)) -> list[str]:
    """Return rows of a dataset of UTF-8 strings as a list, by default all."""
    return [value.decode("utf-8", "surrogateescape") for value in dataset[rows]]


def read_string_attribute(file: h5py.File, name: str) -> list[str]:
    """Return a root attribute that holds a list of strings, empty when absent."""
    values = file.attrs.get(name)
    return [] if values is None else [str(value) for value in np.atleast_1d(values)]


def check_companions(
    count: int,
    names: h5py.Dataset,
    split: h5py.Dataset | None,
    attributes: h5py.Dataset | None,
    attribute_names: Sequence[str],
) -> None:
    """Raise a `ValueError` unless there is a name, a split and a row of attributes for each of `count` faces, where given."""
    columns = [column for column in (names, split, attributes) if column is not None]
    if any(len(column) != count for column in columns):
        raise ValueError("its datasets differ in length")
    if split is not None and (split.dtype != np.uint8 or split.ndim != 1):
        raise ValueError(f"split is {split.dtype} {split.shape}")
    shape = (count, len(attribute_names))
    if attributes is not None and (attributes.dtype != np.int8 or attributes.shape != shape):
        raise ValueError(f"attributes are {attributes.dtype} {attributes.shape} for {len(attribute_names)} names")

"""CelebA's two tables, in every dialect they are found in: text with or without a count, LF or CRLF, csv, -1/1 or 0/1."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facevae.errors import DataError
from facevae.storage.output import describe_os_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

_VALUES = {"-1": 0, "0": 0, "1": 1}  # whether the image has the attribute
_SPLITS = {"0": 0, "1": 1, "2": 2}
_LONGEST_SHOWN = 60


@dataclass(frozen=True, eq=False)
class AttributeTable:
    """The `names` of A attributes, the file names of N `images`, and their `values`: int8 (N, A) in {-1, 1}."""

    names: tuple[str, ...]
    images: tuple[str, ...]
    values: NDArray[np.int8]


def read_attribute_table(path: Path) -> AttributeTable:
    """Read CelebA's attribute table, as text or as csv.

    Text: an optional line with the number of rows, a line of attribute names, then an image and its values on each
    line, separated by blanks. Csv: the header `image_id,5_o_Clock_Shadow,...`, then the same with commas. Values are
    -1 and 1, or 0 and 1. Which of the two it is, the header tells, not the suffix.

    Raises:
        DataError: the file is missing, empty, not text, or has a line that is not of this form, which is named.
    """
    lines = _read_lines(path)
    announced, first = _row_count(lines)
    header = lines[first] if first < len(lines) else ""
    is_csv = "," in header
    names = _header_names(path, first + 1, header, is_csv)
    table = _parse_rows(path, names, lines[first + 1 :], first + 2, is_csv)
    _check_count(path, announced, len(table.images))
    return table


def read_partition(path: Path) -> dict[str, int]:
    """Read CelebA's partition table: the split of each image, 0 train, 1 valid, 2 test.

    Text or csv, with or without a line that says the number of rows and a header that begins with `image_id`.

    Raises:
        DataError: the file is missing, empty, not text, or has a line that is not of this form, which is named.
    """
    lines = _read_lines(path)
    announced, first = _row_count(lines)
    is_csv = first < len(lines) and "," in lines[first]
    splits: dict[str, int] = {}
    for number, line in enumerate(lines[first:], first + 1):
        fields = _fields(path, number, line, is_csv)
        if not fields or (number == first + 1 and _is_name_column(fields[0])):
            continue
        if len(fields) != 2:
            raise _bad_line(path, number, f"{_counted(len(fields), 'field')} where an image and its split are expected")
        image, split = fields
        if split not in _SPLITS:
            raise _bad_line(
                path,
                number,
                f"the split of {in_short(image)} is {in_short(split)!r}, not 0 (train), 1 (valid) or 2 (test)",
            )
        if image in splits:
            raise _bad_line(path, number, f"{in_short(image)} is listed for the second time")
        splits[image] = _SPLITS[split]
    if not splits:
        raise DataError(f"{path} lists no images: fetch it again.")
    _check_count(path, announced, len(splits))
    return splits


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {describe_os_error(error)}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: fetch it again, or save it as one.") from error
    if not text.strip():
        raise DataError(f"{path} is empty: fetch it again.")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _row_count(lines: list[str]) -> tuple[int | None, int]:
    """Return the number of rows that the first line announces, if it does, and the index of the line after it."""
    word = lines[0].strip()
    is_count = word.isascii() and word.isdecimal() and len(word) < 10
    return (int(word), 1) if is_count else (None, 0)


def _check_count(path: Path, announced: int | None, rows: int) -> None:
    if announced is not None and announced != rows:
        raise DataError(
            f"{path} announces {_counted(announced, 'row')} but holds {rows:,}: fetch it again, "
            "or correct its first line if you edited it."
        )


def _header_names(path: Path, number: int, header: str, is_csv: bool) -> tuple[str, ...]:
    names = _fields(path, number, header, is_csv)
    if is_csv or (names and _is_name_column(names[0])):
        names = names[1:]
    if not names or "" in names or any(name in _VALUES for name in names):
        raise _bad_line(path, number, "the names of the attributes are expected here")
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise _bad_line(path, number, f"the attribute {in_short(name)} is named for the second time")
        seen.add(name.casefold())
    return tuple(names)


def _is_name_column(field: str) -> bool:
    return field.casefold() in ("image_id", "image", "filename")


def _fields(path: Path, number: int, line: str, is_csv: bool) -> list[str]:
    """Split a line; a blank one has no fields."""
    if not is_csv or not line.strip():
        return line.split()
    try:
        return [field.strip() for field in next(csv.reader([line], strict=True))]
    except (csv.Error, StopIteration) as error:
        raise _bad_line(path, number, "the quotes or separators are not those of csv") from error


def _parse_rows(path: Path, names: tuple[str, ...], rows: list[str], first: int, is_csv: bool) -> AttributeTable:
    """Parse rows, of which the first is line `first` of the file, naming the first line that is wrong."""
    images: dict[str, None] = {}
    values = bytearray()  # 8 million values of CelebA as Python integers would take ten times the time and the memory
    for number, row in enumerate(rows, first):
        fields = _fields(path, number, row, is_csv)
        if not fields:
            continue
        image = fields.pop(0)
        if len(fields) != len(names):
            raise _bad_line(path, number, f"{_counted(len(fields), 'value')} where {_are(len(names))} expected")
        if not image:
            raise _bad_line(path, number, "the name of the image is missing")
        if image in images:
            raise _bad_line(path, number, f"{in_short(image)} is listed for the second time")
        images[image] = None
        try:
            values.extend([_VALUES[field] for field in fields])
        except KeyError:
            name, field = next(pair for pair in zip(names, fields, strict=True) if pair[1] not in _VALUES)
            raise _bad_line(
                path, number, f"the value of {in_short(name)} is {in_short(field)!r}, not -1, 0 or 1"
            ) from None
    if not images:
        raise DataError(f"{path} lists no images: fetch it again.")
    has = np.frombuffer(values, np.int8).reshape(len(images), len(names))
    return AttributeTable(names, tuple(images), has * np.int8(2) - np.int8(1))


def _bad_line(path: Path, number: int, what: str) -> DataError:
    return DataError(f"{path.name}, line {number}: {what}.")


def in_short(word: str) -> str:
    """Return a word, or the beginning of what is no word but a file without separators."""
    return word if len(word) <= _LONGEST_SHOWN else word[:_LONGEST_SHOWN] + "..."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _are(count: int) -> str:
    return f"{count:,} is" if count == 1 else f"{count:,} are"

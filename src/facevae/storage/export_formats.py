"""Latents for other tools: CSV, NumPy's `.npz` and Parquet, each written a slice of rows at a time.

CSV after RFC 4180, with line feeds; floats have nine significant digits, from which a float32 is read back exactly (Steele &
White 1990). NPZ and Parquet hold the numbers themselves, and say in `metadata` where they come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import DTypeLike, NDArray

from facevae.errors import MissingExtraError
from facevae.progress import Report, silent
from facevae.storage.export_table import Rows, Table, as_text

_CSV_ROWS = 512
"""Few, so that `head` gets its first lines at once."""
_NPZ_ROWS = 4096
_GROUP_ROWS = 16_384
"""Of a row group of Parquet: 13 MB of 200 means."""

_TO_BE_QUOTED = re.compile(r'[",\r\n]')


def write_csv(table: Table, file: BinaryIO, report: Report = silent) -> None:
    """Write a header and the rows as CSV, UTF-8."""
    file.write((",".join(_quoted(name) for name in table.columns) + "\n").encode())
    floats = table.latents.latent_dim * (2 if table.with_log_variance else 1)
    texts = 2 if table.latents.has_split else 1
    fields = ["%s"] * texts + ["%d"] * len(table.attribute_names) + ["%.9g"] * floats
    template = ",".join(fields) + "\n"
    for rows in table.slices(_CSV_ROWS, report):
        file.write("".join(template % row for row in _records(rows)).encode())
    file.flush()


def _records(rows: Rows) -> Iterable[tuple[Any, ...]]:
    parts: list[list[list[Any]]] = [[[_quoted(name)] for name in rows.names]]
    if rows.split is not None:
        parts.append(rows.split[:, None].tolist())
    parts += [part.tolist() for part in (rows.attributes, rows.mean, rows.log_variance) if part is not None]
    return (tuple(value for part in row for value in part) for row in zip(*parts, strict=True))


def _quoted(text: str) -> str:
    # The csv module of some Pythons leaves a lone carriage return bare, which ends a line for many readers.
    return '"' + text.replace('"', '""') + '"' if _TO_BE_QUOTED.search(text) else text


def write_npz(table: Table, path: Path, report: Report = silent) -> None:
    """Write the table as the arrays of an `.npz` that `numpy.load` reads without pickle."""
    latents = table.latents
    with ZipFile(path, "w") as archive:
        # First, for it says what the file is.
        _write_array(archive, "metadata", np.array(table.metadata()))
        _write_names(archive, table)
        if latents.split is not None:
            _write_array(archive, "split", table.split_words(latents.split))
        if table.attribute_names and latents.attributes is not None:
            _write_array(archive, "attribute_names", np.array(table.attribute_names))
            _write_array(archive, "attributes", latents.attributes)
        shape = (latents.count, latents.latent_dim)
        with _member(archive, "mean", np.float32, shape) as file:
            for start, stop in table.ranges(_NPZ_ROWS, report):
                file.write(latents.mean(start, stop).tobytes())
        if table.with_log_variance:
            with _member(archive, "log_variance", np.float32, shape) as file:
                for start, stop in table.ranges(_NPZ_ROWS, silent):
                    file.write(latents.log_variance(start, stop).tobytes())


def _write_names(archive: ZipFile, table: Table) -> None:
    """Write the names in slices, and compressed: NumPy makes all of them as long as the longest, four bytes a letter."""
    latents = table.latents
    ranges = list(table.ranges(_NPZ_ROWS, silent))
    longest = max((len(as_text(name)) for span in ranges for name in latents.columns(*span).names), default=0)
    dtype = np.dtype(("<U", max(longest, 1)))
    with _member(archive, "names", dtype, (latents.count,), ZIP_DEFLATED) as file:
        for span in ranges:
            file.write(np.array([as_text(name) for name in latents.columns(*span).names], dtype=dtype).tobytes())


def _write_array(archive: ZipFile, name: str, values: NDArray[Any]) -> None:
    with _member(archive, name, values.dtype, values.shape) as file:
        file.write(values.tobytes())


def _member(
    archive: ZipFile, name: str, dtype: DTypeLike, shape: tuple[int, ...], compression: int = ZIP_STORED
) -> IO[bytes]:
    """Open a new array of the archive for its values, which are to be written in row-major order."""
    entry = ZipInfo(f"{name}.npy")  # with a time of its own, so that the same latents give the same file
    entry.compress_type = compression
    file = archive.open(entry, "w", force_zip64=True)
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file


def check_parquet() -> None:
    """Raise a `MissingExtraError` unless the package that writes Parquet is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            'Parquet needs the extra parquet: pip install "facevae[parquet]", or export to CSV or NPZ.'
        ) from error


def write_parquet(table: Table, path: Path, report: Report = silent) -> None:
    """Write the table as Parquet, with a row group for each slice."""
    import pyarrow as pa
    from pyarrow import parquet

    texts = ["name", "split"] if table.latents.has_split else ["name"]
    numbers = table.columns[len(texts) + len(table.attribute_names) :]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.int8()) for name in table.attribute_names),
            *((name, pa.float32()) for name in numbers),
        ],
        metadata={"facevae": table.metadata()},
    )
    # A dictionary of values that are all different would be written for nothing.
    repeated = [*texts[1:], *table.attribute_names] or False
    with parquet.ParquetWriter(path, schema, use_dictionary=repeated) as writer:
        for rows in table.slices(_GROUP_ROWS, report):
            columns = [pa.array(values, field.type) for values, field in zip(_columns(rows), schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=_GROUP_ROWS)


def _columns(rows: Rows) -> Iterable[NDArray[Any] | list[str]]:
    yield rows.names
    if rows.split is not None:
        yield rows.split.tolist()
    for part in (rows.attributes, rows.mean, rows.log_variance):
        if part is not None:
            yield from np.ascontiguousarray(part.T)

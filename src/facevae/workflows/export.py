"""`export`: latents as CSV, NPZ or Parquet, so that other tools can read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from facevae.config import EXPORT_FORMATS, LATENTS_FILE
from facevae.errors import UsageError
from facevae.progress import Report, silent
from facevae.storage.export_formats import check_parquet, write_csv, write_npz, write_parquet
from facevae.storage.export_table import Table
from facevae.storage.kinds import EXPORTED
from facevae.storage.latents import Latents
from facevae.storage.output import Output, StrPath, as_output, check_output, output_path, to_stream

CSV = "csv"
PARQUET = "parquet"
FORMATS = EXPORT_FORMATS


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote.

    Attributes:
        output: the path or stream.
        file_format: one of csv, npz and parquet.
        count: the number of latents, a row each.
        latent_dim: their width.
        columns: the names of the table's columns; of an `.npz`, those that its arrays hold.
    """

    output: Output
    file_format: str
    count: int
    latent_dim: int
    columns: tuple[str, ...]


def export(
    latents: StrPath = LATENTS_FILE,
    output: StrPath | BinaryIO | None = None,
    *,
    file_format: str | None = None,
    log_variance: bool = False,
    attributes: bool = True,
    report: Report = silent,
) -> ExportResult:
    """Write latents, with their names, splits and attributes, as CSV, NPZ or Parquet.

    Args:
        latents: the latents file.
        output: a path, whose suffix says the format, or a binary stream; by default `latents.csv`, or as `file_format` says.
        file_format: csv, npz or parquet; by default what the name says, and CSV for a stream. CSV is written to a stream as
            it comes, the others at the end.
        log_variance: write the log-variances of the posteriors too, not only their means.
        attributes: write the attributes, where the latents have them.
        report: is called with progress.

    Raises:
        DataError: the latents are missing or damaged, or the output cannot be written.
        MissingExtraError: Parquet is asked for, and the extra that writes it is not installed.
        UsageError: there is no such format, it contradicts the name, two columns would have one name, or the output would
            destroy something.
    """
    path = Path(latents)
    output, file_format = resolve_format(as_output(output) if output is not None else None, file_format)
    if file_format == PARQUET:
        check_parquet()
    check_output(output, inputs=[path], kind=EXPORTED)
    with Latents(path) as opened:
        table = Table(opened, log_variance, attributes)
        table.check_columns()
        _write(table, output, file_format, report)
        return ExportResult(output, file_format, opened.count, opened.latent_dim, table.columns)


def resolve_format(output: Output | None, file_format: str | None) -> tuple[Output, str]:
    """Settle file and format from each other: `-o x.npz` means NPZ, and `--format npz` alone `latents.npz`.

    Raises:
        UsageError: there is no such format, or file and format contradict each other.
    """
    if file_format is not None and file_format not in FORMATS:
        raise UsageError(f"There is no format {file_format}: use {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if output is None:
        output = LATENTS_FILE.with_suffix(f".{file_format or CSV}")
    if not isinstance(output, Path):
        return output, file_format or CSV
    named = output.suffix.lower().removeprefix(".")
    if file_format is None and named not in FORMATS:
        raise UsageError(f"{output} does not say a format: name a .csv, .npz or .parquet file.")
    if file_format is not None and named != file_format:
        raise UsageError(f"{output} does not go with --format {file_format}: name a .{file_format} file.")
    return output, named


def _write(table: Table, output: Output, file_format: str, report: Report) -> None:
    if file_format == CSV and not isinstance(output, Path):
        # At once, not through a file: the reader may want a few lines of millions.
        to_stream(output, lambda stream: write_csv(table, stream, report))
        return
    with output_path(output) as temporary:
        if file_format == CSV:
            with temporary.open("wb") as file:
                write_csv(table, file, report)
        else:
            (write_parquet if file_format == PARQUET else write_npz)(table, temporary, report)

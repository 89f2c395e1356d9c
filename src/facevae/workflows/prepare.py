"""`prepare`: CelebA, or any folder of faces, to `faces.h5`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facevae.config import FACES_FILE, SPLIT_CODES, ModelConfig, check_face_size, fits_network
from facevae.errors import DataError, UsageError
from facevae.progress import Notice, Progress, Report, silent
from facevae.storage.celeba import FaceReader, FaceSource, digest_of, find_faces
from facevae.storage.faces import CHUNK_IMAGES, FacesWriter, expected_size
from facevae.storage.images import DECODER, RESIZE_RULE
from facevae.storage.journal import Journal
from facevae.storage.kinds import FACES
from facevae.storage.output import StrPath, check_output, output_path
from facevae.version import __version__
from facevae.workflows.decoding import decode_faces
from facevae.workflows.interruption import Interruption, deferred_interruption
from facevae.workflows.machine import cores
from facevae.workflows.skipped import Skipped, report_skipped

_VALID_EVERY = 10
_CELEBA_RULE = "CelebA's own partition"
_OWN_RULE = f"every {_VALID_EVERY}th face in name order is valid, the others train"
_BLOCK_BYTES = 1 << 23
_BLOCK_IMAGES = 1024


@dataclass(frozen=True)
class PrepareResult:
    """What `prepare` wrote: the file, its faces, and the images it left out.

    Attributes:
        path: the file.
        count: faces written.
        splits: faces in each split, by name.
        attribute_names: empty where the source has none.
        skipped: images left out, with the reason.
        too_small: how many more were left out because a side has less than `min_side` pixels.
        fingerprint: of images, splits and attributes, see `storage.faces`.
    """

    path: Path
    count: int
    splits: dict[str, int]
    attribute_names: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    too_small: int
    fingerprint: str


def prepare(
    celeba_dir: StrPath,
    output: StrPath = FACES_FILE,
    *,
    size: int = ModelConfig.image_size,
    min_side: int | None = None,
    attributes: bool = True,
    strict: bool = False,
    limit: int | None = None,
    jobs: int | None = None,
    restart: bool = False,
    report: Report = silent,
) -> PrepareResult:
    """Read the faces under `celeba_dir`, resize each whole frame to a square, and write them to one HDF5 file.

    What is done is kept in `faces.h5.unfinished` beside the output (see `storage.journal`). A run that was stopped, in whatever
    way, goes on from there when it is called again with the same images and options, and ends with the same file.
    Ctrl-C or SIGTERM end it with a `KeyboardInterrupt`.

    Args:
        celeba_dir: CelebA in any of its usual forms, or a plain folder of faces.
        output: the file to write.
        size: the side of the square in pixels, from 16 to 512; `train` takes powers of two.
        min_side: leave out images whose width or height is less than so many pixels, as their headers say: they are counted, and
            no error. By default none.
        attributes: whether to look for the attribute table.
        strict: whether a damaged image is an error instead of being left out.
        limit: take only so many of the images found, spread evenly over all of them, so that every split has its share. Those
            that turn out to be damaged, or smaller than `min_side`, are not made up for.
        jobs: threads that decode, by default one for each core that the process may use.
        restart: begin anew even where a stopped run could be gone on with.
        report: is called with progress and notices.

    Raises:
        DataError: nothing usable was found, a part of CelebA is missing, the file cannot be written, or another run is writing
            it; with `strict`, also a damaged image.
        UsageError: `size`, `min_side`, `limit` or `jobs` is out of range.
    """
    celeba_dir, output = Path(celeba_dir), Path(output)
    _check_options(size, min_side, limit, jobs)
    check_output(output, kind=FACES)
    source = find_faces(celeba_dir, with_attributes=attributes)
    check_output(output, inputs=_sources_named(source, output.name), kind=FACES)
    if not fits_network(size):
        report(
            Notice(
                f"Faces of {size} x {size} pixels are for the upscaler: facevae train takes powers of two, such as 32 or 64."
            )
        )
    for text in source.notices:
        report(Notice(text))
    left_out = [Skipped(*one) for one in source.left_out]
    if strict and left_out:
        raise DataError(f"{left_out[0].name} cannot be used: {left_out[0].reason}. Leave out --strict to skip it.")
    total = len(source.names)
    rows = np.arange(total if limit is None else min(limit, total))
    rows = rows * total // len(rows)
    names = [source.names[row] for row in rows]
    with Journal(output) as journal, deferred_interruption() as interruption, _kept(journal, len(names), report):
        _decode(source, names, size, min_side, journal, interruption, jobs or cores(), strict, restart, report)
        skipped = left_out + [Skipped(names[place], reason) for place, reason in journal.skipped]
        if not journal.faces:
            raise _nothing_left(source, len(names), min_side, len(journal.too_small), skipped)
        rows = np.delete(rows, [*journal.too_small, *(place for place, _ in journal.skipped)])
        result = _write(output, source, rows, size, min_side, journal, interruption, skipped, report)
        journal.remove()
    _report_too_small(result.too_small, min_side, report)
    report_skipped(skipped, report)
    return result


def _check_options(size: int, min_side: int | None, limit: int | None, jobs: int | None) -> None:
    check_face_size(size)
    if min_side is not None and not (isinstance(min_side, int) and min_side >= 1):
        raise UsageError(f"A smallest side of {min_side} pixels is out of range: use a whole number of at least 1.")
    if limit is not None and limit < 1:
        raise UsageError(f"A limit of {limit} faces is out of range: use a whole number of at least 1.")
    if jobs is not None and not 1 <= jobs <= 1024:
        raise UsageError(f"A number of {jobs} jobs is out of range: use a whole number from 1 to 1024.")


def _nothing_left(
    source: FaceSource, total: int, min_side: int | None, too_small: int, skipped: Sequence[Skipped]
) -> DataError:
    """Say why none of `total` images is left."""
    if not too_small:
        return DataError(f"None of the {total} images in {source.location} could be read: {skipped[-1].reason}")
    readable = " that could be read" if too_small < total else ""
    return DataError(
        f"None of the {too_small:,} images in {source.location}{readable} has sides of at least {min_side} pixels: "
        "give a smaller --min-side, or leave it out."
    )


def _report_too_small(count: int, min_side: int | None, report: Report) -> None:
    if count:
        images, verb = ("image", "was") if count == 1 else ("images", "were")
        report(Notice(f"{count:,} {images} with a side of less than {min_side} pixels {verb} left out (--min-side)."))


@contextmanager
def _kept(journal: Journal, total: int, report: Report) -> Iterator[None]:
    """When the block is broken off, say what is kept."""
    try:
        yield
    except BaseException:
        if journal.faces:
            report(
                Notice(
                    f"{journal.rows:,} of {total:,} images are prepared and kept in {journal.path.name}: "
                    "the same command goes on from there."
                )
            )
        raise


def _decode(
    source: FaceSource,
    names: Sequence[str],
    size: int,
    min_side: int | None,
    journal: Journal,
    interruption: Interruption,
    jobs: int,
    strict: bool,
    restart: bool,
    report: Report,
) -> None:
    """Bring the journal to the last of the images."""
    with source.open() as reader:
        _begin(journal, reader, names, size, min_side, restart, report)
        if strict and journal.skipped:
            raise DataError(journal.skipped[0][1])
        started, first = time.monotonic(), journal.rows
        with closing(decode_faces(reader, names, size, jobs, first, min_side=min_side)) as batches:
            for prepared in batches:
                if interruption.requested:
                    raise KeyboardInterrupt
                if strict and prepared.skipped:
                    raise DataError(prepared.skipped[0][1])
                journal.append(prepared)
                rate = (journal.rows - first) / max(time.monotonic() - started, 1e-9)
                report(Progress("prepare", journal.rows, len(names), values={"images/s": rate}))


def _begin(
    journal: Journal,
    reader: FaceReader,
    names: Sequence[str],
    size: int,
    min_side: int | None,
    restart: bool,
    report: Report,
) -> None:
    """Take over what an earlier run did, or begin anew."""
    # The tables are not part of it: they are joined to the images at the end.
    record = {"image_size": size, "resize_rule": RESIZE_RULE, "decoder": DECODER, "facevae_version": __version__}
    if min_side is not None:
        record["min_side"] = min_side

    def digest(start: int, stop: int) -> bytes:
        return digest_of(reader, names[start:stop]) if stop <= len(names) else b""

    found = journal.found and not restart
    if found and journal.resume(record, size, digest):
        report(Notice(f"Going on with the {journal.rows:,} images that an earlier run had prepared."))
        report(Progress("prepare", journal.rows, len(names)))
        return
    if found:
        report(Notice(f"{journal.path.name} is of other images or options: starting anew."))
    journal.begin(record, size)


def _write(
    output: Path,
    source: FaceSource,
    rows: NDArray[np.int64],
    size: int,
    min_side: int | None,
    journal: Journal,
    interruption: Interruption,
    skipped: list[Skipped],
    report: Report,
) -> PrepareResult:
    """Turn the journal, with the tables, into `faces.h5`. `rows` are those of the images in it."""
    names = [source.names[row] for row in rows]
    split = _split(source)[rows]
    attributes = source.attributes[rows] if source.attributes is not None else None
    expected = expected_size(size, names, len(source.attribute_names))
    _check_room(output, expected)
    with (
        output_path(output) as temporary,
        FacesWriter(
            temporary,
            image_size=size,
            attribute_names=source.attribute_names,
            resize_rule=RESIZE_RULE,
            split_rule=_CELEBA_RULE if source.split is not None else _OWN_RULE,
            source=source.location.name,
            facevae_version=__version__,
            min_side=min_side,
        ) as writer,
    ):
        start = 0
        for images in journal.images(_block(size)):
            if interruption.requested:
                raise KeyboardInterrupt
            block = slice(start, start + len(images))
            writer.append(images, names[block], split[block], attributes[block] if attributes is not None else None)
            start += len(images)
            report(Progress("write", start, len(rows)))
        fingerprint = writer.finish()
    counts = np.bincount(split, minlength=len(SPLIT_CODES))
    splits = {name: int(counts[code]) for name, code in SPLIT_CODES.items()}
    return PrepareResult(
        path=output,
        count=len(rows),
        splits=splits,
        attribute_names=source.attribute_names,
        skipped=tuple(skipped),
        too_small=len(journal.too_small),
        fingerprint=fingerprint,
    )


def _block(size: int) -> int:
    """Return how many images to write at a time."""
    fitting = max(1, min(_BLOCK_IMAGES, _BLOCK_BYTES // (size * size * 3)))
    return max(fitting // CHUNK_IMAGES * CHUNK_IMAGES, min(fitting, CHUNK_IMAGES))


def _check_room(output: Path, size: int) -> None:
    """Say in a sentence what HDF5 would say in its own way."""
    free = shutil.disk_usage(output.resolve().parent).free
    if free < size:
        raise DataError(
            f"{output} cannot be written: it takes {size / 1e6:,.1f} MB, and its disk has {free / 1e6:,.1f} MB left."
        )


def _sources_named(source: FaceSource, name: str) -> list[Path]:
    """Return what is read and has that file name: the archive, or images of the folder. It must not be written over."""
    if not source.location.is_dir():
        return [source.location]
    return [source.location / image for image in source.names if image.rpartition("/")[2] == name]


def _split(source: FaceSource) -> NDArray[np.uint8]:
    """Return the split of every face: CelebA's, or every tenth for validation where there is no partition."""
    if source.split is not None:
        return source.split
    split = np.full(len(source.names), SPLIT_CODES["train"], dtype=np.uint8)
    split[_VALID_EVERY - 1 :: _VALID_EVERY] = SPLIT_CODES["valid"]
    return split

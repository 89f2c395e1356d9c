"""`prepare`: CelebA, or any folder of faces, to `faces.h5`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facevae.config import FACES_FILE, SPLIT_CODES, ModelConfig
from facevae.errors import DataError, UsageError
from facevae.progress import Notice, Progress, Report, silent
from facevae.storage.celeba import FaceReader, FaceSource, find_faces
from facevae.storage.faces import FacesWriter
from facevae.storage.images import RESIZE_RULE, load_face
from facevae.storage.kinds import FACES
from facevae.storage.output import StrPath, check_output, output_path
from facevae.version import __version__
from facevae.workflows.skipped import Skipped, report_skipped

_BATCH = 512
_VALID_EVERY = 10
_CELEBA_RULE = "CelebA's own partition"
_OWN_RULE = f"every {_VALID_EVERY}th face in name order is valid, the others train"


@dataclass(frozen=True)
class PrepareResult:
    """What `prepare` wrote: the file, its faces, and the images it left out.

    Attributes:
        path: the file.
        count: faces written.
        splits: faces in each split, by name.
        attribute_names: empty where the source has none.
        skipped: images left out, with the reason.
        fingerprint: of images, splits and attributes, see `storage.faces`.
    """

    path: Path
    count: int
    splits: dict[str, int]
    attribute_names: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    fingerprint: str


def prepare(
    celeba_dir: StrPath,
    output: StrPath = FACES_FILE,
    *,
    size: int = ModelConfig.image_size,
    attributes: bool = True,
    strict: bool = False,
    limit: int | None = None,
    report: Report = silent,
) -> PrepareResult:
    """Read the faces under `celeba_dir`, resize each whole frame to a square, and write them to one HDF5 file.

    Args:
        celeba_dir: CelebA in any of its usual forms, or a plain folder of faces.
        output: the file to write.
        size: the side of the square in pixels, a power of two from 16 to 512.
        attributes: whether to look for the attribute table.
        strict: whether a damaged image is an error instead of being left out.
        limit: take only so many faces, spread evenly over all of them, so that every split has its share.
        report: is called with progress and notices.

    Raises:
        DataError: nothing usable was found, a part of CelebA is missing, or the file cannot be written; with `strict`,
            also a damaged image.
        UsageError: `size` or `limit` is out of range.
    """
    celeba_dir, output = Path(celeba_dir), Path(output)
    ModelConfig(image_size=size)
    if limit is not None and limit < 1:
        raise UsageError(f"A limit of {limit} faces is out of range: use a whole number of at least 1.")
    check_output(output, kind=FACES)
    source = find_faces(celeba_dir, with_attributes=attributes)
    check_output(output, inputs=_sources_named(source, output.name), kind=FACES)
    for text in source.notices:
        report(Notice(text))
    skipped = [Skipped(*left_out) for left_out in source.left_out]
    if strict and skipped:
        raise DataError(f"{skipped[0].name} cannot be used: {skipped[0].reason}. Leave out --strict to skip it.")
    total = len(source.names)
    chosen_rows = range(total) if limit is None or limit >= total else np.arange(limit) * total // limit
    split = _split(source)
    written = np.zeros(len(SPLIT_CODES), dtype=np.int64)
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
        ) as writer,
    ):
        for rows, images in _read_batches(source, list(map(int, chosen_rows)), size, skipped, strict, report):
            chosen = source.attributes[rows] if source.attributes is not None else None
            writer.append(images, [source.names[row] for row in rows], split[rows], chosen)
            written += np.bincount(split[rows], minlength=len(written))
        if not written.any():
            raise DataError(
                f"None of the {len(chosen_rows)} images in {source.location} could be read: {skipped[-1].reason}"
            )
        fingerprint = writer.finish()
    report_skipped(skipped, report)
    splits = {name: int(written[code]) for name, code in SPLIT_CODES.items()}
    return PrepareResult(output, int(written.sum()), splits, source.attribute_names, tuple(skipped), fingerprint)


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


def _read_batches(
    source: FaceSource, chosen: list[int], size: int, skipped: list[Skipped], strict: bool, report: Report
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield (rows, images) of the readable faces in order, decoding on all cores (Pillow frees the interpreter lock)."""
    with source.open() as reader, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(chosen), _BATCH):
            rows = chosen[start : start + _BATCH]
            loaded = pool.map(lambda row: _load(reader, source.names[row], size), rows)
            good: list[int] = []
            images: list[NDArray[np.uint8]] = []
            for row, result in zip(rows, loaded, strict=True):
                if isinstance(result, DataError):
                    if strict:
                        raise result
                    skipped.append(Skipped(source.names[row], str(result)))
                else:
                    good.append(row)
                    images.append(result)
            if images:
                yield good, np.stack(images)
            report(Progress("prepare", start + len(rows), len(chosen)))


def _load(reader: FaceReader, name: str, size: int) -> NDArray[np.uint8] | DataError:
    try:
        return load_face(reader.read(name), size, name)
    except DataError as error:
        return error

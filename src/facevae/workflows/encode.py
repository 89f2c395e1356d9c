"""`encode`: faces to the posteriors of their latents, as `latents.h5`, or as one of several shards of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facevae.config import ENCODE_BATCH, FACES_FILE, LATENTS_FILE
from facevae.errors import DataError, UsageError
from facevae.model.device import resolve_device
from facevae.model.encoder import Floats, FoldedEncoder, Images
from facevae.model.precision import Precision, resolve_precision
from facevae.progress import Progress, Report, silent
from facevae.storage.faces import Faces
from facevae.storage.kinds import LATENTS
from facevae.storage.latents import LatentsWriter, Shard
from facevae.storage.output import Output, StrPath, as_output, check_output, output_path
from facevae.storage.weights import FaceModel
from facevae.version import __version__
from facevae.workflows.common import check_size, find_weights
from facevae.workflows.face_finding import FaceChoice, FaceOptions
from facevae.workflows.face_loading import FaceLoader, named_images
from facevae.workflows.launch import leads, local_device, started_together
from facevae.workflows.picture_folders import with_folders_listed
from facevae.workflows.shards import (
    ShardNumber,
    check_together,
    join_together,
    parse_shard,
    shard_of_rank,
    shard_path,
)
from facevae.workflows.skipped import Skipped, all_skipped, report_skipped

_NO_IMAGE = "There is no image to encode: name image files or folders, or pass - and send paths to standard input."
_READ_BYTES = 2**22
"""Of images, read at a time."""


@dataclass(frozen=True)
class EncodeResult:
    """What `encode` wrote: how many latents, of what width, and the images left out.

    `leads` is whether this process is the one that wrote `output`: of several that `torchrun` started, the others have only
    encoded their shares.
    """

    output: Output
    count: int
    latent_dim: int
    skipped: tuple[Skipped, ...]
    leads: bool = True


def encode(
    images: Sequence[StrPath] | StrPath | None = None,
    output: StrPath | BinaryIO = LATENTS_FILE,
    *,
    faces: StrPath = FACES_FILE,
    shard: str | None = None,
    align: bool = True,
    which: FaceChoice = None,
    weights: StrPath | None = None,
    precision: str = "fp32",
    device: str = "auto",
    strict: bool = False,
    report: Report = silent,
) -> EncodeResult:
    """Encode all of `faces`, or the given image files, and write the posteriors to an HDF5 file or stream.

    Of several processes that `torchrun` started, each encodes its share of the faces, and the first joins them.

    Args:
        images: image files, and folders with all images in them and below; None to encode `faces`.
        output: a path, or a binary stream.
        faces: the prepared faces, read only when `images` is None.
        shard: encode only part I of N of the faces, given as "I/N" (I from 1 on); `merge` joins the N files.
        align: find the faces of pictures that are not CelebA's frames and bring them there; False takes every picture as a frame.
        which: of a picture with several faces, 1 for the largest, 2 for the next, ..., or "all"; by default the largest.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        precision: of the convolutions: fp32, bf16, or auto for bf16 where the device has it. In bf16 the latents differ in the
            third digit.
        device: auto, cpu, cuda or mps.
        strict: whether an unreadable image is an error instead of being left out.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, or no image could be read.
        LostRankError: of several processes, one is gone.
        MismatchError: the faces are not of the size the weights take.
        UsageError: a value is out of range, or options exclude each other.
    """
    output, faces = as_output(output), Path(faces)
    if isinstance(images, str | Path):
        images = [images]
    paths = [Path(image) for image in images] if images is not None else None
    options = FaceOptions.of(align, which, paths)
    if started_together():
        return _encode_together(paths, output, faces, shard, weights, precision, device, report)
    number = parse_shard(shard) if shard is not None else None
    if number is not None and paths is not None:
        raise UsageError("--shard divides the faces of faces.h5, not images: leave it out, or leave the images out.")
    paths = with_folders_listed(paths) if paths is not None else None
    encoder = _Encoder.load(weights, device, precision, report)
    check_output(output, inputs=[encoder.path, *(paths if paths is not None else [faces])], kind=LATENTS)
    if paths is None:
        return _encode_prepared(faces, encoder, output, number, report)
    loader = FaceLoader(encoder.model.image_size, options)
    return _encode_images(paths, loader, encoder, output, strict, report)


def _encode_together(
    paths: Sequence[Path] | None,
    output: Output,
    faces: Path,
    shard: str | None,
    weights: StrPath | None,
    precision: str,
    device: str,
    report: Report,
) -> EncodeResult:
    """Encode this rank's shard; the first rank joins them when all are written."""
    target = check_together(paths, output, shard)
    number = shard_of_rank()
    report = report if leads() else silent
    encoder = _Encoder.load(weights, str(local_device(resolve_device(device))), precision, report)
    mine = shard_path(target, number)
    for path in (target, mine):
        check_output(path, inputs=[encoder.path, faces], kind=LATENTS)
    own = _encode_prepared(faces, encoder, mine, number, report)
    count = join_together(target, number.shards, report)
    return EncodeResult(target, count or own.count, own.latent_dim, (), leads=leads())


class _Encoder:
    """A model that is about to encode many images."""

    def __init__(self, model: FaceModel, path: Path, precision: Precision) -> None:
        self.model, self.path, self.precision = model, path, precision.name
        self._encoder = FoldedEncoder(model.vae, precision.dtype)
        self.block = self._encoder.block

    @classmethod
    def load(cls, weights: StrPath | None, device: str, precision: str, report: Report) -> _Encoder:
        place = resolve_device(device)
        chosen = resolve_precision(precision, place)
        found = find_weights(weights, report)
        return cls(FaceModel.load(found.path, place, name=found.name), found.path, chosen)

    def writer(self, path: Path, faces: Faces | None, shard: Shard | None = None) -> LatentsWriter:
        return LatentsWriter(
            path,
            latent_dim=self.model.latent_dim,
            attribute_names=faces.attribute_names if faces is not None else (),
            with_split=faces is not None,
            weights_hash=self.model.hash(),
            faces_fingerprint=faces.fingerprint if faces is not None else "",
            facevae_version=__version__,
            precision=self.precision,
            shard=shard,
        )

    def batches(self, batches: Iterable[Images]) -> Generator[tuple[Floats, Floats], None, None]:
        """Yield the posteriors; non-finite ones mean ruined weights, and are better found here than in a later stage."""
        for mean, log_variance in self._encoder.batches(batches):
            if not (np.isfinite(mean).all() and np.isfinite(log_variance).all()):
                raise DataError(
                    f"{self.model.name} gives latents that are not finite: train again, with a lower learning rate."
                )
            yield mean, log_variance


def _encode_prepared(
    path: Path, encoder: _Encoder, output: Output, number: ShardNumber | None, report: Report
) -> EncodeResult:
    with Faces(path) as faces:
        check_size(faces, encoder.model)
        shard = number.of(faces) if number is not None else None
        wanted = shard.rows if shard is not None else range(faces.count)
        with output_path(output) as temporary, encoder.writer(temporary, faces, shard) as writer:
            slices = list(_slices(wanted, faces, encoder.block))
            with closing(encoder.batches(faces.read(rows.start, rows.stop) for rows in slices)) as posteriors:
                for rows, (mean, log_variance) in zip(slices, posteriors, strict=True):
                    start, stop = max(rows.start, wanted.start), min(rows.stop, wanted.stop)
                    kept = slice(start - rows.start, stop - rows.start)
                    writer.append(mean[kept], log_variance[kept], *faces.columns(start, stop))
                    report(Progress("encode", stop - wanted.start, len(wanted)))
            writer.finish()
        return EncodeResult(output, len(wanted), encoder.model.latent_dim, ())


def _slices(wanted: range, faces: Faces, block: int) -> Iterator[range]:
    """Yield the rows to read at a time: whole blocks of the file, so that a shard's latents are those of all faces, bit for bit.

    The last digit of a latent may depend on how many images are computed at a time.
    """
    size = max(1, _READ_BYTES // (3 * faces.image_size**2 * block)) * block
    first, end = wanted.start // block * block, min(faces.count, -(-wanted.stop // block) * block)
    for start in range(first, end, size):
        yield range(start, min(start + size, end))


def _encode_images(
    images: Sequence[Path], loader: FaceLoader, encoder: _Encoder, output: Output, strict: bool, report: Report
) -> EncodeResult:
    skipped: list[Skipped] = []
    names: deque[list[str]] = deque()

    def loaded() -> Iterator[Images]:
        for batch in loader.batches(images, ENCODE_BATCH, skipped, strict=strict):
            names.append([face.name for face in batch])
            yield named_images(batch).images

    count = 0
    with output_path(output) as temporary, encoder.writer(temporary, None) as writer:
        with closing(encoder.batches(loaded())) as posteriors:
            for mean, log_variance in posteriors:
                writer.append(mean, log_variance, names.popleft())
                count += len(mean)
                report(Progress("encode", loader.read, len(images)))
        if count == 0:
            raise DataError(all_skipped(skipped) if skipped else _NO_IMAGE)
        writer.finish()
    loader.finding.tell(report)
    report_skipped(skipped, report)
    return EncodeResult(output, count, encoder.model.latent_dim, tuple(skipped))

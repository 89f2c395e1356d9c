"""`encode`: faces to the posteriors of their latents, as `latents.h5`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facevae.config import ENCODE_BATCH, FACES_FILE, LATENTS_FILE
from facevae.errors import DataError
from facevae.model.inference import Floats, Images
from facevae.progress import Progress, Report, silent
from facevae.storage.faces import Faces
from facevae.storage.kinds import LATENTS
from facevae.storage.latents import LatentsWriter
from facevae.storage.output import Output, StrPath, as_output, check_output, output_path
from facevae.storage.weights import FaceModel
from facevae.version import __version__
from facevae.workflows.common import check_size, load_batches, load_model
from facevae.workflows.skipped import Skipped, report_skipped


@dataclass(frozen=True)
class EncodeResult:
    """What `encode` wrote: how many latents, of what width, and the images left out."""

    output: Output
    count: int
    latent_dim: int
    skipped: tuple[Skipped, ...]


def encode(
    images: Sequence[StrPath] | StrPath | None = None,
    output: StrPath | BinaryIO = LATENTS_FILE,
    *,
    faces: StrPath = FACES_FILE,
    weights: StrPath | None = None,
    device: str = "auto",
    strict: bool = False,
    report: Report = silent,
) -> EncodeResult:
    """Encode all of `faces`, or the given image files, and write the posteriors to an HDF5 file or stream.

    Args:
        images: image files; None to encode `faces`.
        output: a path, or a binary stream.
        faces: the prepared faces, read only when `images` is None.
        weights: the weights file; by default the workspace's.
        device: auto, cpu, cuda or mps.
        strict: whether an unreadable image is an error instead of being left out.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, or no image could be read.
        MismatchError: the faces are not of the size the weights take.
    """
    output, faces = as_output(output), Path(faces)
    if isinstance(images, str | Path):
        images = [images]
    paths = [Path(image) for image in images] if images is not None else None
    model = load_model(weights, device)
    sources = [Path(model.name), *(paths if paths is not None else [faces])]
    check_output(output, inputs=sources, kind=LATENTS)
    if paths is None:
        return _encode_prepared(faces, model, output, report)
    return _encode_images(paths, model, output, strict, report)


def _encode_prepared(path: Path, model: FaceModel, output: Output, report: Report) -> EncodeResult:
    with ExitStack() as stack:
        faces = stack.enter_context(Faces(path))
        check_size(faces, model)
        writer = stack.enter_context(
            LatentsWriter(
                stack.enter_context(output_path(output)),
                latent_dim=model.latent_dim,
                attribute_names=faces.attribute_names,
                with_split=True,
                weights_hash=model.hash(),
                faces_fingerprint=faces.fingerprint,
                facevae_version=__version__,
            )
        )
        for rows, images in faces.batches(ENCODE_BATCH):
            mean, log_variance = _checked(model, images)
            attributes = faces.attributes[rows] if faces.attributes is not None else None
            writer.append(mean, log_variance, faces.names[rows], faces.split[rows], attributes)
            report(Progress("encode", rows.stop, faces.count))
        writer.finish()
        return EncodeResult(output, faces.count, model.latent_dim, ())


def _encode_images(
    images: Sequence[Path], model: FaceModel, output: Output, strict: bool, report: Report
) -> EncodeResult:
    skipped: list[Skipped] = []
    count = 0
    with (
        output_path(output) as temporary,
        LatentsWriter(
            temporary,
            latent_dim=model.latent_dim,
            attribute_names=(),
            with_split=False,
            weights_hash=model.hash(),
            faces_fingerprint="",
            facevae_version=__version__,
        ) as writer,
    ):
        for batch, names in load_batches(images, model.image_size, ENCODE_BATCH, skipped, strict=strict):
            writer.append(*_checked(model, batch), names)
            count += len(names)
            report(Progress("encode", count + len(skipped), len(images)))
        if count == 0:
            raise DataError(skipped[0].reason if len(skipped) == 1 else _nothing_read(skipped))
        writer.finish()
    report_skipped(skipped, report)
    return EncodeResult(output, count, model.latent_dim, tuple(skipped))


def _nothing_read(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return "There is no image to encode: name image files, or pass - and send paths to standard input."
    return f"None of the {len(skipped)} images could be read. The first: {skipped[0].reason}"


def _checked(model: FaceModel, images: Images) -> tuple[Floats, Floats]:
    """Encode; non-finite latents mean ruined weights, and are better found here than in a later stage."""
    mean, log_variance = model.encode(images)
    if not (np.isfinite(mean).all() and np.isfinite(log_variance).all()):
        raise DataError(f"{model.name} gives latents that are not finite: train again, with a lower learning rate.")
    return mean, log_variance

"""Reading, decoding and resizing many images on all cores, in order, with a bounded number of them in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from facevae.errors import DataError
from facevae.storage.celeba import FaceReader, digest_of
from facevae.storage.images import load_face_bytes, smaller_side
from facevae.storage.journal import Prepared

_ROWS = 32
"""Images a thread takes at a time: handing them over costs a hundredth of decoding them, and a kill loses a second's work."""
_BYTES = 1 << 20
_AHEAD = 4
"""Batches in work or waiting for each thread, so that none waits while the slowest image, or the disk, holds up the order."""


def decode_faces(
    reader: FaceReader, names: Sequence[str], size: int, jobs: int, start: int = 0, *, min_side: int | None = None
) -> Generator[Prepared, None, None]:
    """Yield all images from row `start` on, a few rows at a time and in order; `jobs` threads decode.

    Images with a side of less than `min_side` pixels are told from their headers, and not decoded.

    Threads, because Pillow frees the interpreter lock while it decodes and resizes. Closing the generator stops them.
    """
    step = max(1, min(_ROWS, _BYTES // (size * size * 3)))
    stop = threading.Event()
    pending: deque[Future[Prepared]] = deque()
    with ThreadPoolExecutor(jobs, "facevae-decode") as pool:
        try:
            for first in range(start, len(names), step):
                pending.append(pool.submit(_decode, reader, names[first : first + step], size, min_side, stop))
                if len(pending) >= _AHEAD * jobs:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _decode(
    reader: FaceReader, names: Sequence[str], size: int, min_side: int | None, stop: threading.Event
) -> Prepared:
    # The stamps come first: of an image that is changed between the two, the old stamp is kept with the new pixels, and
    # the next run prepares it anew.
    digest = digest_of(reader, names)
    images: list[bytes] = []
    skipped: list[tuple[int, str]] = []
    too_small: list[int] = []
    for place, name in enumerate(names):
        if stop.is_set():
            break
        try:
            data = reader.read(name)
            if min_side is not None and smaller_side(data, name) < min_side:
                too_small.append(place)
                continue
            images.append(load_face_bytes(data, size, name))
        except DataError as error:
            skipped.append((place, str(error)))
    pixels = np.frombuffer(b"".join(images), dtype=np.uint8)
    return Prepared(len(names), skipped, pixels.reshape(-1, size, size, 3), digest, too_small)

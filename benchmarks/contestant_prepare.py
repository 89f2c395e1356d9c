"""A contestant of prepare_cpu.py: JPEG files to 32 x 32 faces, by facevae or in the plain torchvision way, or only decoded."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from timing import Stopwatch, hand_back

from facevae.storage.jpeg import decode_plain, plain_size, reducing_scale

SIDE = 32
WARMUP = 100
_BATCH = 500


def by_facevae(source: Path, watch: Stopwatch, jobs: int | None) -> int:
    """`facevae.prepare`, with all it does: names, splits, fingerprint, the file that the next run would go on from, HDF5."""
    import facevae

    facevae.prepare(source, "warmup.h5", size=SIDE, attributes=False, limit=WARMUP)
    watch.start()
    count = facevae.prepare(source, "faces.h5", size=SIDE, attributes=False, jobs=jobs).count
    watch.stop()
    return count


def by_torchvision(source: Path, watch: Stopwatch) -> int:
    """`ImageFolder`, `v2.Resize`, a `DataLoader`, and all batches in one tensor."""
    import torch
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    dataset = ImageFolder(str(source), transform=v2.Compose([v2.Resize((SIDE, SIDE)), v2.PILToTensor()]))

    def stacked(images: object) -> torch.Tensor:
        return torch.cat([batch for batch, _ in DataLoader(images, batch_size=_BATCH)])  # type: ignore[arg-type]

    stacked(Subset(dataset, range(min(WARMUP, len(dataset)))))
    watch.start()
    images = stacked(dataset)
    watch.stop()
    return len(images)


def by_decoder(source: Path, watch: Stopwatch) -> int:
    """Pillow's reader at facevae's scale, of files that are in memory already; no resize, and what it decodes is dropped."""

    def decode(data: bytes) -> None:
        with Image.open(io.BytesIO(data)) as image:
            scale = reducing_scale(*image.size, SIDE)
            image.draft(None, (image.width // scale, image.height // scale))
            image.load()

    return _each(source, decode, watch)


def by_bare_decoder(source: Path, watch: Stopwatch) -> int:
    """The decoder in C alone, without the header that Pillow's reader reads in Python."""

    def decode(data: bytes) -> None:
        size = plain_size(data)
        if size is None or decode_plain(data, *size, reducing_scale(*size, SIDE)) is None:
            raise SystemExit("An image is not an ordinary JPEG: the bare decoder cannot be measured on it.")

    return _each(source, decode, watch)


def _each(source: Path, decode: Callable[[bytes], None], watch: Stopwatch) -> int:
    files = [path.read_bytes() for path in sorted(source.rglob("*.jpg"))]
    for data in files[:WARMUP]:
        decode(data)
    watch.start()
    for data in files:
        decode(data)
    watch.stop()
    return len(files)


RIVALS = {
    "torchvision": by_torchvision,
    "decoder": by_decoder,
    "bare-decoder": by_bare_decoder,
}


def main() -> None:
    """Measure and hand back."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="a folder of folders of JPEGs, or for facevae also an archive")
    parser.add_argument("result", type=Path, help="where to write the figures, as JSON")
    parser.add_argument("kind", choices=("facevae", *RIVALS))
    parser.add_argument("--jobs", type=int, help="of facevae; default: all cores")
    arguments = parser.parse_args()
    watch = Stopwatch()
    if arguments.kind == "facevae":
        count = by_facevae(arguments.source, watch, arguments.jobs)
    else:
        count = RIVALS[arguments.kind](arguments.source, watch)
    hand_back(arguments.result, watch.figures(count, {"Pillow": PIL.__version__, "NumPy": np.__version__}))


if __name__ == "__main__":
    main()

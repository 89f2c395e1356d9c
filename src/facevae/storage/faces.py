"""`faces.h5`: the prepared faces. `prepare` writes it; `train`, `encode` and `reconstruct` read it.

Datasets: `images` uint8 (N, S, S, 3); `names` UTF-8 (N); `split` uint8 (N) with 0 train, 1 valid, 2 test; and, where the
source has them, `attributes` int8 (N, A) in {-1, 1}. Root attributes: `format`, `format_version`, `image_size`,
`resize_rule`, `split_rule`, `attribute_names`, `source`, `facevae_version`, `fingerprint`, `complete`; and, where images with
a side of fewer pixels were left out, `min_side`.

The fingerprint is the SHA-256 of the SHA-256 digests of `images`, `split`, `attributes` (of nothing, where there are none), each
of the dataset's bytes in row order: two files with one fingerprint train and encode the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facevae.config import SPLIT_CODES, SPLIT_NAMES, SplitName
from facevae.errors import DataError, UsageError
from facevae.storage import hdf5

FORMAT = "facevae faces"
REMEDY = "Make one with: facevae prepare --celeba-dir DIR"
CHUNK_IMAGES = 128
"""Blocks of so many images, or of a multiple, are written once."""
_READ_IMAGES = 4096


def expected_size(image_size: int, names: Sequence[str], attribute_count: int) -> int:
    """Return about how many bytes a file with these faces has, rather too many."""
    chunks = -(-len(names) // CHUNK_IMAGES)
    images = chunks * (CHUNK_IMAGES * image_size * image_size * 3 + 200)
    # A string takes a reference and a place in a heap of multiples of 8 bytes; the other columns come in chunks of thousands.
    texts = sum(4 * len(name) for name in names) + 64 * len(names)
    return images + texts + (attribute_count + 40) * (len(names) + 4096) + (1 << 20)


class FacesWriter(hdf5.Writer):
    """Writes a `faces.h5` image by image batch, so that memory does not grow with the number of faces."""

    def __init__(
        self,
        path: Path,
        *,
        image_size: int,
        attribute_names: Sequence[str],
        resize_rule: str,
        split_rule: str,
        source: str,
        facevae_version: str,
        min_side: int | None = None,
    ) -> None:
        record: dict[str, Any] = {
            "image_size": image_size,
            "resize_rule": resize_rule,
            "split_rule": split_rule,
            "source": source,
            "facevae_version": facevae_version,
        }
        if min_side is not None:
            record["min_side"] = min_side
        super().__init__(path, FORMAT, attribute_names, record, with_split=True)
        self._images = hdf5.growing(self._file, "images", (image_size, image_size, 3), np.uint8, CHUNK_IMAGES)
        self._digests = {name: hashlib.sha256() for name in ("images", "split", "attributes")}

    def append(
        self,
        images: NDArray[np.uint8],
        names: list[str],
        split: NDArray[np.uint8],
        attributes: NDArray[np.int8] | None,
    ) -> None:
        """Add images (B, S, S, 3), their names and splits (B), and their attributes (B, A) if the file has any."""
        hdf5.append(self._images, images)
        self._append_companions(names, split, attributes)
        if self._attributes is not None and attributes is not None:
            self._digests["attributes"].update(np.ascontiguousarray(attributes).data)
        self._digests["images"].update(np.ascontiguousarray(images).data)
        self._digests["split"].update(np.ascontiguousarray(split).data)

    def finish(self) -> str:
        """Mark the file complete and return its fingerprint."""
        fingerprint = hashlib.sha256(b"".join(digest.digest() for digest in self._digests.values())).hexdigest()
        self._file.attrs["fingerprint"] = fingerprint
        self._complete()
        return fingerprint


class Faces(hdf5.Reader):
    """An open `faces.h5`. Images are read in slices; names, splits and attributes too (`columns`), or all at once on first use.

    Attributes:
        path: the file.
        count: N, the number of faces.
        image_size: S.
        names: N names.
        split: uint8 (N), see `SPLIT_CODES`.
        attribute_names: A names; empty when the faces have none.
        attributes: int8 (N, A) in {-1, 1}, or None.
        fingerprint: of images, splits and attributes, see the module.
        min_side: images with a side of fewer pixels were left out; None where that was not asked for.
        record: the file's other root attributes, for people.

    Raises:
        DataError: the file is missing, damaged, incomplete, or holds something else.
    """

    format_name = FORMAT
    remedy = REMEDY

    def _load(self) -> None:
        file = self._file
        self._images: h5py.Dataset = file["images"]
        shape = self._images.shape
        self.count = shape[0]
        self.image_size = int(file.attrs["image_size"])
        if shape[1:] != (self.image_size, self.image_size, 3) or self._images.dtype != np.uint8:
            raise ValueError(f"images are {self._images.dtype} {shape}")
        self.attribute_names = tuple(hdf5.read_string_attribute(file, "attribute_names"))
        self.fingerprint = str(file.attrs["fingerprint"])
        self.min_side = int(file.attrs["min_side"]) if "min_side" in file.attrs else None
        self.record: dict[str, Any] = {
            name: str(file.attrs[name]) for name in ("source", "resize_rule", "split_rule", "facevae_version")
        }
        file["split"]  # which other files may do without
        self._check_columns()

    @cached_property
    def split(self) -> NDArray[np.uint8]:
        """The splits uint8 (N)."""
        return self._read_array("split", slice(None))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return images `start` up to `stop` as uint8 (stop - start, S, S, 3)."""
        with self._reading():
            images: NDArray[np.uint8] = self._images[start:stop]
        return images

    def batches(self, size: int) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """Yield all images in order as (rows, images) in batches of at most `size`."""
        for start in range(0, self.count, size):
            stop = min(start + size, self.count)
            yield slice(start, stop), self.read(start, stop)

    def rows_of(self, split: SplitName) -> NDArray[np.int64]:
        """Return the row numbers of a split ("all" for every row), in order."""
        if split not in SPLIT_NAMES:
            raise UsageError(f"There is no split {split}: use one of {', '.join(SPLIT_NAMES)}.")
        if split == "all":
            return np.arange(self.count)
        return np.flatnonzero(self.split == SPLIT_CODES[split])

    def images_of(self, split: SplitName) -> NDArray[np.uint8]:
        """Return the images of a split in one array, holding no second copy of them.

        Raises:
            DataError: the split is empty.
        """
        rows = self.rows_of(split)
        if len(rows) == 0:
            raise DataError(f"{self.path} has no images in the split {split}: name another split, or prepare again.")
        return self.images_at(rows)

    def images_at(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of some rows, which are in ascending order, in one array."""
        images = np.empty((len(rows), self.image_size, self.image_size, 3), dtype=np.uint8)
        filled = 0
        for rows_read, batch in self.batches(_READ_IMAGES):
            wanted = rows[filled : np.searchsorted(rows, rows_read.stop)] - rows_read.start
            images[filled : filled + len(wanted)] = batch[wanted]
            filled += len(wanted)
        return images

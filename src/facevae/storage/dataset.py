"""`faces.h5` as a torchvision dataset, for people who bring their own training loop.

facevae's own training does not use it: reading images one by one is what it avoids.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import VisionDataset

from facevae.config import FACES_FILE, SplitName
from facevae.storage.faces import Faces


class FacesDataset(VisionDataset):  # type: ignore[misc]  # torchvision carries no types
    """One split of `faces.h5`, with the interface of `torchvision.datasets.CelebA(target_type="attr")`.

    Item i is `(image, attributes)`: a Pillow RGB image of S x S pixels and a long tensor (A) of 0 and 1, empty where the faces
    have no attributes; `transform` and `target_transform` are applied to them. The images are held in memory as uint8.

    Attributes:
        attr_names: A attribute names.
        names: N file names.

    Raises:
        DataError: the file is missing, damaged or holds something else, or the split is empty.
    """

    def __init__(
        self,
        path: str | Path = FACES_FILE,
        split: SplitName = "train",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(str(path), transform=transform, target_transform=target_transform)
        with Faces(Path(path)) as faces:
            rows = faces.rows_of(split)
            self._images = faces.images_of(split)
            self.names = [faces.names[row] for row in rows]
            self.attr_names = list(faces.attribute_names)
            chosen = faces.attributes[rows] if faces.attributes is not None else None
        empty = torch.empty(len(rows), 0, dtype=torch.long)
        self._attributes = torch.from_numpy(chosen > 0).long() if chosen is not None else empty

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = Image.fromarray(self._images[index])
        target: Tensor | Any = self._attributes[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

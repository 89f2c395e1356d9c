"""`FacesDataset`: `faces.h5` for a training loop of one's own. Alone in a file, as torchvision takes seconds to import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from facevae.config import SPLIT_NAMES
from facevae.errors import DataError
from facevae.storage.dataset import FacesDataset
from facevae.storage.faces import Faces
from support import ATTRIBUTE_NAMES


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_items_are_the_rows_of_the_split(faces_file: Path, split: str) -> None:
    dataset = FacesDataset(faces_file, split)  # type: ignore[arg-type]
    with Faces(faces_file) as faces:
        rows = faces.rows_of(split)  # type: ignore[arg-type]
        images, names, attributes = faces.read(0, faces.count), faces.names, faces.attributes
    assert attributes is not None
    assert len(dataset) == len(rows) == {"train": 40, "valid": 10, "test": 10, "all": 60}[split]
    assert dataset.names == [names[row] for row in rows]
    assert dataset.attr_names == list(ATTRIBUTE_NAMES)
    for index, row in enumerate(rows):
        image, target = dataset[index]
        assert isinstance(image, Image.Image)
        assert (image.mode, image.size) == ("RGB", (32, 32))
        assert np.array_equal(np.asarray(image), images[row])
        assert target.dtype == torch.long
        assert target.tolist() == [int(value == 1) for value in attributes[row]]


def test_targets_are_nought_and_one(faces_file: Path) -> None:
    dataset = FacesDataset(faces_file, "all")
    targets = torch.stack([dataset[index][1] for index in range(len(dataset))])
    assert set(targets.flatten().tolist()) == {0, 1}
    assert targets.shape == (60, 5)


def test_the_train_split_is_the_default_and_the_file_may_be_closed_and_gone(faces_file: Path) -> None:
    dataset = FacesDataset(faces_file)
    faces_file.unlink()
    assert len(dataset) == 40
    assert np.asarray(dataset[39][0]).shape == (32, 32, 3)


def test_indices_beyond_the_end(faces_file: Path) -> None:
    """What an iteration over the items, without a loader, ends on."""
    dataset = FacesDataset(faces_file, "valid")
    with pytest.raises(IndexError):
        dataset[10]
    assert len(list(dataset)) == 10


def test_transforms_are_applied_to_their_part(faces_file: Path) -> None:
    plain = FacesDataset(faces_file, "valid")
    to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    smiling = ATTRIBUTE_NAMES.index("Smiling")
    dataset = FacesDataset(faces_file, "valid", to_tensor, lambda target: bool(target[smiling]))
    for index in range(len(plain)):
        image, target = dataset[index]
        expected = torch.from_numpy(np.array(plain[index][0])).permute(2, 0, 1) / 255
        assert torch.allclose(image, expected, atol=1e-7)
        assert target is bool(plain[index][1][smiling])


def test_a_loader_gives_batches(faces_file: Path) -> None:
    to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    dataset = FacesDataset(faces_file, "train", transform=to_tensor)
    batches = list(DataLoader(dataset, batch_size=16, num_workers=0))
    assert [tuple(images.shape) for images, _ in batches] == [(16, 3, 32, 32), (16, 3, 32, 32), (8, 3, 32, 32)]
    assert [tuple(targets.shape) for _, targets in batches] == [(16, 5), (16, 5), (8, 5)]
    whole = torch.cat([images for images, _ in batches])
    with Faces(faces_file) as faces:
        expected = torch.from_numpy(faces.images_of("train")).permute(0, 3, 1, 2) / 255
    assert torch.allclose(whole, expected, atol=1e-7)


def test_faces_without_attributes_have_empty_targets(faces_without_attributes: Path) -> None:
    dataset = FacesDataset(faces_without_attributes)
    assert (len(dataset), dataset.attr_names) == (30, [])
    assert dataset[0][1].shape == (0,)
    images, targets = next(iter(DataLoader(FacesDataset(faces_without_attributes, transform=v2.ToImage()), 4)))
    assert (images.shape, targets.shape) == ((4, 3, 32, 32), (4, 0))


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "faces.h5"
    with pytest.raises(DataError) as error:
        FacesDataset(path)
    assert str(error.value) == f"There is no {path}. Make one with: facevae prepare --celeba-dir DIR"


def test_an_empty_split(faces_without_attributes: Path) -> None:
    with pytest.raises(DataError) as error:
        FacesDataset(faces_without_attributes, "test")
    assert str(error.value) == (
        f"{faces_without_attributes} has no images in the split test: name another split, or prepare again."
    )


def test_another_kind_of_file(latents_file: Path) -> None:
    with pytest.raises(DataError) as error:
        FacesDataset(latents_file)
    assert str(error.value) == (
        f"{latents_file} holds latents, not prepared faces. Make one with: facevae prepare --celeba-dir DIR"
    )

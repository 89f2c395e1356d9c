"""`latents.h5`: what is written comes back, and what is broken or belongs elsewhere is called so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevae.errors import DataError, MismatchError
from facevae.storage.faces import Faces
from facevae.storage.latents import Latents, LatentsWriter
from facevae.storage.weights import FaceModel

REMEDY = "Make one with: facevae encode > latents.h5"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        Latents(path)
    return str(error.value)


@settings(max_examples=20)
@given(data=st.data())
def test_whatever_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("latents") / "latents.h5"
    names = data.draw(st.lists(NAMES, max_size=9))
    attribute_names = data.draw(st.lists(NAMES, max_size=3, unique=True))
    count, latent_dim, with_split = len(names), data.draw(st.integers(1, 5)), data.draw(st.booleans())
    keys = ("weights_hash", "faces_fingerprint", "facevae_version", "precision")
    texts: dict[str, Any] = {key: data.draw(NAMES) for key in keys}
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    mean, log_variance = (random.normal(0, 1e3, (count, latent_dim)).astype(np.float32) for _ in range(2))
    split = random.integers(0, 3, count, dtype=np.uint8)
    table = random.choice(np.array([-1, 1], dtype=np.int8), (count, len(attribute_names)))
    batch = data.draw(st.integers(1, 4))
    with LatentsWriter(
        path, latent_dim=latent_dim, attribute_names=attribute_names, with_split=with_split, **texts
    ) as writer:
        for start in range(0, count, batch):
            rows = slice(start, start + batch)
            writer.append(
                mean[rows],
                log_variance[rows],
                names[rows],
                split[rows] if with_split else None,
                table[rows] if attribute_names else None,
            )
        writer.finish()
    with Latents(path) as latents:
        assert (latents.path, latents.count, latents.latent_dim) == (path, count, latent_dim)
        assert latents.names == names
        np.testing.assert_array_equal(latents.mean(), mean)
        np.testing.assert_array_equal(latents.log_variance(), log_variance)
        assert latents.mean().dtype == latents.log_variance().dtype == np.float32
        assert latents.attribute_names == tuple(attribute_names)
        assert (latents.split is not None) == with_split
        assert (latents.attributes is not None) == bool(attribute_names)
        if latents.split is not None:
            np.testing.assert_array_equal(latents.split, split)
        if latents.attributes is not None:
            np.testing.assert_array_equal(latents.attributes, table)
        assert texts == {name: getattr(latents, name) for name in texts}


def test_latents_are_those_of_the_faces(latents_file: Path, faces_file: Path, small_model: FaceModel) -> None:
    with Latents(latents_file) as latents, Faces(faces_file) as faces:
        mean, log_variance = small_model.encode(faces.read(0, 60))
        np.testing.assert_array_equal(latents.mean(), mean)
        np.testing.assert_array_equal(latents.log_variance(), log_variance)
        assert latents.faces_fingerprint == faces.fingerprint


def test_latents_know_their_weights(latents_file: Path, small_model: FaceModel) -> None:
    with Latents(latents_file) as latents:
        latents.check_made_by(small_model.hash(), "vae.safetensors")
        with pytest.raises(MismatchError) as error:
            latents.check_made_by("0" * 64, "vae.safetensors")
    assert str(error.value) == (
        f"{latents_file} was not made by vae.safetensors but by other weights: encode the faces again "
        "(facevae encode > latents.h5), or name the weights that made it with --weights."
    )


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "latents.h5"
    assert refusal(path) == f"There is no {path}. {REMEDY}"


def test_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a file of latents. {REMEDY}"


def test_a_file_that_is_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "latents.h5"
    path.write_bytes(b"")
    assert refusal(path) == f"{path} is not a file of latents (not HDF5). {REMEDY}"


def test_faces_are_not_latents(faces_file: Path) -> None:
    assert refusal(faces_file) == f"{faces_file} holds prepared faces, not latents. {REMEDY}"


def test_a_file_that_was_never_finished(tmp_path: Path) -> None:
    path = tmp_path / "latents.h5"
    texts: dict[str, Any] = dict.fromkeys(("weights_hash", "faces_fingerprint", "facevae_version"), "")
    with LatentsWriter(path, latent_dim=2, attribute_names=(), with_split=False, **texts):
        pass
    assert refusal(path) == f"{path} is not complete: the run that wrote it was cut off. {REMEDY}"


def test_a_file_of_the_future(latents_file: Path) -> None:
    with h5py.File(latents_file, "r+") as file:
        file.attrs["format_version"] = 7
    assert refusal(latents_file) == (
        f"{latents_file} is of format version 7, newer than this facevae reads: update facevae."
    )


def replacing(name: str, values: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (replacing("log_variance", np.zeros((60, 5))), "mean and log_variance differ in shape"),
        (replacing("mean", np.zeros(60)), "not enough values to unpack (expected 2, got 1)"),
        (replacing("names", ["a"] * 59), "its datasets differ in length"),
        (replacing("split", np.zeros(61, dtype=np.uint8)), "its datasets differ in length"),
        (replacing("attributes", np.zeros((3, 5), dtype=np.int8)), "its datasets differ in length"),
        (replacing("attributes", np.zeros((60, 6), dtype=np.int8)), "attributes are int8 (60, 6) for 5 names"),
    ],
)
def test_contents_that_do_not_fit_together(latents_file: Path, edit: Callable[[h5py.File], None], reason: str) -> None:
    with h5py.File(latents_file, "r+") as file:
        edit(file)
    assert refusal(latents_file) == f"{latents_file} is damaged ({reason}). {REMEDY}"


@pytest.mark.parametrize("name", ["mean", "log_variance"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(latents_file: Path, name: str, value: float) -> None:
    with h5py.File(latents_file, "r+") as file:
        file[name][17, 2] = value
    with Latents(latents_file) as latents, pytest.raises(DataError) as error:
        getattr(latents, name)()
    assert str(error.value) == f"{latents_file} is damaged ({name} holds values that are not finite). {REMEDY}"


def test_latents_of_text(latents_file: Path) -> None:
    with h5py.File(latents_file, "r+") as file:
        replacing("mean", np.full((60, 6), b"one"))(file)
    with Latents(latents_file) as latents, pytest.raises(DataError) as error:
        latents.mean()
    assert str(error.value) == (
        f"{latents_file} is damaged (could not convert string to float: {np.bytes_(b'one')!r}). {REMEDY}"
    )

"""Fixtures shared by the tests. Heavy libraries are imported inside them: the tests of the command's help need none."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import support

if TYPE_CHECKING:
    from facevae.storage.weights import FaceModel

# Before torch is imported, here and in the processes that tests start: the networks are too small to share out.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# A shell starts its background jobs deaf to Ctrl-C, and they their children: the tests that interrupt something need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("facevae", deadline=None, max_examples=25, derandomize=True, database=None)
settings.load_profile("facevae")


LONGEST = (
    "test_distributed",
    "test_browser_explorer",
    "test_browser_map",
    "test_cli_umap",
    "test_pipes",
    "test_drawn_truth",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest: at the end a core would wait for the other's."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one; `faces_file` and the like put their files into it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="session")
def _faces_template(_templates: Path) -> Path:
    return support.write_faces(_templates / "faces.h5")


@pytest.fixture(scope="session")
def small_model() -> FaceModel:
    """An untrained 32x32 model with attribute directions, shared by all tests: only to be read."""
    return support.make_model()


@pytest.fixture(scope="session")
def _weights_template(_templates: Path, small_model: FaceModel) -> Path:
    small_model.save(_templates / "vae.safetensors")
    return _templates / "vae.safetensors"


@pytest.fixture(scope="session")
def _latents_template(_templates: Path, small_model: FaceModel, _faces_template: Path) -> Path:
    return support.write_latents(_templates / "latents.h5", small_model, _faces_template)


@pytest.fixture
def faces_file(tmp_path: Path, _faces_template: Path) -> Path:
    """`faces.h5` with 60 drawn faces of 32x32, five attributes, and all three splits."""
    return Path(shutil.copy(_faces_template, tmp_path / "faces.h5"))


@pytest.fixture
def faces_without_attributes(tmp_path: Path) -> Path:
    """`plain.h5`: 30 drawn faces of 32x32, all of them train, without attributes."""
    import numpy as np

    path = tmp_path / "plain.h5"
    return support.write_faces(path, count=30, attributes=False, split=np.zeros(30, dtype=np.uint8))


@pytest.fixture
def weights_file(tmp_path: Path, _weights_template: Path) -> Path:
    """`vae.safetensors`: `small_model` on disk."""
    return Path(shutil.copy(_weights_template, tmp_path / "vae.safetensors"))


@pytest.fixture
def latents_file(tmp_path: Path, _latents_template: Path) -> Path:
    """`latents.h5`: the faces of `faces_file` encoded by `small_model`."""
    return Path(shutil.copy(_latents_template, tmp_path / "latents.h5"))
